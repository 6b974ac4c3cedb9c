"""The scores of all supervised rows: what each predicts, the loss of its label, its entropy, and the label's rank.

On the CPU only supervised rows are visited, in place, a chunk of them at a time. On other devices all rows are, by
operations whose number and sizes depend on the shape alone. No second copy of the logits is ever made.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final, NamedTuple

import torch
from torch import Tensor

from predlog.capture.peaks import peaks_of
from predlog.capture.rows import exact, selected

# Values of a chunk of rows, or one row: what stays in the cache of a CPU, and what is little beside a batch elsewhere.
_CHUNK: Final = 1 << 19
_CHUNK_ELSEWHERE: Final = 1 << 24
_LOG2_E: Final = math.log2(math.e)
_LOG2_E_FLOAT32: Final = torch.tensor(_LOG2_E, dtype=torch.float32, device="cpu").item()
_LN_2: Final = math.log(2)
# 2 to this power is 0 in float32, and times this it still is.
_NOTHING: Final = -1100.0


class Scores(NamedTuple):
    """Columns [s, k, rows] of rows of logits; those of rows without a label may be anything.

    The `prediction` is the index of the largest logit, and negative where the row holds NaN.
    `loss` is -log p(label), `entropy` -Σ p log p, both in nats and NaN where the row holds NaN. The loss of a label
    without a logit is NaN, too. `above`, how many logits exceed the label's, is there if ranks are wanted. `peak`, the
    largest logit, and `log_sum`, the log of Σ exp(logit - peak), are there if they are wanted, as of a shard.
    """

    prediction: Tensor
    loss: Tensor
    entropy: Tensor
    above: Tensor | None = None
    peak: Tensor | None = None
    log_sum: Tensor | None = None


class Sums(NamedTuple):
    """What the scores of rows are made of, a column each, NaN in rows that were not visited.

    The `peak` is the largest logit, `base` is -peak · log2 e, rounded. `total` is Σ 2^x and `weighed` is Σ x · 2^x,
    with x = base + logit · log2 e. `label` is the label's logit, `above` the number of logits that exceed it.
    """

    peak: Tensor
    base: Tensor
    total: Tensor
    weighed: Tensor
    label: Tensor
    above: Tensor


def _number_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which rows of a type are reduced."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def on_cpu(
    chunks: Iterable[Tensor], labels: Tensor, supervised: Tensor, *, has_ranks: bool, has_sums: bool = False
) -> Scores:
    """Return the scores of logits on the CPU, chunks [s, k, t, v] along time, for labels that are supervised."""
    begin, parts = 0, []
    for logits in chunks:
        here = (slice(None), slice(None), slice(begin, begin + logits.shape[2]))
        parts.append(_score(logits, labels[here], supervised[here], has_ranks=has_ranks, has_sums=has_sums))
        begin += logits.shape[2]
    if len(parts) == 1:
        return parts[0]
    return Scores(*(None if one[0] is None else torch.cat(one, -1) for one in zip(*parts, strict=True)))  # type: ignore[arg-type] # three are there


def _score(logits: Tensor, labels: Tensor, supervised: Tensor, *, has_ranks: bool, has_sums: bool) -> Scores:
    vocabulary = logits.shape[-1]
    most = max(_CHUNK // vocabulary, 1)
    rows_at_once = min(most, logits.shape[2])
    numbers = _number_type(logits.dtype)
    buffers = torch.empty(2, rows_at_once, vocabulary, dtype=numbers, device="cpu")
    some = torch.empty(len(Sums._fields), rows_at_once, 1, dtype=numbers, device="cpu")
    sums = torch.full((len(Sums._fields), *labels.shape, 1), math.nan, dtype=numbers, device="cpu")
    predictions = torch.full_like(labels, -1)
    index = labels.clamp(0, vocabulary - 1).unsqueeze(-1)
    for here in product(range(labels.shape[0]), range(labels.shape[1])):
        for part, picked in _stretches(supervised[here], most):
            rows, wanted, into = logits[here][part], index[here][part], part
            if picked is not None:
                rows, wanted, into = selected(rows, picked), wanted[picked], part.start + picked
            own = some[:, : len(rows)]
            predictions[here][into] = _reduce(rows, wanted, buffers[:, : len(rows)], Sums(*own), has_ranks=has_ranks)
            sums[:, here[0], here[1], into] = own
    found = Sums(*sums.squeeze(-1).unbind())
    loss, entropy, log_sum = _in_nats(logits, index, found)
    return Scores(
        torch.where(torch.isnan(found.peak), -1, predictions),
        loss.masked_fill_((labels < 0) | (labels >= vocabulary), math.nan),
        entropy,
        found.above.nan_to_num_(-1).to(torch.int64) if has_ranks else None,
        *((found.peak, log_sum) if has_sums else (None, None)),
    )


def _stretches(supervised: Tensor, most: int) -> Iterator[tuple[slice, Tensor | None]]:
    """Yield slices of at most so many rows, from the first supervised one of [t] to the last.

    If fewer than half of a slice's rows are supervised, where these are in it comes with it; a slice without any is
    left out.
    """
    places = supervised.nonzero().squeeze(-1)
    if not len(places):
        return
    stop = int(places[-1]) + 1
    for begin in range(int(places[0]), stop, most):
        part = slice(begin, min(begin + most, stop))
        picked = supervised[part].nonzero().squeeze(-1)
        if len(picked):
            yield part, picked if 2 * len(picked) <= part.stop - begin else None


def _reduce(rows: Tensor, index: Tensor, buffers: Tensor, out: Sums, *, has_ranks: bool) -> Tensor:
    """Write the sums of rows [n, v] for their labels [n, 1] to columns [n, 1], and return where the peaks are [n].

    The buffers [2, n, v] are written to. What can wait is done once for all rows, in `_in_nats`: the rows of a small
    vocabulary are reduced faster than an operation is called.
    """
    scaled, scratch = buffers.unbind()
    values = rows if rows.dtype == scaled.dtype else scaled.copy_(rows)
    peak, prediction = peaks_of(values)
    out.peak.copy_(peak.unsqueeze(-1))
    torch.gather(values, -1, index, out=out.label)
    if has_ranks:
        torch.sum(torch.gt(values, out.label, out=scratch), -1, keepdim=True, out=out.above)
    # exp2 is four times as fast as exp. Sum and product before it are rounded once, together.
    torch.mul(out.peak, -_LOG2_E, out=out.base)
    torch.add(out.base, values, alpha=_LOG2_E, out=scaled)
    torch.sum(torch.exp2(scaled, out=scratch), -1, keepdim=True, out=out.total)
    weighed = torch.linalg.vecdot(scratch, scaled)
    if bool(torch.isnan(weighed).any()):  # 0 times infinity: a logit that is -inf adds nothing
        weighed = torch.linalg.vecdot(scratch, scaled.clamp_(min=_NOTHING))
    out.weighed.copy_(weighed.unsqueeze(-1))
    return prediction


def _in_nats(logits: Tensor, index: Tensor, sums: Sums) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss, the entropy and the log of the sum [s, k, t] of logits for labels [s, k, t, 1], in float64."""
    log2_e = _LOG2_E if logits.dtype == torch.float64 else _LOG2_E_FLOAT32
    peak, base, total, label, weighed = (
        one.to(torch.float64) for one in (sums.peak, sums.base, sums.total, sums.label, sums.weighed)
    )
    # The rounding of the base is known, and taken out here.
    log_sum = total.log() - (base + peak * log2_e) * _LN_2
    loss, entropy = peak - label + log_sum, (total.log2() - weighed / total) * _LN_2
    for sample, codebook, row in (torch.isfinite(peak) & ~torch.isfinite(total)).nonzero().tolist():
        # Near the largest number of the type the product overflows, so the difference is taken first.
        here = (sample, codebook, row)
        loss[here], entropy[here], log_sum[here] = _apart(logits[here], peak[here], index[here])
    return loss, entropy, log_sum


def _apart(row: Tensor, peak: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    distance = exact(row).to(torch.float64) - peak
    log_sum = distance.logsumexp(-1)
    logprobs = distance - log_sum
    probabilities = logprobs.exp()
    return -logprobs[index].squeeze(), -(probabilities * logprobs.clamp(min=_NOTHING)).sum(), log_sum


def worst(losses: Tensor, left_out: Tensor, many: int) -> tuple[Tensor, Tensor]:
    """Return the rows [s, k, n] with the largest losses [s, k, t], the largest first, and whether each is one.

    A row that is left out, or whose loss is NaN, is none. Equal losses come in the order of their rows.
    """
    # Rounded, since what is equal may differ by the rounding of float32.
    ranked = torch.where(left_out | torch.isnan(losses), -math.inf, losses.round(decimals=5))
    order = ranked.sort(dim=-1, descending=True, stable=True)
    return order.indices[..., :many], order.values[..., :many] > -math.inf


def elsewhere(chunks: Iterable[Tensor], labels: Tensor, out: Scores) -> None:
    """Write the scores of all rows of logits, chunks [s, k, t, v] along time, for labels [s, k, t] to `out`."""
    begin = 0
    for logits in chunks:
        here = (slice(None), slice(None), slice(begin, begin + logits.shape[2]))
        own = Scores(*(None if one is None else one[here] for one in out))  # type: ignore[arg-type] # three are there
        _score_elsewhere(logits, labels[here], own)
        begin += logits.shape[2]


def _score_elsewhere(logits: Tensor, labels: Tensor, out: Scores) -> None:
    samples, codebooks, length, vocabulary = logits.shape
    wanted = labels.clamp(0, vocabulary - 1).unsqueeze(-1)
    most = max(_CHUNK_ELSEWHERE // (samples * codebooks * vocabulary), 1)
    for begin in range(0, length, most):
        part = (slice(None), slice(None), slice(begin, min(begin + most, length)))
        rows = logits[part]
        rows = rows if rows.dtype == torch.float64 else rows.to(torch.float32)
        peak, prediction = rows.max(-1, keepdim=True)
        out.prediction[part] = torch.where(torch.isnan(peak), -1, prediction).squeeze(-1)
        label = rows.gather(-1, wanted[part])
        if out.above is not None:
            out.above[part] = (rows > label).sum(-1)
        distance = rows - peak
        powers = distance.exp()
        total = powers.sum(-1)
        log_sum = total.log()
        if out.peak is not None and out.log_sum is not None:
            out.peak[part] = peak.squeeze(-1)
            out.log_sum[part] = log_sum
        out.loss[part] = (peak - label).squeeze(-1) + log_sum
        out.entropy[part] = log_sum - powers.mul_(distance.clamp_(min=_NOTHING)).sum(-1) / total
    out.loss.masked_fill_((labels < 0) | (labels >= vocabulary), math.nan)
