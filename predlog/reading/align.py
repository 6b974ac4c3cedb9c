"""The comparisons of two runs → what both have of the same stream and step, side by side, in constant memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from predlog.records.schema import Comparison

# Comparisons that wait for the other run, of both together: some tens of megabytes.
MOST_WAITING = 8192
_step = attrgetter("step")
Group = list[Comparison]


class Aligned(NamedTuple):
    """What two runs have of one stream at one step: of one of them it may be nothing."""

    stream: str
    step: int
    a: Group
    b: Group


class _Side:
    """One run: what is still to be read, and what waits for the other run to come as far."""

    def __init__(self, comparisons: Iterable[Comparison]) -> None:
        self._steps = groupby(comparisons, key=_step)
        self._queues: dict[str, deque[Group]] = {}
        self.step = -1
        self.waiting = 0
        self.is_read = False

    def read(self) -> list[str]:
        """Read the next step, and give the streams that it has."""
        found: dict[str, Group] = {}
        self.step, comparisons = next(self._steps, (self.step, iter(())))
        for one in comparisons:
            found.setdefault(one.stream, []).append(one)
        for stream, group in found.items():
            self._queues.setdefault(stream, deque()).append(group)
            self.waiting += len(group)
        self.is_read = not found
        return list(found)

    @property
    def is_full(self) -> bool:
        """Whether so much waits that the other run should be read first."""
        return self.waiting > MOST_WAITING // 2

    def next_step(self, stream: str) -> int | None:
        """Give the step of a stream that has waited for longest."""
        queue = self._queues.get(stream)
        return queue[0][0].step if queue else None

    def take(self, stream: str) -> Group:
        """Give what has waited for longest of a stream."""
        group = self._queues[stream].popleft()
        self.waiting -= len(group)
        return group

    def fullest(self) -> str:
        """Name the stream of which most waits."""
        return max(self._queues, key=lambda stream: len(self._queues[stream]))


def aligned(a: Iterable[Comparison], b: Iterable[Comparison]) -> Iterator[Aligned]:
    """Yield every comparison of both once, those of the same stream and step together.

    The steps of a stream must ascend, as `predlog.read` gives them. Streams may count their steps each in its own way:
    what one run has waits until the other is past that step in that stream, or until too much of both waits; a step is
    never parted. Runs that are the same meet throughout: of two, only the one that is ahead has anything that waits.
    """
    sides = _Side(a), _Side(b)
    while unread := [side for side in sides if not side.is_read]:
        # The one whose step is lower comes next, unless so much of it waits that only the other can make room.
        reader = min([side for side in unread if not side.is_full] or unread, key=_step)
        for stream in reader.read():
            yield from _meet(stream, *sides)
        yield from _make_room(*sides)
    for place, side in enumerate(sides):
        while side.waiting:
            yield _alone(side, side.fullest(), place)


def _make_room(a: _Side, b: _Side) -> Iterator[Aligned]:
    """Give up waiting where the other run has ended, or, if too much of both waits, is at or past that step."""
    for place, (side, other) in enumerate(((a, b), (b, a))):
        while side.is_full and (other.is_read or (other.is_full and other.step >= side.step)):
            yield _alone(side, side.fullest(), place)


def _meet(stream: str, a: _Side, b: _Side) -> Iterator[Aligned]:
    while True:
        first, second = a.next_step(stream), b.next_step(stream)
        if first is None or second is None:
            return
        if first == second:
            yield Aligned(stream, first, a.take(stream), b.take(stream))
        elif first < second:
            yield _alone(a, stream, 0)
        else:
            yield _alone(b, stream, 1)


def _alone(side: _Side, stream: str, place: int) -> Aligned:
    group = side.take(stream)
    step = group[0].step
    return Aligned(stream, step, [], group) if place else Aligned(stream, step, group, [])
