"""The cross-entropy of a whole pair, summed up in each way in which a trainer may have summed it up.

It is held against the loss that the trainer reports, so it is taken of all rows of the batch: at the first records of a
stream, and rarely afterwards. The rows are visited in chunks, so that little memory is needed beside the logits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from predlog.capture.pair import Pair
from predlog.capture.scalar import on_its_way
from predlog.capture.tensors import as_signed
from predlog.findings.reported_loss import Total, Totals

# Values of a chunk of rows: 8 MiB as float32, or one row.
_CHUNK = 1 << 21


@dataclass(frozen=True, slots=True)
class _Way:
    """Which labels [b, k, t] are counted with which weights, and by how many positions they lead the rows."""

    name: str
    labels: Tensor
    lead: int
    weights: Tensor


def start(pair: Pair, shift: int, ignore_index: int) -> Callable[[], Totals] | None:
    """Start to sum up the loss of a whole pair, and return what waits for it; None if there are no logits to sum up.

    There are none if a head makes rows on demand, or if they were reduced elsewhere. It is also None if no slot of the
    device's ring is free.
    """
    if pair.columns is not None or (pair.source is not None and pair.source.head is not None):
        return None
    chunks = (pair.logits,) if pair.source is None else pair.source.chunks
    ways = _ways(pair, shift, ignore_index)
    totals = torch.zeros(len(ways), len(Total._fields), dtype=torch.float64, device=pair.labels.device)
    unseen = totals.new_zeros(1)
    samples, codebooks, rows, vocabulary = *pair.labels.shape[:2], sum(one.shape[2] for one in chunks), pair.vocabulary
    for first, last in _spans(samples, codebooks * (vocabulary or 1)):
        losses = totals.new_zeros(len(ways), last - first, codebooks, rows)
        log_sums = torch.zeros_like(losses[0])
        for begin, logits in _pieces([chunk[first:last] for chunk in chunks]):
            values = logits if logits.dtype == torch.float64 else logits.to(torch.float32)
            end = begin + logits.shape[2]
            log_sums[:, :, begin:end] = log_sum = values.logsumexp(-1)
            for way, loss in zip(ways, losses, strict=True):
                ids = way.labels[first:last, :, begin + way.lead : end + way.lead]
                at, here = ids.clamp(0, values.shape[-1] - 1).unsqueeze(-1), ids.shape[-1]
                loss[:, :, begin : begin + here] = log_sum[..., :here] - values[:, :, :here].gather(-1, at).squeeze(-1)
        parts = [way.weights[first:last, :, way.lead : way.lead + rows] for way in ways]
        totals += torch.stack([_total(loss, part) for loss, part in zip(losses, parts, strict=True)])
        broken = ~torch.isfinite(log_sums)
        unseen += broken.sum() - (broken[..., : parts[0].shape[-1]] & (parts[0] > 0)).sum()
    attended = pair.positions.attended
    known = unseen.new_zeros(1) if attended is None else (attended != 0).sum().reshape(1)
    wait = on_its_way(torch.cat([totals.flatten(), unseen, known]))
    if wait is None:
        return None
    counts: dict[str, float] = {
        "positions": pair.labels.numel(),
        "rows": samples * codebooks * rows,
        "samples": samples,
    }
    return lambda: _on_the_host([way.name for way in ways], wait(), counts)


def _ways(pair: Pair, shift: int, ignore_index: int) -> list[_Way]:
    labels, known = as_signed(pair.labels), pair.positions
    has_label = labels != ignore_index
    weights = known.weights
    supervised = has_label if weights is None else has_label & (weights > 0)
    ways = [_Way("as recorded", labels, shift, supervised), _Way("one more", labels, shift + 1, supervised)]
    if shift:
        ways.append(_Way("one less", labels, shift - 1, supervised))
    if weights is not None:
        ways.append(_Way("unmasked", labels, shift, has_label))
        if weights.dtype.is_floating_point:
            ways.append(_Way("weighted", labels, shift, torch.where(supervised, weights, 0)))
    if known.attended is not None:
        ways.append(_Way("attended", labels, shift, supervised & (known.attended != 0)))
    if pair.inputs is not None and shift:
        filled = torch.where(has_label, labels, as_signed(pair.inputs))
        ways.append(_Way("all", filled, shift, torch.ones_like(has_label)))
        if known.attended is not None:
            ways.append(_Way("padded", filled, shift, supervised | (known.attended == 0)))
    return ways


def _total(loss: Tensor, weights: Tensor) -> Tensor:
    """Return the numbers of a `Total` for losses [b, k, rows] and the weights of their labels, maybe fewer."""
    counted = weights.to(torch.float64)
    # 0 × NaN is NaN: what has no weight is left out.
    found = torch.where(counted > 0, loss[..., : counted.shape[-1]] * counted, 0.0).sum((1, 2))
    each = counted.sum((1, 2))
    mean = torch.where(each > 0, found / each, 0.0)
    return torch.stack([found.sum(), each.sum(), mean.sum(), (each > 0).sum()])


def _spans(count: int, values: int) -> Iterator[tuple[int, int]]:
    """Yield the first, and the one after the last, of spans of so many things that are a chunk of values at most."""
    most = max(_CHUNK // values, 1)
    return ((first, min(first + most, count)) for first in range(0, count, most))


def _pieces(chunks: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of the first row of each piece, and the piece [s, k, n, v] of chunks [s, k, t, v]."""
    start = 0
    for chunk in chunks:
        for first, last in _spans(chunk.shape[2], chunk.shape[0] * chunk.shape[1] * chunk.shape[3]):
            yield start + first, chunk[:, :, first:last]
        start += chunk.shape[2]


def _on_the_host(names: list[str], numbers: list[float], counts: dict[str, float]) -> Totals:
    *totals, unseen, attended = numbers
    width = len(Total._fields)
    parts = [Total(*totals[at : at + width]) for at in range(0, len(totals), width)]
    return Totals(dict(zip(names, parts, strict=True)), int(unseen), {**counts, "attended tokens": attended})
