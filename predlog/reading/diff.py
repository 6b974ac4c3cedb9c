"""The records of two runs, side by side at the same streams and steps: where and how they differ."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush, nsmallest
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from predlog.findings.ledger import Found, Ledger, across_ranks
from predlog.reading.contrast import KINDS, First, Group, Kind, Misses, Row
from predlog.reading.curves import Key, none_first
from predlog.reading.reader import Reading
from predlog.reading.writers import newest_beside
from predlog.records.schema import Comparison, Finding, Record, Run

# Comparisons of both runs together that wait for the other run: some tens of megabytes.
MOST_WAITING = 8192
# Lengths of queues that are no longer true, more than there are queues.
_MOST_STALE = 64
_step = attrgetter("step")


class Aligned(NamedTuple):
    """What two runs have of one stream at one step; one of them may have nothing."""

    stream: str
    step: int
    a: Group
    b: Group


class _Side:
    """One run: what is still to be read, and what waits until the other run has reached the same step."""

    def __init__(self, comparisons: Iterable[Comparison]) -> None:
        self._steps = groupby(comparisons, key=_step)
        self._queues: dict[str, deque[Group]] = {}
        # The length of each queue, negative, the longest first, also as it was: a queue's own length tells.
        self._longest: list[tuple[int, int, str]] = []
        self._places: dict[str, int] = {}
        self.step = -1
        self.waiting = 0
        self.is_read = False

    def read(self) -> list[str]:
        """Read the next step, and return the streams that it has."""
        found: dict[str, Group] = {}
        self.step, comparisons = next(self._steps, (self.step, iter(())))
        for one in comparisons:
            found.setdefault(one.stream, []).append(one)
        for stream, group in found.items():
            self._queues.setdefault(stream, deque()).append(group)
            self._note(stream)
            self.waiting += len(group)
        self.is_read = not found
        return list(found)

    @property
    def is_full(self) -> bool:
        """Return whether too many comparisons wait, so that the other run should be read first."""
        return self.waiting > MOST_WAITING // 2

    def next_step(self, stream: str) -> int | None:
        """Return the step of a stream that has waited longest."""
        queue = self._queues.get(stream)
        return queue[0][0].step if queue else None

    def take(self, stream: str | None = None) -> Group:
        """Remove and return the comparisons that have waited longest, of a stream, or of that of which most waits."""
        while stream is None:
            length, _, longest = heappop(self._longest)
            stream = longest if len(self._queues[longest]) == -length else None
        group = self._queues[stream].popleft()
        self._note(stream)
        self.waiting -= len(group)
        return group

    def _note(self, stream: str) -> None:
        place = self._places.setdefault(stream, len(self._places))
        if queue := self._queues[stream]:
            heappush(self._longest, (-len(queue), place, stream))
        if len(self._longest) > 2 * len(self._queues) + _MOST_STALE:
            self._longest = [(-len(queue), self._places[one], one) for one, queue in self._queues.items() if queue]
            heapify(self._longest)


def aligned(a: Iterable[Comparison], b: Iterable[Comparison]) -> Iterator[Aligned]:
    """Yield every comparison of both once, those of the same stream and step together.

    The steps of a stream must ascend, as those of `predlog.read` do. Each stream may count its steps in its own way:
    what one run has waits until the other is past that step in that stream, or until too much of both waits; a step is
    never split. If the runs have the same steps, all are paired: only the run that is ahead has comparisons that wait.
    """
    sides = _Side(a), _Side(b)
    while unread := [side for side in sides if not side.is_read]:
        # The one whose step is lower comes next, unless too much of it waits: then only the other can make room.
        reader = min([side for side in unread if not side.is_full] or unread, key=_step)
        for stream in reader.read():
            yield from _meet(stream, *sides)
        yield from _make_room(*sides)
    for place, side in enumerate(sides):
        while side.waiting:
            yield _alone(side.take(), place)


def _make_room(a: _Side, b: _Side) -> Iterator[Aligned]:
    """Yield what need not wait: the other run has ended, or, if too much of both waits, it has reached that step."""
    for place, (side, other) in enumerate(((a, b), (b, a))):
        while side.is_full and (other.is_read or (other.is_full and other.step >= side.step)):
            yield _alone(side.take(), place)


def _meet(stream: str, a: _Side, b: _Side) -> Iterator[Aligned]:
    while True:
        first, second = a.next_step(stream), b.next_step(stream)
        if first is None or second is None:
            return
        if first == second:
            yield Aligned(stream, first, a.take(stream), b.take(stream))
        elif first < second:
            yield _alone(a.take(stream), 0)
        else:
            yield _alone(b.take(stream), 1)


def _alone(group: Group, place: int) -> Aligned:
    stream, step = group[0].stream, group[0].step
    return Aligned(stream, step, [], group) if place else Aligned(stream, step, group, [])


_Recorded = dict[tuple[str | None, int, str], int]


class Difference:
    """How two runs differ: a row for each stream and codebook, and the headers of both."""

    def __init__(self, a: Iterable[Record], b: Iterable[Record]) -> None:
        self.rows: dict[Key, Row] = {}
        self.headers: tuple[list[Run], list[Run]] = ([], [])
        self.comparisons = [0, 0]
        self._ledgers = Ledger(), Ledger()
        self._sources = a, b
        # The last attempt of each run, rank and stream; the shift of each stream: how far labels are ahead of logits.
        self._recorded: tuple[_Recorded, _Recorded] = ({}, {})
        self._shifts: tuple[dict[str, int], dict[str, int]] = ({}, {})
        for stream, step, ones, others in aligned(self._comparisons(a, 0), self._comparisons(b, 1)):
            by_codebook = defaultdict[int | None, tuple[list[Comparison], list[Comparison]]](lambda: ([], []))
            for place, group in enumerate((ones, others)):
                for one in group:
                    by_codebook[one.codebook][place].append(one)
            for codebook in sorted(by_codebook, key=none_first):
                self._row(stream, codebook).meet(step, *by_codebook[codebook])

    @property
    def settings(self) -> dict[str, tuple[Any, Any]]:
        """Return the shifts of streams, settings and versions that are not the same; they may explain a difference."""
        a, b = ({**ones[0].settings, **ones[0].versions} if ones else {} for ones in self.headers)
        names = [name for name in {**a, **b} if name != "directory"] if a and b else []
        shifts = [{f"shift of {stream}": shift for stream, shift in known.items()} for known in self._shifts]
        a, b = ({**header, **known} for header, known in zip((a, b), shifts, strict=True))
        names += [name for name in shifts[0] if name in shifts[1]]
        return {name: (a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)}

    @property
    def open_findings(self) -> tuple[list[Found], list[Found]]:
        """Return the findings that are open at the end of each: accuracy under an error is no success."""
        both = zip(self._ledgers, self._recorded, self._sources, strict=True)
        a, b = (
            [one for one in across_ranks(ledger.found(recorded, _beside(source))) if one.is_open]
            for ledger, recorded, source in both
        )
        return a, b

    @property
    def differs(self) -> bool:
        """Return whether there is any difference."""
        return any(row.differing for row in self.rows.values())

    @property
    def first(self) -> dict[Kind, First]:
        """Return where each kind of difference is seen first, over all streams."""
        firsts = {kind: [row.first[kind] for row in self.rows.values() if kind in row.first] for kind in KINDS}
        return {kind: min(ones, key=_step) for kind, ones in firsts.items() if ones}

    @property
    def first_token(self) -> First | None:
        """Return the first token that differs in anything, over all streams of which both runs kept all tokens."""
        return min(
            (row.first_token for row in self.rows.values() if row.first_token is not None), key=_step, default=None
        )

    def worst(self, only: Literal["a", "b"], most: int) -> list[tuple[Row, Misses]]:
        """Return the labels that most often only "a" or "b" predicted correctly, at most `most`, over all streams."""
        every = (
            (row, one)
            for row in self.rows.values()
            for one in (row.score.labels_a if only == "a" else row.score.labels_b).values()
        )
        return nsmallest(most, every, key=lambda found: (-found[1].count, found[1].step, found[1].label))

    def _comparisons(self, records: Iterable[Record], place: int) -> Iterator[Comparison]:
        for record in records:
            if isinstance(record, Comparison):
                self.comparisons[place] += 1
                self._shifts[place][record.stream] = record.shift
                key = record.run, record.rank, record.stream
                self._recorded[place][key] = max(self._recorded[place].get(key, 0), record.attempt)
                yield record
            elif isinstance(record, Finding):
                self._ledgers[place].add(record)
            elif isinstance(record, Run) and record.stats is None:
                self.headers[place].append(record)

    def _row(self, stream: str, codebook: int | None) -> Row:
        key = stream, codebook
        if key not in self.rows:
            self.rows[key] = Row(stream, codebook)
        return self.rows[key]


def _beside(records: Iterable[Record]) -> dict[tuple[str | None, int, int], int]:
    return newest_beside(records.writers) if isinstance(records, Reading) else {}
