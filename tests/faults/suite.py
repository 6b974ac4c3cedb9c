"""Which experiments there are, by the promise that they put to the test."""

from tests.faults import bounded, console, exits, fork, hopeless, reentry, torchrun
from tests.faults.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    "bounded": bounded.run,
    "console": console.run,
    "exit": exits.run,
    "hopeless": hopeless.run,
    "fork": fork.run,
    "reentry": reentry.run,
    "torchrun": torchrun.run,
}
