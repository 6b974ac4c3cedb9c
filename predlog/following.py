"""Files that are being written → their new records, by name, through truncation and replacement."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from predlog.damage import Damage
from predlog.ending import Read
from predlog.errors import RecordError, SchemaError, UnknownKindError
from predlog.records import Record, from_line, is_whole

_BLOCK = 1 << 18
# So many bytes before the place reached tell whether the file is still what was read.
_REMEMBERED = 64


class Follower:
    """Follows one file by its name, from an offset (bytes) at which a line begins.

    A file that was truncated, or written anew in its place, is read from its beginning. So is another one that has
    taken its name, when the old one has been read to its end. What it repeats of what was there before is passed over.

    Attributes:
        damage: The damaged lines met since it was last emptied.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.damage: list[Damage] = []
        self._file: int | None = None
        self._offset = offset
        self._rest = b""
        self._last = b""
        self._generation = 0
        self._reached: dict[tuple[int, int], tuple[int, str]] = {}

    def poll(self) -> Iterator[Read]:
        """Give what has come since; each block is given before the next is read."""
        while self._file is not None or self._open():
            file = cast(int, self._file)
            self._look_back(file)
            yield from self._new(file)
            if not self._is_replaced(file):
                return
            yield from self._new(file)  # what came between the last look and the replacement
            self.close()

    def close(self) -> None:
        """Let go of the file; the next poll opens whatever has its name then."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
            self._begin()

    def _open(self) -> bool:
        try:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._remember(self._file)
        return True

    def _remember(self, file: int) -> None:
        """Know what stands before the offset, so that it is known again in a file that takes this one's place."""
        start = max(self._offset - _BLOCK, 0)
        before = os.pread(file, self._offset - start, start)
        self._last = before[-_REMEMBERED:]
        for line in before.split(b"\n")[bool(start) : -1]:
            if is_whole(line) and (read := self._read(line, 0)):
                self._is_repeated(read.record)

    def _begin(self) -> None:
        self._offset = 0
        self._rest = self._last = b""
        self._generation += 1

    def _look_back(self, file: int) -> None:
        """Begin anew where the file is shorter than it was, or what was read last is no longer there."""
        seen = len(self._last)
        if os.fstat(file).st_size < self._offset or os.pread(file, seen, self._offset - seen) != self._last:
            self._begin()

    def _new(self, file: int) -> Iterator[Read]:
        while block := os.pread(file, _BLOCK, self._offset):
            start = self._offset - len(self._rest)
            self._offset += len(block)
            self._last = (self._last + block)[-_REMEMBERED:]
            *lines, self._rest = (self._rest + block).split(b"\n")
            for line in lines:
                if line and (read := self._read(line, start)) and not self._is_repeated(read.record):
                    yield read
                start += len(line) + 1

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
        """Count the lines up to an offset, which only damaged ones are worth."""
        assert self._file is not None  # noqa: S101 - for the type checker
        number, position = 1, 0
        while block := os.pread(self._file, min(_BLOCK, offset - position), position):
            number += block.count(b"\n")
            position += len(block)
        return number

    def _is_repeated(self, record: Record) -> bool:
        """Say whether a record of a file that took another's place was in that one, too.

        A `seq` that was there before and a time that was not are those of another run, which counts anew.
        """
        key = (record.rank, record.attempt)
        seq, at = self._reached.get(key, (-1, ""))
        if self._generation and record.seq <= seq and record.timestamp <= at:
            return True
        self._reached[key] = (record.seq, max(at, record.timestamp))
        return False

    def _is_replaced(self, file: int) -> bool:
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False  # its writer may still have it open
        here = os.fstat(file)
        return (named.st_dev, named.st_ino) != (here.st_dev, here.st_ino)
