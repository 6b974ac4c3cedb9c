"""Chunks of a sequence, whose loss is computed one by one → the rows that they were cut from, and the pair of all.

Autograd shows of which rows a chunk is a part. A head may be applied to all rows before they are cut, or to each chunk.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from predlog._runtime.torch_state import alone
from predlog.integrations._watch import autograd_rows
from predlog.integrations._watch.autograd_rows import COPIES, SPLITS, VIEWS, before, saved, signed
from predlog.integrations._watch.loss_call import LossPair

_PRODUCTS = {"AddmmBackward0": (1, 2), "MmBackward0": (0, 1)}
# The most nodes between flat rows and where they were cut, and between a head and its weight.
_DEEPEST, _TO_WEIGHT = 12, 6
# A loss for one token more or less than another is no chunk: models with several heads cut off a few rows.
_FEW = 8


@dataclass(frozen=True, slots=True)
class Part:
    """`length` rows of `whole` ones from `start` on, of each sample or of all samples in one row.

    `maker` made all of these; `weight` is that of the head, if the head was applied to the part.
    """

    maker: Any
    weight: Any
    samples: int | None
    start: int
    length: int
    whole: int

    @property
    def is_chunk(self) -> bool:
        """Whether so much is missing that further parts are likely to follow."""
        return self.whole - self.length > _FEW or 2 * self.length <= self.whole + 1

    def is_followed_by(self, other: "Part") -> bool:
        """Return whether another part of the same rows begins where this one ends."""
        return (
            self.maker is other.maker
            and self.weight is other.weight
            and (self.samples, self.whole) == (other.samples, other.whole)
            and self.start + self.length == other.start
        )


def part_of(rows: Tensor) -> Part | None:
    """Return which part of which rows the logits of a loss are; None if they are all, or if that is not known."""
    if rows.ndim not in {2, 3}:
        return None
    found = autograd_rows.origin(rows)
    if found is None:
        return _flat_part(rows.grad_fn, rows.output_nr, rows.shape[0]) if rows.ndim == 2 else None
    if found.start is None or found.length < found.whole:
        return _part(found, None)
    if (head := _through_head(found.maker)) is None:
        return None
    node, number, weight = head
    while node is not None and node.name() in VIEWS | COPIES and len(_sizes(node)) != 2:
        if node.name() in VIEWS and _sizes(node)[:2] == (found.samples, found.length):
            node, number = before(node)
            return _part(autograd_rows.sliced_from(node, number, found.samples, found.length, axis=1), weight)
        node, number = before(node)
    return None


def _part(found: autograd_rows.Origin, weight: Any) -> Part | None:
    if found.start is None or found.length >= found.whole:
        return None
    return Part(found.maker, weight, found.samples, found.start, found.length, found.whole)


def _sizes(node: Any) -> tuple[int, ...]:
    return tuple(saved(node, "self_sym_sizes")) if node.name() in VIEWS else ()


def _through_head(node: Any) -> tuple[Any, int, Any] | None:
    """Return what a head was given, as a node and which of its outputs, and the head's weight; None without a head."""
    for _ in range(_TO_WEIGHT):
        name = "" if node is None else node.name()
        if name in _PRODUCTS:
            rows, weight = _PRODUCTS[name]
            found = _variable(before(node, weight)[0])
            return None if found is None else (*before(node, rows), found)
        if name not in VIEWS | COPIES | {"AddBackward0"}:
            return None
        node, _ = before(node)
    return None


def _variable(node: Any) -> Any:
    """Return the parameter that a weight comes from; None if it has no gradient."""
    for _ in range(_TO_WEIGHT):
        if node is None:
            return None
        if node.name() == "torch::autograd::AccumulateGrad":
            return node.variable
        node, _ = before(node) if node.next_functions else (None, 0)
    return None


def _flat_part(node: Any, number: int, length: int) -> Part | None:
    """Follow flat rows [n, width] to where they were cut from all rows."""
    start, whole, weight = 0, length, None
    for _ in range(_DEEPEST):
        name = "" if node is None else node.name()
        if name == "SliceBackward0" and len(sizes := saved(node, "self_sym_sizes")) == 2:
            if signed(saved(node, "dim")) % 2 == 0:
                first = signed(saved(node, "start"))
                start, whole = start + (first + sizes[0] if first < 0 else first), sizes[0]
        elif name in SPLITS and len(sizes := saved(node, "self_sym_sizes")) == 2:
            if signed(saved(node, "dim")) % 2:
                return None
            start, whole = start + autograd_rows.split_start(node, name, number), sizes[0]
        elif name in _PRODUCTS and weight is None and whole == length:
            head = _through_head(node)
            if head is None:
                return None
            node, number, weight = head
            continue
        elif name not in COPIES and not (name in VIEWS and _sizes(node)[:1] == (whole,) and len(_sizes(node)) == 2):
            break
        node, number = before(node)
    return Part(node, weight, None, start, length, whole) if node is not None and length < whole else None


@dataclass(slots=True)
class Chunks:
    """Losses of chunks that follow one another, as they are called."""

    name: str
    place: int
    pairs: list[LossPair]
    last: Part

    def add(self, pair: LossPair, part: Part | None) -> bool:
        """Add a chunk, and return True, if it follows the last one."""
        first = self.pairs[0]
        if part is None or not self.last.is_followed_by(part) or not _are_alike(first, pair):
            return False
        self.pairs.append(pair)
        self.last = part
        return True

    def joined(self) -> LossPair:
        """Return the pair of all chunks; their logits stay apart."""
        first = self.pairs[0]
        if len(self.pairs) == 1:
            return first
        enter, leave = alone()
        try:
            enter()
            axis = first.labels.ndim - 1  # type: ignore[attr-defined] # they are tensors
            labels = torch.cat([one.labels for one in self.pairs], axis)  # type: ignore[misc]
            layout = "t v, t" if axis == 0 else first.layout
            more = {
                name: torch.cat([one.more[name] for one in self.pairs], axis)
                for name in first.more
                if all(name in one.more for one in self.pairs) and first.more[name].shape == first.labels.shape  # type: ignore[attr-defined]
            }
            logits = [one.logits for one in self.pairs]
            return replace(first, logits=logits, labels=labels, layout=layout, more=more, is_mean=False, is_sum=False)
        finally:
            leave()


def _are_alike(first: LossPair, other: LossPair) -> bool:
    tensors = (first.logits, other.logits, first.labels, other.labels)
    return (
        all(isinstance(one, Tensor) for one in tensors)
        and first.labels.ndim == other.labels.ndim  # type: ignore[attr-defined]
        and first.logits.dtype == other.logits.dtype  # type: ignore[attr-defined]
        and (first.layout, first.ignore_index) == (other.layout, other.ignore_index)
    )
