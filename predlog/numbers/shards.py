"""What the shards of a vocabulary know of a pair → its numbers, as if one process had had all logits.

Of a row, shard i has its largest logit m_i, the log a_i of its Σ exp(logit - m_i), and the entropy h_i of its own
softmax. With L = log Σ exp(m_i + a_i), the row's log-sum-exp, and w_i = exp(m_i + a_i - L), the share of a shard, the
log-probability of a logit is logit - L, and the entropy L - Σ w_i (m_i + a_i - h_i).
"""

import heapq
import math
import operator
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

from predlog.numbers.snapshot import Numbers, ShardRows, Sizes, Slice, Statistics, Whole
from predlog.numbers.window import Window

# Losses that are closer may be equal when they are rounded to five places.
_CLOSE = 2e-5
# A row of one shard: the largest logit's id, it, the log of the sum relative to it, and the label's logit or NaN.
_Row = tuple[int, float, float, float]
_Home = tuple[int | None, int | None]


def of_shard(local: Statistics, labels: Sequence[int], shard: Slice) -> Statistics:
    """Return statistics with ids of the whole vocabulary, for labels whose logits may be elsewhere."""
    owned = [shard.start <= label < shard.stop for label in labels]
    return Statistics(
        prediction=[one + shard.start for one in local.prediction],
        above=[many if own else None for many, own in zip(local.above, owned, strict=True)],
        peak=local.peak,
        label_logit=[logit if own else math.nan for logit, own in zip(local.label_logit, owned, strict=True)],
        log_sum=local.log_sum,
        best=[[(one + shard.start, logit) for one, logit in ones] for ones in local.best],
    )


def is_whole(shards: Sequence[Slice]) -> bool:
    """Return whether shards are all of a vocabulary, each id once."""
    ordered = sorted(shards)
    ends = [0, *(one.stop for one in ordered)]
    return all(one.start == end for one, end in zip(ordered, ends, strict=False)) and ends[-1] == ordered[0].of


class Joint(NamedTuple):
    """Rows of one sequence of which all shards are joined: its numbers, without the worst rows and what all give.

    `bounds` are the least ranks of the labels shown, None where the rank is known. `rows` are all, if they were scored,
    and `unread`, of a sample in parts, its labels that are no input.
    """

    numbers: Numbers
    bounds: list[int | None]
    rows: "WholeRows | None"
    unread: Any = None


def joined(parts: Sequence[tuple[Slice, Numbers]], sizes: Sizes, window: Window) -> tuple[Numbers, list[int | None]]:
    """Return the numbers of one sequence from those of all its shards, and the least rank of each label shown.

    A least rank is None where the rank is known. `window` says how many worst tokens and alternatives are kept. What is
    known of ids alone is that of the first part; the parts come in the order of their ids.
    """
    return finished(over_vocabulary(parts, window), sizes, window)


def over_vocabulary(parts: Sequence[tuple[Slice, Numbers]], window: Window) -> Joint:
    """Return rows of one sequence from all shards of the vocabulary, each of which has the same rows."""
    first = parts[0][1]
    labels = [own for _, own, *_ in first.around]
    statistics, bounds = _joined_statistics([(one, numbers.statistics) for one, numbers in parts], labels, window)
    columns = [one.rows for _, numbers in parts for one in numbers.whole or () if one.rows is not None]
    rows = None if len(columns) < len(parts) else WholeRows.of(columns, [shard.stop for shard, _ in parts])
    return Joint(replace(first, statistics=statistics, whole=None), bounds, rows)


def finished(joint: Joint, sizes: Sizes, window: Window) -> tuple[Numbers, list[int | None]]:
    """Return the numbers of one sequence, with its worst rows and what all of them give, and the least ranks."""
    first, bounds, rows = joint[:3]
    if rows is None:
        return first, bounds
    ends = first.shown[0]
    worst = rows.worst({*ends.first, *ends.last}, window.worst)
    return replace(
        first,
        shown=[ends._replace(worst=[rows.ids.rows[one] for one in worst])],
        statistics=_extended(first.statistics, [rows.row(one) for one in worst]),
        around=[*first.around, *(rows.around(one) for one in worst)],
        reads=[*first.reads, *(rows.reads(one) for one in worst)],
        homes=[*first.homes, *(rows.home(one) for one in worst)],
        counts=[first.counts[0] | {"hits": rows.hits()}],
        whole=[rows.summed_up(sizes, window.all_tokens)],
    ), [*bounds, *[None] * len(worst)]


def _extended(ends: Statistics, worst: Sequence[_Row]) -> Statistics:
    """Return statistics with those of the worst rows, of which neither rank nor alternatives are known."""
    prediction, peak, log_sum, label_logit = map(list, zip(*worst, strict=True)) if worst else ([], [], [], [])
    return Statistics(
        prediction=[*ends.prediction, *prediction],
        above=[*ends.above, *[None] * len(worst)],
        peak=[*ends.peak, *peak],
        label_logit=[*ends.label_logit, *label_logit],
        log_sum=[*ends.log_sum, *log_sum],
        best=[*ends.best, *[()] * len(worst)] if ends.best else (),
    )


def _joined_statistics(
    parts: Sequence[tuple[Slice, Statistics]], labels: Sequence[int], window: Window
) -> tuple[Statistics, list[int | None]]:
    """Return the statistics of rows of which each shard has a part, and the least rank of each label not known."""
    rows = [
        joined_row([(one.prediction[n], one.peak[n], one.log_sum[n], one.label_logit[n]) for _, one in parts])
        for n in range(len(labels))
    ]
    above, bounds, best = list[int | None](), list[int | None](), list[list[tuple[int, float]]]()
    for number, (_, _, _, label_logit) in enumerate(rows):
        many, is_exact = 0, True
        for shard, one in parts:
            if (own := one.above[number]) is not None:
                many += own
            else:
                found = _above(kept := one.best[number], label_logit)
                many += found
                # Where all that a shard has kept exceed the label's logit, others of it may, too.
                is_exact &= found < len(kept) or found == shard.stop - shard.start
        is_known = not math.isnan(label_logit)
        above.append(many if is_known and is_exact else None)
        bounds.append(many + 1 if is_known and not is_exact else None)
        if window.alternatives:
            every = chain.from_iterable(one.best[number] for _, one in parts)
            best.append(sorted(every, key=lambda one: (-one[1], one[0]))[: window.alternatives])
    prediction, peak, log_sum, logits = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
    return Statistics(prediction, above, peak, logits, log_sum, best), bounds


def _above(kept: Sequence[tuple[int, float]], label_logit: float) -> int:
    """Return how many logits, of which the first is the largest, exceed that of the label: often all or none."""
    if not kept or not kept[0][1] > label_logit:
        return 0
    return len(kept) if kept[-1][1] > label_logit else sum(logit > label_logit for _, logit in kept)


@dataclass(frozen=True, slots=True)
class WholeRows:
    """All supervised rows of one sequence: what is the same in all shards, and what they have found together.

    `settle` returns where the label of a row is, of what the part knows of it that had the row.
    """

    ids: ShardRows
    predictions: list[int]
    peaks: list[float]
    log_sums: list[float]
    label_logits: list[float]
    entropies: list[float]
    losses: list[float]
    settle: Callable[[int, _Home], _Home] | None = None

    @classmethod
    def of(cls, parts: Sequence[ShardRows], stops: Sequence[int]) -> "WholeRows":
        """Join the rows of shards, all of the same rows, in the order of their ids, each up to before its stop.

        Raises:
            ValueError: They have not as many rows, or numbers that no logits give.
            OverflowError: As ValueError.
        """
        if len({len(one.peak) for one in parts} | {len(parts[0].labels), len(parts[0].rows)}) > 1:
            raise ValueError("shards that have not as many rows")
        # Infinite peaks and NaN are rare; one of them makes this sum infinite or NaN, too.
        is_finite = math.isfinite(sum([sum(one.peak) for one in parts]))
        found, entropies = _columns(parts, stops) if is_finite else _columns_by_row(parts)
        predictions, peaks, log_sums, label_logits = found
        losses = [*map(operator.add, map(operator.sub, peaks, label_logits), log_sums)]
        return cls(parts[0], predictions, peaks, log_sums, label_logits, entropies, losses)

    def row(self, place: int) -> _Row:
        """Return what the shards have found in a row."""
        return self.predictions[place], self.peaks[place], self.log_sums[place], self.label_logits[place]

    def hits(self) -> tuple[int, ...]:
        """Count the predictions that equal the label and, if inputs are known, those that equal the input only."""
        equal = sum(map(operator.eq, self.predictions, self.ids.labels))
        if self.ids.inputs is None:
            return (equal,)
        pairs = zip(self.predictions, self.ids.labels, self.ids.inputs, strict=True)
        return equal, sum([one == read != label for one, label, read in pairs])

    def worst(self, left_out: Collection[int], many: int) -> list[int]:
        """Return the places in the columns of the rows with the largest losses, the largest first."""
        # Rounding takes long, so it is done for those alone that may be among the largest.
        largest = heapq.nlargest(many + len(left_out), [loss for loss in self.losses if loss > -math.inf])
        least = largest[-1] - _CLOSE if largest else math.inf
        # Rounded, since what is equal may differ by the rounding of float32.
        ranked = [
            (-round(loss, 5), place)
            for place, loss in enumerate(self.losses)
            if loss >= least and self.ids.rows[place] not in left_out
        ]
        return [place for _, place in heapq.nsmallest(many, ranked)]

    def summed_up(self, sizes: Sizes, all_tokens: int) -> Whole:
        """Return the mean loss and entropy, and as many tokens as columns as are asked for."""
        weights = self.ids.weights or [1.0] * len(self.losses)
        losses = [weight * loss for weight, loss in zip(weights, self.losses, strict=True) if weight > 0]
        total, many = math.fsum(weights), len(self.entropies)
        loss = math.fsum(losses) / total if total > 0 else math.nan
        entropy = math.fsum(self.entropies) / many if many else math.nan
        return Whole(loss, entropy, self._tokens(sizes, all_tokens) if all_tokens else None)

    def _tokens(self, sizes: Sizes, most: int) -> dict[str, Any]:
        predictions = self.predictions[:most]
        losses = self.losses[:most] if sizes.has_probabilities else [math.nan] * min(most, len(self.losses))
        return {
            "positions": [row + sizes.shift for row in self.ids.rows[:most]],
            "labels": self.ids.labels[:most],
            "predictions": [one if one >= 0 else None for one in predictions],
            "label_logprobs": [round(-one, 6) + 0.0 if math.isfinite(one) else None for one in losses],
            "label_ranks": [None] * len(predictions),
        }

    def around(self, place: int) -> tuple[int, int, int, int]:
        """Return the label of a row; those around it are no evidence for one of the worst."""
        return (self.ids.labels[place],) * 4

    def reads(self, place: int) -> tuple[int | None, int | None]:
        """Return what a row reads, if it is known."""
        return None if self.ids.inputs is None else self.ids.inputs[place], None

    def home(self, place: int) -> tuple[int | None, int | None]:
        """Return the document of a row's label and its place there, if they are known."""
        if self.ids.documents is None or self.ids.places is None:
            return None, None
        known = self.ids.documents[place], self.ids.places[place]
        return known if self.settle is None else self.settle(self.ids.rows[place], known)


_Columns = tuple[tuple[list[int], list[float], list[float], list[float]], list[float]]


def _columns(parts: Sequence[ShardRows], stops: Sequence[int]) -> _Columns:
    """Return what `joined_row` returns of all rows, as columns, and the entropies; for finite peaks.

    Of 8 shards it takes a quarter of the time, and looks at no more than the owner's of what one shard alone knows.
    """
    every = [one.peak for one in parts]
    peaks = [*map(max, *every)] if len(every) > 1 else [*every[0]]
    places = map(tuple.index, zip(*every, strict=True), peaks)
    ids, logits = [one.prediction for one in parts], [one.label_logit for one in parts]
    predictions = [ids[place][row] for row, place in enumerate(places)]
    owners = [bisect_right(stops, label, 0, len(stops) - 1) for label in parts[0].labels]
    label_logits = [logits[place][row] for row, place in enumerate(owners)]
    totals, moments, exp = [0.0] * len(peaks), [0.0] * len(peaks), math.exp
    for one in parts:
        known = zip(one.peak, peaks, one.log_sum, one.entropy, strict=True)
        for row, (own, peak, log_sum, entropy) in enumerate(known):
            total = own - peak + log_sum
            share = exp(total)
            totals[row] += share
            moments[row] += share * (total - entropy)
    log_sums = [*map(math.log, totals)]
    entropies = [*map(operator.sub, log_sums, map(operator.truediv, moments, totals))]
    return (predictions, peaks, log_sums, label_logits), entropies


def _columns_by_row(parts: Sequence[ShardRows]) -> _Columns:
    """Return what `_columns` does, of any rows."""
    columns = [zip(one.prediction, one.peak, one.log_sum, one.label_logit, one.entropy, strict=True) for one in parts]
    found, entropies = [], []
    for ones in zip(*columns, strict=True):
        row = joined_row([one[:4] for one in ones])
        found.append(row)
        entropies.append(_entropy([one[1:] for one in ones], row[1] + row[2]))
    predictions, peaks, log_sums, label_logits = map(list, zip(*found, strict=True))
    return (predictions, peaks, log_sums, label_logits), entropies


def _entropy(parts: Sequence[tuple[float, float, float, float]], log_sum: float) -> float:
    """Return the entropy of a row from each shard's peak, log of the sum, label's logit and entropy."""
    if not math.isfinite(log_sum):
        return math.nan
    own = [(peak + apart, entropy) for peak, apart, _, entropy in parts if peak > -math.inf]
    return log_sum - math.fsum(math.exp(whole - log_sum) * (whole - entropy) for whole, entropy in own)


def joined_row(parts: Sequence[_Row]) -> _Row:
    """Return a whole row; its prediction is the lowest id of the largest logit, and -1 if a logit is NaN."""
    peaks = [one[1] for one in parts]
    if math.isnan(sum(peaks)) and any(map(math.isnan, peaks)):
        return -1, math.nan, math.nan, math.nan
    peak = max(peaks)
    label_logit = next((one[3] for one in parts if one[3] == one[3]), math.nan)
    prediction = min([one[0] for one in parts if one[1] == peak])
    if not math.isfinite(peak):
        return prediction, peak, math.nan, label_logit
    total = sum([math.exp(one - peak + apart) for _, one, apart, _ in parts if one > -math.inf])
    return prediction, peak, math.log(total), label_logit
