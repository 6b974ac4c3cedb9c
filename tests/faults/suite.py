"""Which experiments there are, by the promise that they put to the test."""

from tests.faults import (
    bounded,
    checksum,
    console,
    disk,
    exits,
    fork,
    fuzz,
    hopeless,
    kill,
    reentry,
    released,
    soak,
    text,
    torchrun,
    writers,
)  # fmt: skip
from tests.faults.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    "bounded": bounded.run,
    "kill": kill.run,
    "checksum": checksum.run,
    "disk": disk.run,
    "console": console.run,
    "exit": exits.run,
    "hopeless": hopeless.run,
    "fork": fork.run,
    "reentry": reentry.run,
    "released": released.run,
    "torchrun": torchrun.run,
    "writers": writers.run,
    "text": text.run,
    "fuzz": fuzz.run,
    "soak": soak.run,
}
