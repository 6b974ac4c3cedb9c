"""Where documents begin in a row → which positions are neighbours, and which labels belong to another document.

All of it is computed on the host from the ids of the samples shown.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from predlog.capture.positions import Positions
from predlog.capture.snapshot import Sizes


@dataclass(frozen=True, slots=True)
class Documents:
    """Of each position [s, k, t]: the number of its run of one document, and its place in it, if they are known.

    `ids` are the documents' own ids, `places` the position ids, counted from the begin of a run if none were passed.
    `is_contiguous` is whether the attention is known to follow the runs, as with cumulative lengths.
    """

    runs: Tensor
    ids: Tensor
    places: Tensor
    is_contiguous: bool

    def are_neighbours(self, offset: int) -> Tensor:
        """Return [s, k, t - offset]: whether the position `offset` later is so in the same document, too."""
        length = self.runs.shape[-1]
        stop = max(length - offset, 0)
        same = self.runs[..., offset:] == self.runs[..., :stop]
        return same & (self.places[..., offset:] - self.places[..., :stop] == offset)


def documents(positions: Positions, length: int) -> Documents | None:
    """Return the documents of rows of this length; None if nothing is known of them."""
    places, ids = positions.places, positions.documents
    if positions.ends is not None:
        ids = _of_lengths(positions.ends, length)
    if ids is None and places is None:
        return None
    known = places if ids is None else ids
    assert known is not None  # noqa: S101 - for the type checker
    before, after = known[..., :-1], known[..., 1:]
    begins = after <= before if ids is None else after != before
    runs = torch.nn.functional.pad(begins.to(torch.int64).cumsum(-1), (1, 0))
    if places is None:
        index = torch.arange(length, device=known.device).expand_as(runs)
        starts = torch.nn.functional.pad(index[..., 1:] * begins, (1, 0)).cummax(-1).values
        places = index - starts
    elif places.shape[:2] != runs.shape[:2]:
        runs = runs.expand_as(places)
    return Documents(runs, runs if ids is None else ids.expand_as(runs), places, positions.ends is not None)


def _of_lengths(ends: Tensor, length: int) -> Tensor:
    """Return the number of the document [1, 1, t] of each position, from cumulative lengths with or without the 0."""
    inner = ends[ends > 0].contiguous()
    return torch.bucketize(torch.arange(length, device=ends.device), inner, right=True).view(1, 1, length)


def crossings(
    found: Documents | None, attended: Tensor | None, labels: Tensor, inputs: Tensor | None, sizes: Sizes
) -> dict[str, Tensor]:
    """Count the labels [s, k, t] that their rows can't know, by what is known of their positions, each [s, k, 1].

    `crossing` belong to another document than their row, `from_padding` to a row that reads padding, and `padding` are
    padding themselves. `separators` [s, k, 2] are the lowest and the highest id that rows of crossing labels read, or
    -1 without any. A row that reads an end token, or a label that begins a text, crosses nothing.
    """
    shift, specials = sizes.shift, sizes.specials
    supervised = labels != sizes.ignore_index
    lead = shift or 1
    if shift:
        supervised_next, own = supervised[..., shift:], labels[..., shift:]
    else:  # of labels that were shifted before, the label of a row is the next input
        own = labels[..., :-1]
        is_next = torch.zeros_like(own, dtype=torch.bool) if inputs is None else own == inputs[..., 1:]
        supervised_next = supervised[..., :-1] & is_next
    read = (labels if inputs is None else inputs)[..., : own.shape[-1]]
    columns: dict[str, Tensor] = {}
    counted = supervised_next & ~_among(own, specials.bos)
    if found is not None and own.shape[-1]:
        apart = found.runs[..., lead:] != found.runs[..., :-lead]
        if found.is_contiguous:
            apart |= found.places[..., lead:] - found.places[..., :-lead] != lead
        crossing = counted & apart & ~_among(read, specials.eos)
        columns["crossing"] = crossing.sum(-1, keepdim=True)
        lowest = torch.where(crossing, read, torch.iinfo(torch.int64).max).amin(-1, keepdim=True)
        highest = torch.where(crossing, read, -1).amax(-1, keepdim=True)
        columns["separators"] = torch.cat([torch.where(highest < 0, -1, lowest), highest], -1)
    if attended is not None and own.shape[-1]:
        is_padding = attended == 0
        after, before = is_padding[..., lead:], is_padding[..., :-lead]
        from_padding = counted & before & ~after
        columns["from_padding"] = from_padding.sum(-1, keepdim=True)
        if shift:
            padding = supervised_next & after
        else:
            padding = supervised & is_padding
            padding[..., :-1] &= ~from_padding
        columns["padding"] = padding.sum(-1, keepdim=True)
    return columns


def _among(ids: Tensor, wanted: tuple[int, ...]) -> Tensor:
    found = torch.zeros_like(ids, dtype=torch.bool)
    for one in wanted:
        found |= ids == one
    return found
