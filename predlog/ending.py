"""A file → its last records, found from its end, however long it is."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from predlog.errors import RecordError, SchemaError
from predlog.lines import Lines
from predlog.places import PACKED
from predlog.records import Record, from_line

_BLOCK = 1 << 18


class Read(NamedTuple):
    """A record, and its line without the newline."""

    record: Record
    line: bytes


def last(file: Path, many: int, wanted: Callable[[Record], bool]) -> tuple[list[Read], int]:
    """Give a file's last records that are wanted, so many at most, oldest first; and where its last line ends."""
    if file.suffix in PACKED:
        return list(deque(reads(Lines(file), wanted), many)), 0
    with file.open("rb", buffering=0) as opened:
        end = _end(opened.fileno(), os.fstat(opened.fileno()).st_size)
        found: deque[Read] = deque()
        for line in _backwards(opened.fileno(), end) if many else ():
            found.extendleft(reads([line], wanted))
            if len(found) == many:
                break
    return list(found), end


def reads(lines: Iterable[bytes], wanted: Callable[[Record], bool]) -> Iterator[Read]:
    """Give the records wanted of some lines; what is damaged is for those who read a file as a whole."""
    for line in lines:
        try:
            record = from_line(line)
        except SchemaError:
            raise
        except RecordError:
            continue
        if wanted(record):
            yield Read(record, line)


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


def _backwards(file: int, end: int) -> Iterator[bytes]:
    """Give the lines before an offset, the last one first."""
    parts: list[bytes] = []
    position = end - 1  # its newline ends the last line
    while position > 0:
        start = max(position - _BLOCK, 0)
        *lines, behind = os.pread(file, position - start, start).split(b"\n")
        parts.append(behind)
        if lines:
            yield b"".join(reversed(parts))
            yield from reversed(lines[1:])
            parts = [lines[0]]
        position = start
    if parts:
        yield b"".join(reversed(parts))
