"""Where the positions of a process belong in the whole sample → its runs of neighbours, and what is at their ends.

A run is as long as each position is the one after the position before it, as passed. Contiguous splits have one run,
head-tail splits two, and splits by document one per document.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from predlog.capture.documents import Documents
from predlog.capture.masking import MOST_SPECIAL
from predlog.capture.positions import Positions
from predlog.capture.tensors import as_signed
from predlog.capture.window import as_bytes, words
from predlog.errors import PairError
from predlog.numbers.runs import MOST_IDS, Edges, Ids, Runs, ends
from predlog.numbers.snapshot import Counts, Numbers, Sizes, Statistics
from predlog.numbers.window import Chosen, Window

_WORD = 8
# Positions are below this, so that what is computed of them never overflows.
MOST_POSITIONS = 2**62


def paired(labels: Tensor, index: Tensor | None, shift: int, ignore_index: int) -> Tensor:
    """Return labels [s, k, t], ignored where the row that is `shift` before in the whole sample is not here."""
    if index is None or not shift:
        return labels
    places = as_signed(index)
    is_own = places[..., shift:] - places[..., :-shift] == shift
    own = torch.where(is_own, labels[..., shift:], ignore_index)
    return torch.cat([labels[..., :shift], own], -1)


def neighbours(index: Tensor) -> Tensor:
    """Return [s, k, t - 1]: whether each next position is the one after, in the whole sample."""
    places = as_signed(index)
    return places[..., 1:] - places[..., :-1] == 1


def check(index: Tensor, sizes: Sizes) -> None:
    """Raise PairError if the index [s, k, t] on the host can't be one, with the first position that is wrong."""
    places = as_signed(index)[:, 0]
    most = MOST_POSITIONS if sizes.row_count is None else sizes.row_count
    outside = (places < 0) | (places >= most)
    if outside.any():
        sample, at = outside.nonzero()[0].tolist()
        found = int(places[sample, at])
        end = "" if sizes.row_count is None else f" and below row_count={most}"
        raise PairError(
            f"row_index is {found} at position {at} of sample {sizes.place(sample)}: it must be 0 or more{end}, the"
            " position in the whole sample, before it was split over processes; position_ids, which begin anew at each"
            " document, are none",
            row_index=found, sample=sizes.place(sample), position=at, row_count=sizes.row_count,
        )  # fmt: skip
    ordered = places.sort(dim=-1).values
    twice = ordered[:, 1:] == ordered[:, :-1]
    if twice.any():
        sample, at = twice.nonzero()[0].tolist()
        found = int(ordered[sample, at])
        raise PairError(
            f"row_index is {found} at several positions of sample {sizes.place(sample)}: each position of the whole"
            " sample is in one place. Pass torch.arange(length) of the whole sample, split as the labels are;"
            " position_ids, which begin anew at each document, are none",
            row_index=found, sample=sizes.place(sample),
        )  # fmt: skip


def runs(
    labels: Tensor, inputs: Tensor | None, positions: Positions, known: Documents | None, sizes: Sizes, window: Window
) -> list[Runs]:
    """Return the runs of each sequence of ids [s, k, t] on the host."""
    assert positions.index is not None  # noqa: S101 - for the type checker
    index = as_signed(positions.index)
    breaks: list[list[int]] = [[] for _ in range(sizes.count)]
    for number, at in (~neighbours(index)).flatten(0, 1).nonzero().tolist():
        breaks[number].append(at + 1)
    columns = {
        "labels": labels,
        "inputs": inputs,
        "places": None if known is None else known.places,
        "documents": None if known is None else known.ids,
        "attended": None if positions.attended is None else (positions.attended != 0).to(torch.int64),
    }
    size = labels.shape
    flags = {
        "attended": columns["attended"],
        "begins": None if known is None else pad(known.begins, (1, 0)),
        "follows": None if known is None else pad(known.is_next, (0, 1)),
    }
    marks = {name: None if one is None else as_bytes((one != 0).expand(size)) for name, one in flags.items()}
    listed = {name: None if one is None else words(one.expand(size)) for name, one in columns.items()}
    ids, read = as_bytes(labels), None if inputs is None else as_bytes(inputs)
    places, is_counted = words(index), known is not None and known.is_counted
    is_blank = known is not None and is_counted and not bool(known.places.any())
    found = []
    for number, inner in enumerate(breaks):
        begin = number * sizes.length
        bounds = sorted(
            pairwise([begin, *(begin + one for one in inner), begin + sizes.length]), key=lambda one: places[one[0]]
        )
        at = [one for start, stop in bounds for one in ends(start, stop)]
        found.append(
            Runs(
                starts=[places[start] for start, _ in bounds],
                stops=[places[stop - 1] + 1 for _, stop in bounds],
                of=sizes.row_count,
                ends=(window.first, window.last),
                is_counted=is_counted,
                has_places=known is not None and known.has_places,
                is_blank=is_blank,
                checks=[
                    [0 if one is None else zlib.crc32(one[_WORD * start : _WORD * stop]) for start, stop in bounds]
                    for one in (ids, read)
                ],
                edges=Edges(
                    [places[one] for one in at],
                    **{name: None if one is None else [one[two] for two in at] for name, one in listed.items()},  # type: ignore[arg-type] # the labels are known
                ),
                ranks=sizes.ranks,
                ids=None if sizes.length > MOST_IDS else _ids(bounds, ids, read, marks),
                has_codes=len(sizes.specials.every) > MOST_SPECIAL,
            )
        )
    return found


def _ids(
    bounds: Sequence[tuple[int, int]], labels: bytes, inputs: bytes | None, marks: Mapping[str, bytes | None]
) -> Ids:
    """Return what is known of the positions of a sequence, one run, which has these bounds, after the other."""
    words = [slice(_WORD * start, _WORD * stop) for start, stop in bounds]
    own, read = (
        None if one is None else memoryview(b"".join([one[at] for at in words])).cast("q") for one in (labels, inputs)
    )
    assert own is not None  # noqa: S101 - for the type checker
    return Ids(
        own,
        read,
        **{
            name: None if one is None else b"".join([one[start:stop] for start, stop in bounds])
            for name, one in marks.items()
        },
    )


def in_whole(shown: Sequence[Chosen], index: Tensor, sizes: Sizes) -> list[Chosen]:
    """Return the rows shown of each sequence as rows of the whole sample."""
    places, shift = words(as_signed(index)), sizes.shift
    return [
        Chosen(*([places[number * sizes.length + row + shift] - shift for row in rows] for rows in every))
        for number, every in enumerate(shown)
    ]


def outline(logits: Any, labels: Any, shift: int, axes: Callable[[Tensor], Sequence[str]]) -> tuple[Any, Any] | None:
    """Return logits and labels of the samples of a pair that has no row or no column; None if it lacks more than that.

    There is one of either in their place, whose values mean nothing. `axes` names those of logits.
    """
    first = logits[0] if isinstance(logits, list | tuple) and logits else logits
    if not (isinstance(first, Tensor) and isinstance(labels, Tensor)):
        return logits, labels
    names = axes(first)
    empty = {name for name, many in zip(names, first.shape, strict=False) if not many}
    if not names or not empty <= {"t", "v"} or ("t" in empty) != (labels.shape.count(0) == 1):
        return None
    if not empty:
        return logits, labels
    shapes = [max(many, 1) for many in first.shape], [many or shift + 1 for many in labels.shape]
    grown = first.new_zeros(shapes[0]) if "t" in empty or first is logits else None
    if grown is None:  # chunks without columns
        return [one.new_zeros([max(many, 1) for many in one.shape]) for one in logits], labels
    return grown, labels.new_zeros(shapes[1]) if "t" in empty else labels


def nothing(sizes: Sizes) -> Numbers:
    """Return the numbers of a part that has no rows: only that it is there."""
    many = sizes.count
    edges = Edges((), ())
    run = Runs((), (), sizes.row_count, (0, 0), False, False, False, (), edges, sizes.ranks)
    counts: Counts = dict.fromkeys(("supervised", "lowest", "highest", "fingerprint"), (0,))
    return Numbers(
        [Chosen([], [], [])] * many, Statistics([], [], [], [], []), [], [], [], [counts] * many, runs=[run] * many
    )  # fmt: skip
