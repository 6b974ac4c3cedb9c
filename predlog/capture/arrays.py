"""Arrays of NumPy's, JAX's, and whatever speaks DLPack → a torch tensor over the same memory."""

import math
import re
import sys
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from predlog._runtime.failure import described, own_failure
from predlog.capture.dlpack import Checked, NegativeStridesError
from predlog.errors import PairError

# Types that NumPy knows from ml_dtypes alone, such as those of arrays that `jax.device_get` returns. NumPy exports none
# of them through DLPack, so their bytes are exported as integers of this type.
_AS_INTEGERS = {"bfloat16": "int16"} | dict.fromkeys(
    ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"), "uint8"
)
# What says that there is nothing at a position, for the parts of a pair that have such a value.
_FILLED = {"labels": "-100", "predictions of Rows": "-1"}
# What no other array would change: the pair is lost, and nothing is wrong with it.
_NOT_OF_THE_ARRAY = (MemoryError, OSError, torch.cuda.OutOfMemoryError)


def to_tensor(name: str, value: object) -> Tensor:
    """Return a torch tensor over the memory of an array; raise PairError with what to pass if that is impossible."""
    _check_jax(name, value)
    if _is_a(value, "MaskedArray", "numpy"):
        fix = f"pass .filled({_FILLED[name]})" if name in _FILLED else "pass what .filled(value) returns"
        raise PairError(f"{named(name, value)} a masked NumPy array, whose mask would be lost: {fix}")
    return _imported(name, value)


def named(name: str, value: object) -> str:
    """Return a name with its shape and verb: "labels [2, 12] are"."""
    shape = getattr(value, "shape", None)
    try:
        size = "" if shape is None else f" {list(shape)}"
    except TypeError:
        size = ""
    return f"{name}{size} {verb(name)}"


def verb(name: str) -> str:
    """Return "is" for what is one thing, such as a head's weight or a mask, and "are" for labels."""
    return "is" if name.startswith("the head's") or name.endswith(("_mask", "_loss")) else "are"


def article(noun: str) -> str:
    """Return a noun with its article: "an ArrayImpl"."""
    return f"{'an' if noun[:1].lower() in set('aeiou') else 'a'} {noun}"


def _is_a(value: object, kind: str, package: str) -> bool:
    return any(base.__name__ == kind and base.__module__.startswith(package) for base in type(value).__mro__)


def _check_jax(name: str, value: object) -> None:
    """Raise PairError for an array of JAX's that has no values here: traced, deleted, or on several devices.

    Only attributes are looked at: JAX is not imported, nothing is gathered, and no other array has them.
    """
    if _is_a(value, "Tracer", "jax"):
        raise PairError(
            f"{name} {verb(name)} {article(type(value).__name__)}: inside of jax.jit, grad or vmap there are no values."
            " Return what is to be compared, and call compare outside; docs/frameworks/jax.md shows how"
        )
    sharding = getattr(value, "sharding", None)
    if sharding is None or not hasattr(value, "addressable_data"):
        return
    if value.is_deleted():  # type: ignore[attr-defined]
        raise PairError(
            f"{named(name, value)} a JAX array that was deleted or donated: pass it before, or a copy of it"
        )
    if len(sharding.device_set) > 1:
        raise _on_several_devices(name, value, sharding)


def _on_several_devices(name: str, value: Any, sharding: Any) -> PairError:
    what, shape, devices = f"{named(name, value)} a JAX array", list(value.shape), len(sharding.device_set)
    if sharding.is_fully_replicated:
        return PairError(
            f"{what} that is replicated on {devices} devices: pass its .addressable_data(0);"
            " docs/frameworks/jax.md shows how",
            shape=shape, devices=devices,
        )  # fmt: skip
    spec = f" by {getattr(sharding, 'spec', None) or type(sharding).__name__}"
    if name in {"logits", "hidden"}:
        fix = (
            "reading them would gather them, so reduce them inside of jax.jit to replicated rows, and pass"
            " predlog.Rows of their .addressable_data(0)"
        )
    elif name.endswith(("of Rows", "of Rows' predictions", "of Rows' labels")):
        fix = "have jax.jit return them replicated, by out_shardings, and pass their .addressable_data(0)"
    elif name.startswith("the head's"):
        fix = (
            "reading it would gather it, so reduce the logits inside of jax.jit to replicated rows, and pass"
            " predlog.Rows of their .addressable_data(0)"
        )
    else:
        fix = "pass the host's array that they were made of, or replicate them, and pass their .addressable_data(0)"
    parts = math.prod(-(-whole // part) for whole, part in zip(shape, sharding.shard_shape(value.shape), strict=True))
    return PairError(
        f"{what} that is sharded into {parts} parts on {devices} devices{spec}: {fix};"
        " docs/frameworks/jax.md shows how",
        shape=shape, devices=devices,
    )  # fmt: skip


def _imported(name: str, value: object) -> Tensor:
    try:
        # torch 2.13 aborts the process on a DLPack capsule with negative strides, so such arrays are copied.
        if any(stride < 0 for stride in getattr(value, "strides", None) or ()):
            value = value.copy()  # type: ignore[attr-defined]
        if (wanted := _torch_type(value)) is not None:
            integers = value.view(_AS_INTEGERS[value.dtype.name])  # type: ignore[attr-defined]
            return _through_dlpack(_writable(integers)).view(wanted)
        if hasattr(value, "__dlpack__"):
            return _through_dlpack(_writable(value))
        array = value.__array__() if hasattr(value, "__array__") else None
    except own_failure(Exception, value) as error:  # any producer may raise anything
        if isinstance(error, _NOT_OF_THE_ARRAY):
            raise
        raise _unreadable(name, value, error) from None
    if hasattr(array, "__dlpack__"):
        return _imported(name, array)
    if hasattr(value, "logits"):
        raise PairError(f"{name} {verb(name)} {article(type(value).__name__)}: pass its .logits")
    raise PairError(
        f"{name} {verb(name)} {article(type(value).__name__)}: pass a torch tensor, a NumPy array or anything with"
        " __dlpack__"
    )


def _through_dlpack(array: Any) -> Tensor:
    try:
        return from_dlpack(Checked(array))
    except NegativeStridesError:
        if (numpy := sys.modules.get("numpy")) is None:
            raise
        return from_dlpack(numpy.from_dlpack(array).copy())


def _torch_type(value: object) -> torch.dtype | None:
    """Return torch's type of a NumPy array of a type from ml_dtypes; None for all others, or if torch has none."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray) or value.dtype.name not in _AS_INTEGERS:
        return None
    found = getattr(torch, value.dtype.name, None)  # torch before 2.7 has no float8_e8m0fnu
    return found if isinstance(found, torch.dtype) else None


def _unreadable(name: str, value: object, error: Exception) -> PairError:
    dtype, kind = getattr(value, "dtype", None), article(type(value).__name__)
    if hasattr(value, "addressable_data"):
        kind = "a JAX array"
    elif _is_a(value, "ndarray", "numpy"):
        kind = "a NumPy array"
    if dtype is None or _is_torchs(dtype):  # then it is where the array lies, or how
        fix = "; pass jax.device_get of it" if kind == "a JAX array" else ""
        return PairError(f"{named(name, value)} {kind} that could not be read as a tensor: {described(error)}{fix}")
    wanted = _readable(name, dtype)
    fix = "pass numbers" if wanted is None else f'pass .astype("{wanted}")'
    return PairError(f"{named(name, value)} {kind} of {dtype}, which torch can't read: {fix}")


def _is_torchs(dtype: Any) -> bool:
    name = str(getattr(dtype, "name", dtype))
    is_small = re.fullmatch(r"u?int[1-7]", name) is not None  # torch has these names, and no values of theirs
    return getattr(dtype, "isnative", True) and not is_small and isinstance(getattr(torch, name, None), torch.dtype)


def _readable(part: str, dtype: Any) -> str | None:
    """Return the name of a type that torch reads, for values of one that it doesn't; None if they are no numbers."""
    name = str(getattr(dtype, "name", dtype))
    if name == "object":
        return "int64" if part.startswith(("labels", "inputs", "predictions", "label ranks")) else "float32"
    if not getattr(dtype, "isnative", True) and getattr(dtype, "kind", "") in "fiu":
        return name  # the same in the byte order of this machine
    if re.fullmatch(r"u?int[1-7]", name):
        return "int8"
    if re.fullmatch(r"float(96|128)|longdouble", name):
        return "float64"
    return "float32" if re.match(r"b?float\d", name) else None


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
