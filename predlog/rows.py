"""Reductions of logit rows: the prediction, the label's rank, the log-probabilities, the matches.

Each has one form for every device, made of operations of fixed size that never wait for a value, and one for
the CPU, where reading a value stops nothing and looking first saves most of the work. Both give the same
numbers; a test holds them against each other.
"""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

# The CPU's argmax reads one element at a time, its maximum a vector at a time. The maximum of each block, then
# the argmax of one block, is exact and 4 (float32) to 10 (bfloat16) times faster at 32,000 logits.
_BLOCK = 256
# How many logits of a row are read first, to see whether any exceeds the label's.
_HEAD = 1024
# How many rows are looked at together: their blocks' maxima stay in the cache.
_TOGETHER = 64


class Statistics(NamedTuple):
    """What is kept of the rows shown, each [sample, codebook, token].

    log p(label) = label_logit - peak - log_sum and log p(prediction) = -log_sum, with log_sum the log of
    Σ exp(row - peak) in float32. The host takes the differences in float64, so they are exact to a few float32
    roundings however large the logits are.
    """

    prediction: Tensor
    above: Tensor
    peak: Tensor
    label_logit: Tensor
    log_sum: Tensor


def statistics(logits: Tensor, where: Tensor, label: Tensor) -> Statistics:
    """Reduce the rows of logits [s, k, t, v] at the positions `where` [s, k, n], for the labels [s, k, n]."""
    safe = label.clamp(0, logits.shape[-1] - 1)
    if logits.device.type == "cpu":
        return _statistics_on_cpu(logits, where, safe)
    return _statistics_anywhere(logits, where, safe)


def _statistics_anywhere(logits: Tensor, where: Tensor, label: Tensor) -> Statistics:
    rows = _exact(_gathered(logits, where))
    label_logit = rows.gather(-1, label.unsqueeze(-1))
    peak, prediction = rows.max(-1)
    log_sum = -rows.log_softmax(-1, dtype=torch.float32).gather(-1, prediction.unsqueeze(-1))
    return Statistics(
        prediction=prediction,
        above=(rows > label_logit).sum(-1),
        peak=peak,
        label_logit=label_logit.squeeze(-1),
        log_sum=log_sum.squeeze(-1),
    )


def _statistics_on_cpu(logits: Tensor, where: Tensor, label: Tensor) -> Statistics:
    """Visit each row where it lies, so that nothing of the rows' size is allocated but one buffer."""
    buffer = torch.empty(logits.shape[-1], dtype=torch.float32, device=logits.device)
    places = [
        (sample, codebook, position)
        for sample, codebooks in enumerate(where.tolist())
        for codebook, positions in enumerate(codebooks)
        for position in positions
    ]
    measured = [
        _statistics_of_row(logits[place], index, buffer)
        for place, index in zip(places, label.flatten().tolist(), strict=True)
    ]
    return Statistics(
        *(
            torch.tensor(values, dtype=kind, device=logits.device).view(where.shape)
            for values, kind in zip(zip(*measured, strict=True), _KINDS, strict=True)
        )
    )


_KINDS = (torch.int64, torch.int64, torch.float64, torch.float64, torch.float32)


def _statistics_of_row(row: Tensor, label: int, buffer: Tensor) -> tuple[int, int, float, float, float]:
    row = _exact(row)
    label_logit = float(row[label])
    # Compared into floats, four times as fast as into booleans; exact up to 2**24 logits.
    above = int(torch.gt(row, label_logit, out=buffer).sum())
    prediction = _argmax_of_row(row)
    log_sum = -float(row.log_softmax(-1, dtype=torch.float32)[prediction])
    return prediction, above, float(row[prediction]), label_logit, log_sum


def _argmax_of_row(row: Tensor) -> int:
    vocabulary = row.shape[0]
    if vocabulary < 2 * _BLOCK:
        return int(row.argmax())
    start = min(int(_block_peaks(row).argmax()) * _BLOCK, vocabulary - _BLOCK)
    return start + int(row[start : start + _BLOCK].argmax())


def _block_peaks(rows: Tensor) -> Tensor:
    vocabulary = rows.shape[-1]
    whole = vocabulary - vocabulary % _BLOCK
    blocks = rows[..., :whole].view(*rows.shape[:-1], -1, _BLOCK).amax(-1)
    if whole < vocabulary:
        blocks = torch.cat([blocks, rows[..., whole:].amax(-1, keepdim=True)], -1)
    return blocks


def matched(logits: Tensor, labels: Tensor, supervised: Tensor) -> Tensor:
    """Count the supervised positions where the argmax is the label: [s, k, 1] for logits [s, k, t, v]."""
    if logits.device.type == "cpu":
        return _matched_on_cpu(logits, labels, supervised)
    return _matched_anywhere(logits, labels, supervised)


def _matched_anywhere(logits: Tensor, labels: Tensor, supervised: Tensor) -> Tensor:
    peak, prediction = _exact(logits).max(-1)
    return ((prediction == labels) & _is_number(peak) & supervised).sum(-1, keepdim=True)


def _matched_on_cpu(logits: Tensor, labels: Tensor, supervised: Tensor) -> Tensor:
    counts = torch.zeros_like(labels[..., :1])
    for here in itertools.product(range(labels.shape[0]), range(labels.shape[1])):
        stretch = supervised[here].nonzero()
        if not len(stretch):
            continue
        stop = int(stretch[-1]) + 1
        for at in range(int(stretch[0]), stop, _TOGETHER):
            part = (*here, slice(at, min(at + _TOGETHER, stop)))
            if supervised[part].any():
                counts[here] += _matched_rows(_exact(logits[part]), labels[part], supervised[part])
    return counts


def _matched_rows(rows: Tensor, labels: Tensor, supervised: Tensor) -> Tensor | int:
    """Count the matches among rows [n, v], reading on only where the head of a row leaves the label a chance."""
    safe = labels.clamp(0, rows.shape[-1] - 1).unsqueeze(-1)
    open_still = (rows[:, :_HEAD].amax(-1) <= rows.gather(-1, safe).squeeze(-1)) & supervised
    left = open_still.nonzero().squeeze(-1)
    if not len(left):
        return 0
    if 2 * len(left) < len(rows):
        rows, labels, open_still = rows[left], labels[left], open_still[left]
    peak, prediction = _peaks_of_rows(rows)
    return ((prediction == labels) & _is_number(peak) & open_still).sum()


def _peaks_of_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    vocabulary = rows.shape[-1]
    if vocabulary < 2 * _BLOCK:
        peak, prediction = rows.max(-1)
        return peak, prediction
    # The last block may be short; its window then reaches back over values that are all smaller.
    start = (_block_peaks(rows).argmax(-1, keepdim=True) * _BLOCK).clamp_(max=vocabulary - _BLOCK)
    peak, within = rows.gather(-1, start + torch.arange(_BLOCK, device=rows.device)).max(-1)
    return peak, within + start.squeeze(-1)


def _gathered(logits: Tensor, where: Tensor) -> Tensor:
    index = where.unsqueeze(-1).expand(-1, -1, -1, logits.shape[-1])
    if logits.dtype.itemsize == 1:  # float8 can't be gathered, its bytes can
        return logits.view(torch.uint8).gather(2, index).view(logits.dtype)
    return logits.gather(2, index)


def _exact(rows: Tensor) -> Tensor:
    """Give float8 rows, which have no maximum, as float32; the others as they are, half precision included."""
    return rows.to(torch.float32) if rows.dtype.itemsize == 1 else rows


def _is_number(values: Tensor) -> Tensor:
    return values == values  # noqa: PLR0124 - cheaper than isnan, and the same
