"""Reductions of logit rows on the CPU: the prediction, the label's rank, the log-probabilities, the matches.

Here reading a value stops nothing, and looking first saves most of the work: only rows that are there are visited,
where they lie. What other devices do instead stands in `recipe`; both give the same numbers, and a test holds them
against each other.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from predlog.window import Ends

# The CPU's argmax reads one element at a time, its maximum a vector at a time. The maximum of each block, then
# the argmax of one block, is exact and 4 (float32) to 10 (bfloat16) times faster at 32,000 logits.
_BLOCK = 256
_LOG2_E = math.log2(math.e)
# How many logits of a row are read first, to see whether any exceeds the label's.
_HEAD = 1024
# How many neighbours are visited together: they stay in the cache from the first look to the last.
_MOST = 8
# The rows of float32 that buffers take. More would be faster by a tenth, and a row may be half a megabyte.
_BUFFER = 2
# How many rows are looked at together: their blocks' maxima stay in the cache.
_TOGETHER = 64


class Statistics(NamedTuple):
    """What is kept of the rows shown, each [row].

    log p(label) = label_logit - peak - log_sum and log p(prediction) = -log_sum, with log_sum the log of
    Σ exp(row - peak) in float32. The host takes the differences in float64, so they are exact to a few float32
    roundings however large the logits are.
    """

    prediction: Tensor
    above: Tensor
    peak: Tensor
    label_logit: Tensor
    log_sum: Tensor


def statistics(logits: Tensor, shown: Sequence[Ends], label: Tensor) -> Statistics:
    """Reduce the rows of logits [s, k, t, v] that are shown, lane by lane, for their labels [row].

    The rows are visited where they lie, a stretch of neighbours at a time, which the cache then holds.
    """
    vocabulary = logits.shape[-1]
    numbers = torch.float64 if logits.dtype == torch.float64 else torch.float32
    is_exact = logits.dtype == numbers
    stretches = list(_neighbours(logits, shown, _MOST if is_exact else 1))
    lengths = [len(rows) for rows in stretches]
    buffer = torch.empty(_BUFFER, vocabulary, dtype=numbers, device=logits.device)
    scratch, widened = (buffer, None) if is_exact else (buffer[:1], buffer[1:])
    label_logit, peak, base, above, total = torch.empty(5, len(label), 1, dtype=numbers, device=logits.device)
    blocks = torch.empty(len(label), -(-vocabulary // _BLOCK), dtype=numbers, device=logits.device)
    index = label.clamp(0, vocabulary - 1).unsqueeze(-1)
    columns = (index, label_logit, peak, base, above, total, blocks)
    for rows, *parts in zip(stretches, *(torch.split(column, lengths) for column in columns), strict=True):
        row_index, row_label, row_peak, row_base, row_above, row_total, row_blocks = parts
        values = rows if widened is None else widened.copy_(rows)
        torch.gather(values, -1, row_index, out=row_label)
        torch.amax(_block_peaks(values, out=row_blocks), -1, keepdim=True, out=row_peak)
        torch.mul(row_peak, -_LOG2_E, out=row_base)
        _sums(values, row_label, row_base, scratch, row_above, row_total)
    return Statistics(
        prediction=_predictions(stretches, blocks, vocabulary),
        above=above.squeeze(-1).to(torch.int64),
        peak=peak.squeeze(-1),
        label_logit=label_logit.squeeze(-1),
        log_sum=_log_sum(total, peak, base).squeeze(-1),
    )


def _sums(rows: Tensor, label: Tensor, base: Tensor, scratch: Tensor, above: Tensor, total: Tensor) -> None:
    """Write how many of rows [n, v] exceed the label's logit, and Σ 2^(base + row · log2 e), as many rows as fit."""
    many = len(scratch)
    for at in range(0, len(rows), many):
        here = slice(at, at + many)
        part = rows[here]
        buffer = scratch[: len(part)]
        # A comparison written as floats is four times as fast as one written as booleans. Counts stay exact up to
        # 2**24 logits.
        torch.sum(torch.gt(part, label[here], out=buffer), -1, keepdim=True, out=above[here])
        # exp2 is four times as fast as exp. Sum and product before it are rounded once, together.
        torch.sum(torch.add(base[here], part, alpha=_LOG2_E, out=buffer).exp2_(), -1, keepdim=True, out=total[here])


def _log_sum(total: Tensor, peak: Tensor, base: Tensor) -> Tensor:
    """Give log Σ exp(row - peak) of total = Σ 2^(base + row · log2 e), where base is -peak · log2 e, rounded.

    What the rounding added to base is known, and taken off here.
    """
    log2_e = torch.tensor(_LOG2_E, dtype=base.dtype, device="cpu").double()
    return total.double().log_() - (base.double() + peak.double() * log2_e) * math.log(2)


def _predictions(stretches: Sequence[Tensor], blocks: Tensor, vocabulary: int) -> Tensor:
    """Give the first index of the largest logit of each row."""
    if not stretches:
        return torch.empty(0, dtype=torch.int64, device=blocks.device)
    start = _starts(blocks, vocabulary).unsqueeze(-1)
    index = start + torch.arange(min(_BLOCK, vocabulary), device=blocks.device)
    parts = torch.split(index, [len(rows) for rows in stretches])
    windows = torch.cat([gathered(rows, part) for rows, part in zip(stretches, parts, strict=True)])
    return start.squeeze(-1) + exact(windows).argmax(-1)


def _neighbours(logits: Tensor, shown: Sequence[Ends], most: int) -> Iterator[Tensor]:
    """Yield views [n, v] of the rows shown, in order, those that follow one another together."""
    for lane, ends in zip(itertools.chain.from_iterable(logits), shown, strict=True):
        for rows in ends:
            begin = 0
            for end in range(1, len(rows) + 1):
                if end == len(rows) or rows[end] != rows[end - 1] + 1 or end - begin == most:
                    yield lane[rows[begin] : rows[end - 1] + 1]
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
    wanted = wanted_ids(labels, read)
    counts = torch.zeros_like(wanted[..., 0, :])
    for here in itertools.product(range(wanted.shape[0]), range(wanted.shape[1])):
        stretch = supervised[here].nonzero()
        if not len(stretch):
            continue
        stop = int(stretch[-1]) + 1
        for at in range(int(stretch[0]), stop, _TOGETHER):
            part = (*here, slice(at, min(at + _TOGETHER, stop)))
            if supervised[part].any():
                counts[here] += _matched_rows(exact(logits[part]), wanted[part], supervised[part])
    return counts


def wanted_ids(labels: Tensor, read: Tensor | None) -> Tensor:
    """Give the ids [s, k, t, w] that predictions are held against: the labels and, where known, the inputs."""
    return torch.stack([labels] if read is None else [labels, read], -1)


def hits(prediction: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """Say which predictions [..., t] are the first wanted id of [..., t, w], and which the second but not the first."""
    found = (prediction.unsqueeze(-1) == wanted) & counted.unsqueeze(-1)
    if wanted.shape[-1] > 1:
        found[..., 1] &= ~found[..., 0]
    return found


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
    return hits(prediction, wanted, is_number(peak) & open_still).sum(0)


def _peaks_of_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    vocabulary = rows.shape[-1]
    if vocabulary < 2 * _BLOCK:
        peak, prediction = rows.max(-1)
        return peak, prediction
    blocks = rows.new_empty(len(rows), -(-vocabulary // _BLOCK))
    start = _starts(_block_peaks(rows, out=blocks), vocabulary).unsqueeze(-1)
    peak, within = rows.gather(-1, start + torch.arange(_BLOCK, device=rows.device)).max(-1)
    return peak, within + start.squeeze(-1)


def gathered(values: Tensor, index: Tensor, dim: int = -1) -> Tensor:
    """Gather, float8 too, which can't be gathered; its bytes can."""
    if values.dtype.itemsize == 1:
        return values.view(torch.uint8).gather(dim, index).view(values.dtype)
    return values.gather(dim, index)


def exact(rows: Tensor) -> Tensor:
    """Give float8 rows, which have no maximum, as float32; the others as they are, half precision included."""
    return rows.to(torch.float32) if rows.dtype.itemsize == 1 else rows


def is_number(values: Tensor) -> Tensor:
    """Say which values are no NaN."""
    return values == values  # noqa: PLR0124 - cheaper than isnan, and the same
