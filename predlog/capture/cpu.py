"""Reductions of logit rows on the CPU: the prediction, the label's rank, the log-probabilities, the matches.

On the CPU reading a value waits for nothing, and looking first saves most of the work: only the rows shown are visited,
in place. `device` is the counterpart for other devices; both return the same numbers, which a test compares.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import chain, product

import torch
from torch import Tensor

from predlog.capture import counts, reduction
from predlog.capture.pair import Pair
from predlog.capture.positions import supervised_only
from predlog.capture.projection import Source
from predlog.capture.rows import Statistics, exact, gathered, hits, is_number, wanted_ids
from predlog.capture.snapshot import Numbers, Sizes
from predlog.capture.tensors import as_signed
from predlog.capture.window import Ends, Window, ends

# The CPU's argmax reads one element at a time, its maximum a vector at a time. The maximum of each block, then
# the argmax of one block, is exact and 4 (float32) to 10 (bfloat16) times faster at 32,000 logits.
_BLOCK = 256
_LOG2_E = math.log2(math.e)
_LOG2_E_FLOAT32 = torch.tensor(_LOG2_E, dtype=torch.float32, device="cpu").item()
_LN_2 = math.log(2)
# How many logits of a row are read first, to see whether any exceeds the label's.
_HEAD = 1024
# How many neighbours are visited together: they stay in the cache from the first look to the last.
_MOST = 8
# How many rows are looked at together: their blocks' maxima stay in the cache.
_TOGETHER = 64


def to_numbers(pair: Pair, sizes: Sizes, window: Window) -> Numbers:
    """Return the numbers of a pair in the memory of the host."""
    known = pair.positions.shown(sizes.samples, sizes.codebooks)
    labels = supervised_only(_own(pair.labels, sizes), known.weights, sizes.ignore_index).contiguous()
    inputs = None if pair.inputs is None else _own(pair.inputs, sizes)
    if pair.columns is not None:
        return reduction.to_numbers(pair.columns.shown(sizes), sizes, window, labels, inputs, known)
    scored = labels[..., sizes.shift :]
    logits = pair.logits[: sizes.samples, : sizes.codebooks, : scored.shape[-1]]
    supervised = scored != sizes.ignore_index
    shown = ends(supervised, window)
    index = [sizes.length * number + sizes.shift + row for number, both in enumerate(shown) for row in chain(*both)]
    label = labels.view(-1).index_select(0, torch.tensor(index, dtype=torch.int64, device="cpu"))
    rows, kept = (logits, shown) if pair.source is None else _made(pair.source, shown, labels.shape[:2])
    reduced = _statistics(rows, kept, label)
    hits = _matched(logits, scored, supervised, inputs) if window.accuracy else None
    return counts.to_numbers(sizes, labels, inputs, known, shown, reduced, hits)


def _made(source: Source, shown: Sequence[Ends], sequences: Sequence[int]) -> tuple[Tensor, list[Ends]]:
    """Make the rows shown, and return them as one sequence [1, 1, row, v] that shows all of its rows."""
    wanted = [[*both.first, *both.last] for both in shown]
    most = max(map(len, wanted))
    if not most:
        return torch.empty(1, 1, 0, source.vocabulary, dtype=source.dtype, device="cpu"), [Ends([], [])]
    where = torch.tensor([[*ats, *[0] * (most - len(ats))] for ats in wanted], device="cpu").view(*sequences, most)
    made = source.at(where).flatten(0, 2)
    kept = [most * number + place for number, ats in enumerate(wanted) for place in range(len(ats))]
    return made[kept][None, None], [Ends(list(range(len(kept))), [])]


def _own(ids: Tensor, sizes: Sizes) -> Tensor:
    """Return the ids of the sequences shown as contiguous 64-bit integers, copied if they are not."""
    return as_signed(ids[: sizes.samples, : sizes.codebooks]).contiguous()


def _statistics(logits: Tensor, shown: Sequence[Ends], label: Tensor) -> Statistics:
    """Reduce the rows of logits [s, k, t, v] that are shown, sequence by sequence, for their labels [row].

    The rows are visited in place, one stretch of neighbours at a time, so that the stretch stays in the cache. There is
    one buffer, of as many rows as the longest stretch; rows of half precision are widened in another one, one by one.
    """
    vocabulary = logits.shape[-1]
    numbers = torch.float64 if logits.dtype == torch.float64 else torch.float32
    is_exact = logits.dtype == numbers
    stretches = list(_neighbours(logits, shown, _MOST if is_exact else 1))
    if not stretches:
        return Statistics([], [], [], [], [])
    lengths = [rows.shape[0] for rows in stretches]
    buffer = torch.empty(max(lengths), vocabulary, dtype=numbers, device=logits.device)
    widened = None if is_exact else torch.empty_like(buffer)
    columns = torch.empty(5, label.numel(), 1, dtype=numbers, device=logits.device)
    blocks = torch.empty(label.numel(), -(-vocabulary // _BLOCK), dtype=numbers, device=logits.device)
    index = label.clamp(0, vocabulary - 1).unsqueeze(-1)
    # split_with_sizes, because Tensor.split and the like are Python, and take three times as long.
    parts = (index.split_with_sizes(lengths), blocks.split_with_sizes(lengths), columns.split_with_sizes(lengths, 1))
    for rows, row_index, row_blocks, row_columns in zip(stretches, *parts, strict=True):
        row_label, row_peak, row_base, row_above, row_total = row_columns.unbind()
        values = rows if widened is None else widened.copy_(rows)
        scratch = buffer[: rows.shape[0]]
        torch.gather(values, -1, row_index, out=row_label)
        torch.amax(_block_peaks(values, out=row_blocks), -1, keepdim=True, out=row_peak)
        # A comparison written as floats is four times as fast as one written as booleans. Counts stay exact up to
        # 2**24 logits.
        torch.sum(torch.gt(values, row_label, out=scratch), -1, keepdim=True, out=row_above)
        # exp2 is four times as fast as exp. Sum and product before it are rounded once, together.
        torch.mul(row_peak, -_LOG2_E, out=row_base)
        torch.sum(torch.add(row_base, values, alpha=_LOG2_E, out=scratch).exp2_(), -1, keepdim=True, out=row_total)
    label_logit, peak, base, above, total = columns.squeeze(-1).tolist()
    return Statistics(
        prediction=_predictions(stretches, blocks, vocabulary).tolist(),
        above=list(map(int, above)),
        peak=peak,
        label_logit=label_logit,
        log_sum=_log_sums(total, peak, base, stretches),
    )


def _log_sums(total: list[float], peak: list[float], base: list[float], stretches: Sequence[Tensor]) -> list[float]:
    """Return log Σ exp(row - peak) of total = Σ 2^(base + row · log2 e), where base is -peak · log2 e, rounded.

    The rounding of base is known, and subtracted here. A total is at least about 1, or NaN.
    """
    log2_e = _LOG2_E if stretches[0].dtype == torch.float64 else _LOG2_E_FLOAT32
    found = [
        math.log(whole) - (rounded + highest * log2_e) * _LN_2 if 0 < whole < math.inf else math.nan
        for whole, highest, rounded in zip(total, peak, base, strict=True)
    ]
    for number, highest in enumerate(peak):
        if math.isnan(found[number]) and math.isfinite(highest):
            # Near the largest number of the type the product overflows, so the difference is taken first.
            row = [row for rows in stretches for row in rows.unbind()][number]
            apart = exact(row).to(torch.float64).sub_(highest).exp_().sum().item()
            found[number] = math.log(apart) if apart > 0 else math.nan
    return found


def _predictions(stretches: Sequence[Tensor], blocks: Tensor, vocabulary: int) -> Tensor:
    """Return the first index of the largest logit of each row."""
    start = _starts(blocks, vocabulary).unsqueeze(-1)
    index = start + torch.arange(min(_BLOCK, vocabulary), device=blocks.device)
    parts = index.split_with_sizes([rows.shape[0] for rows in stretches])
    windows = torch.cat([gathered(rows, part) for rows, part in zip(stretches, parts, strict=True)])
    return start.squeeze(-1) + exact(windows).argmax(-1)


def _neighbours(logits: Tensor, shown: Sequence[Ends], most: int) -> Iterator[Tensor]:
    """Yield views [n, v] of the rows shown, in order; rows that follow one another come together."""
    sequences = (sequence for sample in logits.unbind() for sequence in sample.unbind())
    for sequence, both in zip(sequences, shown, strict=True):
        for rows in both:
            begin = 0
            for end in range(1, len(rows) + 1):
                if end == len(rows) or rows[end] != rows[end - 1] + 1 or end - begin == most:
                    yield sequence[rows[begin] : rows[end - 1] + 1]
                    begin = end


def _starts(blocks: Tensor, vocabulary: int) -> Tensor:
    # The last block may be short; its window then also covers earlier values, which are all smaller.
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


def _matched(logits: Tensor, labels: Tensor, supervised: Tensor, inputs: Tensor | None) -> Tensor:
    """Count over the supervised positions of logits [s, k, t, v] how often the argmax is the label, [s, k, 1].

    With the inputs [s, k, t] that the rows read, also count how often it is the input and not the label, [s, k, 2].
    """
    wanted = wanted_ids(labels, inputs)
    counts = torch.zeros_like(wanted[..., 0, :])
    for here in product(range(wanted.shape[0]), range(wanted.shape[1])):
        stretch = supervised[here].nonzero()
        if not len(stretch):
            continue
        stop = int(stretch[-1]) + 1
        for at in range(int(stretch[0]), stop, _TOGETHER):
            part = (*here, slice(at, min(at + _TOGETHER, stop)))
            if supervised[part].any():
                counts[here] += _matched_rows(exact(logits[part]), wanted[part], supervised[part])
    return counts


def _matched_rows(rows: Tensor, wanted: Tensor, supervised: Tensor) -> Tensor | int:
    """Count the hits among rows [n, v].

    A whole row is read only if no logit at its head exceeds those of the wanted ids [n, w].
    """
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
        return rows.max(-1)
    blocks = rows.new_empty(len(rows), -(-vocabulary // _BLOCK))
    start = _starts(_block_peaks(rows, out=blocks), vocabulary).unsqueeze(-1)
    peak, within = rows.gather(-1, start + torch.arange(_BLOCK, device=rows.device)).max(-1)
    return peak, within + start.squeeze(-1)
