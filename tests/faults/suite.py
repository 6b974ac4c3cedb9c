"""Which experiments there are, by the promise that they put to the test."""

from tests.faults import (
    bounded,
    checksum,
    console,
    costly,
    crafted,
    disk,
    exits,
    fork,
    fuzz,
    hopeless,
    kill,
    reentry,
    sharing,
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
    "torchrun": torchrun.run,
    "writers": writers.run,
    "sharing": sharing.run,
    "text": text.run,
    "fuzz": fuzz.run,
    "crafted": crafted.run,
    "costly": costly.run,
    "soak": soak.run,
}
