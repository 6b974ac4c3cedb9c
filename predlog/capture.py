"""A pair → one small packed tensor.

The rule: touch the labels of the samples shown and the logit rows of the tokens shown, nothing else. The
one exception is `accuracy`, which takes the argmax of the shown samples' rows. Nothing that is kept is a
view, so the batch's logits and their graph can go as soon as `capture` returns.
"""

from dataclasses import replace

import torch
from torch import Tensor

from predlog import layout as layouts
from predlog import rows
from predlog.errors import PairError
from predlog.packing import Capture, Window, pack


def capture(
    logits: object,
    labels: object,
    *,
    layout: str | None = None,
    shift: int = 0,
    inputs: object = None,
    ignore_index: int = -100,
    window: Window,
) -> Capture:
    """Capture a pair; raises PairError where it is none."""
    with torch.no_grad():
        pair = layouts.canonical(
            _floating(layouts.as_tensor("logits", logits)),
            _integral("labels", layouts.as_tensor("labels", labels)),
            None if inputs is None else _integral("inputs", layouts.as_tensor("inputs", inputs)),
            layout,
        )
        _check(pair, shift, ignore_index)
        *_, length, vocabulary = pair.logits.shape
        # More tokens than positions would be fillers, each of which costs a row.
        most = length - shift
        window = replace(window, first=min(window.first, most), last=min(window.last, most))
        packed = select(pair, shift=shift, ignore_index=ignore_index, window=window)
        return Capture(
            packed=packed.cpu(),
            window=window,
            length=length,
            vocabulary=vocabulary,
            shift=shift,
            has_codebooks=pair.has_codebooks,
            has_inputs=pair.inputs is not None,
        )


def is_traced() -> bool:
    """Say whether the caller is being compiled or traced: there are no values then, and every call would be kept."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def select(pair: layouts.Pair, *, shift: int, ignore_index: int, window: Window) -> Tensor:
    """Find the supervised positions shown, reduce their rows, and pack it all.

    The label at p belongs to the row of logits at p - shift. Off the CPU the number and the sizes of the
    operations depend neither on the batch nor on the mask.
    """
    length = pair.labels.shape[-1] - shift
    labels = pair.labels[: window.samples, :, shift:].to(torch.int64)
    logits = pair.logits[: window.samples, :, :length]
    supervised = labels != ignore_index
    running = supervised.cumsum(-1)
    total = running[..., -1:]
    # The n-th supervised position is the first one where n have been counted.
    where = torch.searchsorted(running, _ordinals(total, window)).clamp_(max=length - 1)
    label = labels.gather(-1, where)
    read = None if pair.inputs is None else pair.inputs[: window.samples].to(torch.int64).gather(-1, where)
    return pack(
        label=label,
        read=read,
        position=where + shift,
        statistics=rows.statistics(logits, where, label),
        supervised=total,
        matched=rows.matched(logits, labels, supervised) if window.accuracy else None,
    )


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
        raise PairError(f"{name} {list(ids.shape)} are {ids.dtype}: token ids must be integers")
    return ids


def _check(pair: layouts.Pair, shift: int, ignore_index: int) -> None:
    samples, codebooks, length, vocabulary = pair.logits.shape
    sizes = f"{samples} samples of {codebooks} × {length} positions over {vocabulary} logits"
    if not pair.logits.numel() or not pair.labels.numel():
        raise PairError(f"an empty pair, {sizes}: there is nothing to compare")
    if type(shift) is not int:
        raise PairError(f"shift is a {type(shift).__name__}: pass a Python int")
    if not 0 <= shift < length:
        raise PairError(
            f"shift={shift} does not fit {sizes}: it says by how many positions the labels lead the logits, "
            f"here from 0 to {length - 1}"
        )
    if type(ignore_index) is not int or not -(2**63) <= ignore_index < 2**63:
        raise PairError("ignore_index must be a Python int of at most 64 bits")
    devices = {tensor.device for tensor in (pair.logits, pair.labels, pair.inputs) if tensor is not None}
    if len(devices) > 1:
        raise PairError(f"the pair lies on several devices, {sorted(map(str, devices))}: move it to one")
