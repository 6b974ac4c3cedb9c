"""A file → its whole lines, from any place on, packed or not, in constant memory."""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from predlog.errors import MissingExtraError
from predlog.places import STDIN_FILE

# Read at once. No file is held open between two of these: a job of 4096 ranks has as many files.
_BLOCK = 1 << 18
# No record is longer. What is would fill the memory, so its end is left out.
LONGEST = 1 << 24


class Lines:
    """The whole lines of a file behind `start` (bytes, unpacked), without their newlines.

    `.gz` and `.zst` are unpacked. When all has been given, `rest` is what stands behind the last newline, and `broken`
    says what was wrong with a packed file, if anything. `told` is called with the number of bytes of each block read.
    """

    def __init__(self, file: Path, start: int = 0, told: Callable[[int], object] = bool) -> None:
        self._file = file
        self._start = start
        self._told = told
        self.rest = b""
        self.broken: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Give the lines in their order, empty ones included."""
        parts: list[bytes] = []
        size = 0
        for block in self._blocks():
            first, *lines = block.split(b"\n")
            if size < LONGEST:
                parts.append(first)
                size += len(first)
            if lines:
                yield b"".join(parts)
                rest = lines.pop()
                yield from lines
                parts, size = [rest], len(rest)
        self.rest = b"".join(parts)

    def _blocks(self) -> Iterator[bytes]:
        if self._file == STDIN_FILE:
            return iter(lambda: os.read(0, _BLOCK), b"")
        return self._plain() if self._file.suffix not in _OPENERS else self._unpacked()

    def _plain(self) -> Iterator[bytes]:
        position, identity = self._start, None
        while True:
            with self._file.open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                if (status.st_dev, status.st_ino) != (identity or (status.st_dev, status.st_ino)):
                    self.broken = "another file has taken its place while it was read"
                    return
                identity = (status.st_dev, status.st_ino)
                file.seek(position)
                block = file.read(_BLOCK)
            if not block:
                return
            position += len(block)
            self._told(len(block))
            yield block

    def _unpacked(self) -> Iterator[bytes]:
        skip = self._start
        with self._file.open("rb") as packed, _OPENERS[self._file.suffix](packed) as file:
            told = 0
            while block := self._read(file):
                self._told(packed.tell() - told)
                told = packed.tell()
                if skip < len(block):
                    yield block[skip:]
                skip = max(skip - len(block), 0)

    def _read(self, file: Any) -> bytes:
        try:
            block: bytes = file.read1(_BLOCK)
        except EOFError:
            return b""  # what is behind is not there yet
        except Exception as error:
            if not isinstance(error, zlib.error | OSError) and type(error).__name__ != "ZstdError":
                raise
            self.broken = f"it can't be unpacked further: {error}"
            return b""
        return block


def _gzip(packed: IO[bytes]) -> AbstractContextManager[Any]:
    return gzip.open(packed)


def _zstd(packed: IO[bytes]) -> AbstractContextManager[Any]:
    try:
        import zstandard  # noqa: PLC0415 - it may not be installed
    except ModuleNotFoundError:
        raise MissingExtraError("zstd", "zstandard") from None
    reader: AbstractContextManager[Any] = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    return reader


_OPENERS: dict[str, Callable[[IO[bytes]], AbstractContextManager[Any]]] = {".gz": _gzip, ".zst": _zstd}


def tail(file: Path, size: int = 1 << 18) -> list[bytes]:
    """Give the lines of a file's last bytes; the first of them may be a part of one."""
    with file.open("rb") as opened:
        opened.seek(max(os.fstat(opened.fileno()).st_size - size, 0))
        return opened.read().split(b"\n")
