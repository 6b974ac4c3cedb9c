"""What a DLPack capsule says of its array, read before torch gets it: torch ends the process where it can't use one.

The layout is that of https://github.com/dmlc/dlpack/blob/main/include/dlpack/dlpack.h, before and since version 1.
"""

import ctypes
import math
from typing import Any

# How many axes torch has room for.
_MOST_AXES = 64
_MOST_BYTES = 1 << 63
# Prototypes of one's own: setting types on `ctypes.pythonapi` would change them for the whole process.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)  # fmt: skip
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)  # fmt: skip


class _Array(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("array", _Array),
    )


class NegativeStridesError(ValueError):
    """An array is reversed along an axis: torch has no such tensors."""


class Checked:
    """An array whose capsules are checked on their way to torch."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack_device__(self) -> Any:
        """Return the array's device."""
        return self._array.__dlpack_device__()

    def __dlpack__(self, **how: Any) -> Any:
        """Return the array's capsule; raise ValueError if torch can't make a tensor of it."""
        capsule = self._array.__dlpack__(**how)
        for name, kind in ((b"dltensor", _Array), (b"dltensor_versioned", _Versioned)):
            if _is_valid(capsule, name):
                found = kind.from_address(_pointer(capsule, name))
                _check(found.array if isinstance(found, _Versioned) else found)
        return capsule  # torch reports what is no such capsule


def _check(array: _Array) -> None:
    if not 0 <= array.ndim <= _MOST_AXES or (array.ndim and not array.shape):
        raise ValueError(f"its DLPack capsule has {array.ndim} axes")
    shape = array.shape[: array.ndim]
    strides = array.strides[: array.ndim] if array.strides else []
    if min(shape, default=0) < 0:
        raise ValueError(f"its DLPack capsule has the shape {shape}")
    if not array.data and 0 not in shape:
        raise ValueError(f"its DLPack capsule has the shape {shape}, and no memory")
    if 0 not in shape and _elements(shape, strides) * max(array.bits, 8) // 8 >= _MOST_BYTES:
        raise ValueError(f"its DLPack capsule has the shape {shape} and the strides {strides}: no memory is so large")
    # Last, because what is reversed is read by NumPy, which checks as little.
    if min(strides, default=0) < 0:
        raise NegativeStridesError(f"its DLPack capsule has the strides {strides}")


def _elements(shape: list[int], strides: list[int]) -> int:
    """Return over how many elements an array extends in memory."""
    if not strides:
        return math.prod(shape)
    return 1 + sum((size - 1) * abs(stride) for size, stride in zip(shape, strides, strict=True))
