"""The files of a run → its last records with their comparisons whole, and those that come, joined as they come."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final

from predlog.reading.shards import STEPS, Joiner
from predlog.reading.tail import Read, Wanted, last
from predlog.records.codec import to_event, to_line
from predlog.records.schema import Comparison, Part, Record

# How often more of the files is read if what was read makes too few whole comparisons, each time twice as much.
_MOST_LOOKS: Final = 10
_Lane = tuple[str | None, int, str]


def merged(sources: Iterable[Iterable[Read]]) -> Iterator[Read]:
    """Merge files by time, and leave each in its own order: another node's clock, after a restart, may be slow."""
    return heapq.merge(*sources, key=attrgetter("record.timestamp"))


def joined(found: Iterable[Read], joiner: Joiner, now: float = 0.0) -> Iterator[Read]:
    """Yield records with what their parts make, as soon as it is whole; at a time, in seconds."""
    for read in found:
        for record in joiner.add(read.record, now):
            yield read if record is read.record else as_read(record)


def as_read(record: Record) -> Read:
    """Return a record that is in no file with the line that it would have there."""
    return Read(record, to_line(to_event(record))[:-1])


def last_joined(
    files: Sequence[Path], many: int, wanted: Wanted, takes: Wanted, also: tuple[bytes, ...] = ()
) -> tuple[list[Read], Joiner, dict[Path, int]]:
    """Return the last records of all files by time, what joins those that come, and where each file was read to.

    There are at least `many` that are `wanted`, if the files have so many, and those that `last` returns beside them.
    `takes` tells which records to search the files for, parts among them. What waits for further parts is not among
    those returned: `Joiner.end` yields it.
    """
    each = many
    for look in range(_MOST_LOOKS):
        pieces = {file: last(file, each, takes, also) for file in files}
        ends = {file: end for file, (_, end) in pieces.items()}
        floors = _floors([found for found, _ in pieces.values() if sum(takes(read.record) for read in found) >= each])
        joiner = Joiner(STEPS)
        sources = [[read for read in found if _is_above(read.record, floors)] for found, _ in pieces.values()]
        found = list(joined(merged(sources), joiner))
        if any(isinstance(read.record, Part) for source in sources for read in source):
            found.sort(key=attrgetter("record.timestamp"))  # what was joined comes later than it was written
        enough = sum(wanted(read.record) for read in found if isinstance(read.record, Comparison))
        if not floors or enough >= many or look + 1 == _MOST_LOOKS:
            break
        each *= 2
    return found, joiner, ends


def _floors(cut: Iterable[Sequence[Read]]) -> dict[_Lane, int]:
    """Return for each stream the last step of which a file may have parts before those that were read."""
    floors: dict[_Lane, int] = {}
    for found in cut:
        first: dict[_Lane, int] = {}
        for part in (read.record for read in found):
            if isinstance(part, Part):
                first.setdefault(_lane(part), part.step)
        for lane, step in first.items():
            floors[lane] = max(floors.get(lane, step), step)
    return floors


def _is_above(record: Record, floors: dict[_Lane, int]) -> bool:
    return not isinstance(record, Part) or record.step > floors.get(_lane(record), -1)


def _lane(part: Part) -> _Lane:
    return part.run, part.attempt, part.stream
