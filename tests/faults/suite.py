"""Which experiments there are, by the promise that they put to the test."""

from tests.faults import checksum, disk, fuzz, kill, soak, text, writers
from tests.faults.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    "kill": kill.run,
    "checksum": checksum.run,
    "disk": disk.run,
    "writers": writers.run,
    "text": text.run,
    "fuzz": fuzz.run,
    "soak": soak.run,
}
