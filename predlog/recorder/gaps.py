"""What was captured and not written: which events a gap counts, until a gap record reports them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from predlog.records import codec
from predlog.records.schema import OF_PAIRS, Checked, Event

# A processor may have changed the step to one that no line can hold.
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Missing:
    """Comparisons that are missing for one reason, in the fields of a gap record."""

    count: int
    reason: str
    first_step: int
    last_step: int


class MissingCounts:
    """Counts of what is missing, by reason, added to from any thread and taken by the worker.

    There is one entry per reason, however many comparisons are missing. An entry only grows, and `take` returns what
    was added since the last call. So no addition is missed, and no lock is needed: a signal handler could find it held.
    """

    def __init__(self) -> None:
        self._tallies: dict[str, _Tally] = {}
        self._is_taken = True

    def __bool__(self) -> bool:
        return not self._is_taken

    def add(self, count: int, reason: str, first_step: int, last_step: int) -> None:
        """Count comparisons that are missing at these steps; one that a line can't hold counts as the largest."""
        self._tallies.setdefault(reason, _Tally()).add(count, min(first_step, _LARGEST), min(last_step, _LARGEST))
        self._is_taken = False

    def add_event(self, event: Event, reason: str) -> None:
        """Count an event that is missing, if it is one that gaps count: a comparison."""
        if event["event"] in OF_PAIRS:
            self.add(1, reason, event["step"], event["step"])

    def take(self) -> list[Missing]:
        """Return what was added since the last call, one entry per reason."""
        missing = []
        self._is_taken = True
        for reason, tally in list(self._tallies.items()):
            count, first_step, last_step = tally.take()
            if count:
                missing.append(Missing(count, reason, first_step, last_step))
        return missing


def gap_event(like: Mapping[str, Any], missing: Missing) -> Checked:
    """Return the event of a gap record, of the same run and attempt as the event `like`."""
    counts = {name: getattr(missing, name) for name in ("count", "reason", "first_step", "last_step")}
    return codec.gap(like, time.time(), **counts)


class _Tally:
    def __init__(self) -> None:
        self._total = 0
        self._taken = 0
        self._first: int | None = None
        self._last = 0

    def add(self, count: int, first_step: int, last_step: int) -> None:
        # Without a call, so that no signal's handler can come in between: an addition is made as a whole, or not.
        if self._first is None:
            self._first, self._last = first_step, last_step
        elif first_step < self._first:
            self._first = first_step
        if last_step > self._last:  # noqa: PLR1730 - max() is a call
            self._last = last_step
        self._total += count

    def take(self) -> tuple[int, int, int]:
        total, first, last = self._total, self._first, self._last
        self._first = None
        count, self._taken = total - self._taken, total
        return count, last if first is None else first, last
