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
    interruption,
    kill,
    reentry,
    soak,
    surroundings,
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
    "interruption": interruption.run,
    "torchrun": torchrun.run,
    "writers": writers.run,
    "surroundings": surroundings.run,
    "text": text.run,
    "fuzz": fuzz.run,
    "soak": soak.run,
}
