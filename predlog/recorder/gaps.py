"""What was captured and is in no file, until a gap record says so."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Missing:
    """Comparisons lost for one reason, in the fields of a gap record."""

    count: int
    reason: str
    first_step: int
    last_step: int


class MissingCounts:
    """Counts of what is missing, by reason, added to from any thread and taken by the worker.

    Holds one entry a reason, however many are lost. Each entry only ever grows, and `take` reports what came
    since it last looked, so no addition is missed and no lock can be held where a signal strikes.
    """

    def __init__(self) -> None:
        self._tallies: dict[str, _Tally] = {}
        self._is_taken = True

    def __bool__(self) -> bool:
        return not self._is_taken

    def add(self, count: int, reason: str, first_step: int, last_step: int) -> None:
        """Count comparisons that were lost at these steps."""
        self._tallies.setdefault(reason, _Tally()).add(count, first_step, last_step)
        self._is_taken = False

    def take(self) -> list[Missing]:
        """Give what was lost since the last call, one entry a reason."""
        missing = []
        self._is_taken = True
        for reason, tally in list(self._tallies.items()):
            count, first_step, last_step = tally.take()
            if count:
                missing.append(Missing(count, reason, first_step, last_step))
        return missing


class _Tally:
    def __init__(self) -> None:
        self._total = 0
        self._taken = 0
        self._first: int | None = None
        self._last = 0

    def add(self, count: int, first_step: int, last_step: int) -> None:
        first, last = self._first, self._last
        self._first = first_step if first is None else min(first, first_step)
        self._last = last_step if first is None else max(last, last_step)
        self._total += count

    def take(self) -> tuple[int, int, int]:
        total, first, last = self._total, self._first, self._last
        self._first = None
        count, self._taken = total - self._taken, total
        return count, last if first is None else first, last
