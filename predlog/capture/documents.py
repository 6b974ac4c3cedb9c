"""Where documents begin in a row → which positions are neighbours, and which labels belong to another document.

All of it is computed on the host from the ids of the samples shown, for pairs on the CPU in the training thread: so
there are few operations, and what happens at few places, such as boundaries, is looked at one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from predlog.capture.positions import Positions
from predlog.capture.tensors import as_signed
from predlog.numbers.snapshot import Sizes

Words = Sequence[int]


@dataclass(frozen=True, slots=True)
class Documents:
    """Of each position [s, k, t]: its document, its place in it, and whether the next position follows it there.

    `ids` are the documents' own ids, or their numbers in the row; `places` are the position ids, counted from the begin
    of a document if none were passed. `is_next` [s, k, t - 1] is whether the position after is the next one in the same
    document, and `begins` [s, k, t - 1] whether a document begins there. `is_counted` is whether the ids are numbers in
    the row, and `has_places` whether the places were passed.
    """

    ids: Tensor
    places: Tensor
    is_next: Tensor
    begins: Tensor
    is_counted: bool = False
    has_places: bool = False

    def follow(self, rows: int) -> Tensor:
        """Return [s, k, 3, rows]: whether the position 0, 1 and 2 after each is so in its document, too."""
        one = pad(self.is_next, (0, 1))
        two = one & pad(self.is_next[..., 1:], (0, min(2, one.shape[-1])))
        return torch.stack([torch.ones_like(one), one, two], -2)[..., :rows]


def documents(positions: Positions, length: int, near: Tensor | None = None) -> Documents | None:
    """Return the documents of rows of this length; None if nothing is known of them.

    `near` [s, k, t - 1] is whether each next position is the one after in the whole sample, if rows are split over
    processes. Where it is not, places are counted anew, and nothing follows or begins.
    """
    places = None if positions.places is None else as_signed(positions.places)
    ids = None if positions.documents is None else as_signed(positions.documents)
    if positions.ends is not None:
        ids = _of_lengths(positions.ends, length)
    if ids is None and positions.attended is not None:
        ids = _of_mask(positions.attended)
    if ids is None:
        # Zeros fill an argument that the model does not use, or all of one part of a sample, where they are padding.
        if places is None or (near is None and length > 1 and not bool(places.any())):
            return None
        step = places[..., 1:] - places[..., :-1]
        begins = step <= 0
        ids = pad(begins.to(torch.int64).cumsum(-1), (1, 0))
        known = Documents(ids, places, step == 1, begins, is_counted=True, has_places=True)
        return known if near is None else _within_runs(known, near)
    begins = ids[..., 1:] != ids[..., :-1]
    has_places = places is not None
    if places is None:
        breaks = begins if near is None else begins | ~near
        index = torch.arange(length, device=ids.device).expand_as(ids)
        places = index - pad(index[..., 1:] * breaks, (1, 0)).cummax(-1).values
    begins, ids = begins.expand_as(places[..., 1:]), ids.expand_as(places)
    follows = places[..., 1:] - places[..., :-1] == 1
    if positions.ends is not None:
        begins = begins | ~follows  # attention that is contiguous: what jumps is no neighbour in it either
    known = Documents(ids, places, follows & ~begins, begins, has_places=has_places)
    return known if near is None else _within_runs(known, near)


def _within_runs(known: Documents, near: Tensor) -> Documents:
    return replace(known, is_next=known.is_next & near, begins=known.begins & near)


def of_runs(near: Tensor | None) -> Documents | None:
    """Return what is known of neighbours where nothing is known of documents: the next of each position, by `near`."""
    if near is None:
        return None
    nothing = torch.zeros_like(near)
    ids = pad(nothing.to(torch.int64), (1, 0))
    return Documents(ids, ids, near, nothing)


def _of_mask(attended: Tensor) -> Tensor | None:
    """Return the documents' numbers that an attention mask has in place of ones, 1, 2, 3 and so on; None without."""
    ids = as_signed(attended)
    if int(ids.amax()) <= 1:
        return None
    after, steps = ids[..., 1:], ids[..., 1:] - ids[..., :-1]
    is_counting = (steps == 0) | (steps == 1) | (after == 0)  # Longformer's 2 is no second document
    return ids if bool(is_counting.all() & (ids[..., 0] <= 1).all()) else None


def _of_lengths(ends: Tensor, length: int) -> Tensor | None:
    """Return the number of the document [1, 1, t] of each position, from cumulative lengths with or without the 0.

    Returns None if they are not those of this row, as where it is one process's part of a longer one.
    """
    inner = as_signed(ends)
    inner = inner[inner > 0]  # some are filled up with 0 or -1
    steps, last = inner.diff(), int(inner[-1]) if len(inner) else 0
    if bool((steps < 0).any()) or last > length + 1 or (last < length - 1 and bool((steps == 0).any())):
        return None
    return torch.bucketize(torch.arange(length, device=ends.device), inner, right=True).view(1, 1, length)


def crossings(
    known: Documents | None, attended: Tensor | None, labels: Words, inputs: Words | None, sizes: Sizes,
    near: Tensor | None = None,
) -> list[dict[str, tuple[int, ...]]]:  # fmt: skip
    """Return, per sequence, counts of labels that their rows can't know; none if nothing is known of their positions.

    `labels` and `inputs` are the ids of all sequences, one after the other. `crossing` labels belong to another
    document than their row, `from_padding` ones to a row that reads padding, and `padding` ones are padding themselves.
    `separators` are the lowest and the highest id that rows of crossing labels read, or -1 without any. A row that
    reads an end token, or a label that begins a text, crosses nothing. With `near`, as in `documents`, only what lies
    within runs is counted.
    """
    if known is None and attended is None:
        return []
    begins = None if known is None else _places(known.begins)
    padding = None if attended is None else (attended == 0).flatten(0, 1)
    has_padding = padding is not None and bool(padding.any())
    ends = None if near is None else pad(~near, (0, 1), value=True).flatten(0, 1)
    found = []
    for number in range(sizes.count):
        here = slice(number * sizes.length, (number + 1) * sizes.length)
        row = _Row(labels[here], None if inputs is None else inputs[here], sizes)
        counts: dict[str, tuple[int, ...]] = {}
        is_padding = padding[number].tolist() if padding is not None and has_padding else []
        if begins is not None:
            # Padding may have any position ids; what it is or follows is counted as such.
            inside = [at for at in begins[number] if not is_padding or not (is_padding[at - 1] or is_padding[at])]
            read = [row.read(at) for at in row.crossing(inside)]
            counts["crossing"] = (len(read),)
            counts["separators"] = (min(read, default=-1), max(read, default=-1))
        if padding is not None:
            is_end = [False] * len(is_padding) if ends is None else ends[number].tolist()
            before = [
                at for at in range(1, len(is_padding))
                if is_padding[at - 1] and not is_padding[at] and not is_end[at - 1]
            ]  # fmt: skip
            counts["from_padding"] = (len(row.crossing(before)),)
            padded = [at for at, one in enumerate(is_padding) if one and not is_end[at]]
            counts["padding"] = (sum(map(row.is_padding, padded)),)
        found.append(counts)
    return found


def _places(begins: Tensor) -> list[list[int]]:
    """Return the positions of each sequence at which a document begins."""
    listed: list[list[int]] = [[] for _ in range(begins.shape[0] * begins.shape[1])]
    for number, at in begins.flatten(0, 1).nonzero().tolist():
        listed[number].append(at + 1)
    return listed


@dataclass(frozen=True, slots=True)
class _Row:
    """The ids of one sequence."""

    labels: Words
    inputs: Words | None
    sizes: Sizes

    def read(self, at: int) -> int:
        """Return the id that the row of the label of a position read, as far as it is known."""
        return (self.labels if self.inputs is None else self.inputs)[at - (self.sizes.shift or 1)]

    def crossing(self, begins: Sequence[int]) -> list[int]:
        """Return the positions whose label is supervised, and whose row is before one of the places where it begins."""
        shift, specials = self.sizes.shift, self.sizes.specials
        positions = {at + after for at in begins for after in range(shift or 1)} if shift > 1 else begins
        found = []
        for at in positions:
            if not (shift or 1) <= at < self.sizes.length:
                continue
            # Of labels that were shifted before, the label of a position is the next input.
            label = self.labels[at] if shift else self.labels[at - 1]
            is_next = shift or (self.inputs is not None and label == self.inputs[at])
            is_counted = self._is_token(label) and is_next and label not in specials.bos
            if is_counted and self.read(at) not in specials.eos:
                found.append(at)
        return found

    def is_padding(self, at: int) -> bool:
        """Return whether the label of a position that is padding is supervised."""
        labels, inputs, shift = self.labels, self.inputs, self.sizes.shift
        if at < shift or not self._is_token(labels[at]):
            return False
        # Of labels that were shifted before, the last one before a text is the text's first, unless all is padding.
        if shift or inputs is None or at + 1 == len(labels) or labels[at] != inputs[at + 1]:
            return True
        return labels[at] == inputs[at]

    def _is_token(self, label: int) -> bool:
        """Return whether a label is supervised and has a logit: what has none is a finding of its own."""
        return label != self.sizes.ignore_index and 0 <= label < self.sizes.limit
