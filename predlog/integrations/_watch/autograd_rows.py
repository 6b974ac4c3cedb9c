"""The autograd graph of flattened rows → the samples and positions that they were flattened from.

Most losses are called with [b · t, v] and [b · t]. What the rows were before need not be guessed: autograd keeps the
shapes and slices that it needs for the backward. Its nodes have them as `_saved_*`, private names of torch's that are
used here alone.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# The most nodes between a head and its loss.
_DEEPEST = 12
VIEWS = {"ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0"}
COPIES = {"ToCopyBackward0", "CloneBackward0", "AliasBackward0"}
SPLITS = {"SplitBackward0", "SplitWithSizesBackward0"}
# These leave every row where it is; a scale and a soft cap are made of them.
_POINTWISE = {"MulBackward0", "DivBackward0", "TanhBackward0", "AddBackward0", "SubBackward0"}
# What makes logits or hidden states; the search ends there.
_MAKERS = {
    "AddmmBackward0", "MmBackward0", "BmmBackward0", "LinearBackward0", "NativeLayerNormBackward0",
    "FusedRmsNormBackward0", "EmbeddingBackward0", "torch::autograd::AccumulateGrad",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """Rows [samples, length] that began at `start` of `whole` positions; `start` is None if that is unknown.

    `maker` is the node that made all of them.
    """

    samples: int
    length: int
    start: int | None
    whole: int
    maker: Any = field(default=None, compare=False, repr=False)


def origin(rows: Tensor) -> Origin | None:
    """Return where flattened rows [b · t, width] or transposed ones [b, width, t] come from; None if unknown."""
    node = rows.grad_fn
    if rows.ndim == 3:
        return sliced_from(node, rows.output_nr, rows.shape[0], rows.shape[2], axis=2)
    for _ in range(_DEEPEST):
        name = "" if node is None else node.name()
        if name in VIEWS and len(sizes := saved(node, "self_sym_sizes")) == 3:
            fits = sizes[2] == rows.shape[1] and sizes[0] * sizes[1] == rows.shape[0]
            return sliced_from(*before(node), sizes[0], sizes[1], axis=1) if fits else None
        if name not in COPIES:
            return None
        node, _ = before(node)
    return None


def sliced_from(node: Any, number: int, samples: int, length: int, axis: int) -> Origin:
    """Follow rows, whose time is `axis` of three, to where they were sliced from all positions.

    They are output `number` of their node.
    """
    start, whole = 0, length
    for _ in range(_DEEPEST):
        name = "" if node is None else node.name()
        if name == "SliceBackward0":
            sizes, at = saved(node, "self_sym_sizes"), saved(node, "dim")
            # Before 2.9, torch notes the ":" of [:, 1:] as a slice of its own.
            if len(sizes) != 3 or saved(node, "step") != 1 or sizes[0] != samples:
                break
            if at == axis:
                first = signed(saved(node, "start"))
                start, whole = start + (first + sizes[axis] if first < 0 else first), sizes[axis]
        elif name in SPLITS:
            sizes = saved(node, "self_sym_sizes")
            if len(sizes) != 3 or signed(saved(node, "dim")) % 3 != axis:
                break
            start, whole = start + split_start(node, name, number), sizes[axis]
        elif _is_transposing(node, name):
            axis = 3 - axis
        elif _is_made_by(node, name):
            return Origin(samples, length, start, whole, node)
        elif name not in COPIES | _POINTWISE:
            break
        node, number = before(node)
    return Origin(samples, length, None, whole)


def split_start(node: Any, name: str, number: int) -> int:
    """Return where output `number` of a node that splits an axis begins."""
    if name == "SplitBackward0":
        return number * int(saved(node, "split_size"))
    return sum(saved(node, "split_sizes")[:number])


def _is_transposing(node: Any, name: str) -> bool:
    """Return whether the last two of three axes are exchanged."""
    if name == "TransposeBackward0":
        return {signed(saved(node, which)) % 3 for which in ("dim0", "dim1")} == {1, 2}
    return name == "PermuteBackward0" and [signed(one) % 3 for one in saved(node, "dims")] == [0, 2, 1]


def _is_made_by(node: Any, name: str) -> bool:
    """Return whether rows were made here: by a head, which works on flat ones, or from more than one tensor."""
    if name in VIEWS:
        return len(saved(node, "self_sym_sizes")) == 2
    if name in _POINTWISE:
        return sum(before is not None for before, _ in node.next_functions) > 1
    return name in _MAKERS


def before(node: Any, which: int = 0) -> tuple[Any, int]:
    """Return the node that made what a node was given, and which of that node's outputs it is."""
    found: tuple[Any, int] = node.next_functions[which]
    return found


def saved(node: Any, name: str) -> Any:
    """Return what a node keeps for the backward, if it is no tensor."""
    return getattr(node, f"_saved_{name}")


def signed(number: int) -> int:
    """Return a number that torch returns as an unsigned one of 64 bits if it is negative."""
    return number - 2**64 if number >= 2**63 else number
