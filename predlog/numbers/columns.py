"""Columns of numbers as texts in a record: their type, and base64 of them, little-endian; and back.

Ids of many positions are packed by zlib, too.
"""

import base64
import math
import sys
import zlib
from array import array
from collections.abc import Sequence
from typing import Any, Final

from predlog.errors import RecordError
from predlog.records.part_facts import from_base64

_INTEGERS: Final = ("i", "q")
_TYPECODES: Final = frozenset("iqfd")


def packed(values: Sequence[int] | Sequence[float], *, is_rounded: bool = False) -> str:
    """Return a column as text: 32 bits a number if that is exact or it may be rounded, else 64."""
    if all(type(one) is int for one in values):
        narrow = all(-(2**31) <= one < 2**31 for one in values)
        column = array(_INTEGERS[not narrow], values)
    else:
        column = array("f", [_representable(one) for one in values])
        if not is_rounded and any(one != kept and one == one for one, kept in zip(values, column, strict=True)):  # noqa: PLR0124 - NaN
            column = array("d", values)
    if sys.byteorder != "little":
        column.byteswap()
    return column.typecode + base64.b64encode(column.tobytes()).decode("ascii")


def _representable(number: float) -> float:
    # What float32 can't hold is infinity there, which `array` refuses.
    return number if not math.isfinite(number) or abs(number) < 3.4e38 else math.copysign(math.inf, number)


def unpacked(text: str, many: int) -> "array[Any]":
    """Return the numbers of a column; raise RecordError if it is none, or has not so many."""
    if text[:1] not in _TYPECODES:
        raise RecordError("no column of numbers")
    try:
        column = array(text[0], from_base64(text[1:]))
    except ValueError:
        raise RecordError("no column of numbers") from None
    if sys.byteorder != "little":
        column.byteswap()
    if len(column) != many:
        raise RecordError(f"a column of {len(column)} numbers where there are {many}")
    return column


def unpacked_floats(text: str, many: int) -> list[float]:
    """Return the numbers of a column as floats."""
    column = unpacked(text, many)
    return [*map(float, column)] if column.typecode in "iq" else column.tolist()


def deflated(column: bytes | Sequence[int]) -> str:
    """Return a column as text, packed by zlib: bytes, or whole numbers."""
    kind, plain = (
        ("b", column) if isinstance(column, bytes) else (packed(column)[0], base64.b64decode(packed(column)[1:]))
    )
    return f"z{kind}{base64.b64encode(zlib.compress(plain)).decode('ascii')}"


def inflated(text: str, many: int) -> bytes:
    """Return the bytes of a packed column of so many bytes, or numbers of 64 bits; raise RecordError if it is none."""
    try:
        size = {"zb": 1, "zi": 4, "zq": 8}[text[:2]]
        plain = zlib.decompressobj().decompress(from_base64(text[2:]), size * many + 1)
    except (KeyError, ValueError, zlib.error):
        raise RecordError("no packed column") from None
    if len(plain) != size * many:
        raise RecordError(f"a packed column of {len(plain)} bytes where there are {size * many}")
    if size == 4:
        column = array("i", plain)
        if sys.byteorder != "little":
            column.byteswap()
        return array("q", column).tobytes()
    if size == 8 and sys.byteorder != "little":
        wide = array("q", plain)
        wide.byteswap()
        return wide.tobytes()
    return plain
