"""Reductions of logit rows: the prediction, the label's rank, the log-probabilities, the matches.

Each has one form for every device, made of operations of fixed size that never wait for a value, and one for
the CPU, where reading a value stops nothing and looking first saves most of the work. Both give the same
numbers; a test holds them against each other.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# The CPU's argmax reads one element at a time, its maximum a vector at a time. The maximum of each block, then
# the argmax of one block, is exact and 4 (float32) to 10 (bfloat16) times faster at 32,000 logits.
_BLOCK = 256
_LOG2_E = math.log2(math.e)
# How many logits of a row are read first, to see whether any exceeds the label's.
_HEAD = 1024
# How many rows are reduced together, so that the buffers stay a few rows large.
_MOST = 8
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
    """Visit the rows where they lie, neighbours together; all that is allocated are two buffers of a few rows.

    What is left of the time goes to reading the rows, not to calling torch.
    """
    vocabulary = logits.shape[-1]
    groups = list(_neighbours(logits, where))
    sizes = [len(rows) for rows in groups]
    exact = torch.float64 if logits.dtype == torch.float64 else torch.float32
    label_logit, peak, above, total = torch.empty(4, where.numel(), 1, dtype=exact, device=logits.device)
    blocks = torch.empty(where.numel(), -(-vocabulary // _BLOCK), dtype=exact, device=logits.device)
    buffer = torch.empty(max(sizes), vocabulary, dtype=exact, device=logits.device)
    widened = None if logits.dtype == exact else torch.empty_like(buffer)
    columns = (label.reshape(-1, 1), label_logit, peak, above, total, blocks)
    for rows, *parts in zip(groups, *(torch.split(column, sizes) for column in columns), strict=True):
        index, row_label, row_peak, row_above, row_total, row_blocks = parts
        values = rows if widened is None else widened[: len(rows)].copy_(rows)
        scratch = buffer[: len(rows)]
        torch.gather(values, -1, index, out=row_label)
        torch.amax(_block_peaks(values, out=row_blocks), -1, keepdim=True, out=row_peak)
        # A comparison written as floats is four times as fast as one written as booleans, and exp2 is four times
        # as fast as exp. Counts stay exact up to 2**24 logits.
        torch.sum(torch.gt(values, row_label, out=scratch), -1, keepdim=True, out=row_above)
        torch.sum(torch.sub(values, row_peak, out=scratch).mul_(_LOG2_E).exp2_(), -1, keepdim=True, out=row_total)
    start = _starts(blocks, vocabulary).unsqueeze(-1)
    within = torch.arange(min(_BLOCK, vocabulary), device=logits.device)
    windows = [
        _gathered_bytes(rows, begin + within) for rows, begin in zip(groups, torch.split(start, sizes), strict=True)
    ]
    prediction = start + _exact(torch.cat(windows)).argmax(-1, keepdim=True)
    found = (prediction, above, peak, label_logit, total.log_())
    return Statistics(*(column.view(where.shape) for column in found))


def _neighbours(logits: Tensor, where: Tensor) -> Iterator[Tensor]:
    """Yield views [n, v] of the rows at the positions [s, k, n], those that follow one another together."""
    for sample, codebooks in enumerate(where.tolist()):
        for codebook, positions in enumerate(codebooks):
            lane = logits[sample, codebook]
            begin = 0
            for end in range(1, len(positions) + 1):
                if end == len(positions) or positions[end] != positions[end - 1] + 1 or end - begin == _MOST:
                    yield lane[positions[begin] : positions[end - 1] + 1]
                    begin = end


def _starts(blocks: Tensor, vocabulary: int) -> Tensor:
    # The last block may be short; its window then reaches back over values that are all smaller.
    return (blocks.argmax(-1) * _BLOCK).clamp_(max=max(vocabulary - _BLOCK, 0))


def _block_peaks(rows: Tensor, out: Tensor) -> Tensor:
    """Write the largest value of each block of the rows [..., v] to `out` [..., blocks]."""
    vocabulary = rows.shape[-1]
    rest = vocabulary % _BLOCK
    if not rest:
        return torch.amax(rows.view(*rows.shape[:-1], -1, _BLOCK), -1, out=out)
    if vocabulary > rest:
        torch.amax(rows[..., :-rest].view(*rows.shape[:-1], -1, _BLOCK), -1, out=out[..., :-1])
    torch.amax(rows[..., -rest:], -1, out=out[..., -1])
    return out


def matched(logits: Tensor, labels: Tensor, supervised: Tensor, read: Tensor | None) -> Tensor:
    """Count over the supervised positions of logits [s, k, t, v] how often the argmax is the label: [s, k, 1].

    With `read`, the inputs [s, k, t] at the rows, also how often it is the input where the label is another: [s, k, 2].
    """
    wanted = torch.stack([labels] if read is None else [labels, read], -1)
    if logits.device.type == "cpu":
        return _matched_on_cpu(logits, wanted, supervised)
    return _matched_anywhere(logits, wanted, supervised)


def _matched_anywhere(logits: Tensor, wanted: Tensor, supervised: Tensor) -> Tensor:
    peak, prediction = _exact(logits).max(-1)
    return _hits(prediction, wanted, _is_number(peak) & supervised).sum(-2)


def _hits(prediction: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """Say which predictions [..., t] are the first wanted id of [..., t, w], and which the second but not the first."""
    hits = (prediction.unsqueeze(-1) == wanted) & counted.unsqueeze(-1)
    if wanted.shape[-1] > 1:
        hits[..., 1] &= ~hits[..., 0]
    return hits


def _matched_on_cpu(logits: Tensor, wanted: Tensor, supervised: Tensor) -> Tensor:
    counts = torch.zeros_like(wanted[..., 0, :])
    for here in itertools.product(range(wanted.shape[0]), range(wanted.shape[1])):
        stretch = supervised[here].nonzero()
        if not len(stretch):
            continue
        stop = int(stretch[-1]) + 1
        for at in range(int(stretch[0]), stop, _TOGETHER):
            part = (*here, slice(at, min(at + _TOGETHER, stop)))
            if supervised[part].any():
                counts[here] += _matched_rows(_exact(logits[part]), wanted[part], supervised[part])
    return counts


def _matched_rows(rows: Tensor, wanted: Tensor, supervised: Tensor) -> Tensor | int:
    """Count the hits among rows [n, v], reading on only where the head of a row leaves a wanted id [n, w] a chance."""
    chance = rows.gather(-1, wanted.clamp(0, rows.shape[-1] - 1)).amax(-1)
    open_still = (rows[:, :_HEAD].amax(-1) <= chance) & supervised
    left = open_still.nonzero().squeeze(-1)
    if not len(left):
        return 0
    if 2 * len(left) <= len(rows):
        rows, wanted, open_still = (values.index_select(0, left) for values in (rows, wanted, open_still))
    peak, prediction = _peaks_of_rows(rows)
    return _hits(prediction, wanted, _is_number(peak) & open_still).sum(0)


def _peaks_of_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    vocabulary = rows.shape[-1]
    if vocabulary < 2 * _BLOCK:
        peak, prediction = rows.max(-1)
        return peak, prediction
    blocks = rows.new_empty(len(rows), -(-vocabulary // _BLOCK))
    start = _starts(_block_peaks(rows, out=blocks), vocabulary).unsqueeze(-1)
    peak, within = rows.gather(-1, start + torch.arange(_BLOCK, device=rows.device)).max(-1)
    return peak, within + start.squeeze(-1)


def _gathered(logits: Tensor, where: Tensor) -> Tensor:
    return _gathered_bytes(logits, where.unsqueeze(-1).expand(-1, -1, -1, logits.shape[-1]), dim=2)


def _gathered_bytes(values: Tensor, index: Tensor, dim: int = -1) -> Tensor:
    if values.dtype.itemsize == 1:  # float8 can't be gathered, its bytes can
        return values.view(torch.uint8).gather(dim, index).view(values.dtype)
    return values.gather(dim, index)


def _exact(rows: Tensor) -> Tensor:
    """Give float8 rows, which have no maximum, as float32; the others as they are, half precision included."""
    return rows.to(torch.float32) if rows.dtype.itemsize == 1 else rows


def _is_number(values: Tensor) -> Tensor:
    return values == values  # noqa: PLR0124 - cheaper than isnan, and the same
