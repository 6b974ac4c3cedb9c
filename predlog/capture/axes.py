"""Which axis is time: labels of next-token training equal the inputs one position on along it, and along no other.

A time-major batch, [t, b], may have the shape of another one. If the inputs are known, the ids tell which it is.
"""

from collections.abc import Callable

import torch

from predlog.capture.pair import Pair
from predlog.capture.positions import supervised_only
from predlog.capture.scalar import on_its_way
from predlog.capture.tensors import as_signed
from predlog.findings.facts import Across

# A label that was shifted twice is the input two positions on.
_FURTHEST = 2
_SWAP = str.maketrans("bt", "tb")


def start(
    pair: Pair, labels: object, inputs: object, layout: str | None, shift: int, ignore_index: int
) -> Callable[[], Across] | None:
    """Start to count labels that equal the inputs of samples further on, and return what waits for the counts.

    `labels`, `inputs` and `layout` are as they were passed. None if samples and time can't be the other way round.
    """
    advice = _advice(labels, inputs, layout)
    if pair.inputs is None or pair.labels.shape[0] <= _FURTHEST or shift > 1 or advice is None:
        return None
    ids, read = supervised_only(pair.labels, pair.positions.weights, ignore_index), as_signed(pair.inputs)
    supervised = ids != ignore_index
    counts = []
    # At shift 1 the label of a row is one position on already, and that one equals both ways.
    for lead in range(1, _FURTHEST + 1 - shift):
        counts += [((ids[:-lead] == read[lead:]) & supervised[:-lead]).sum(), supervised[:-lead].sum()]
    following = supervised[..., shift:] if shift else supervised[..., :-1]
    labelled = ids[..., shift:] if shift else ids[..., :-1]
    counts += [((labelled == read[..., 1:]) & following).sum(), following.sum()]
    wait = on_its_way(torch.stack(counts).to(torch.float64))
    return None if wait is None else lambda: _across(list(map(int, wait())), advice)


def _across(counts: list[int], advice: str) -> Across:
    *across, equal, compared = counts
    return Across(tuple(across), advice, (equal, compared))


def _advice(labels: object, inputs: object, layout: str | None) -> str | None:
    """Return the arguments with which samples and time are the other way round; None if labels have only one of them.

    Flattened labels are read in the shape of the inputs.
    """
    axes: int = getattr(labels, "ndim", 0)
    shape: tuple[int, ...] = tuple(getattr(inputs, "shape", ()))
    is_flattened = layout is None and axes == 1 and len(shape) == 2
    known = layout or ("(b t) v, b t" if is_flattened else "b t v, b t" if axes == 2 else "t v, t")
    if not {"b", "t"} <= set(known.partition(",")[2].split()):
        return None
    flat = f"labels.view({shape[0]}, {shape[1]}) and " if is_flattened else ""
    return f"{flat}layout={known.translate(_SWAP)!r}"
