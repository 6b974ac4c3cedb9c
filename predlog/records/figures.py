"""The comparisons of one logged step → the point of a curve; neighbouring points → one."""

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import NamedTuple, TypeVar, cast

from predlog.records.schema import Comparison, Token
from predlog.records.text import HIGHEST, share

T = TypeVar("T")
_match = attrgetter("match")


class Point(NamedTuple):
    """One logged step, of all samples and ranks, or several neighbouring ones that were merged.

    `loss` and `entropy` are means in nats over the `scored` and `measured` supervised tokens of the samples that have
    one. `right` of `of` predictions are correct: of the supervised positions, or, if these were not counted, of the
    tokens shown.
    `logprob` is the mean of the labels' log-probabilities over the `shown` tokens that have one, in nats. `rank` is the
    median rank of the labels shown; of merged steps the mean of the medians of the `ranked` steps that have one.
    """

    first_step: int
    last_step: int
    records: int
    length: int
    supervised: int
    right: int
    of: int
    logprob: float | None
    rank: float | None
    steps: int = 1
    shown: int = 0
    ranked: int = 0
    loss: float | None = None
    entropy: float | None = None
    scored: int = 0
    measured: int = 0

    @property
    def share(self) -> float:
        """The supervised share of all positions."""
        return share(self.supervised, self.length)

    @property
    def accuracy(self) -> float | None:
        """The share of predictions that are correct; None if none was counted."""
        return share(self.right, self.of) if self.of else None


def merged(one: Point, other: Point) -> Point:
    """Return two neighbouring points as one."""
    return Point(
        min(one.first_step, other.first_step),
        max(one.last_step, other.last_step),
        one.records + other.records,
        one.length + other.length,
        one.supervised + other.supervised,
        one.right + other.right,
        one.of + other.of,
        _mean(one.logprob, one.shown, other.logprob, other.shown),
        _mean(one.rank, one.ranked, other.rank, other.ranked),
        one.steps + other.steps,
        one.shown + other.shown,
        one.ranked + other.ranked,
        _mean(one.loss, one.scored, other.loss, other.scored),
        _mean(one.entropy, one.measured, other.entropy, other.measured),
        one.scored + other.scored,
        one.measured + other.measured,
    )


def _mean(one: float | None, weight: int, other: float | None, others: int) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return (one * weight + other * others) / (weight + others)


def of_step(ones: Sequence[Comparison]) -> Point:
    """Return the point of one step. It runs for each logged step of large files, so its loops are fast ones.

    Of a comparison that lacks parts, tokens count for nothing: they are not those of the whole sample.
    """
    shown = [one.tokens for one in ones if not (one.missing_ids or one.missing_rows)]
    tokens = shown[0] if len(shown) == 1 else list(chain.from_iterable(shown))
    logprobs = _known([token.label_logprob for token in tokens])
    rank = _median_rank(tokens)
    length = supervised = right = of = scored = measured = 0
    loss = entropy = 0.0
    for one in ones:
        if one.loss is not None:
            loss += one.loss * one.supervised
            scored += one.supervised
        if one.entropy is not None:
            entropy += one.entropy * one.supervised
            measured += one.supervised
        length += one.length - (one.missing_rows or 0)
        supervised += one.supervised
        if one.matched is not None:
            right += one.matched
            of += one.supervised
        elif not (one.missing_ids or one.missing_rows):
            right += sum(map(_match, one.tokens))
            of += len(one.tokens)
    return Point(
        ones[0].step,
        ones[0].step,
        len(ones),
        length,
        supervised,
        right,
        of,
        sum(logprobs) / len(logprobs) if logprobs else None,
        rank,
        1,
        len(logprobs),
        0 if rank is None else 1,
        loss / scored if scored else None,
        entropy / measured if measured else None,
        scored,
        measured,
    )


def _known(values: list[T | None]) -> list[T]:
    return [value for value in values if value is not None] if None in values else cast("list[T]", values)


def _median_rank(tokens: Sequence[Token]) -> float | None:
    """Return the median rank of tokens; None if none is known, or if one that is known by a bound decides."""
    ranks = _known([token.label_rank for token in tokens])
    if len(ranks) < len(tokens):
        least = _known([token.label_rank_at_least for token in tokens if token.label_rank is None])
        # The true rank may be anywhere from its bound on: the median is that of the others if all bounds are above it.
        ordered = sorted([*((one, False) for one in ranks), *((one, True) for one in least)])
        if any(is_bound for _, is_bound in ordered[: len(ordered) // 2 + 1]):
            return None
        ranks += least
    return _median(ranks)


def _median(values: list[int]) -> float | None:
    if not values:
        return None
    values.sort()
    middle = len(values) // 2
    high = min(values[middle], HIGHEST)  # a rank may be any whole number, too
    return float(high) if len(values) % 2 else (min(values[middle - 1], HIGHEST) + high) / 2
