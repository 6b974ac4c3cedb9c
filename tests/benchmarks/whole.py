"""predlog's whole logging step: from `compare` to the line written and the table drawn."""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from predlog import Recorder, sinks
from tests.benchmarks.harness import Contender
from tests.benchmarks.material import terminal


class WholeStep:
    """A recorder of every step, with a file and a terminal in memory, that compares one pair after the other."""

    def __init__(self, recorder: Recorder, pairs: Iterator[tuple[Tensor, Tensor]]) -> None:
        self._recorder = recorder
        self._pairs = pairs
        self._steps = itertools.count()

    @classmethod
    @contextmanager
    def of(cls, pairs: Iterator[tuple[Tensor, Tensor]], *, score: bool) -> Iterator["WholeStep"]:
        """Make one, and see at the end that it wrote all that it compared."""
        with (
            tempfile.TemporaryDirectory() as directory,
            Recorder(
                directory, every=1, score=score, decode=str, console=False, sinks=[sinks.Console(terminal())]
            ) as recorder,
        ):
            step = cls(recorder, pairs)
            yield step
            assert recorder.flush(60)
            stats = recorder.stats()
            assert stats["written"] == 2 * next(step._steps), stats

    def alone(self) -> Contender:
        """Make the way of one step from the call to the last sink."""

        def run() -> None:
            future = self._recorder.compare(*next(self._pairs), next(self._steps))
            assert future is not None
            future.result()

        return Contender(run)

    def in_a_loop(self, steps: int) -> Contender:
        """Make what a loop pays that logs every step: so many steps and a flush."""

        def run() -> None:
            for _ in range(steps):
                self._recorder.compare(*next(self._pairs), next(self._steps))
            assert self._recorder.flush(60)

        return Contender(run, steps)
