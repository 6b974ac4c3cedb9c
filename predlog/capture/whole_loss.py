"""The cross-entropy of a whole pair, summed up in each way in which a trainer may have summed it up.

It is held against the loss that the trainer reports, so it is taken of all rows of the batch: at the first records of a
stream, and rarely afterwards. The rows are visited in chunks, so that little memory is needed beside the logits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from predlog.capture.pair import Pair
from predlog.capture.scalar import on_its_way
from predlog.capture.split import paired
from predlog.capture.tensors import as_signed
from predlog.findings.reported_loss import Total, Totals
from predlog.numbers.losses import MOST_ROWS, OF_OWN_LABELS, LossSums
from predlog.numbers.snapshot import Slice

# Values of a chunk of rows, or one row: 8 MiB as float32 on the CPU; on other devices more, since each chunk is a few
# launches.
_CHUNK = 1 << 21
_CHUNK_ELSEWHERE = 1 << 23


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
    ways = _ways(pair, shift, ignore_index)
    found = _rows(pair, ways, None)
    losses = found.log_sums.unsqueeze(-1) - found.logits
    wait = on_its_way(torch.cat([_totals(losses, found.weights).flatten(), found.unseen(), _attended(pair)]))
    if wait is None:
        return None
    counts = _counts(pair, found, shift)
    return lambda: _on_the_host([way.name for way in ways], wait(), counts)


def start_part(pair: Pair, shift: int, ignore_index: int, part: Slice) -> Callable[[], LossSums] | None:
    """Start to sum up what a part of a pair knows of its loss, and return what waits for it.

    None if a head makes the rows, or if there are so many of them that whoever joins the parts can't have each.
    """
    if pair.columns is not None or (pair.source is not None and pair.source.head is not None):
        return None
    is_split = pair.positions.index is not None
    labels = paired(as_signed(pair.labels), pair.positions.index, shift, ignore_index)
    ways = [one for one in _ways(replace(pair, labels=labels), shift, ignore_index)
            if not is_split or one.name in OF_OWN_LABELS]  # fmt: skip
    samples, has_all = pair.labels.shape[0], part.stop - part.start == part.of
    names = [way.name for way in ways]
    if (not has_all and pair.labels.numel() > MOST_ROWS) or samples * len(ways) > MOST_ROWS:
        return None
    found = _rows(pair, ways, part)
    weights, counted = found.weights, found.weights > 0
    wanted = [torch.where(counted, found.logits * weights, 0.0).sum((1, 2)), weights.sum((1, 2))]
    if has_all:
        log_sums = torch.where(counted, found.log_sums.unsqueeze(-1) * weights, 0.0).sum((1, 2))
        wanted += [found.unseen(), log_sums]
    else:
        bits = 2 ** torch.arange(len(ways), device=weights.device)  # a tensor of a list would wait for the device
        wanted += [found.unseen(), found.log_sums, (counted * bits).sum(-1)]
        wanted += [weights[..., names.index("weighted")]] if "weighted" in names else []
    wanted.append(_attended(pair))
    sizes = [one.numel() for one in wanted]
    wait = on_its_way(torch.cat([one.flatten().to(torch.float64) for one in wanted]))
    if wait is None:
        return None
    counts = _counts(pair, found, shift)
    if is_split:  # of a shift, a label may be in two parts
        counts = {name: counts[name] for name in ("samples", "rows", *["positions"] * (not shift))}

    def arrived() -> LossSums:
        numbers = iter(wait())
        labels, own, (unseen,), *rest, (attended,) = ([*islice(numbers, many)] for many in sizes)
        more = {} if is_split and shift else {"attended tokens": attended}
        sums = LossSums(names, samples, counts | more, labels, own, int(unseen))
        if has_all:
            return replace(sums, log_sums=rest[0])
        return replace(sums, rows=rest[0], marks=bytes(map(int, rest[1])), scales=rest[2] if len(rest) > 2 else None)

    return arrived


class _Rows(NamedTuple):
    """Of all rows the log-sum-exp [b, k, rows], and of each way the label's logit and weight [b, k, rows, way]."""

    log_sums: Tensor
    logits: Tensor
    weights: Tensor

    def unseen(self) -> Tensor:
        """Return [1]: how many rows that no label counts hold NaN or infinity."""
        return (~torch.isfinite(self.log_sums) & (self.weights[..., 0] <= 0)).sum().reshape(1)


def _rows(pair: Pair, ways: Sequence[_Way], part: Slice | None) -> _Rows:
    """Return what the rows of a pair have; of labels that a part of the vocabulary has not, the logit is 0."""
    chunks = (pair.logits,) if pair.source is None else pair.source.chunks
    samples, codebooks, rows = *pair.labels.shape[:2], sum(one.shape[2] for one in chunks)
    columns = chunks[0].shape[-1]
    first_id, of = (0, columns) if part is None else (part.start, part.of)
    # [b, k, rows, way]: the label of each row, and its weight.
    wanted = torch.stack([_of_rows(way.labels, way.lead, rows) for way in ways], -1).clamp_(0, of - 1) - first_id
    weights = torch.stack([_of_rows(way.weights.to(torch.float64), way.lead, rows) for way in ways], -1)
    found, log_sums = torch.zeros_like(weights), weights.new_zeros(samples, codebooks, rows)
    is_own = (wanted >= 0) & (wanted < columns)
    wanted = torch.where(is_own, wanted, 0)
    most = _CHUNK if weights.device.type == "cpu" else _CHUNK_ELSEWHERE
    for first, last in _spans(samples, codebooks * columns, most):
        for begin, logits in _pieces([chunk[first:last] for chunk in chunks], most):
            here = (slice(first, last), slice(None), slice(begin, begin + logits.shape[2]))
            values = logits if logits.dtype == torch.float64 else logits.to(torch.float32)
            log_sums[here] = values.logsumexp(-1).to(torch.float64)
            found[here] = values.gather(-1, wanted[here]).to(torch.float64)
    return _Rows(log_sums, torch.where(is_own, found, 0.0), weights)


def _attended(pair: Pair) -> Tensor:
    """Return [1]: how many positions are no padding; 0 if that is not known."""
    attended = pair.positions.attended
    if attended is None:
        return torch.zeros(1, dtype=torch.int64, device=pair.labels.device)
    return (attended[:, 0] != 0).sum().reshape(1)


def _counts(pair: Pair, found: _Rows, shift: int) -> dict[str, float]:
    samples, codebooks, rows = found.log_sums.shape
    return {
        "positions": pair.labels.numel(),
        "rows": samples * codebooks * rows,
        "rows that may have a label": samples * codebooks * min(rows, pair.labels.shape[2] - shift),
        "samples": samples,
    }


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
        if weights.dtype != torch.bool:
            ways.append(_Way("weighted", labels, shift, torch.where(supervised, weights, 0)))
    if known.attended is not None:
        ways.append(_Way("attended", labels, shift, supervised & (known.attended != 0)))
    if pair.inputs is not None and shift <= 1:
        # What an ignored label would be; if labels were shifted before, the next input, which the last one has not.
        filled = torch.where(has_label, labels, _of_labels(as_signed(pair.inputs), shift))
        has_token = has_label | _of_labels(torch.ones_like(has_label), shift)
        ways.append(_Way("all", filled, shift, has_token))
        if known.attended is not None:
            is_padding = _of_labels((known.attended == 0).expand_as(has_label), shift)
            ways.append(_Way("padded", filled, shift, supervised | is_padding))
    return ways


def _of_labels(values: Tensor, shift: int) -> Tensor:
    """Return what [b, k, t] has for the inputs that are the labels of next-token training; 0 for the last without."""
    return values if shift else pad(values[..., 1:], (0, 1))


def _of_rows(values: Tensor, lead: int, rows: int) -> Tensor:
    """Return what [b, k, t] has for the labels of rows, as [b, k, rows]; 0 for rows without a label."""
    found = values[..., lead : lead + rows]
    return pad(found, (0, rows - found.shape[-1]))


def _totals(losses: Tensor, weights: Tensor) -> Tensor:
    """Return the numbers of a `Total` for each way of losses and weights [b, k, rows, way], as [way, number]."""
    # 0 × NaN is NaN: what has no weight is left out.
    found = torch.where(weights > 0, losses * weights, 0.0).sum((1, 2))
    each = weights.sum((1, 2))
    means = torch.where(each > 0, found / each, 0.0)
    return torch.stack([found.sum(0), each.sum(0), means.sum(0), (each > 0).sum(0)], -1)


def _spans(count: int, values: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield the first, and the one after the last, of spans of things of so many values, of `most` values or one."""
    step = max(most // values, 1)
    return ((first, min(first + step, count)) for first in range(0, count, step))


def _pieces(chunks: Sequence[Tensor], most: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of the first row of each piece, and the piece [s, k, n, v] of chunks [s, k, t, v]."""
    start = 0
    for chunk in chunks:
        for first, last in _spans(chunk.shape[2], chunk.shape[0] * chunk.shape[1] * chunk.shape[3], most):
            yield start + first, chunk[:, :, first:last]
        start += chunk.shape[2]


def _on_the_host(names: list[str], numbers: list[float], counts: dict[str, float]) -> Totals:
    *totals, unseen, attended = numbers
    width = len(Total._fields)
    parts = [Total(*totals[at : at + width]) for at in range(0, len(totals), width)]
    return Totals(dict(zip(names, parts, strict=True)), int(unseen), {**counts, "attended tokens": attended})
