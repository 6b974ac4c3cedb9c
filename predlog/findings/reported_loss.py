"""The loss that a trainer reports, the sums over its pair, and what explains a difference between them.

If both differ, the pair is not what the loss sees, or the loss is not the mean over it. Each way in which a trainer may
have summed up the same rows is tried.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

# Relative; float32 sums in another order differ by far less.
TOLERANCE: Final = 1e-3
# As `TOLERANCE`, but what fits so closely is no accident: a loss with unknown terms is often within 1e-3 of one of a
# dozen sums.
CLOSE: Final = 2e-5
# Absolute, in nats per token: log-sum-exp in float32 near 20 has an error of 2e-6.
_SLACK: Final = 1e-5
# More micro-batches than this do not make a step.
MOST_PARTS: Final = 128
_MANY_PARTS: Final = 16.5


class Total(NamedTuple):
    """The losses of a pair's labels, summed up in one way: with their weights, and the means of the samples."""

    loss: float
    weight: float
    means: float
    samples: float

    @property
    def mean(self) -> float:
        """The mean loss of a label; NaN without any."""
        return self.loss / self.weight if self.weight else math.nan


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of a pair by the way in which they were taken: `capture.whole_loss` has the ways.

    `unseen` is how many rows that the loss does not count hold NaN or infinity. `counts` are numbers that a sum may
    have been divided by, by what they count. `lacks_ways` is whether sums over other labels are not known, as where
    each process has some rows.
    """

    ways: Mapping[str, Total]
    unseen: int
    counts: Mapping[str, float]
    lacks_ways: bool = False

    @property
    def recorded(self) -> Total:
        """The sum over the pair as it is recorded."""
        return self.ways["as recorded"]


@dataclass(frozen=True, slots=True)
class Reported:
    """A loss that was reported, and how it came about, as far as that is known.

    `precision` is the distance from 1 to the next number in its type. `items` is what the trainer divides the sum by,
    `accumulate` how many micro-batches make a step.
    """

    loss: float
    precision: float
    items: float | None = None
    accumulate: int | None = None


class Explanation(NamedTuple):
    """What the loss sees that the pair does not show, and what to do; `parts` is by what it was divided before."""

    name: str
    what: str
    fix: str
    parts: int = 1


def expected(total: Total, reported: Reported) -> float:
    """Return the loss of a sum as the trainer reports it."""
    return total.loss / reported.items if reported.items else total.mean


def _candidates(total: Total, reported: Reported) -> Iterator[tuple[float, int]]:
    """Yield the losses that may be reported of a sum, and by what each was divided for accumulation.

    Lightning divides so. A model need not use the trainer's divisor.
    """
    for parts in (1, reported.accumulate) if reported.accumulate else (1,):
        for one in {expected(total, reported), total.mean}:
            yield one / parts, parts


def _guesses(total: Total, reported: Reported, tolerance: float) -> Iterator[tuple[float, int]]:
    """Yield the mean divided by the number of micro-batches that comes nearest, if that is not known.

    It must fit closely, since any loss is near some of them.
    """
    if reported.accumulate is None and max(tolerance, reported.precision) < TOLERANCE and reported.loss > 0:
        ratio = total.mean / reported.loss
        if 1.5 < ratio < _MANY_PARTS:
            yield total.mean / round(ratio), round(ratio)


def fits(one: float, reported: Reported, tolerance: float = TOLERANCE) -> bool:
    """Return whether the reported loss is this one, but for the rounding of its type and a relative tolerance."""
    if not math.isfinite(one) or not math.isfinite(reported.loss):
        return str(one) == str(reported.loss)
    return abs(reported.loss - one) <= _SLACK + (tolerance + reported.precision) * abs(one)


def agrees(totals: Totals, reported: Reported) -> bool:
    """Return whether the reported loss is the mean over the pair, so closely that no other labels have that, too."""
    mean = expected(totals.recorded, reported)
    return reported.precision < CLOSE and fits(mean, reported, CLOSE)


# Names of explanations that say the same of the rows that are counted, or of what the sum is divided by.
SAME: Final = {
    "loss mask left out": "more labels", "ignored labels counted": "more labels",
    "attention mask left out": "more labels", "the sum": "divided by another count",
}  # fmt: skip
_WHAT: Final = {
    "one more": Explanation(
        "one more shift",
        "it is that of labels shifted once more, so the model or the loss shifts them by itself",
        "If predlog's call lacks that shift, pass it; if the labels were shifted already, the loss must not shift them"
        " again: with shift_labels=, check that the model uses them.",
    ),
    "one less": Explanation(
        "one shift less",
        "it is that of labels shifted once less, so the loss does not shift them as predlog's call says",
        "Pass the shift that the loss uses, or shift the labels before the loss.",
    ),
    "unmasked": Explanation(
        "loss mask left out",
        "it is that of all labels, so the loss leaves out the mask",
        "Apply the loss mask in the loss, or don't pass it to predlog.",
    ),
    "attended": Explanation(
        "attention mask applied",
        "it leaves out the labels that the attention mask marks as padding, which the labels do not",
        "Pass loss_mask=attention_mask, so that the record shows what the loss sees, or mask these labels.",
    ),
    "all": Explanation(
        "ignored labels counted",
        "it counts every token, also those whose labels are ignored",
        "The mask of the labels does not reach the loss: check where the labels are made.",
    ),
    "padded": Explanation(
        "attention mask left out",
        "it counts the padding, too",
        "Mask the labels wherever the attention mask is 0.",
    ),
}  # fmt: skip


_SUM: Final = Explanation(
    "the sum", "", "Divide it by the number of labels, or the learning rate depends on the length of the batch."
)


def nearest(totals: Totals, reported: Reported) -> float:
    """Return how far the reported loss is from the nearest sum over other labels than those recorded."""
    others = [one for name, total in totals.ways.items() if name in _WHAT for one, _ in _candidates(total, reported)]
    return min((abs(one - reported.loss) for one in others), default=math.inf)


def explanations(totals: Totals, reported: Reported, tolerance: float) -> Iterator[Explanation]:
    """Yield what explains the reported loss, the likeliest first."""
    if math.isnan(reported.loss):
        if math.isfinite(totals.recorded.mean) and totals.unseen:
            yield Explanation(
                "0 × NaN",
                f"{totals.unseen} rows of logits that the loss is to leave out hold NaN or infinity, and 0 × NaN is"
                " NaN",
                "Select the rows before the loss, or use torch.where: multiplying by a mask keeps NaN.",
            )
        return
    recorded = totals.recorded
    if reported.items and fits(recorded.mean, reported, tolerance):
        yield Explanation(
            "mean over the micro-batch",
            f"it is the mean over this batch's {recorded.weight:.0f} labels, and the trainer counts"
            f" {reported.items:.0f} in all micro-batches",
            "Divide the sum by the number of labels of all micro-batches (num_items_in_batch).",
        )
        return  # that number is often the same in each, so that it is a multiple, too
    for name, total in totals.ways.items():
        # A mask that leaves out no label explains nothing.
        if name in _WHAT and total[:2] != recorded[:2]:
            tried = [*_candidates(total, reported), *_guesses(total, reported, tolerance)]
            if parts := next((parts for one, parts in tried if fits(one, reported, tolerance)), None):
                yield _WHAT[name]._replace(parts=parts)
    if recorded.samples > 1 and fits(recorded.means / recorded.samples, reported, tolerance):
        yield Explanation(
            "mean of the samples' means",
            f"it is the mean of the {recorded.samples:.0f} samples' means, so tokens of short samples weigh more",
            "If each token is to weigh the same, divide the sum over the batch by the number of its labels.",
        )
    yield from _other_counts(totals, reported, tolerance)


def _other_counts(totals: Totals, reported: Reported, tolerance: float) -> Iterator[Explanation]:
    """Yield the sum divided by another count, or the mean multiplied by the accumulation steps, if that fits."""
    recorded = totals.recorded
    usual = expected(recorded, reported)
    if not usual or not reported.loss:
        return
    sums = []
    totals_of = [total for name in ("as recorded", "weighted") if (total := totals.ways.get(name)) is not None]
    divided = [(total.loss / parts, parts) for total in totals_of for parts in {1, reported.accumulate or 1}]
    for loss, parts in divided:
        sums += [
            Explanation(
                "divided by another count",
                f"it is the sum over {recorded.weight:.0f} labels divided by {count:.0f}, the number of {name}",
                f"Divide the sum by the number of labels that are not ignored, {recorded.weight:.0f}.",
                parts,
            )
            for name, count in totals.counts.items()
            if count and fits(loss / count, reported, tolerance)
        ]
        if fits(loss, reported, tolerance):
            sums.append(_SUM._replace(what=f"it is the sum over {recorded.weight:.0f} labels", parts=parts))
    yield from sums
    factor = reported.loss / usual
    if reported.accumulate is not None:
        is_multiple = fits(usual * reported.accumulate, reported, tolerance)
    else:
        # A ratio near 1 is near many ratios; a whole number that is far from it is no accident.
        slack = factor * (min(tolerance, 1e-4) + reported.precision)
        is_multiple = 1.5 < factor < MOST_PARTS and slack < 0.1 and abs(factor - round(factor)) <= slack
    # A sum over samples of n labels each is n times the mean: few micro-batches may be meant, many hardly.
    if is_multiple and factor > 1.5 and (not sums or factor < _MANY_PARTS):
        yield Explanation(
            "multiplied by the accumulation steps",
            f"it is {factor:.0f} times as large",
            f"If {factor:.0f} micro-batches make a step, divide the loss of each by their number, once.",
        )
