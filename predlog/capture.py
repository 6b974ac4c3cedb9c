"""A pair → one small packed tensor.

The rule: touch the labels of the samples shown and the logit rows of the tokens shown, nothing else. The
one exception is `accuracy`, which takes the argmax of the shown samples' rows. Nothing that is kept is a
view, so the batch's logits and their graph can go as soon as `capture` returns.
"""

from dataclasses import replace

import torch
from torch import Tensor

from predlog import counting, rows
from predlog import layout as layouts
from predlog.errors import PairError
from predlog.packing import Capture, Sections, Window, pack
from predlog.specials import SpecialTokens

_NONE_KNOWN = SpecialTokens()


def capture(
    logits: object,
    labels: object,
    *,
    layout: str | None = None,
    shift: int = 0,
    inputs: object = None,
    ignore_index: int = -100,
    window: Window,
    specials: SpecialTokens = _NONE_KNOWN,
) -> Capture:
    """Capture a pair; raises PairError where it is none."""
    with torch.no_grad():
        handed = _floating(layouts.as_tensor("logits", logits))
        pair = layouts.canonical(
            handed,
            _integral("labels", layouts.as_tensor("labels", labels)),
            None if inputs is None else _integral("inputs", layouts.as_tensor("inputs", inputs)),
            layout,
            shift,
        )
        _check(pair, ignore_index)
        length, vocabulary = pair.labels.shape[-1], pair.logits.shape[-1]
        # More tokens than positions would be fillers, each of which costs a row.
        most = length - shift
        window = replace(window, first=min(window.first, most), last=min(window.last, most))
        if 2 * vocabulary < specials.size:
            specials = _NONE_KNOWN  # these are not the ids of that tokenizer
        packed, sections = select(pair, shift=shift, ignore_index=ignore_index, window=window, specials=specials)
        return Capture(
            packed=packed.cpu(),
            sections=sections,
            window=window,
            length=length,
            vocabulary=vocabulary,
            shift=shift,
            ignore_index=ignore_index,
            specials=specials,
            has_codebooks=pair.has_codebooks,
            is_trained=handed.requires_grad,
        )


def is_traced() -> bool:
    """Say whether the caller is being compiled or traced: there are no values then, and every call would be kept."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def select(
    pair: layouts.Pair, *, shift: int, ignore_index: int, window: Window, specials: SpecialTokens = _NONE_KNOWN
) -> tuple[Tensor, Sections]:
    """Find the supervised positions shown, reduce their rows, count, and pack it all.

    The label at p belongs to the row of logits at p - shift. Off the CPU the number and the sizes of the
    operations depend neither on the batch nor on the mask.
    """
    handed = pair.labels[: window.samples, : window.codebooks].to(torch.int64)
    labels = handed[..., shift:]
    logits = pair.logits[: window.samples, : window.codebooks, : labels.shape[-1]]
    supervised = labels != ignore_index
    running = supervised.cumsum(-1)
    total = running[..., -1:]
    # The n-th supervised position is the first one where n have been counted.
    where = torch.searchsorted(running, _ordinals(total, window)).clamp_(max=labels.shape[-1] - 1)
    position = where + shift
    around = handed.gather(-1, _around(position).clamp_(0, handed.shape[-1] - 1))
    ids, counts = counting.of_labels(labels, supervised, running, logits.shape[-1])
    ids["labels"] = around
    counts |= {"position": position, "supervised": total}
    counts |= counting.of_specials(labels, specials, ignore_index)
    read = None
    if pair.inputs is not None:
        inputs = pair.inputs[: window.samples, : window.codebooks].to(torch.int64)
        more_ids, more_counts = counting.of_inputs(labels, inputs, supervised, running, ignore_index)
        ids |= more_ids
        counts |= more_counts
        # At each row the input read, and last of all the one that follows the last label.
        places = torch.cat([where, (where[..., -1:] + 2).clamp_(max=inputs.shape[-1] - 1)], -1)
        ids["read"] = inputs.gather(-1, places)
        read = inputs[..., : labels.shape[-1]]
    if window.accuracy:
        matches = rows.matched(logits, labels, supervised, read)
        counts["matched"] = matches[..., :1]
        if read is not None:
            counts["copied"] = matches[..., 1:]
    return pack(ids, counts, rows.statistics(logits, where, around[..., 1::4]))


def _around(position: Tensor) -> Tensor:
    """Give for each position [..., n] itself, the one before it and the two after it: [..., 4 n] in order."""
    offsets = torch.arange(-1, 3, device=position.device)
    return (position.unsqueeze(-1) + offsets).flatten(-2)


def _ordinals(total: Tensor, window: Window) -> Tensor:
    first = torch.arange(1, window.first + 1, device=total.device)
    last = torch.arange(1 - window.last, 1, device=total.device)
    ordinals = torch.cat([first.expand(*total.shape[:-1], -1), total + last], -1)
    # Those that a short sample does not have stand for one that it has; `unpack` passes them over.
    return torch.minimum(ordinals.clamp_(min=1), total.clamp(min=1))


def _floating(logits: Tensor) -> Tensor:
    if not logits.is_floating_point():
        raise PairError(f"logits {list(logits.shape)} are {logits.dtype}: are logits and labels swapped?")
    return logits


def _integral(name: str, ids: Tensor) -> Tensor:
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise PairError(f"{name} {list(ids.shape)} are {ids.dtype}: token ids must be integers, as .long() gives them")
    return ids


def _check(pair: layouts.Pair, ignore_index: int) -> None:
    if type(ignore_index) is not int or not -(2**63) <= ignore_index < 2**63:
        raise PairError("ignore_index must be a Python int of at most 64 bits")
    devices = {tensor.device for tensor in (pair.logits, pair.labels, pair.inputs) if tensor is not None}
    if len(devices) > 1:
        raise PairError(f"the pair lies on several devices, {sorted(map(str, devices))}: move it to one")
