"""Files that are being written → their new records, by name, through truncation and replacement."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from predlog.damage import Damage
from predlog.ending import Read, backwards, reads
from predlog.errors import RecordError, SchemaError, UnknownKindError
from predlog.records import LONGEST, Record, from_line

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
        self._begun: list[bytes] = []
        self._size = 0
        self._last = b""
        self._counted = (1, 0)
        self._generation = 0
        self._reached: dict[tuple[str | None, int], dict[int, tuple[int, str]]] = {}

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
        start = max(self._offset - _REMEMBERED, 0)
        self._last = os.pread(file, self._offset - start, start)
        before: list[Record] = []
        size = 0
        for line in backwards(file, self._offset):
            size += len(line) + 1
            if size > (_BLOCK if before else LONGEST):
                break
            before += [read.record for read in reads([line])]
        for record in reversed(before):
            self._is_repeated(record)

    def _begin(self) -> None:
        self._offset = self._size = 0
        self._begun = []
        self._last = b""
        self._counted = (1, 0)
        self._generation += 1

    def _look_back(self, file: int) -> None:
        """Begin anew where the file is shorter than it was, or what was read last is no longer there."""
        seen = len(self._last)
        if os.fstat(file).st_size < self._offset or os.pread(file, seen, self._offset - seen) != self._last:
            self._begin()

    def _new(self, file: int) -> Iterator[Read]:
        while block := os.pread(file, _BLOCK, self._offset):
            for start, line in self._ended(block):
                if line and (read := self._read(line, start)) and not self._is_repeated(read.record):
                    yield read

    def _ended(self, block: bytes) -> list[tuple[int, bytes]]:
        """Give the lines that end in a block, each with where it begins."""
        start = self._offset - self._size
        self._offset += len(block)
        self._last = (self._last + block)[-_REMEMBERED:]
        first, *more = block.split(b"\n")
        self._go_on(first)
        ended = []
        for line in more:
            ended.append((start, b"".join(self._begun)))
            start += self._size + 1
            self._begun, self._size = [], 0
            self._go_on(line)
        return ended

    def _go_on(self, part: bytes) -> None:
        """Keep a part of a line, unless it is longer than any: as in `Lines`, its beginning is damage enough."""
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
        """Count the lines up to an offset, which only damaged ones are worth."""
        assert self._file is not None  # noqa: S101 - for the type checker
        number, position = self._counted
        while block := os.pread(self._file, min(_BLOCK, offset - position), position):
            number += block.count(b"\n")
            position += len(block)
        self._counted = number, position
        return number

    def _is_repeated(self, record: Record) -> bool:
        """Say whether a record of a file that took another's place was in that one, too.

        A `seq` that was there before and a time that was not are those of a run that took the place of one of its name
        and counts anew. Of an attempt that came before those remembered, the time alone tells.
        """
        attempts = self._reached.setdefault((record.run, record.rank), {})
        seq, at = attempts.get(record.attempt, (-1, ""))
        if self._generation and attempts:
            is_earlier = record.attempt not in attempts and record.attempt < max(attempts)
            until = max(at for _, at in attempts.values()) if is_earlier else at
            if record.timestamp <= until and (is_earlier or record.seq <= seq):
                return True
        attempts[record.attempt] = (record.seq, max(at, record.timestamp))
        return False

    def _is_replaced(self, file: int) -> bool:
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False  # its writer may still have it open
        here = os.fstat(file)
        return (named.st_dev, named.st_ino) != (here.st_dev, here.st_ino)
