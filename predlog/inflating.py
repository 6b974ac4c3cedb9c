"""Blocks of a packed file → what they hold; the file itself need not be open between two of them."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

from predlog.errors import MissingExtraError

# How much is unpacked of gzip, and read of zstd, at once: what a block holds is bounded by nothing.
_PIECE, _READ = 1 << 18, 1 << 14
_GZIP = 16 + zlib.MAX_WBITS


class InflateError(Exception):
    """What comes is not packed, or damaged."""


def inflating(suffix: str) -> Callable[[bytes], Iterator[bytes]]:
    """Give what unpacks a file's blocks in their order, by the ending of its name.

    A file may have several members, as `cat` makes them. An end that is missing is none that is damaged.

    Raises:
        MissingExtraError: `.zst` without the package zstandard.
        InflateError: While unpacking.
    """
    return _Gzip().inflate if suffix == ".gz" else _zstd()


class _Gzip:
    def __init__(self) -> None:
        self._member: Any = None

    def inflate(self, packed: bytes) -> Iterator[bytes]:
        while packed:
            if self._member is None:
                packed = packed.lstrip(b"\0")  # padding between members
                if not packed:
                    return
                self._member = zlib.decompressobj(_GZIP)
            try:
                yield self._member.decompress(packed, _PIECE)
            except zlib.error as error:
                raise InflateError(str(error)) from None
            packed = self._member.unconsumed_tail
            if self._member.eof:
                packed, self._member = self._member.unused_data, None


def _zstd() -> Callable[[bytes], Iterator[bytes]]:
    try:
        import zstandard  # noqa: PLC0415 - it may not be installed
    except ModuleNotFoundError:
        raise MissingExtraError("zstd", "zstandard") from None
    frames = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)

    def inflate(packed: bytes) -> Iterator[bytes]:
        for start in range(0, len(packed), _READ):
            try:
                yield frames.decompress(packed[start : start + _READ])
            except zstandard.ZstdError as error:
                raise InflateError(str(error)) from None

    return inflate
