"""A file → its last records, found from its end, however long it is; and the records that are added to it."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import starmap
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, cast

from predlog.errors import RecordError, SchemaError, UnknownKindError
from predlog.reading.damage import Damage
from predlog.reading.lines import REMEMBERED, Lines
from predlog.reading.paths import PACKED, opened
from predlog.reading.repeated import Repeated
from predlog.records.backwards import backwards, read_at
from predlog.records.bounds import LONGEST
from predlog.records.codec import from_line
from predlog.records.schema import Record

_BLOCK = 1 << 18
# Bytes that are searched in a tenth of a second.
_FURTHER = 1 << 26
_MOST_BESIDE = 1000


class Read(NamedTuple):
    """A record, and its line without the newline."""

    record: Record
    line: bytes


Wanted = Callable[[Record], bool]


def last(file: Path, many: int, wanted: Wanted, also: tuple[bytes, ...] = ()) -> tuple[list[Read], int]:
    """Return a file's last `many` records that are wanted, oldest first, and where its last line ends.

    Also returned are records whose lines begin with one of `also`: those among them, and in the 64 MiB before them.
    """
    if file.suffix in PACKED:
        return latest(reads(Lines(file)), many, wanted, also), 0
    with os.fdopen(opened(file), "rb", buffering=0) as ended:
        end = _end(ended.fileno(), os.fstat(ended.fileno()).st_size)
        found: deque[Read] = deque()
        left, budget = many, _FURTHER
        for line in backwards(ended.fileno(), end) if many or also else ():
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
    """Yield the records of some lines, without those that are damaged."""
    for line in lines:
        try:
            yield Read(from_line(line), line)
        except SchemaError:
            raise
        except RecordError:
            continue


def latest(found: Iterable[Read], many: int, wanted: Wanted, also: tuple[bytes, ...] = ()) -> list[Read]:
    """Return the last records as `last` does, from what can only be read from its beginning.

    Also returned are those before and among them whose lines begin with one of `also`: the last thousand, or 64 MiB.
    """
    here: deque[tuple[int, Read]] = deque()
    beside: deque[tuple[int, Read]] = deque()
    size = 0
    for placed in enumerate(found):
        is_wanted = wanted(placed[1].record)
        if is_wanted:
            here.append(placed)
        if not is_wanted or len(here) > many:
            passed = here.popleft() if is_wanted else placed
            if passed[1].line.startswith(also):
                beside.append(passed)
                size += len(passed[1].line)
                while len(beside) > _MOST_BESIDE or size > _FURTHER:
                    size -= len(beside.popleft()[1].line)
    return [read for _, read in sorted(here + beside, key=itemgetter(0))]


def _end(file: int, size: int) -> int:
    """Return the offset after the last newline."""
    position = size
    while position:
        start = max(position - _BLOCK, 0)
        found = read_at(file, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


class Follower:
    """Follows one file by its name, from an offset (bytes) at which a line begins.

    A file that was truncated, or written anew in its place, is read from its beginning. So is another file that has
    taken its name, when the old one has been read to its end. Records that it repeats are skipped.

    Without `stays_open` the file is open only while a block of it is read, so that any number of files can be followed.
    What is written to it between a look and its replacement is not read then.

    Attributes:
        damage: The damaged lines found since the list was last emptied.
    """

    def __init__(self, path: Path, offset: int = 0, *, stays_open: bool = True, block: int | None = None) -> None:
        self.path = path
        self._stays_open = stays_open
        self._block = block or _BLOCK
        self._identity: tuple[int, int] | None = None
        self.damage: list[Damage] = []
        self._file: int | None = None
        self._generation = -1
        self._restart(offset)
        self._repeated = Repeated()

    def poll(self) -> Iterator[Read]:
        """Yield the records that were added since; those of a block are yielded before the next one is read."""
        while self._file is not None or self._open():
            self._check_place(cast(int, self._file))
            yield from self._new()
            if self._file is None or not self._is_replaced(self._file):
                self._rest()
                return
            yield from self._new()  # what came between the last look and the replacement
            self.close()

    def close(self) -> None:
        """Close the file; the next poll opens the one that has its name then."""
        file, self._file, self._identity = self._file, None, None
        if file is not None:
            os.close(file)
            self._restart()

    def _rest(self) -> None:
        """Close the file until the next look, unless it stays open."""
        if not self._stays_open and self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> bool:
        try:
            self._file = opened(self.path)
        except FileNotFoundError:
            return False
        before, self._identity = self._identity, _identity(os.fstat(self._file))
        if before == self._identity:
            self._check_place(self._file)
            return True
        if before is not None:
            self._restart()
        self._remember(self._file)
        return True

    def _remember(self, file: int) -> None:
        """Remember what precedes the offset, so that it is recognized in a file that takes this one's place."""
        start = max(self._offset - REMEMBERED, 0)
        self._last = read_at(file, self._offset - start, start)
        before: list[Read] = []
        size = 0
        for line in backwards(file, self._offset):
            size += len(line) + 1
            if size > (_BLOCK if before else LONGEST):
                break
            before += reads([line])
        # The file's first line shows whether another file is a copy of it, or of a run that was started anew.
        first = read_at(file, min(self._offset, _BLOCK), 0).split(b"\n")[:-1][:1]
        for read in reads(first):
            self._repeated.remember_first(*read)
        for read in reversed(before):
            self._is_repeated(read)

    def _restart(self, offset: int = 0) -> None:
        self._offset = offset
        self._begun: list[bytes] = []
        self._size = 0
        self._last = b""
        self._counted = (1, 0)
        self._generation += 1

    def _check_place(self, file: int) -> None:
        """Restart if the file is shorter than it was, or if what was read last is no longer there."""
        seen = len(self._last)
        if os.fstat(file).st_size < self._offset or read_at(file, seen, self._offset - seen) != self._last:
            what = "it was truncated while it was followed: lines that had not been read are lost"
            self.damage.append(Damage(self.path, 1, what, hole=True))
            self._restart()

    def _new(self) -> Iterator[Read]:
        while self._file is not None or self._open():
            block = read_at(cast(int, self._file), self._block, self._offset)
            if not block:
                return
            lines = [(line, start) for start, line in self._split(block) if line]
            found = [read for read in starmap(self._read, lines) if read and not self._is_repeated(read)]
            self._rest()
            yield from found

    def _split(self, block: bytes) -> list[tuple[int, bytes]]:
        """Return the lines that end in a block, each with the offset of its beginning."""
        start = self._offset - self._size
        self._offset += len(block)
        self._last = (self._last + block)[-REMEMBERED:]
        first, *more = block.split(b"\n")
        self._keep(first)
        ended = []
        for line in more:
            ended.append((start, b"".join(self._begun)))
            start += self._size + 1
            self._begun, self._size = [], 0
            self._keep(line)
        return ended

    def _keep(self, part: bytes) -> None:
        """Keep a part of a line, unless the line is too long: as in `Lines`, its beginning shows that it is damaged."""
        if self._size < LONGEST:
            self._begun.append(part)
        self._size += len(part)

    def _read(self, line: bytes, start: int) -> Read | None:
        try:
            return Read(from_line(line), line)
        except SchemaError as error:
            raise SchemaError(error.written, error.known, error.version, f"{self.path}: ") from None
        except UnknownKindError:
            return None
        except RecordError as error:
            self.damage.append(Damage(self.path, self._number(start), str(error)))
            return None

    def _number(self, offset: int) -> int:
        """Return the number of the line at an offset; counting takes time, so it is done for damaged lines only."""
        assert self._file is not None  # noqa: S101 - for the type checker
        number, position = self._counted
        while block := read_at(self._file, min(_BLOCK, offset - position), position):
            number += block.count(b"\n")
            position += len(block)
        self._counted = number, position
        return number

    def _is_repeated(self, read: Read) -> bool:
        return self._repeated(read.record, read.line, self._generation)

    def _is_replaced(self, file: int) -> bool:
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False  # its writer may still have it open
        return _identity(named) != _identity(os.fstat(file))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
