"""The CRC-32 of bytes from those of their pieces, as zlib's `crc32_combine` has it.

A CRC is a polynomial over GF(2), taken modulo another one. To append n bytes is to multiply it by x to the power 8n.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

_MODULUS: Final = 0xEDB88320  # of CRC-32, the lowest power in the highest bit
_ONE: Final = 1 << 31
_WORD = 8


def combined(pieces: Iterable[tuple[int, int]]) -> int:
    """Return the CRC of 64-bit numbers from the CRC of each piece, and how many numbers it has."""
    whole = 0
    for check, many in pieces:
        whole = _times(_power(8 * _WORD * many), whole) ^ check
    return whole


def _times(one: int, other: int) -> int:
    product, bit = 0, _ONE
    while bit:
        if one & bit:
            product ^= other
        bit >>= 1
        other = other >> 1 ^ (_MODULUS if other & 1 else 0)
    return product


@lru_cache(maxsize=1024)
def _power(exponent: int) -> int:
    """Return x to a power."""
    found, square = _ONE, _ONE >> 1
    while exponent:
        if exponent & 1:
            found = _times(square, found)
        square = _times(square, square)
        exponent >>= 1
    return found
