"""Memory that can't be read is refused before it is read: the process is not ended by it."""

import ctypes
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from predlog import Comparison, Recorder
from tests import events, fresh

# A process of its own for each case, forked: what goes wrong ends it.
PROGRAM = """
import json, os, sys, numpy, torch, predlog
from predlog import Projection, Rows
from tests.capture.test_dlpack import Capsule, Producer
l, y = torch.randn(1, 8, 16), torch.randint(16, (1, 8))
reversed_logits = numpy.random.rand(1, 8, 16).astype("float32")[:, ::-1]
reversed_labels = numpy.arange(8).reshape(1, 8)[:, ::-1]

def freed(tensor, left=0):
    tensor.untyped_storage().resize_(left)
    return tensor

def freed_below(base, view):
    freed(base)
    return view

def compare(case):
    with predlog.Recorder(every=1, console=False, sinks=[lambda _logger, _name, event: event]) as recorder:
        future = recorder.compare(*eval(case))
        recorder.flush()
        return str(len(future.result())) if future is not None else recorder.findings[0].message

for case in json.loads(sys.argv[1]):
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, compare(case).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as told:
        text = told.read()
    print(json.dumps([case, text, os.wait()[1]]))
"""
_LOGITS = np.arange(128, dtype=np.float32).reshape(1, 8, 16)


class Producer:
    """A foreign array that has nothing but DLPack: no strides to look at."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack__(self, *, stream: Any = None) -> Any:
        assert stream is None
        return self._array.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class _Array(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
    )  # fmt: skip


class Capsule:
    """A producer that makes its capsules by hand, as C libraries do: of float32 [1, 8, 16], with what is asked for."""

    def __init__(self, shape: Sequence[int] = (1, 8, 16), strides: Sequence[int] | None = None, **more: Any) -> None:
        self._kept = ((ctypes.c_int64 * len(shape))(*shape), strides and (ctypes.c_int64 * len(strides))(*strides))
        pointers = [one and ctypes.cast(one, ctypes.POINTER(ctypes.c_int64)) for one in self._kept]
        values = {"data": _LOGITS.ctypes.data, "device_type": 1, "ndim": len(shape), "code": 2, "bits": 32, "lanes": 1}
        self._array = _Array(**{**values, "shape": pointers[0], "strides": pointers[1], **more})

    def __dlpack__(self, **_how: Any) -> Any:
        make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return make(("PyCapsule_New", ctypes.pythonapi))(ctypes.addressof(self._array), b"dltensor", None)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


RECORDED = (
    "Producer(reversed_logits), y, 0",
    "l, Producer(reversed_labels), 0",
    "[Producer(reversed_logits)], y, 0",
    "Projection(Producer(reversed_logits), torch.randn(16, 16)), y, 0",
    "Capsule(), y, 0",
    "Capsule(strides=(128, 16, 1)), y, 0",
    "Capsule(strides=(0, 16, 1)), y, 0",
)
REFUSED = {
    "l, freed(y), 0": "labels [1, 8] need 64 bytes, and their storage has 0: it was freed",
    "l, freed(y, 16), 0": "labels [1, 8] need 64 bytes, and their storage has 16",
    "l, freed(y)._neg_view(), 0": "labels [1, 8] need 64 bytes",
    "l, freed_below(b := torch.zeros(1, 12).long(), b[:, 2:10]), 0": "labels [1, 8] need 80 bytes",
    "l, freed_below(b := torch.zeros(1, 1).long(), b.expand(1, 8)), 0": "labels [1, 8] need 8 bytes",
    "freed(l), y, 0": "logits [1, 8, 16] need 512 bytes",
    "[l[:, :4], freed(l[:, 4:].clone())], y, 0": "logits [1, 4, 16] need 256 bytes",
    "Projection(freed(l), torch.randn(16, 16)), y, 0": "hidden [1, 8, 16] need 512 bytes",
    "Projection(l, freed(torch.randn(16, 16))), y, 0": "the head's weight [16, 16] need 1,024 bytes",
    "Rows(freed(y), l[..., 0], l[..., 0]), y, 0": "predictions of Rows [1, 8] need 64 bytes",
    "Capsule(data=None), y, 0": "has the shape [1, 8, 16], and no memory",
    "Capsule(data=None, strides=(0, -16, 1)), y, 0": "has the shape [1, 8, 16], and no memory",
    "Capsule(data=None, strides=(-128, 16, -1), byte_offset=1024), y, 0": "and no memory",
    "Capsule(strides=(0, -(2**62), 1)), y, 0": "no memory is so large",
    "Capsule(shape=(1, -8, 16)), y, 0": "has the shape [1, -8, 16]",
    "Capsule(ndim=-1), y, 0": "has -1 axes",
    "Capsule(ndim=1000), y, 0": "has 1000 axes",
    "Capsule(shape=(1, 8, 2**62)), y, 0": "",
    "Capsule(shape=(2**40, 2**40, 16)), y, 0": "",
    "Capsule(shape=(1, 8, 2**62), strides=(0, 16, 1)), y, 0": "no memory is so large",
    "Capsule(shape=(1, 8, 2**62), strides=(0, 0, 4)), y, 0": "no memory is so large",
    "Capsule(strides=(0, 2**62, 1)), y, 0": "no memory is so large",
    "Capsule(shape=(1, 2**60, 2**60)), y, 0": "no memory is so large",
    "Capsule(lanes=4), y, 0": "",
    "Capsule(bits=7), y, 0": "",
    "Capsule(code=99), y, 0": "",
    "Capsule(device_type=2), y, 0": "",
    "Capsule(device_type=77), y, 0": "",
}


@cache
def outcomes() -> dict[str, tuple[str, int]]:
    """Compare each pair in a process of its own; return what became of it, and the status of the process."""
    done = fresh.run(PROGRAM, json.dumps([*RECORDED, *REFUSED]))
    assert done.returncode == 0, done.stderr[-2000:]
    return {case: (text, status) for case, text, status in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("pair", RECORDED)
def test_reversed_arrays_are_read(pair: str) -> None:
    """An array whose producer has negative strides is read through NumPy; torch would end the process."""
    assert outcomes()[pair] == ("1", 0)


@pytest.mark.parametrize("pair", REFUSED)
def test_what_has_no_memory_is_refused(pair: str) -> None:
    """A storage that was freed, and a capsule that can't be an array, are refused with what was found."""
    text, status = outcomes()[pair]
    assert status == 0
    assert text.startswith("text: ")
    assert REFUSED[pair] in text


def test_reversed_labels_are_recorded_in_their_order(tmp_path: Path) -> None:
    """What is read through NumPy has the values of the array, in its order."""
    logits, labels = events.pair(samples=1, length=6, vocabulary=16)
    backwards = np.ascontiguousarray(labels.numpy()[:, ::-1])[:, ::-1]
    with Recorder(tmp_path, every=1, console=False, strict=True) as recorder:
        (first,) = recorder.compare(logits, labels, 0).result(10)  # type: ignore[union-attr]
        (second,) = recorder.compare(logits, Producer(backwards), 1).result(10)  # type: ignore[union-attr]
    assert isinstance(first, Comparison)
    assert first.tokens == second.tokens


def test_tensors_of_one_storage_are_read(tmp_path: Path) -> None:
    """The check is exact: views at the very end of a storage, expanded ones and empty ones are no fault."""
    base = torch.zeros(100).long()
    logits = torch.randn(1, 8, 16)
    with Recorder(tmp_path, every=1, console=False, strict=True) as recorder:
        for step, labels in enumerate((base[92:].view(1, 8), base[:1].expand(1, 8), base[1::14][None, :8])):
            assert recorder.compare(logits, labels, step) is not None
