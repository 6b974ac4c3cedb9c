"""Tensors, arrays and whatever speaks DLPack → a torch tensor over the same memory."""

import sys
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from predlog.capture.dlpack import Checked, NegativeStridesError
from predlog.errors import PairError, described, own_failure


def as_tensor(name: str, value: object) -> Tensor:
    """Return a torch tensor over the memory of `value`, which is one, or speaks DLPack.

    Raises PairError if that is impossible, or if reading it would issue a collective or make no sense.
    """
    if not isinstance(value, Tensor):
        _check_array(name, value)
        value = _imported(name, value)
    kind = type(value)
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        fix = "pass .to_local()" if kind.__name__ == "DTensor" else "pass a plain tensor"
        raise PairError(f"{name} are a {kind.__name__}, which predlog does not read: {fix}")
    if value.is_nested or value.layout != torch.strided or value.is_quantized or value.is_meta:
        what = "on the meta device" if value.is_meta else "sparse, nested or quantized"
        raise PairError(f"{name} are {what}: there are no values to show")
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


def _check_array(name: str, value: object) -> None:
    """Raise PairError for an array of JAX's that has no values here: traced, deleted, or on several devices.

    Only attributes are looked at: JAX is not imported, nothing is gathered, and no other array has them.
    """
    kind = type(value)
    if any(base.__name__ == "Tracer" and base.__module__.startswith("jax") for base in kind.__mro__):
        raise PairError(
            f"{name} are a {kind.__name__}: inside of jax.jit, grad or vmap there are no values. Return what is to be"
            " compared, and call compare outside; docs/jax.md shows how"
        )
    sharding = getattr(value, "sharding", None)
    if sharding is None or not hasattr(value, "addressable_data"):
        return
    shape = list(getattr(value, "shape", ()))
    if value.is_deleted():  # type: ignore[attr-defined]
        raise PairError(f"{name} {shape} are a JAX array that was deleted or donated: pass it before, or a copy of it")
    devices = len(sharding.device_set)
    if devices > 1:
        raise _on_several_devices(name, shape, devices, sharding)


def _on_several_devices(name: str, shape: list[int], devices: int, sharding: Any) -> PairError:
    what = f"{name} {shape} are a JAX array"
    if sharding.is_fully_replicated:
        return PairError(
            f"{what} that is replicated on {devices} devices: pass its .addressable_data(0); docs/jax.md shows how",
            shape=shape, devices=devices,
        )  # fmt: skip
    spec = f" by {getattr(sharding, 'spec', None) or type(sharding).__name__}"
    if name in {"logits", "hidden"}:
        fix = (
            "reading them would gather them, so reduce them inside of jax.jit to replicated rows, and pass"
            " predlog.Rows of their .addressable_data(0)"
        )
    else:
        fix = "pass the host's array that they were made of, or replicate them, and pass their .addressable_data(0)"
    return PairError(
        f"{what} that is sharded over {devices} devices{spec}: {fix}; docs/jax.md shows how",
        shape=shape, devices=devices,
    )  # fmt: skip


def _imported(name: str, value: object) -> Tensor:
    try:
        # torch 2.13 aborts the process on a DLPack capsule with negative strides, so such arrays are copied.
        if any(stride < 0 for stride in getattr(value, "strides", None) or ()):
            value = value.copy()  # type: ignore[attr-defined]
        if hasattr(value, "__dlpack__"):
            return _through_dlpack(_writable(value))
        if hasattr(value, "__array__") and hasattr(array := value.__array__(), "__dlpack__"):
            return _imported(name, array)
    except own_failure(Exception, value) as error:  # any producer may raise anything
        raise PairError(f"{name} ({type(value).__name__}) could not be read as a tensor: {described(error)}") from None
    if hasattr(value, "logits"):
        raise PairError(f"{name} are a {type(value).__name__}: pass its .logits")
    raise PairError(
        f"{name} are a {type(value).__name__}: pass a torch tensor, a NumPy array or anything with __dlpack__"
    )


def _through_dlpack(array: Any) -> Tensor:
    try:
        return from_dlpack(Checked(array))
    except NegativeStridesError:
        if (numpy := sys.modules.get("numpy")) is None:
            raise
        return from_dlpack(numpy.from_dlpack(array).copy())


def _writable(array: Any) -> Any:
    """Return an array over the same memory that may be written to, though nothing is.

    DLPack has a flag for read-only memory that neither torch before 2.9 nor NumPy before 2.1 knows: they refuse it.
    """
    interface = getattr(array, "__array_interface__", None)
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(interface, dict):
        return array
    match interface.get("data"):
        case (int(), True):
            return numpy.asarray(_Unlocked(array, interface))
    return array


class _Unlocked:
    """What NumPy makes an array of; it keeps the array that owns the memory."""

    def __init__(self, owner: Any, interface: dict[str, Any]) -> None:
        self._owner = owner
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def as_ids(name: str, value: object) -> Tensor:
    """Return token ids as a tensor over the memory of `value`; raises PairError if they are no integers."""
    ids = as_tensor(name, value)
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        raise PairError(f"{name} {list(ids.shape)} are {ids.dtype}: token ids must be integers, as .long() gives them")
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
