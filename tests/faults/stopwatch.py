"""Times of many calls, kept in memory that is taken beforehand, so that keeping them is no growth."""

from array import array
from collections.abc import Sequence


class Stopwatch:
    """The nanoseconds of up to `most` calls."""

    def __init__(self, most: int) -> None:
        self._spans = array("q", bytes(8 * most))
        self._count = 0

    def add(self, nanoseconds: int) -> None:
        """Keep one more; what is beyond the room for it is not kept."""
        if self._count < len(self._spans):
            self._spans[self._count] = nanoseconds
            self._count += 1

    def quantile(self, share: float) -> float:
        """Return the microseconds that this share of the calls took at most; 0 where there was none."""
        spans: Sequence[int] = sorted(self._spans[: self._count])
        return spans[min(int(share * self._count), self._count - 1)] / 1000 if spans else 0.0

    @property
    def count(self) -> int:
        """How many were kept."""
        return self._count
