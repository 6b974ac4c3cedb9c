"""What is passed as a part of a pair → a torch tensor that can be read, of the kind that the part needs."""

import sys

import torch
from torch import Tensor

from predlog._runtime.failure import own_failure
from predlog.capture import arrays
from predlog.capture.dtensor import is_subclass, whole
from predlog.errors import PairError


def as_tensor(name: str, value: object) -> Tensor:
    """Return a torch tensor over the memory of `value`, which is one, or an array, or speaks DLPack.

    Raises PairError if that is impossible, or if reading it would issue a collective or make no sense.
    """
    if not isinstance(value, Tensor):
        value = arrays.to_tensor(name, value)
    if is_subclass(value):
        value = whole(name, value)
    if is_subclass(value):
        what = arrays.article(type(value).__name__)
        raise PairError(f"{name} {arrays.verb(name)} {what}, which predlog does not read: pass a plain tensor")
    if value.is_nested or value.layout != torch.strided or value.is_quantized or value.is_meta:
        what = "on the meta device" if value.is_meta else "sparse, nested or quantized"
        raise PairError(f"{name} {arrays.verb(name)} {what}: there are no values to show")
    _check_memory(name, value)
    return value


def _check_memory(name: str, value: Tensor) -> None:
    """Raise PairError if a tensor's storage is smaller than the tensor: torch would read memory that is not its own.

    FSDP frees storages so, and whoever calls `untyped_storage().resize_(0)`.
    """
    try:
        there = value.untyped_storage().nbytes()
    except own_failure(RuntimeError):  # some devices have no storages
        return
    reach = sum((size - 1) * stride for size, stride in zip(value.shape, value.stride(), strict=True))
    needed = (value.storage_offset() + reach + 1) * value.itemsize if value.numel() else 0
    if there < needed:
        raise PairError(
            f"{name} {list(value.shape)} need {needed:,} bytes, and their storage has {there:,}: it was freed. Pass"
            " them before, or a copy",
            shape=list(value.shape), needed=needed, there=there,
        )  # fmt: skip


def as_ids(name: str, value: object, what: str = "token ids") -> Tensor:
    """Return integers as a tensor over the memory of `value`; raise PairError if they are none.

    `what` they are, in the plural, is for the message.
    """
    ids = as_tensor(name, value)
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        fix = ".long()" if ids is value else '.astype("int32")'
        raise PairError(f"{name} {list(ids.shape)} are {ids.dtype}: {what} must be integers, as {fix} gives them")
    return ids


def as_signed(ids: Tensor) -> Tensor:
    """Return ids as 64-bit signed integers.

    Unsigned ones of 2**63 or more become 2**63 - 1, which has no logit either: what torch converts turns negative, and
    could be the label that is ignored.
    """
    if ids.dtype != torch.uint64:
        return ids.to(torch.int64)
    signed = ids.view(torch.int64)
    return signed.masked_fill(signed < 0, sys.maxsize)
