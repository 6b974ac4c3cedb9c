"""A file → its whole lines, from any place on, packed or not, in constant memory."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from predlog.inflating import InflateError, inflating
from predlog.places import PACKED, STDIN_FILE
from predlog.records import LONGEST

# Read at once; of many files together, and the least. None is held open between: a job of 4096 ranks has as many.
_BLOCK, _ALL_BLOCKS, _LEAST = 1 << 18, 1 << 22, 1 << 13


class Lines:
    """The whole lines of a file behind `start` (bytes, unpacked), without their newlines.

    `.gz` and `.zst` are unpacked. When all has been given, `rest` is what stands behind the last newline, and `broken`
    says what was wrong with a packed file, if anything. `told` is called with the number of bytes of each block read.
    """

    def __init__(self, file: Path, start: int = 0, told: Callable[[int], object] = bool, block: int = _BLOCK) -> None:
        self._file = file
        self._start = start
        self._told = told
        self._block = block
        self.rest = b""
        self.broken: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Give the lines in their order, empty ones included."""
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
                # One by one, so that each lies where the one before did: a `split` takes nearly twice as long.
                start = end + 1
                while (end := block.find(b"\n", start)) >= 0:
                    yield block[start:end]
                    start = end + 1
                parts, size = [block[start:]], len(block) - start
        self.rest = b"".join(parts)

    def _blocks(self) -> Iterator[bytes]:
        if self._file == STDIN_FILE:
            return blocks_of_stdin()
        return self._plain(self._start) if self._file.suffix not in PACKED else self._unpacked()

    def _plain(self, position: int) -> Iterator[bytes]:
        identity = None
        while True:
            with self._file.open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                if (status.st_dev, status.st_ino) != (identity or (status.st_dev, status.st_ino)):
                    self.broken = "another file has taken its place while it was read"
                    return
                identity = (status.st_dev, status.st_ino)
                file.seek(position)
                block = file.read(self._block)
            if not block:
                return
            position += len(block)
            self._told(len(block))
            yield block

    def _unpacked(self) -> Iterator[bytes]:
        skip = self._start
        inflate = inflating(self._file.suffix)
        try:
            for packed in self._plain(0):
                for block in inflate(packed):
                    if skip < len(block):
                        yield block[skip:]
                    skip = max(skip - len(block), 0)
        except InflateError as error:
            self.broken = f"it can't be unpacked further: {error}"


def blocks_of_stdin() -> Iterator[bytes]:
    """Give standard input in blocks, each as soon as it is there."""
    # By the descriptor: a read of Python's own waits for a full block, and may miss an interrupt over it.
    return iter(lambda: os.read(0, _BLOCK), b"")


def block(files: int) -> int:
    """Give how many bytes to read at once, so that a job of many ranks or attempts takes no more memory than one."""
    return max(min(_BLOCK, _ALL_BLOCKS // files), _LEAST)
