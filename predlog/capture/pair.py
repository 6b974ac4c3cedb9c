"""What was passed to `compare`, checked: tensors, chunks, dtypes, devices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from predlog.capture import layout as layouts
from predlog.capture.projection import Head, Projection, Source
from predlog.errors import PairError, described


def as_tensor(name: str, value: object) -> Tensor:
    """Give a torch tensor over the memory of `value`, which may be one, or speak DLPack.

    Raises PairError where it can't be had, or where reading it would issue a collective or make no sense.
    """
    if not isinstance(value, Tensor):
        value = _imported(name, value)
    kind = type(value)
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        mend = "pass .to_local()" if kind.__name__ == "DTensor" else "pass a plain tensor"
        raise PairError(f"{name} are a {kind.__name__}, which predlog does not read: {mend}")
    if value.is_nested or value.layout != torch.strided or value.is_quantized or value.is_meta:
        what = "on the meta device" if value.is_meta else "sparse, nested or quantized"
        raise PairError(f"{name} are {what}: there are no values to show")
    return value


def _imported(name: str, value: object) -> Tensor:
    try:
        # torch 2.13 aborts the process on a DLPack capsule with negative strides, so such arrays are copied.
        if any(stride < 0 for stride in getattr(value, "strides", None) or ()):
            value = value.copy()  # type: ignore[attr-defined]
        if hasattr(value, "__dlpack__"):
            return from_dlpack(value)
        if hasattr(value, "__array__") and hasattr(array := value.__array__(), "__dlpack__"):
            return _imported(name, array)
    except Exception as error:  # noqa: BLE001 - any producer may raise anything
        raise PairError(f"{name} ({type(value).__name__}) could not be read as a tensor: {described(error)}") from None
    if hasattr(value, "logits"):
        raise PairError(f"{name} are a {type(value).__name__}: pass its .logits")
    raise PairError(
        f"{name} are a {type(value).__name__}: pass a torch tensor, a NumPy array or anything with __dlpack__"
    )


@dataclass(frozen=True, slots=True)
class Given:
    """What was handed over as logits: `outline` has their shape, and their values where these are all there is."""

    outline: Tensor
    chunks: tuple[Tensor, ...]
    head: Head | None

    @property
    def is_whole(self) -> bool:
        """Whether they are logits as they are."""
        return self.head is None and self.outline is self.chunks[0]

    def source(self, labels: Tensor, layout: str | None) -> Source:
        """Give what makes rows, for labels that fit the outline."""
        views = tuple(layouts.viewed(chunk, labels, layout) for chunk in self.chunks)
        if self.head is not None and views[0].shape[-1] != self.head.weight.shape[1]:
            raise PairError(
                f"hidden states {list(self.chunks[0].shape)} are {views[0].shape[-1]} wide, and the weight "
                f"{list(self.head.weight.shape)} takes {self.head.weight.shape[1]}: it must be [vocabulary, width]"
            )
        return Source(views, self.head)


def given(logits: object, layout: str | None, product: torch.dtype | None = None) -> Given:
    """Take what was handed over as logits: a tensor, a `Projection`, or a list of chunks along time.

    `product` is the type in which rows are projected; None takes the weight's. Raises PairError where it is none of
    these.
    """
    if isinstance(logits, Projection):
        hidden = as_tensor("hidden", logits.hidden)
        return Given(hidden, (hidden,), _head(logits, product))
    if isinstance(logits, list | tuple) and logits and not isinstance(logits[0], int | float | list | tuple):
        chunks = tuple(as_tensor("logits", chunk) for chunk in logits)
        return Given(_joined(chunks, layout), chunks, None)
    whole = as_tensor("logits", logits)
    return Given(whole, (whole,), None)


def _joined(chunks: Sequence[Tensor], layout: str | None) -> Tensor:
    """Give the outline of all chunks together, without making it."""
    first = chunks[0]
    if len(chunks) == 1:
        return first
    axis = layouts.time_axis(first.ndim, layout)
    shapes = [[*chunk.shape[:axis], *chunk.shape[axis + 1 :]] for chunk in chunks]
    if any(shape != shapes[0] or chunk.dtype != first.dtype for shape, chunk in zip(shapes, chunks, strict=True)):
        listed = ", ".join(f"{list(chunk.shape)} {chunk.dtype}" for chunk in chunks)
        raise PairError(f"chunks of logits must differ in their time (axis {axis}) only: {listed}", "layout-mismatch")
    shape = list(first.shape)
    shape[axis] = sum(chunk.shape[axis] for chunk in chunks)
    return torch.empty(shape, dtype=first.dtype, device="meta")


def _head(projection: Projection, product: torch.dtype | None) -> Head:
    weight = _plain("weight", projection.weight)
    bias = None if projection.bias is None else _plain("bias", projection.bias)
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        shapes = f"weight {list(weight.shape)}" + ("" if bias is None else f" and bias {list(bias.shape)}")
        raise PairError(f"a head's {shapes} must be [vocabulary, width] and [vocabulary]")
    scale, softcap = projection.scale, projection.softcap
    if scale is not None and _number("scale", scale) <= 0:
        raise PairError(f"scale={scale} must be above 0, or None where it is not known")
    if softcap is not None and _number("softcap", softcap) <= 0:
        raise PairError(f"softcap={softcap} must be above 0, or None")
    return Head(weight, bias, scale, softcap, product or weight.dtype)


def _plain(name: str, value: object) -> Tensor:
    if type(value).__name__ == "DTensor":
        raise PairError(
            f"the head's {name} is a DTensor, and gathering it is a collective, which predlog never issues: hand the "
            "projection over inside of the forward, where FSDP has gathered it"
        )
    tensor = as_tensor(f"the head's {name}", value)
    if not tensor.dtype.is_floating_point:
        raise PairError(f"the head's {name} {list(tensor.shape)} is {tensor.dtype}: it must be of floating point")
    return tensor


def _number(name: str, value: object) -> float:
    if type(value) not in {int, float}:
        raise PairError(
            f"{name} is of type {type(value).__name__}: pass a Python number; to read a tensor stops the device"
        )
    if not math.isfinite(value):  # type: ignore[arg-type]
        raise PairError(f"{name}={value} must be finite")
    return value  # type: ignore[return-value]


def floating(logits: Tensor) -> Tensor:
    """Return logits that are of floating point; raise PairError for others."""
    if not logits.dtype.is_floating_point:
        raise PairError(f"logits {list(logits.shape)} are {logits.dtype}: are logits and labels swapped?")
    return logits


def integral(name: str, ids: Tensor) -> Tensor:
    """Return token ids that are integers; raise PairError for others."""
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        raise PairError(f"{name} {list(ids.shape)} are {ids.dtype}: token ids must be integers, as .long() gives them")
    return ids


def check(pair: layouts.Pair, source: Source | None, ignore_index: int) -> None:
    """Raise PairError where the parts of a pair lie on several devices, or `ignore_index` is no id."""
    if type(ignore_index) is not int or not -(2**63) <= ignore_index < 2**63:
        raise PairError("ignore_index must be a Python int of at most 64 bits")
    logits = [pair.logits] if source is None else source.tensors
    devices = {tensor.device for tensor in (*logits, pair.labels, pair.inputs) if tensor is not None}
    if len(devices) > 1:
        raise PairError(f"the pair lies on several devices, {sorted(map(str, devices))}: move it to one")
