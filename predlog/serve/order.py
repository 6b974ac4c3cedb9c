"""Records of several ranks, as they come → in the order of their steps, as `predlog.read` merges their files."""

import heapq
from collections import deque
from itertools import count

from predlog.records.schema import Comparison, Finding, Part, Record, Run

Writer = tuple[str | None, int, int, str | None]
# The highest step that a writer has reached, and within it that of a stream which counts its own.
_Place = tuple[int, int]
# Seconds that a record waits for those of other ranks, and after which a silent rank is not waited for.
_PATIENCE, _SILENT = 0.3, 5.0


def writer(record: Record) -> Writer:
    """Return which recorder has written a record, at which start of its run."""
    return record.run, record.rank, record.attempt, record.recorder


class _Source:
    """Where one writer is."""

    def __init__(self) -> None:
        self.reached, self.below = -1, -1
        self.heard = float("-inf")
        self.is_ended = False

    def place(self, record: Record) -> _Place:
        if isinstance(record, Comparison | Part | Finding):
            if record.step > self.reached:
                self.reached, self.below = record.step, -1
            elif record.step < self.reached:
                self.below = max(self.below, record.step)
        self.is_ended = isinstance(record, Run) and record.stats is not None
        return self.reached, self.below


class Order:
    """Hold back what came earlier than records of other ranks that belong before it, for a short time.

    Attributes:
        is_broken: Whether a record came so late that others which belong after it have been returned.
    """

    def __init__(self) -> None:
        self._sources: dict[Writer, _Source] = {}
        self._held: list[tuple[_Place, int, int, Record]] = []
        self._since: deque[tuple[float, _Place]] = deque()
        self._numbers = count()
        self._last: _Place = (-1, -1)
        self.is_broken = False

    def begin(self, record: Record, now: float) -> None:
        """Take in a record that was read before the first one that comes."""
        source = self._source(record)
        source.heard = now
        self._last = max(self._last, source.place(record))

    def put(self, record: Record, now: float) -> None:
        """Take in a record that has come at a time, in seconds."""
        source = self._source(record)
        source.heard = now
        place = source.place(record)
        self.is_broken |= place < self._last
        heapq.heappush(self._held, (place, record.rank, next(self._numbers), record))
        self._since.append((now, place))

    def take(self, now: float) -> list[Record]:
        """Return what need not wait any longer, in order."""
        waited = max((place for since, place in self._since if now - since >= _PATIENCE), default=(-1, -1))
        awaited = [(one.reached, one.below) for one in self._sources.values() if _is_awaited(one, now)]
        behind = min(awaited, default=None)
        taken = []
        while self._held and (behind is None or self._held[0][0] <= max(behind, waited)):
            self._last, *_, record = heapq.heappop(self._held)
            taken.append(record)
        if not self._held:
            self._since.clear()
        return taken

    @property
    def is_ended(self) -> bool:
        """Return whether every writer's last record is its last line."""
        return bool(self._sources) and all(one.is_ended for one in self._sources.values())

    def _source(self, record: Record) -> _Source:
        return self._sources.setdefault(writer(record), _Source())


def _is_awaited(source: _Source, now: float) -> bool:
    return not source.is_ended and now - source.heard < _SILENT
