"""The autograd graph of flattened rows → the samples and positions that they were flattened from.

Most losses are called with [b · t, v] and [b · t]. What the rows were before need not be guessed: autograd keeps the
shapes and slices that it needs for the backward. Its nodes have them as `_saved_*`, private names of torch's that are
used here alone.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

# The most nodes between a head and its loss.
_DEEPEST = 12
_VIEWS = {"ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0"}
_COPIES = {"ToCopyBackward0", "CloneBackward0", "AliasBackward0"}
# These leave every row where it is; a scale and a soft cap are made of them.
_POINTWISE = {"MulBackward0", "DivBackward0", "TanhBackward0", "AddBackward0", "SubBackward0"}
# What makes logits or hidden states; the search ends there.
_MAKERS = {
    "AddmmBackward0", "MmBackward0", "BmmBackward0", "LinearBackward0", "NativeLayerNormBackward0",
    "FusedRmsNormBackward0", "EmbeddingBackward0", "torch::autograd::AccumulateGrad",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """Rows [samples, length] that began at `start` of `whole` positions; `start` is None if that is unknown."""

    samples: int
    length: int
    start: int | None
    whole: int


def origin(rows: Tensor) -> Origin | None:
    """Return where flattened rows [b · t, width] or transposed ones [b, width, t] come from; None if unknown."""
    node = rows.grad_fn
    if rows.ndim == 3:
        return _sliced_from(node, rows.shape[0], rows.shape[2], axis=2)
    for _ in range(_DEEPEST):
        name = "" if node is None else node.name()
        if name in _VIEWS and len(sizes := _saved(node, "self_sym_sizes")) == 3:
            fits = sizes[2] == rows.shape[1] and sizes[0] * sizes[1] == rows.shape[0]
            return _sliced_from(_before(node), sizes[0], sizes[1], axis=1) if fits else None
        if name not in _COPIES:
            return None
        node = _before(node)
    return None


def _sliced_from(node: Any, samples: int, length: int, axis: int) -> Origin:
    """Follow rows, whose time is `axis` of three, to where they were sliced from all positions."""
    start, whole = 0, length
    for _ in range(_DEEPEST):
        name = "" if node is None else node.name()
        if name == "SliceBackward0":
            sizes, at = _saved(node, "self_sym_sizes"), _saved(node, "dim")
            # Before 2.9, torch notes the ":" of [:, 1:] as a slice of its own.
            if len(sizes) != 3 or _saved(node, "step") != 1 or sizes[0] != samples:
                break
            if at == axis:
                first = _signed(_saved(node, "start"))
                start, whole = start + (first + sizes[axis] if first < 0 else first), sizes[axis]
        elif _is_transposing(node, name):
            axis = 3 - axis
        elif _is_made_by(node, name):
            return Origin(samples, length, start, whole)
        elif name not in _COPIES | _POINTWISE:
            break
        node = _before(node)
    return Origin(samples, length, None, whole)


def _is_transposing(node: Any, name: str) -> bool:
    """Return whether the last two of three axes are exchanged."""
    if name == "TransposeBackward0":
        return {_signed(_saved(node, which)) % 3 for which in ("dim0", "dim1")} == {1, 2}
    return name == "PermuteBackward0" and [_signed(one) % 3 for one in _saved(node, "dims")] == [0, 2, 1]


def _is_made_by(node: Any, name: str) -> bool:
    """Return whether rows were made here: by a head, which works on flat ones, or from more than one tensor."""
    if name in _VIEWS:
        return len(_saved(node, "self_sym_sizes")) == 2
    if name in _POINTWISE:
        return sum(before is not None for before, _ in node.next_functions) > 1
    return name in _MAKERS


def _before(node: Any) -> Any:
    return node.next_functions[0][0]


def _saved(node: Any, name: str) -> Any:
    return getattr(node, f"_saved_{name}")


def _signed(number: int) -> int:
    # torch returns negative numbers as unsigned ones of 64 bits.
    return number - 2**64 if number >= 2**63 else number
