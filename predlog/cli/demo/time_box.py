"""How much of the demo's training fits into its time: on how many threads, how many steps, which of them recorded."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import predlog._runtime.first_imports  # noqa: F401 - before torch is imported

# isort: split
import torch

# What shares its work among threads waits for the slowest at each step: more make so small a model slower.
_MOST_THREADS = 4
_ROUND = (1, 2, 5, 10, 20, 40, 100, 200, 400, 1000)
# Steps that are timed, after one that is not: the first also prepares.
_TIMED = 3


@contextmanager
def few_threads() -> Iterator[None]:
    """Have torch use half of the processors that this process may use, up to four; OMP_NUM_THREADS comes first."""
    before = torch.get_num_threads()
    if not (os.environ.get("OMP_NUM_THREADS") or os.environ.get("MKL_NUM_THREADS")):
        torch.set_num_threads(threads(len(os.sched_getaffinity(0))))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads(processors: int) -> int:
    """Return how many threads train on so many processors: the others are for predlog, and for other programs."""
    return min(max(processors // 2, 1), _MOST_THREADS)


class TimeBox:
    """A training of at most so many steps and seconds, from now on."""

    def __init__(self, seconds: float, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._steps = steps
        self._clock = clock
        self._begin = clock()

    def done(self, step: int) -> float:
        """Return which part of the training is done before a step, from 0 to 1: of the steps, or of the time."""
        return min(max(step / self._steps, self._elapsed() / self._seconds), 1.0)

    def steps(self) -> Iterator[int]:
        """Yield the numbers of the steps, at least one, as long as there is time."""
        for step in range(self._steps):
            if step and self._elapsed() >= self._seconds:
                return
            yield step

    def every(self, step: Callable[[], object], records: int) -> int:
        """Return at every how many steps about so many records are made, a round number; time a step for it."""
        step()
        begin = self._clock()
        for _ in range(_TIMED):
            step()
        now = self._clock()
        left = max(self._seconds - (now - self._begin), 0)
        many = min(self._steps, left * _TIMED / max(now - begin, 1e-9))
        return max((one for one in _ROUND if one * records <= many), default=1)

    def _elapsed(self) -> float:
        return self._clock() - self._begin
