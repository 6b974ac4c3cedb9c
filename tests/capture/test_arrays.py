"""Arrays of NumPy's: what torch has a type for is read in place, and the rest is refused with what to pass."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import Tensor

from predlog import Projection, Rows
from predlog.capture import arrays
from predlog.capture.tensors import as_tensor
from predlog.errors import PairError
from tests.capture.test_capture import captured
from tests.capture.test_reduction import changed, pair, reduced, refused

MACHINE = np.dtype("i4").newbyteorder("=").str[0]
OTHER = ">" if MACHINE == "<" else "<"


def ml_dtype(name: str) -> Any:
    """Return a type of the package from which JAX has its own."""
    return np.dtype(getattr(ml_dtypes, name))


def logits_of(dtype: torch.dtype) -> Tensor:
    logits, _ = pair()
    return (logits.abs() + 0.1).to(dtype)  # float8_e8m0fnu has no sign


@pytest.mark.parametrize("layout", ["as it is", "reversed", "every second", "read-only", "transposed"])
@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float8_e4m3fnuz"])
def test_types_of_ml_dtypes_are_read_in_place(name: str, layout: str) -> None:
    """`jax.device_get` returns such arrays; whatever their strides are, they give the record of the same tensor."""
    if not hasattr(torch, name):
        pytest.skip(f"this torch has no {name}")
    logits = logits_of(getattr(torch, name))
    how: dict[str, Any] = {}
    _, labels = pair()
    integers = logits.view(torch.int16 if logits.dtype.itemsize == 2 else torch.uint8).numpy()
    array = integers.view(ml_dtype(name))
    if layout == "reversed":
        array, logits = array[:, ::-1], integers_flipped(logits)
    if layout == "every second":
        array, logits, labels = array[:, ::2], logits[:, ::2], labels[:, ::2]
    if layout == "read-only":
        array.flags.writeable = False
    if layout == "transposed":
        array, logits, how = array.transpose(0, 2, 1), logits.transpose(1, 2), {"layout": "b v t, b t"}
    assert captured(array, labels.numpy(), **how) == captured(logits, labels, **how)
    found = as_tensor("logits", array)
    assert found.dtype == logits.dtype
    if layout != "reversed":
        assert found.data_ptr() == array.__array_interface__["data"][0]


def integers_flipped(logits: Tensor) -> Tensor:
    return logits.float().flip(1).to(logits.dtype)  # torch flips no float8


def test_rows_may_be_bfloat16_arrays() -> None:
    """Log-probabilities that were computed in bfloat16, as `jax.device_get` returns them, give those of the tensor."""
    logits, labels = pair()
    rows: Any = reduced(logits.bfloat16(), labels)
    halves = {name: getattr(rows, name).bfloat16() for name in ("prediction_logprob", "label_logprob")}
    read = {name: one.view(torch.int16).numpy().view(ml_dtype("bfloat16")) for name, one in halves.items()}
    ids = {name: getattr(rows, name).numpy() for name in ("prediction", "label_rank")}
    assert captured(changed(rows, **read, **ids), labels.numpy()) == captured(changed(rows, **halves), labels)


def test_a_type_that_torch_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch before 2.7 has no float8_e8m0fnu, and there it is as any other type that can't be read."""
    monkeypatch.delattr(torch, "float8_e8m0fnu", raising=False)
    with pytest.raises(PairError, match=r'NumPy array of float8_e8m0fnu, which torch can.t read: pass .astype\("float'):
        as_tensor("logits", np.ones((2, 3), ml_dtype("float8_e8m0fnu")))


UNREADABLE: dict[str, tuple[Any, str]] = {
    f"{OTHER}i8": (lambda: np.dtype(f"{OTHER}i8"), 'pass .astype("int64")'),
    f"{OTHER}f4": (lambda: np.dtype(f"{OTHER}f4"), 'pass .astype("float32")'),
    "object": (lambda: np.dtype(object), 'pass .astype("int64")'),
    "<U1": (lambda: np.dtype("<U1"), "pass numbers"),
    "int4": (lambda: ml_dtype("int4"), 'pass .astype("int8")'),
    "uint4": (lambda: ml_dtype("uint4"), 'pass .astype("int8")'),
    "float8_e3m4": (lambda: ml_dtype("float8_e3m4"), 'pass .astype("float32")'),
    "float4_e2m1fn": (lambda: ml_dtype("float4_e2m1fn"), 'pass .astype("float32")'),
}


@pytest.mark.parametrize("dtype", UNREADABLE)
def test_what_torch_has_no_type_for_is_refused_in_a_line(dtype: str) -> None:
    """The line has the shape, the type and what to pass, and no error of DLPack's."""
    make, fix = UNREADABLE[dtype]
    logits, _ = pair()
    message = refused(logits, np.ones((2, 12), make())).message
    assert f"labels [2, 12] are a NumPy array of {dtype}, which torch can't read: {fix}. The run goes on" in message
    assert "\n" not in message


def test_objects_in_place_of_logits_are_floats() -> None:
    """What is advised is of the kind that the part needs."""
    with pytest.raises(PairError, match=r'logits \[3\] are a NumPy array of object.*pass .astype\("float32"\)'):
        as_tensor("logits", np.ones(3, object))


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("labels", "pass .filled(-100)"),
        ("predictions of Rows", "pass .filled(-1)"),
        ("logits", "pass what .filled(value) returns"),
    ],
)
def test_a_mask_is_not_lost(name: str, fix: str) -> None:
    """A masked array would be read as if nothing were masked."""
    masked = np.ma.masked_array(np.ones((2, 3), "int64"), mask=[[False, True, True]] * 2)
    with pytest.raises(PairError) as refusal:
        as_tensor(name, masked)
    assert str(refusal.value) == f"{name} [2, 3] are a masked NumPy array, whose mask would be lost: {fix}"
    assert as_tensor(name, masked.filled(-1)).tolist() == [[1, -1, -1]] * 2


class Failing:
    dtype = np.dtype("float32")
    shape = (2, 3)

    def __dlpack__(self, **how: Any) -> Any:
        raise RuntimeError("no such memory")

    def __dlpack_device__(self) -> Any:
        return 1, 0


def test_what_a_producer_raises_is_reported() -> None:
    """If the type can be read, the reason is elsewhere, such as in where the array lies."""
    with pytest.raises(PairError, match=r"logits \[2, 3\] are a Failing that could not be read as a tensor: Runtime"):
        as_tensor("logits", Failing())


class Item:
    """Neither a tensor nor an array."""


def test_nouns_have_their_articles() -> None:
    """A head's weight is one thing, labels are several, and a vowel follows an."""
    logits, labels = pair()
    weight = Projection(logits, Item())
    assert "the head's weight is an Item: pass a torch tensor" in refused(weight, labels).message
    assert "labels are an Item: pass a torch tensor" in refused(logits, Item()).message
    rows = changed(reduced(logits, labels), label_rank=Item())
    assert "label ranks of Rows are an Item: pass" in refused(rows, labels).message
    assert arrays.article("Tensor") == "a Tensor"
    assert isinstance(rows, Rows)


@pytest.mark.parametrize(("value", "says"), [(-1.0, "is of type float"), (np.int64(-1), "is of type int64"),
                                             (2**64, f"is {2**64}"), (None, "is of type NoneType")])  # fmt: skip
def test_an_ignore_index_that_is_none_is_named(value: Any, says: str) -> None:
    """The message has its type, or its value if that is too large."""
    logits, labels = pair()
    found = refused(logits, labels, ignore_index=value)
    assert f"ignore_index {says}: pass a Python int of at most 64 bits, such as -100" in found.message
