"""Train beside a tqdm bar, without and with tables on a stdout that takes nothing, and tell how long that takes."""

import time

from tqdm import tqdm

from predlog.recorder.recorder import Recorder
from tests import events
from tests.faults.telling import asked, tell

PAIR = events.pair(samples=1, length=12, vocabulary=16)
# What a step of training does: wait for a device.
STEP = 0.005


def main(directory: str, beside: str, steps: int) -> None:
    """Do the same loop twice, into two folders."""
    without = _train(Recorder(beside, every=1, samples=1, score=False, console=False), steps)
    tell("without", seconds=without)
    recorder = Recorder(directory, every=1, samples=1, score=False)
    seconds = _train(recorder, steps)
    tell("done", seconds=seconds, stats=recorder.stats())


def _train(recorder: Recorder, steps: int) -> float:
    start = time.monotonic()
    # Drawn at every step, so that a lock of the bar's that is held elsewhere is missed at once.
    for step in tqdm(range(steps), mininterval=0, miniters=1):
        recorder.compare(*PAIR, step)
        time.sleep(STEP)
    return time.monotonic() - start


if __name__ == "__main__":
    main(**asked())
