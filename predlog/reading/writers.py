"""Which recorders wrote to a file, and which of them at the same time: they share it, and none replaces the other.

And which files live processes of this host are writing to, as the kernel lists them.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import accumulate
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from predlog.records.schema import Record, Run

# More pairs of recorders than that are not reported.
_MOST = 1000
_PROCESSES: Final = Path("/proc")
# Recorders open their file to append to it. Readers do not, so `predlog tail -f` keeps no run alive.
_APPENDS: Final = os.O_APPEND

Identity = tuple[int, int]


class Writer(NamedTuple):
    """What one recorder wrote to a file in one attempt: its first and its last line, a closing one aside."""

    file: Path
    run: str | None
    rank: int
    attempt: int
    recorder: str | None
    first: int
    last: int


class Shared(NamedTuple):
    """Two recorders that wrote to one file at the same time, and the lines from and to which both did."""

    one: Writer
    other: Writer
    first: int
    last: int


def shared(writers: Iterable[Writer]) -> list[Shared]:
    """Return each recorder that began before another one of the same file and rank had ended, with that one.

    Lines of older files do not name their recorder: what wrote them is not known.
    """
    found: list[Shared] = []
    for ones in _by_place(writers):
        before = ones[0]
        for one in ones[1:]:
            if before.recorder != one.recorder and one.first < before.last:
                found.append(Shared(before, one, one.first, min(before.last, one.last)))
            before = max(before, one, key=attrgetter("last"))
    return found[:_MOST]


def newest_beside(writers: Iterable[Writer]) -> dict[tuple[str | None, int, int], int]:
    """Return for each run, rank and attempt the highest attempt that was written at the same time."""
    found: dict[tuple[str | None, int, int], int] = {}
    for ones in _by_place(writers):
        begins = [one.first for one in ones]
        newest: list[Writer] = list(accumulate(ones, lambda a, b: max(a, b, key=attrgetter("attempt"))))
        for one in ones:
            other = newest[bisect_left(begins, one.last) - 1] if begins[0] < one.last else one
            key = one.run, one.rank, one.attempt
            attempt = other.attempt if other.last > one.first else one.attempt
            found[key] = max(attempt, one.attempt, found.get(key, 0))
    return found


def _by_place(writers: Iterable[Writer]) -> list[list[Writer]]:
    """Return the recorders that are known, those of one file and rank together, in the order in which they began."""
    places: dict[tuple[Path, int], list[Writer]] = {}
    for one in sorted(writers, key=attrgetter("first")):
        if one.recorder is not None:
            places.setdefault((one.file, one.rank), []).append(one)
    return [*places.values()]


class Turns:
    """Collect from the lines at which another recorder goes on which lines each has written."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._spans: dict[tuple[str | None, int, int, str | None], tuple[int, int]] = {}
        self._now: tuple[str | None, int, int, str | None] | None = None

    def turn(self, record: Record, line: int) -> None:
        """Note that a line is of another recorder than the one before it, or may be."""
        self._end(line - 1)
        key = record.run, record.rank, record.attempt, record.recorder
        # The last line of an attempt may come long after all others.
        is_end = isinstance(record, Run) and record.stats is not None
        self._now = None if is_end else key
        if not is_end:
            self._spans.setdefault(key, (line, line))

    def writers(self, last: int, span: tuple[int, int] | None) -> Iterator[Writer]:
        """Yield the recorders, up to the `last` line; if there is one alone, its `span` may be known."""
        self._end(last)
        for (run, rank, attempt, recorder), own in self._spans.items():
            yield Writer(self._file, run, rank, attempt, recorder, *(span or own))

    def _end(self, line: int) -> None:
        if self._now is not None:
            self._spans[self._now] = self._spans[self._now][0], line


def held(ending: str = ".jsonl") -> frozenset[Identity]:
    """Return device and inode of each file that a process has open to append to it, and whose name ends in `ending`.

    Processes of other users, and of other hosts, can't be looked at. Where there is no `/proc`, the set is empty.
    """
    return frozenset(_held(ending))


def _held(ending: str) -> Iterator[Identity]:
    with suppress(OSError):
        for process in _PROCESSES.iterdir():
            if process.name.isdecimal():
                yield from _of_process(process, ending)


def _of_process(process: Path, ending: str) -> Iterator[Identity]:
    with suppress(OSError):  # another user's, or it has just ended
        for opened in (process / "fd").iterdir():
            with suppress(OSError, ValueError, IndexError):
                if str(opened.readlink()).endswith(ending) and _flags(process / "fdinfo" / opened.name) & _APPENDS:
                    status = opened.stat()
                    yield status.st_dev, status.st_ino


def _flags(about: Path) -> int:
    """Return the flags that a file was opened with: the line `flags:` of what the kernel knows of a descriptor."""
    return int(about.read_bytes().partition(b"flags:")[2].split()[0], 8)
