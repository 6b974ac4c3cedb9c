"""The lines of a file from its end, in constant memory: for what comes last, however long the file is."""

import os
from collections.abc import Iterator

from predlog.records.bounds import LONGEST

_BLOCK = 1 << 18


def read_at(file: int, size: int, start: int) -> bytes:
    """Return up to `size` bytes of a file from `start` on, as `os.pread` does, which only POSIX systems have."""
    os.lseek(file, start, os.SEEK_SET)
    return os.read(file, size)


def backwards(file: int, end: int) -> Iterator[bytes]:
    """Yield the lines before an offset, at which one ends, the last one first, without those that are too long."""
    parts: list[bytes] = []
    size = 0
    position = end - 1  # its newline ends the last line
    while position > 0:
        start = max(position - _BLOCK, 0)
        *lines, tail = read_at(file, position - start, start).split(b"\n")
        size += len(tail)
        # A part of a line could be taken for a whole one, so a line that is left out is left out completely.
        parts = [*parts, tail] if size <= LONGEST else []
        if lines:
            yield b"".join(reversed(parts))
            yield from reversed(lines[1:])
            parts, size = [lines[0]], len(lines[0])
        position = start
    if parts:
        yield b"".join(reversed(parts))
