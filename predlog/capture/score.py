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
    without a logit is NaN, too. `above`, how many logits exceed the label's, is there if ranks are wanted.
    """

    prediction: Tensor
    loss: Tensor
    entropy: Tensor
    above: Tensor | None = None


def _number_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which rows of a type are reduced."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def on_cpu(chunks: Iterable[Tensor], labels: Tensor, supervised: Tensor, *, has_ranks: bool) -> Scores:
    """Return the scores of logits on the CPU, chunks [s, k, t, v] along time, for labels that are supervised."""
    scores = Scores(
        torch.full_like(labels, -1),
        torch.full(labels.shape, math.nan, dtype=torch.float64, device="cpu"),
        torch.full(labels.shape, math.nan, dtype=torch.float64, device="cpu"),
        torch.full_like(labels, -1) if has_ranks else None,
    )
    begin = 0
    for logits in chunks:
        here = (slice(None), slice(None), slice(begin, begin + logits.shape[2]))
        own = Scores(*(None if one is None else one[here] for one in scores))  # type: ignore[arg-type] # three are there
        _score(logits, labels[here], supervised[here], own)
        begin += logits.shape[2]
    return scores


def _score(logits: Tensor, labels: Tensor, supervised: Tensor, scores: Scores) -> None:
    vocabulary = logits.shape[-1]
    most = max(_CHUNK // vocabulary, 1)
    buffers = torch.empty(2, min(most, logits.shape[2]), vocabulary, dtype=_number_type(logits.dtype), device="cpu")
    for here in product(range(labels.shape[0]), range(labels.shape[1])):
        for part, picked in _stretches(supervised[here], most):
            rows, wanted = logits[here][part], labels[here][part]
            if picked is not None:
                rows, wanted = selected(rows, picked), wanted[picked]
            index = wanted.clamp(0, vocabulary - 1).unsqueeze(-1)
            found = _reduced(rows, index, buffers, has_ranks=scores.above is not None)
            for column, values in zip(scores, found, strict=True):
                if column is not None and values is not None:
                    column[here][part if picked is None else part.start + picked] = values
    scores.loss.masked_fill_((labels < 0) | (labels >= vocabulary), math.nan)


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


def _reduced(
    rows: Tensor, index: Tensor, buffers: Tensor, *, has_ranks: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Reduce rows [n, v] for their labels [n, 1]; the buffers [2, n or more, v] are written to."""
    scaled, scratch = buffers[:, : len(rows)].unbind()
    values = rows if rows.dtype == scaled.dtype else scaled.copy_(rows)
    peak, prediction = peaks_of(values)
    label = values.gather(-1, index)
    above = torch.gt(values, label, out=scratch).sum(-1).to(torch.int64) if has_ranks else None
    # exp2 is four times as fast as exp. Sum and product before it are rounded once, together.
    base = peak.unsqueeze(-1) * -_LOG2_E
    torch.add(base, values, alpha=_LOG2_E, out=scaled)
    total = torch.exp2(scaled, out=scratch).sum(-1).to(torch.float64)
    mean = torch.linalg.vecdot(scratch, scaled).to(torch.float64) / total
    if bool((torch.isnan(mean) & torch.isfinite(total)).any()):  # 0 times infinity: a logit that is -inf adds nothing
        mean = torch.linalg.vecdot(scratch, scaled.clamp_(min=_NOTHING)).to(torch.float64) / total
    log2_e = _LOG2_E if scaled.dtype == torch.float64 else _LOG2_E_FLOAT32
    highest = peak.to(torch.float64)
    log_sum = total.log() - (base.squeeze(-1).to(torch.float64) + highest * log2_e) * _LN_2
    loss = highest - label.squeeze(-1).to(torch.float64) + log_sum
    entropy = (total.log2() - mean) * _LN_2
    for number in (torch.isfinite(highest) & ~torch.isfinite(total)).nonzero().squeeze(-1).tolist():
        # Near the largest number of the type the product overflows, so the difference is taken first.
        loss[number], entropy[number] = _apart(rows[number], highest[number], index[number])
    return torch.where(torch.isnan(peak), -1, prediction), loss, entropy, above


def _apart(row: Tensor, peak: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    distance = exact(row).to(torch.float64) - peak
    logprobs = distance - distance.logsumexp(-1)
    probabilities = logprobs.exp()
    return -logprobs[index].squeeze(), -(probabilities * logprobs.clamp(min=_NOTHING)).sum()


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
        out.loss[part] = (peak - label).squeeze(-1) + log_sum
        out.entropy[part] = log_sum - powers.mul_(distance.clamp_(min=_NOTHING)).sum(-1) / total
    out.loss.masked_fill_((labels < 0) | (labels >= vocabulary), math.nan)
