"""A file → its whole lines, from any place on, packed or not, in constant memory."""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from predlog.errors import required
from predlog.reading.paths import PACKED, STDIN_FILE, opened
from predlog.records.backwards import read_at
from predlog.records.bounds import LONGEST

# Bytes read at once; the sum for many files, and the least per file. No file stays open between reads: a job of
# 4096 ranks has as many.
_BLOCK, _ALL_BLOCKS, _LEAST = 1 << 18, 1 << 22, 1 << 13
# These last bytes before the current offset show whether the file is still the one that was read.
REMEMBERED = 64


class Lines:
    """The whole lines of a file from `start` on (bytes, unpacked), without their newlines.

    `.gz` and `.zst` are unpacked. After the last line, `rest` is what follows the last newline, and `broken` is the
    reason why the file could not be read to its end, if there is one. `told` is called with the number of bytes of
    each block read. Of standard input, `comes` are the blocks, if some of it has been read.
    """

    def __init__(
        self, file: Path, start: int = 0, told: Callable[[int], object] = bool, block: int = _BLOCK,
        comes: Iterable[bytes] | None = None,
    ) -> None:  # fmt: skip
        self._file = file
        self._comes = comes
        self._start = start
        self._told = told
        self._block = block
        self.rest = b""
        self.broken: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines in their order, empty ones included."""
        parts: list[bytes] = []
        size = 0
        for block in self._blocks():
            end = block.find(b"\n")
            first = block if end < 0 else block[:end]
            if size < LONGEST:
                parts.append(first)
                size += len(first)
            if end >= 0:
                yield b"".join(parts)
                # One by one, so that each reuses the memory of the last one: a `split` takes nearly twice as long.
                start = end + 1
                while (end := block.find(b"\n", start)) >= 0:
                    yield block[start:end]
                    start = end + 1
                parts, size = [block[start:]], len(block) - start
        self.rest = b"".join(parts)

    def _blocks(self) -> Iterable[bytes]:
        if self._file == STDIN_FILE:
            return blocks_of_stdin(self._told) if self._comes is None else self._comes
        return self._plain(self._start) if self._file.suffix not in PACKED else self._unpacked()

    def _plain(self, position: int) -> Iterator[bytes]:
        identity, last = None, b""
        while True:
            with os.fdopen(opened(self._file), "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                if (status.st_dev, status.st_ino) != (identity or (status.st_dev, status.st_ino)):
                    self.broken = "another file took its place while it was read"
                    return
                identity = (status.st_dev, status.st_ino)
                # What was read last is read again: it shows whether the file was emptied, even if it has grown since.
                before = read_at(file.fileno(), len(last), position - len(last))
                if before != last or status.st_size < position:
                    self.broken = "it was truncated while it was read: what had not been read is lost"
                    return
                block = read_at(file.fileno(), self._block, position)
            if not block:
                return
            position += len(block)
            last = (last + block)[-REMEMBERED:]
            self._told(len(block))
            yield block

    def _unpacked(self) -> Iterator[bytes]:
        unpack, damaged = (_gzip, zlib.error) if self._file.suffix == ".gz" else _zstd()
        packed = Packed(self._plain(0))
        skip, size = self._start, 0
        try:
            for block in unpack(packed):
                size += len(block)
                if size > _UNPACKED + _RATIO * packed.size:
                    self.broken = (
                        f"it unpacks to more than {_RATIO} times its size: unpack it yourself to read what follows"
                    )
                    return
                if skip < len(block):
                    yield block[skip:]
                skip = max(skip - len(block), 0)
        except damaged as error:
            self.broken = f"it can't be decompressed further: {error}"


class Packed:
    """Packed blocks as small pieces; `size` counts the bytes that were read."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._pieces = (block[start : start + _READ] for block in blocks for start in range(0, len(block), _READ))
        self.size = 0

    def read(self, _size: int = -1) -> bytes:
        """Return the next piece, however much is asked for; empty at the end."""
        piece = next(self._pieces, b"")
        self.size += len(piece)
        return piece


def blocks_of_stdin(told: Callable[[int], object] = bool) -> Iterator[bytes]:
    """Yield standard input in blocks, each as soon as it arrives; `told` is called with the size of each."""
    # From the descriptor: Python's buffered read waits for a full block, and may miss an interrupt meanwhile.
    while block := os.read(0, _BLOCK):
        told(len(block))
        yield block


def block(files: int) -> int:
    """Return how many bytes to read at once, so that a job of many ranks or attempts takes no more memory than one."""
    return max(min(_BLOCK, _ALL_BLOCKS // files), _LEAST)


# Bytes unpacked at once, and passed on to be unpacked: a few packed bytes may become gigabytes.
_PIECE, _READ = 1 << 18, 1 << 14
# Bytes that any file may unpack to, and how many times its size more: lines of a run never get that small.
_UNPACKED, _RATIO = 1 << 24, 256
_GZIP = 16 + zlib.MAX_WBITS
_Unpack = Callable[[Packed], Iterator[bytes]]


def _gzip(packed: Packed) -> Iterator[bytes]:
    """Yield what was packed. A file may have several members, as `cat` makes them; a missing end is no damage."""
    member: Any = None
    while left := packed.read():
        while left := left if member else left.lstrip(b"\0"):  # zeros may follow a member
            member = member or zlib.decompressobj(_GZIP)
            yield member.decompress(left, _PIECE)
            left = member.unconsumed_tail
            if member.eof:
                left, member = member.unused_data, None


def _zstd() -> tuple[_Unpack, type[Exception]]:
    """Return what does the same for zstd, and what it raises if the data is damaged.

    Raises:
        MissingExtraError: The package zstandard is not installed.
    """
    with required("zstd"):
        import zstandard  # noqa: PLC0415 - it may not be installed

    def unpack(packed: Packed) -> Iterator[bytes]:
        frames = zstandard.ZstdDecompressor().stream_reader(cast(BinaryIO, packed), read_across_frames=True)
        return iter(lambda: frames.read(_PIECE), b"")

    return unpack, zstandard.ZstdError
