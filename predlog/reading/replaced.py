"""Which records of a file a later attempt has done again, found in a time that does not grow with the attempts."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

from predlog.reading.attempts import Part
from predlog.records.schema import Comparison, Finding, Gap, Record
from predlog.records.schema import Part as OfShard

# Parts that are looked at one by one, of a file. It is needed only where recorders have shared the file, and for gaps;
# if it is used up, a record counts as not replaced.
_MOST_LOOKS = 1_000_000


class Replaced:
    """Tell for each record whether an attempt after its own has done it again; the attempts come oldest first."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._places = {(part.attempt, part.recorder): place for place, part in enumerate(parts)}
        self._looks = _MOST_LOOKS
        spans: dict[str | None, list[tuple[int, int, int]]] = {}
        for place, part in enumerate(parts):
            for stream, (first, last) in part.steps.items():
                spans.setdefault(stream, []).append((first, last, place))
        every = [one for ones in spans.values() for one in ones]
        self._newest = {stream: _newest(ones) for stream, ones in (*spans.items(), (None, every))}

    def __call__(self, record: Record) -> bool:
        """Return whether a record is replaced."""
        match record:
            case Comparison() | OfShard() | Finding():
                candidates = {self._at(record.stream, record.step)}
            case Gap():
                candidates = {self._at(None, record.first_step), self._at(None, record.last_step)}
            case _:
                return False
        own = self._places.get((record.attempt, record.recorder), len(self._parts))
        if min(candidates) <= own:
            return False  # no later attempt has that step
        part = self._parts[own]
        if isinstance(record, Gap):
            self._looks -= sum(len(self._parts[place].steps) for place in candidates)
        if self._looks <= 0:
            return False
        if any(self._replaces(part, self._parts[place], record) for place in candidates):
            return True
        self._looks -= len(self._parts) - own
        return any(self._replaces(part, later, record) for later in self._parts[own + 1 :])

    @staticmethod
    def _replaces(part: Part, later: Part, record: Record) -> bool:
        return later.covers(record) and part.is_replaced_by(later)

    def _at(self, stream: str | None, step: int) -> int:
        """Return the place of the newest attempt that has a step between its first and last; -1 if none has."""
        starts, newest = self._newest.get(stream, ([], []))
        place = bisect_right(starts, step) - 1
        return newest[place] if place >= 0 else -1


def _newest(spans: Sequence[tuple[int, int, int]]) -> tuple[list[int], list[int]]:
    """Return from which steps on which attempt is the newest whose first and last step are around."""
    pairs = [*_changes(spans)]
    return [step for step, _ in pairs], [place for _, place in pairs]


def _changes(spans: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, int]]:
    begins = sorted(spans)
    open_ones: list[tuple[int, int]] = []  # the newest first, with its last step
    at = 0
    for step in sorted({edge for first, last, _ in spans for edge in (first, last + 1)}):
        while at < len(begins) and begins[at][0] <= step:
            heappush(open_ones, (-begins[at][2], begins[at][1]))
            at += 1
        while open_ones and open_ones[0][1] < step:
            heappop(open_ones)
        yield step, -open_ones[0][0] if open_ones else -1
