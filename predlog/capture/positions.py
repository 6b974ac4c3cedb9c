"""What is known of each position of a pair beside its label: its weight in the loss, its document, whether it pads.

All of it is optional, small beside the logits, and laid out as the labels are. It is captured for the samples shown.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from predlog.capture import layout as layouts
from predlog.capture.tensors import as_ids, as_signed, as_tensor
from predlog.errors import PairError

_MASK_SHAPES = "attention_mask of shape {} is not used: pass the one of shape {}, with 0 for padding"
_LENGTHS = "document_ids of {} cumulative lengths are not used beside row_index=: pass the document of each position"
_ROTARY = "position_ids of shape {} are those of several axes, as in M-RoPE, and are not used: pass document_ids="


@dataclass(frozen=True, slots=True)
class Positions:
    """Views [s, k, t] of what is known of each position; None for what is not.

    `weights` are above 0 where the loss counts a position. `places` are the position ids, `documents` the ids of the
    documents, or `ends` [n] their cumulative lengths in the only sample. `attended` is 0 at padding. `index` is where
    each position belongs in the whole sample, if processes have parts of it. `unused` says what was passed and is not
    used, and why.
    """

    weights: Tensor | None = None
    places: Tensor | None = None
    documents: Tensor | None = None
    ends: Tensor | None = None
    attended: Tensor | None = None
    index: Tensor | None = None
    unused: tuple[str, ...] = ()

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Yield what is captured, with its name; the weights are not: they are folded into the labels."""
        for name in ("places", "documents", "ends", "attended", "index"):
            value: Tensor | None = getattr(self, name)
            if value is not None:
                yield name, value

    def all(self) -> Iterator[Tensor]:
        """Yield every tensor."""
        if self.weights is not None:
            yield self.weights
        yield from (value for _, value in self.named())

    def shown(self, samples: int, codebooks: int) -> "Positions":
        """Return the part of the first samples and codebooks."""
        return self.each(lambda value: value[:samples, :codebooks])

    def each(self, change: Callable[[Tensor], Tensor]) -> "Positions":
        """Return what is known after a change of each view; the lengths in the only sample stay."""

        def part(value: Tensor | None) -> Tensor | None:
            return None if value is None else change(value)

        return replace(
            self,
            weights=part(self.weights),
            places=part(self.places),
            documents=part(self.documents),
            attended=part(self.attended),
            index=part(self.index),
        )


NOTHING_KNOWN = Positions()


def to_positions(
    labels: Tensor,
    layout: str | None,
    size: tuple[int, int, int],
    *,
    loss_mask: object = None,
    position_ids: object = None,
    document_ids: object = None,
    attention_mask: object = None,
    row_index: object = None,
) -> Positions:
    """Return what was passed as views of the size [b, k, t] of the labels; raise PairError for what does not fit.

    Each is laid out as the labels are, or without their codebooks, or as [b, t]; one axis [t], or [1, t], is that of
    all samples. `document_ids` of one row that are fewer than its labels are cumulative lengths.
    """
    if all(one is None for one in (loss_mask, position_ids, document_ids, attention_mask, row_index)):
        return NOTHING_KNOWN
    unused = []

    def view(name: str, value: Tensor) -> Tensor:
        found = layouts.beside(value, labels, layout, size)
        if found is None:
            raise PairError(
                f"{name} {list(value.shape)} and labels {list(labels.shape)} differ: pass one value for each label",
                "layout-mismatch",
                **{name: list(value.shape), "labels": list(labels.shape)},
            )
        return found

    weights = None if loss_mask is None else view("loss_mask", as_tensor("loss_mask", _numbers(loss_mask)))
    places = ends = documents = attended = index = None
    if row_index is not None:
        index = view("row_index", as_ids("row_index", row_index, "positions in the whole sample"))
    if position_ids is not None:
        places = as_ids("position_ids", position_ids, "positions")
        if places.ndim == 3 and labels.ndim < 3:
            unused.append(_ROTARY.format(list(places.shape)))
            places = None
        else:
            places = view("position_ids", places)
    if document_ids is not None:
        documents, ends = _documents(document_ids, view, size)
        if ends is not None and index is not None:
            # Nothing says whether they count the positions here or those of the whole sample.
            unused.append(_LENGTHS.format(len(ends)))
            ends = None
    if attention_mask is not None:
        attended, why = _attended(attention_mask, lambda value: layouts.beside(value, labels, layout, size), size)
        unused += why
    return Positions(weights, places, documents, ends, attended, index, tuple(unused))


def _documents(
    given: object, view: Callable[[str, Tensor], Tensor], size: tuple[int, int, int]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the view of the documents' ids, or the cumulative lengths [n] of those in the only sample."""
    ids = as_ids("document_ids", given, "numbers of documents")
    if size[0] == 1 and list(ids.shape) in ([n := ids.numel()], [1, n]) and n < size[2]:
        return None, ids.view(n)
    return view("document_ids", ids), None


def _attended(
    mask: object, view: Callable[[Tensor], Tensor | None], size: tuple[int, int, int]
) -> tuple[Tensor | None, list[str]]:
    """Return the view of a mask over positions; None, and why, for a mask over pairs of positions or anything else."""
    found = view(mask) if isinstance(mask, Tensor) and mask.ndim < 4 else None
    if found is None and not isinstance(mask, Tensor):
        try:
            found = view(as_tensor("attention_mask", _numbers(mask)))
        except PairError:
            shape = getattr(mask, "shape", None)
            return None, [_MASK_SHAPES.format(shape or f"none ({type(mask).__name__})", [size[0], size[2]])]
    if found is None:
        return None, [_MASK_SHAPES.format(list(getattr(mask, "shape", ())), [size[0], size[2]])]
    return as_tensor("attention_mask", found), []


def _numbers(mask: Any) -> object:
    """Return a mask of booleans as numbers over the same memory, since old NumPy exports no booleans."""
    is_foreign = not isinstance(mask, Tensor) and str(getattr(mask, "dtype", "")) == "bool"
    return mask.view("uint8") if is_foreign and hasattr(mask, "ctypes") else mask


def supervised_only(labels: Tensor, weights: Tensor | None, ignore_index: int) -> Tensor:
    """Return 64-bit labels that are `ignore_index` wherever the loss has no weight."""
    ids = as_signed(labels)
    return ids if weights is None else torch.where(weights > 0, ids, ignore_index)
