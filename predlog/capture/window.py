"""Which tokens of a sample are shown: the first and the last supervised ones."""

import ctypes
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a pair is shown, and whether all matches are counted."""

    samples: int = 2
    first: int = 5
    last: int = 5
    codebooks: int = 8
    accuracy: bool = True


class Ends(NamedTuple):
    """The rows shown of one sample and codebook, in order. If there are few, none appears at both ends."""

    first: list[int]
    last: list[int]


def ends(supervised: Tensor, window: Window) -> list[Ends]:
    """Return the ends of each sequence of a mask [sample, codebook, row] on the host, in order."""
    # As bytes a mask can be searched from both ends; operations of torch's would visit all of it.
    mask, rows = as_bytes(supervised), supervised.shape[-1]
    return [_ends(mask, start, start + rows, window) for start in range(0, len(mask), rows)]


def as_bytes(values: Tensor) -> bytes:
    """Return a copy of the bytes of a tensor on the host, in the order of its elements."""
    values = values.contiguous().resolve_neg()  # a negative view has its memory as it was
    return ctypes.string_at(values.data_ptr(), values.nbytes)


def words(ids: Tensor) -> memoryview:
    """Return a copy of 64-bit ids on the host as plain integers."""
    return memoryview(as_bytes(ids)).cast("q")


def _ends(mask: bytes, start: int, stop: int, window: Window) -> Ends:
    first: list[int] = []
    last: list[int] = []
    low, high = start, stop
    while len(first) < window.first and (found := mask.find(1, low, high)) >= 0:
        first.append(found - start)
        low = found + 1
    while len(last) < window.last and (found := mask.rfind(1, low, high)) >= 0:
        last.append(found - start)
        high = found
    return Ends(first, last[::-1])
