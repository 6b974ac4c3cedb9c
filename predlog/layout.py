"""Any layout of a pair → views with the axes [sample, codebook, time(, vocabulary)].

Splitting and permuting axes never copies, so a canonical view costs nothing and reads nothing, whatever the
size of the batch. einops does the rearranging: https://einops.rocks
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import einops
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from predlog.errors import PairError, described

_INFERRED = {(3, 2): "b t v, b t", (2, 1): "t v, t"}
_EXAMPLES = '"b t v, b t", "b v t, b t", "t k v, k t", "(b k) t v, b t k" or "b t (k v), b t k"'


@dataclass(frozen=True, slots=True)
class Pair:
    """Logits [b, k, t, v] with the labels and, where given, the inputs [b, k, t] that belong to them."""

    logits: Tensor
    labels: Tensor
    inputs: Tensor | None
    has_codebooks: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    logits: str
    labels: str
    axes: frozenset[str]


def canonical(logits: Tensor, labels: Tensor, inputs: Tensor | None, layout: str | None) -> Pair:
    """View a pair in canonical form.

    `layout` is a pair of einops patterns over b (sample), t (time), k (codebook) and v (vocabulary), such as
    "b t v, b t"; None infers it from 3 and 2 axes or 2 and 1 axes. `inputs` are laid out as the labels are.
    Raises PairError with both shapes where the pair does not fit.
    """
    shapes = f"logits {list(logits.shape)} and labels {list(labels.shape)}"
    if layout is None:
        layout = _INFERRED.get((logits.ndim, labels.ndim))
        if layout is None:
            raise PairError(f"{shapes} leave their layout open: say it, as in layout={_EXAMPLES}")
    if type(layout) is not str:
        raise PairError(f"layout is a {type(layout).__name__}, and no pair of patterns: write one like {_EXAMPLES}")
    parsed = _parse(layout)
    try:
        viewed_labels, sizes = _view_labels(labels, parsed)
        viewed_logits = einops.rearrange(logits, f"{parsed.logits} -> {_right(parsed.axes)} v", **sizes)
    except einops.EinopsError as error:
        raise PairError(f"{shapes} do not fit layout {layout!r}: {_reason(error)}") from None
    if viewed_logits.shape[:3] != viewed_labels.shape:
        raise PairError(
            f"{shapes} differ under layout {layout!r}: logits have {_sizes(viewed_logits)}, "
            f"labels {_sizes(viewed_labels)} (samples × codebooks × positions)"
        )
    viewed_inputs = None
    if inputs is not None:
        if inputs.shape != labels.shape:
            raise PairError(f"inputs {list(inputs.shape)} must have the shape of the labels {list(labels.shape)}")
        viewed_inputs, _ = _view_labels(inputs, parsed)
    return Pair(viewed_logits, viewed_labels, viewed_inputs, "k" in parsed.axes)


def _view_labels(labels: Tensor, layout: _Layout) -> tuple[Tensor, dict[str, int]]:
    viewed = einops.rearrange(labels, f"{layout.labels} -> {_right(layout.axes)}")
    sizes = dict(zip("bkt", viewed.shape, strict=True))
    return viewed, {axis: size for axis, size in sizes.items() if axis in layout.axes}


def _right(axes: frozenset[str]) -> str:
    return " ".join(axis if axis in axes else "1" for axis in "bkt")


@lru_cache(maxsize=64)
def _parse(layout: str) -> _Layout:
    sides = [side.strip() for side in layout.split(",")]
    if len(sides) != 2:
        raise PairError(f"layout {layout!r} is no pair of patterns: write one like {_EXAMPLES}")
    named = [re.findall(r"[a-z]+", side) for side in sides]
    for side, axes in zip(sides, named, strict=True):
        if not re.fullmatch(r"[btkv() ]+", side) or len(set(axes)) < len(axes):
            raise PairError(
                f"layout {layout!r}: {side!r} may hold each of the axes b (sample), t (time), k (codebook), "
                f"v (vocabulary) once, separated by spaces, as in {_EXAMPLES}"
            )
    logits_axes, labels_axes = set(named[0]), set(named[1])
    if "t" not in labels_axes or logits_axes != labels_axes | {"v"} or "v" in labels_axes:
        raise PairError(
            f"layout {layout!r}: the logits need the labels' axes and v, and the labels need t: "
            f"logits have {sorted(logits_axes)}, labels {sorted(labels_axes)}"
        )
    if "(" in sides[1]:
        raise PairError(f"layout {layout!r}: the labels' sizes must be plain, without parentheses")
    return _Layout(sides[0], sides[1], frozenset(labels_axes))


def _sizes(view: Tensor) -> str:
    return " × ".join(str(size) for size in view.shape[:3])


def _reason(error: Exception) -> str:
    # einops ends its messages with the one line that says what does not fit.
    return str(error).strip().splitlines()[-1].strip()


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
    raise PairError(
        f"{name} are a {type(value).__name__}: pass a torch tensor, a NumPy array or anything with __dlpack__"
    )
