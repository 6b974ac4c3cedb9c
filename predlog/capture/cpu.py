"""Reductions of logit rows on the CPU: the prediction, the label's rank, the log-probabilities, the matches.

On the CPU reading a value waits for nothing, and looking first saves most of the work: only the rows shown are visited,
in place. `device` is the counterpart for other devices; both return the same numbers, which a test compares.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from predlog.capture import counts, reduction, score, split
from predlog.capture.pair import Pair
from predlog.capture.peaks import BLOCK, block_peaks, starts
from predlog.capture.positions import supervised_only
from predlog.capture.projection import Source
from predlog.capture.rows import best_of, exact, gathered
from predlog.capture.tensors import as_signed
from predlog.capture.window import chosen, with_worst
from predlog.numbers.snapshot import Numbers, Sizes, Statistics
from predlog.numbers.window import Chosen, Window

_LOG2_E = math.log2(math.e)
_LOG2_E_FLOAT32 = torch.tensor(_LOG2_E, dtype=torch.float32, device="cpu").item()
_LN_2 = math.log(2)
# How many neighbours are visited together: they stay in the cache from the first look to the last.
_MOST = 8


def to_numbers(pair: Pair, sizes: Sizes, window: Window) -> Numbers:
    """Return the numbers of a pair in the memory of the host."""
    known = pair.positions.shown(sizes.samples, sizes.codebooks)
    labels = supervised_only(_own(pair.labels, sizes), known.weights, sizes.ignore_index)
    labels = split.paired(labels, known.index, sizes.shift, sizes.ignore_index).contiguous()
    inputs = None if pair.inputs is None else _own(pair.inputs, sizes)
    if pair.columns is not None:
        return reduction.to_numbers(pair.columns.shown(sizes), sizes, window, labels, inputs, known)
    scored = labels[..., sizes.shift :]
    logits = pair.logits[: sizes.samples, : sizes.codebooks, : scored.shape[-1]]
    supervised = scored != sizes.ignore_index
    if known.index is not None:
        split.check(known.index, sizes)
    shown, scores = chosen(supervised, window, known.index), None
    if window.score and pair.fused is not None:
        scores = pair.fused.scores(scored, sizes)
    elif window.score:
        chunks = [logits] if pair.source is None else pair.source.rows(sizes.samples, sizes.codebooks, scored.shape[-1])
        own = scored if sizes.shard is None else scored - sizes.shard.start
        has_sums = sizes.shard is not None
        scores = score.on_cpu(chunks, own, supervised, has_ranks=window.all_tokens > 0, has_sums=has_sums)
    if scores is not None:
        shown = _with_worst(shown, scores.loss, supervised, window)
    index = [sizes.length * number + sizes.shift + row for number, every in enumerate(shown) for row in chain(*every)]
    label = labels.view(-1).index_select(0, torch.tensor(index, dtype=torch.int64, device="cpu"))
    rows, kept = (logits, shown) if pair.source is None else _made(pair.source, shown, labels.shape[:2])
    if sizes.shard is not None:
        label = label - sizes.shard.start
    reduced = _statistics(rows, kept, label, window.alternatives)
    return counts.to_numbers(sizes, labels, inputs, known, shown, reduced, scores, window)


def _with_worst(shown: list[Chosen], losses: Tensor, supervised: Tensor, window: Window) -> list[Chosen]:
    if not window.worst:
        return shown
    rows = supervised.shape[-1]
    taken = [rows * number + row for number, every in enumerate(shown) for row in chain(*every)]
    left_out = (~supervised).contiguous()
    left_out.view(-1).index_fill_(0, torch.tensor(taken, dtype=torch.int64, device="cpu"), True)
    return with_worst(shown, *score.worst(losses, left_out, window.worst))


def _made(source: Source, shown: Sequence[Chosen], sequences: Sequence[int]) -> tuple[Tensor, list[Chosen]]:
    """Make the rows shown, and return them as one sequence [1, 1, row, v] that shows all of its rows."""
    wanted = [[*chain(*every)] for every in shown]
    most = max(map(len, wanted))
    if not most:
        return torch.empty(1, 1, 0, source.vocabulary, dtype=source.dtype, device="cpu"), [Chosen([], [], [])]
    where = torch.tensor([[*ats, *[0] * (most - len(ats))] for ats in wanted], device="cpu").view(*sequences, most)
    made = source.at(where).flatten(0, 2)
    kept = [most * number + place for number, ats in enumerate(wanted) for place in range(len(ats))]
    return made[kept][None, None], [Chosen(list(range(len(kept))), [], [])]


def _own(ids: Tensor, sizes: Sizes) -> Tensor:
    """Return the ids of the sequences shown as contiguous 64-bit integers, copied if they are not."""
    return as_signed(ids[: sizes.samples, : sizes.codebooks]).contiguous()


def _statistics(logits: Tensor, shown: Sequence[Chosen], label: Tensor, alternatives: int) -> Statistics:
    """Reduce the rows of logits [s, k, t, v] that are shown, sequence by sequence, for their labels [row].

    The rows are visited in place, one stretch of neighbours at a time, so that the stretch stays in the cache. There is
    one buffer, of as many rows as the longest stretch; rows of half precision are widened in another one, one by one.
    """
    vocabulary = logits.shape[-1]
    numbers = torch.float64 if logits.dtype == torch.float64 else torch.float32
    is_exact = logits.dtype == numbers
    stretches = list(_neighbours(logits, shown, _MOST if is_exact else 1))
    if not stretches:
        return Statistics([], [], [], [], [], [])
    lengths = [rows.shape[0] for rows in stretches]
    buffer = torch.empty(max(lengths), vocabulary, dtype=numbers, device=logits.device)
    widened = None if is_exact else torch.empty_like(buffer)
    columns = torch.empty(5, label.numel(), 1, dtype=numbers, device=logits.device)
    blocks = torch.empty(label.numel(), -(-vocabulary // BLOCK), dtype=numbers, device=logits.device)
    index = label.clamp(0, vocabulary - 1).unsqueeze(-1)
    # split_with_sizes, because Tensor.split and the like are Python, and take three times as long.
    parts = (index.split_with_sizes(lengths), blocks.split_with_sizes(lengths), columns.split_with_sizes(lengths, 1))
    for rows, row_index, row_blocks, row_columns in zip(stretches, *parts, strict=True):
        row_label, row_peak, row_base, row_above, row_total = row_columns.unbind()
        values = rows if widened is None else widened.copy_(rows)
        scratch = buffer[: rows.shape[0]]
        torch.gather(values, -1, row_index, out=row_label)
        torch.amax(block_peaks(values, out=row_blocks), -1, keepdim=True, out=row_peak)
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
        best=best_of(stretches, alternatives),
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
    start = starts(blocks, vocabulary).unsqueeze(-1)
    index = start + torch.arange(min(BLOCK, vocabulary), device=blocks.device)
    parts = index.split_with_sizes([rows.shape[0] for rows in stretches])
    windows = torch.cat([gathered(rows, part) for rows, part in zip(stretches, parts, strict=True)])
    return start.squeeze(-1) + exact(windows).argmax(-1)


def _neighbours(logits: Tensor, shown: Sequence[Chosen], most: int) -> Iterator[Tensor]:
    """Yield views [n, v] of the rows shown, in order; rows that follow one another come together."""
    sequences = (sequence for sample in logits.unbind() for sequence in sample.unbind())
    for sequence, every in zip(sequences, shown, strict=True):
        for rows in every:
            begin = 0
            for end in range(1, len(rows) + 1):
                if end == len(rows) or rows[end] != rows[end - 1] + 1 or end - begin == most:
                    yield sequence[rows[begin] : rows[end - 1] + 1]
                    begin = end
