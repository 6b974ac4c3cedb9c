"""Losses that a trainer reports: whose pairs are summed up for them, and how they reach the worker afterwards."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from predlog.findings.reported_loss import Reported
from predlog.recorder.gate import forget_oldest

# Of each stream the first pairs with a loss are summed up, and every so many afterwards.
_FIRST: Final = 3
_EVERY: Final = 100


@dataclass(frozen=True, slots=True)
class LossReport:
    """A loss that was reported after its pair was captured."""

    reported: Callable[[], Reported]
    step: int
    stream: str
    at: float


class LossSchedule:
    """Which pairs are summed up, since that reads all of their rows: only those of streams whose loss is reported."""

    def __init__(self, *, is_off: bool) -> None:
        self._is_off = is_off
        self._pairs: dict[str, int] = {}

    def expect(self, stream: str) -> None:
        """Sum up the next pair of a stream: its loss is reported after the pair was captured."""
        self._pairs.setdefault(stream, 0)
        forget_oldest(self._pairs)

    def is_summed_up(self, stream: str, *, has_loss: bool) -> bool:
        """Return whether the pair of a stream that is captured now is summed up; `has_loss` is whether it has one."""
        if self._is_off or not (has_loss or stream in self._pairs):
            return False
        number = self._pairs.get(stream, 0)
        self._pairs[stream] = number + 1
        forget_oldest(self._pairs)
        return number < _FIRST or number % _EVERY == 0
