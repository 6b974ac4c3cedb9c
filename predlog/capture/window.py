"""Which tokens of a sample are shown: the first and the last supervised ones, and those with the largest loss."""

import ctypes
from collections.abc import Sequence
from itertools import compress

from torch import Tensor

from predlog.capture.tensors import as_signed
from predlog.numbers.window import Chosen, Window


def chosen(supervised: Tensor, window: Window, index: Tensor | None = None) -> list[Chosen]:
    """Return the rows at both ends of each sequence of a mask [sample, codebook, row] on the host, in order.

    With an `index` [sample, codebook, label] of their labels in the whole sample, the ends are those by that.
    """
    if index is not None:
        places = as_signed(index)[..., -supervised.shape[-1] :].flatten(0, 1)
        return [_ends_by(*both, window) for both in zip(supervised.flatten(0, 1), places, strict=True)]
    # As bytes a mask can be searched from both ends; operations of torch's would visit all of it.
    mask, rows = as_bytes(supervised), supervised.shape[-1]
    return [_ends(mask, start, start + rows, window) for start in range(0, len(mask), rows)]


def with_worst(ends: Sequence[Chosen], places: Tensor, are_there: Tensor) -> list[Chosen]:
    """Return the rows shown with the worst of each sequence, which are at `places` [s, k, n] where there are any."""
    rows = zip(places.flatten(0, 1).tolist(), are_there.flatten(0, 1).tolist(), strict=True)
    return [both._replace(worst=[*compress(*ones)]) for both, ones in zip(ends, rows, strict=True)]


def as_bytes(values: Tensor) -> bytes:
    """Return a copy of the bytes of a tensor on the host, in the order of its elements."""
    values = values.contiguous().resolve_neg()  # a negative view has its memory as it was
    return ctypes.string_at(values.data_ptr(), values.nbytes)


def words(ids: Tensor) -> memoryview:
    """Return a copy of 64-bit ids on the host as plain integers."""
    return memoryview(as_bytes(ids)).cast("q")


def _ends_by(supervised: Tensor, places: Tensor, window: Window) -> Chosen:
    rows = supervised.nonzero().squeeze(-1)
    rows = rows[places[rows].argsort()]
    many = len(rows)
    first = rows[: window.first].tolist()
    return Chosen(first, rows[max(many - window.last, len(first)) :].tolist(), [])


def _ends(mask: bytes, start: int, stop: int, window: Window) -> Chosen:
    first: list[int] = []
    last: list[int] = []
    low, high = start, stop
    while len(first) < window.first and (found := mask.find(1, low, high)) >= 0:
        first.append(found - start)
        low = found + 1
    while len(last) < window.last and (found := mask.rfind(1, low, high)) >= 0:
        last.append(found - start)
        high = found
    return Chosen(first, last[::-1], [])
