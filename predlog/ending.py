"""A file → its last records, found from its end, however long it is; and those of what can only be gone through."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from predlog.errors import RecordError, SchemaError
from predlog.lines import Lines
from predlog.places import PACKED
from predlog.records import LONGEST, Record, from_line

_BLOCK = 1 << 18
# Bytes, which are looked through in a tenth of a second.
_FURTHER = 1 << 26
_MOST_BESIDE = 1000


class Read(NamedTuple):
    """A record, and its line without the newline."""

    record: Record
    line: bytes


Wanted = Callable[[Record], bool]


def last(file: Path, many: int, wanted: Wanted, also: tuple[bytes, ...] = ()) -> tuple[list[Read], int]:
    """Give a file's last records that are wanted, so many at most, oldest first; and where its last line ends.

    With them come all whose lines begin with one of `also`, from among them and from the 64 MiB before them.
    """
    if file.suffix in PACKED:
        return latest(reads(Lines(file)), many, wanted, also), 0
    with file.open("rb", buffering=0) as opened:
        end = _end(opened.fileno(), os.fstat(opened.fileno()).st_size)
        found: deque[Read] = deque()
        left, budget = many, _FURTHER
        for line in backwards(opened.fileno(), end) if many or also else ():
            if left or line.startswith(also):
                for read in reads([line]):
                    is_wanted = left > 0 and wanted(read.record)
                    left -= is_wanted
                    if is_wanted or line.startswith(also):
                        found.appendleft(read)
            if not left:
                budget -= len(line)
                if not also or budget < 0:
                    break
    return list(found), end


def reads(lines: Iterable[bytes]) -> Iterator[Read]:
    """Give the records of some lines; what is damaged is for those who read a file as a whole."""
    for line in lines:
        try:
            yield Read(from_line(line), line)
        except SchemaError:
            raise
        except RecordError:
            continue


def latest(found: Iterable[Read], many: int, wanted: Wanted, also: tuple[bytes, ...] = ()) -> list[Read]:
    """Give the last of some records as `last` does, where nothing leads to their end but to go through them all.

    With them come the last thousand at most of those before and among them whose lines begin with one of `also`.
    """
    here: deque[tuple[int, Read]] = deque()
    beside: deque[tuple[int, Read]] = deque(maxlen=_MOST_BESIDE)
    for placed in enumerate(found):
        is_wanted = wanted(placed[1].record)
        if is_wanted:
            here.append(placed)
        if not is_wanted or len(here) > many:
            passed = here.popleft() if is_wanted else placed
            if passed[1].line.startswith(also):
                beside.append(passed)
    return [read for _, read in sorted(here + beside, key=itemgetter(0))]


def _end(file: int, size: int) -> int:
    """Give the offset behind the last newline."""
    position = size
    while position:
        start = max(position - _BLOCK, 0)
        found = os.pread(file, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def backwards(file: int, end: int) -> Iterator[bytes]:
    """Give the lines before an offset, at which one ends, the last one first; in place of an overlong one nothing."""
    parts: list[bytes] = []
    size = 0
    position = end - 1  # its newline ends the last line
    while position > 0:
        start = max(position - _BLOCK, 0)
        *lines, behind = os.pread(file, position - start, start).split(b"\n")
        size += len(behind)
        # A part of a line could pass for a whole one, so of a line that is left out nothing remains.
        parts = [*parts, behind] if size <= LONGEST else []
        if lines:
            yield b"".join(reversed(parts))
            yield from reversed(lines[1:])
            parts, size = [lines[0]], len(lines[0])
        position = start
    if parts:
        yield b"".join(reversed(parts))
