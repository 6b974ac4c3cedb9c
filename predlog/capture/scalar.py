"""A few numbers on any device → a function that waits for them; called in the worker, so the training never waits."""

import numbers
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from predlog.capture.ring import ring_of
from predlog.capture.tensors import as_tensor
from predlog.errors import PairError
from predlog.findings.reported_loss import Reported

# The last word sent: a ring needs one that is not 0.
_STAMP = 1


def on_its_way(values: Tensor) -> Callable[[], list[Any]] | None:
    """Start to copy numbers of 64 bits [n] to the host, and return what waits for them; None if no slot is free."""
    if values.device.type == "cpu":
        known: list[Any] = values.tolist()
        return lambda: known
    arrival = ring_of(values.device).arrival(values.numel() + 1)
    if arrival is None:
        return None
    dtype = values.dtype
    packed = torch.nn.functional.pad(values.view(torch.int64), (0, 1), value=_STAMP)
    arrival.send(packed if values.device.type == "cuda" else packed.cpu())
    return lambda: arrival.read()[:-1].view(dtype).tolist()


def reported(loss: Any, items: Any = None, accumulate: int | None = None) -> Callable[[], Reported] | None:
    """Start to copy a reported loss, and what its sum was divided by, to the host; return what waits for them.

    Each is a Python number or a tensor of one. Returns None if no slot is free. Raises PairError for anything else.
    """
    wait, precision = _number("reported_loss", loss)
    count = None if items is None else _number("items", items)[0]
    if wait is None or (items is not None and count is None):
        return None
    # It is asked for once by who judges it, and by who writes a part.
    return cache(lambda: Reported(wait()[0], precision, None if count is None else count()[0], accumulate))


def _number(name: str, value: Any) -> tuple[Callable[[], list[float]] | None, float]:
    """Return what waits for a number, and the distance from 1 to the next number of its type."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            known = [float(value)]
        except OverflowError:
            raise PairError(f"{name} is too large for a float") from None
        return (lambda: known), torch.finfo(torch.float64).eps
    if isinstance(value, bool | str | bytes):
        raise PairError(f"{name} is of type {type(value).__name__}: pass a number, or a tensor of one")
    tensor = as_tensor(name, value)
    if tensor.numel() != 1 or tensor.dtype.is_complex or tensor.dtype == torch.bool:
        raise PairError(f"{name} {list(tensor.shape)} is of {tensor.dtype}: pass a number, or a tensor of one")
    precision = torch.finfo(tensor.dtype).eps if tensor.dtype.is_floating_point else 0.0
    return on_its_way(tensor.detach().reshape(1).to(torch.float64)), precision
