"""The sums over a whole pair that its reported loss is held against, of parts: what each writes, and them joined.

The loss of a label is the log-sum-exp of its row less its logit. One shard of the vocabulary has the logit, so these
are summed up where they are. The log-sum-exp of a row needs all shards: each writes its own, of not too many rows.
What parts of the rows have summed up is added. Of a label there, only its own row is known, so sums over other labels
are left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from predlog.errors import RecordError
from predlog.findings.reported_loss import Reported, Total, Totals, agrees
from predlog.numbers.columns import deflated, inflated, packed, unpacked
from predlog.numbers.snapshot import Slice, Snapshot
from predlog.records.part_facts import LossFacts, loss_facts

# Of a pair with more rows, a shard of the vocabulary writes none.
MOST_ROWS: Final = 16_384
# Sums that parts of rows can take without the labels of others.
OF_OWN_LABELS: Final = frozenset({"as recorded", "unmasked", "weighted", "attended"})
_WEIGHTED: Final = "weighted"


@dataclass(frozen=True, slots=True)
class LossSums:
    """What one process knows of the sums over a pair.

    By sample and way, `labels` are the sums of the logits that it has of labels, `weights` those of weights, and
    `log_sums` those of log-sum-exps, if it has the whole vocabulary. Else `rows` are the log-sum-exps of all rows of
    its shard, `marks` have a bit for each way that counts the row, and `scales` are its weight, if they differ.
    """

    ways: Sequence[str]
    samples: int
    counts: Mapping[str, float]
    labels: Sequence[float]
    weights: Sequence[float]
    unseen: int
    log_sums: Sequence[float] | None = None
    rows: Sequence[float] | None = None
    marks: bytes = b""
    scales: Sequence[float] | None = None


def loss_fact(snapshot: Snapshot) -> dict[str, Any] | None:
    """Return what a part has of the loss that was reported with its pair; None if there is none, or nothing of it."""
    if snapshot.sums is None or snapshot.reported is None or snapshot.sizes.shard is None:
        return None
    sums, reported, is_first = snapshot.sums(), snapshot.reported(), snapshot.sizes.shard.start == 0
    items = math.nan if reported.items is None else reported.items
    return {
        "reported": packed([float(reported.loss), float(reported.precision), float(items)]),
        "accumulate": reported.accumulate,
        "ways": [*sums.ways],
        "samples": sums.samples,
        "labels": packed(sums.labels),
        "log_sums": None if sums.log_sums is None else packed(sums.log_sums),
        "many": 0 if sums.rows is None else len(sums.rows),
        "rows": None if sums.rows is None else packed(sums.rows, is_rounded=True),
        # What is the same in all shards is written by the first.
        "weights": packed(sums.weights) if is_first else None,
        "counts": {**sums.counts} if is_first else None,
        "unseen": sums.unseen,
        "marks": deflated(sums.marks) if is_first and sums.rows is not None else None,
        "scales": packed(sums.scales) if is_first and sums.scales is not None else None,
    }


def joined_loss(groups: Sequence[Sequence[tuple[Slice, Any]]], *, is_split: bool) -> tuple[Totals, Reported] | None:
    """Return the sums of a pair from those of its parts, and the loss that was reported; None if that is not known.

    Each group has the shards of the same rows, in their order, with what `loss_fact` has returned. If processes have
    reported different losses, each is that of its rows: their sum, or mean, is returned if that is as it should be.

    Raises:
        RecordError: The parts have numbers that no recorder writes.
        ValueError: As RecordError.
    """
    if not all(fact for group in groups for _, fact in group):
        return None
    every = [[(shard, loss_facts(fact)) for shard, fact in group] for group in groups]
    sums = [_of_group(group) for group in every]
    first = every[0][0][1]
    if any((one.ways, one.samples) != (first.ways, first.samples) for group in every for _, one in group):
        return None
    counts: dict[str, float] = {}
    for group in every:
        for name, number in (group[0][1].counts or {}).items():
            counts[name] = number if name == "samples" else counts.get(name, 0) + number
    losses = [sum(column) for column in zip(*(one[0] for one in sums), strict=True)]
    weights = [sum(column) for column in zip(*(one[1] for one in sums), strict=True)]
    many = len(first.ways)
    ways = {name: _total(losses[at::many], weights[at::many]) for at, name in enumerate(first.ways)}
    totals = Totals(ways, sum(one[2] for one in sums), counts, lacks_ways=is_split)
    reported = _reported(every, [sum(one[1][::many]) for one in sums], totals)
    return None if reported is None or "as recorded" not in ways else (totals, reported)


def _total(losses: Sequence[float], weights: Sequence[float]) -> Total:
    means = [loss / weight for loss, weight in zip(losses, weights, strict=True) if weight > 0]
    return Total(sum(losses), sum(weights), sum(means), len(means))


def _of_group(group: Sequence[tuple[Slice, LossFacts]]) -> tuple[list[float], list[float], int]:
    """Return the losses and weights of the shards of the same rows, by sample and way, and how many rows are unseen."""
    first = group[0][1]
    many = first.samples * len(first.ways)
    if first.weights is None:
        raise RecordError("sums of a loss without weights")
    weights = unpacked(first.weights, many).tolist()
    labels = [sum(column) for column in zip(*(unpacked(one.labels, many) for _, one in group), strict=True)]
    if len(group) == 1 and first.log_sums is not None:
        log_sums, unseen = unpacked(first.log_sums, many).tolist(), first.unseen
    else:
        log_sums, unseen = _log_sums(group, many)
    return [log_sum - label for log_sum, label in zip(log_sums, labels, strict=True)], weights, unseen


def _log_sums(group: Sequence[tuple[Slice, LossFacts]], many: int) -> tuple[list[float], int]:
    """Return the sums of log-sum-exps by sample and way, and how many rows that no label counts are not finite."""
    first, found, unseen = group[0][1], [0.0] * many, 0
    if first.marks is None or first.many > MOST_ROWS or not 0 < first.samples <= first.many:
        raise RecordError("sums of a loss without rows")
    marks = inflated(first.marks, first.many)
    scales = None if first.scales is None else unpacked(first.scales, first.many).tolist()
    columns = [unpacked(one.rows or "", first.many) for _, one in group]
    bits = [(1 << at, name == _WEIGHTED, at) for at, name in enumerate(first.ways)]
    length = first.many // first.samples
    for row, (mark, own) in enumerate(zip(marks, zip(*columns, strict=True), strict=True)):
        whole = _log_sum(own)
        unseen += not mark & 1 and not math.isfinite(whole)
        begin = row // length * len(bits)
        for bit, is_weighted, at in bits:
            if mark & bit:
                found[begin + at] += whole * scales[row] if is_weighted and scales is not None else whole
    return found, unseen


def _log_sum(own: Sequence[float]) -> float:
    """Return the log-sum-exp of a row from those of its shards."""
    peak = max(own)
    if any(map(math.isnan, own)) or not math.isfinite(peak):
        return math.nan if any(map(math.isnan, own)) else peak
    return peak + math.log(math.fsum(math.exp(one - peak) for one in own))


def _reported(
    every: Sequence[Sequence[tuple[Slice, LossFacts]]], weights: Sequence[float], totals: Totals
) -> Reported | None:
    """Return the loss that was reported of a pair, of whose rows each group has these weights."""
    known = [[(*unpacked(one.reported, 3).tolist(), one.accumulate) for _, one in group] for group in every]
    texts = [{str(one) for one in group} for group in known]  # NaN equals NaN
    if any(len(one) > 1 for one in texts):
        return None
    of_groups = [
        Reported(loss, precision, None if math.isnan(items) else items, accumulate)
        for (loss, precision, items, accumulate), *_ in known
    ]
    first = of_groups[0]
    if len(set().union(*texts)) == 1:
        return first
    if any((one.items, one.accumulate) != (first.items, first.accumulate) for one in of_groups):
        return None
    together = sum(one.loss for one in of_groups)
    if first.items is None:
        pairs = zip(of_groups, weights, strict=True)
        together = sum(one.loss * weight for one, weight in pairs if weight) / (sum(weights) or math.nan)
    found = Reported(together, max(one.precision for one in of_groups), first.items, first.accumulate)
    return found if agrees(totals, found) else None
