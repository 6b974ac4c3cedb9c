"""The loss that a trainer reports, held against the cross-entropy of the pair as it is recorded.

If both differ, the pair is not what the loss sees, or the loss is not the mean over it. Each way in which a trainer may
have summed up the same rows is tried; only one that fits is named.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from predlog.findings.rule import CLEAN, Fault, Verdict

# Relative; float32 sums in another order differ by far less.
TOLERANCE: Final = 1e-3
# Absolute, in nats per token: log-sum-exp in float32 near 20 has an error of 2e-6.
_SLACK: Final = 1e-5
# Without a second record, an explanation must be of a difference that no accident makes as small.
_LARGE: Final = 0.05
_RECORDS: Final = 2
# More micro-batches than this do not make a step.
_MOST_PARTS: Final = 128


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
    have been divided by, by what they count.
    """

    ways: Mapping[str, Total]
    unseen: int
    counts: Mapping[str, float]

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
    """What the loss sees that the pair does not show, and what to do."""

    name: str
    what: str
    fix: str


@dataclass(slots=True)
class LossCheck:
    """What is known of the loss of one stream: whether it fits, and else what explains the difference.

    `explanation` is the name of the latest difference's explanation; None if the loss fits, or nothing explains it.
    """

    explanation: str | None = None
    is_off: bool = False
    has_fitted: bool = False
    is_asked: bool = False
    _times: int = 0

    @property
    def state(self) -> str | None:
        """What is known: "fits", the name of what explains the difference, or None."""
        return self.explanation or ("fits" if self.has_fitted else None)

    @property
    def is_known(self) -> bool:
        """Whether a loss was reported that can be checked."""
        return self.is_asked and not self.is_off

    def judge(self, totals: Totals, reported: Reported) -> Verdict | str:
        """Return what the loss of one record shows; a string says why the check is off from now on."""
        self.is_asked = True
        if self.is_off or not totals.recorded.weight:
            return None
        distances = [abs(one - reported.loss) for one in _healthy(totals, reported) if _fits(one, reported)]
        if distances:
            if _nearest(totals, reported) < min(distances):
                return None  # of an untrained model all ways give nearly the same, and another one fits better
            self.explanation, self.has_fitted = None, True
            return CLEAN
        one = next(_explanations(totals, reported), None)
        if one is None:
            # A record that differs alone, such as the last batch of an epoch, proves nothing.
            self.is_off = not self.has_fitted and self.explanation is None
            return _off(totals, reported) if self.is_off else None
        self._times = self._times + 1 if one.name == self.explanation else 1
        self.explanation = one.name
        expected = _expected(totals.recorded, reported)
        is_large = not abs(reported.loss - expected) < _LARGE * abs(reported.loss)  # NaN is large
        if self._times < _RECORDS and not is_large:
            return None
        both = f"{reported.loss:.6g}", f"{expected:.6g}"
        return Fault(
            f"the reported loss is {both[0]}, and the cross-entropy of the pair as it is recorded is {both[1]}:"
            f" {one.what}",
            one.fix,
            {
                "reported": float(both[0]) if math.isfinite(reported.loss) else both[0],
                "expected": float(both[1]) if math.isfinite(expected) else both[1],
                "labels": round(totals.recorded.weight),
                "explanation": one.name,
            },
        )


def _off(totals: Totals, reported: Reported) -> str:
    return (
        f"the reported loss {reported.loss:.6g} is not the cross-entropy of the pair, {totals.recorded.mean:.6g} per"
        f" label of {totals.recorded.weight:.0f}, however it is summed up: it has other terms (label smoothing, weights"
        " of classes, an auxiliary loss, a temperature), or belongs to another pair; it is not checked any more. Report"
        " the cross-entropy alone to have it checked"
    )


def _healthy(totals: Totals, reported: Reported) -> Iterator[float]:
    """Yield the losses that say that all is well: the mean, the weighted mean, and these divided for accumulation."""
    for name in ("as recorded", "weighted"):
        if name in totals.ways:
            expected = _expected(totals.ways[name], reported)
            yield expected
            if reported.items and reported.accumulate == 1:
                yield totals.ways[name].mean  # of one micro-batch; its items may count labels that have no row
            if reported.accumulate:
                yield expected / reported.accumulate
            elif reported.loss and 1.5 < (parts := expected / reported.loss) < _MOST_PARTS + 0.5:
                # Each loss is often divided by the number of micro-batches before it is reported.
                yield expected / round(parts)


def _expected(total: Total, reported: Reported) -> float:
    """Return the loss of a sum as the trainer reports it."""
    return total.loss / reported.items if reported.items else total.mean


def _fits(expected: float, reported: Reported) -> bool:
    if not math.isfinite(expected) or not math.isfinite(reported.loss):
        return str(expected) == str(reported.loss)
    return abs(reported.loss - expected) <= _SLACK + (TOLERANCE + reported.precision) * abs(expected)


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


def _nearest(totals: Totals, reported: Reported) -> float:
    """Return how far the reported loss is from the nearest sum over other labels than those recorded."""
    others = [_expected(total, reported) for name, total in totals.ways.items() if name in _WHAT]
    return min((abs(one - reported.loss) for one in others), default=math.inf)


def _explanations(totals: Totals, reported: Reported) -> Iterator[Explanation]:
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
    for name, total in totals.ways.items():
        if name in _WHAT and _fits(_expected(total, reported), reported):
            yield _WHAT[name]
    recorded = totals.recorded
    if reported.items and _fits(recorded.mean, reported):
        yield Explanation(
            "mean over the micro-batch",
            f"it is the mean over this batch's {recorded.weight:.0f} labels, and the trainer counts"
            f" {reported.items:.0f} in all micro-batches",
            "Divide the sum by the number of labels of all micro-batches (num_items_in_batch).",
        )
    if recorded.samples > 1 and _fits(recorded.means / recorded.samples, reported):
        yield Explanation(
            "mean of the samples' means",
            f"it is the mean of the {recorded.samples:.0f} samples' means, so tokens of short samples weigh more",
            "If each token is to weigh the same, divide the sum over the batch by the number of its labels.",
        )
    yield from _other_counts(totals, reported)


def _other_counts(totals: Totals, reported: Reported) -> Iterator[Explanation]:
    """Yield the sum divided by another count, or the mean multiplied by the accumulation steps, if that fits."""
    recorded = totals.recorded
    expected = _expected(recorded, reported)
    if not expected or not reported.loss:
        return
    for name, count in totals.counts.items():
        if count and _fits(recorded.loss / count, reported):
            yield Explanation(
                "divided by another count",
                f"it is the sum over {recorded.weight:.0f} labels divided by {count:.0f}, the number of {name}",
                f"Divide the sum by the number of labels that are not ignored, {recorded.weight:.0f}.",
            )
    if _fits(recorded.loss, reported):
        yield Explanation(
            "the sum",
            f"it is the sum over {recorded.weight:.0f} labels",
            "Divide it by their number, or the learning rate depends on the length of the batch.",
        )
    factor = reported.loss / expected
    if reported.accumulate is not None:
        is_multiple = _fits(expected * reported.accumulate, reported)
    else:
        # A ratio near 1 is near many ratios; a whole number that is far from it is no accident.
        slack = factor * (1e-4 + reported.precision)
        is_multiple = 1.5 < factor < _MOST_PARTS and slack < 0.1 and abs(factor - round(factor)) <= slack
    if is_multiple and factor > 1.5:
        yield Explanation(
            "multiplied by the accumulation steps",
            f"it is {factor:.0f} times as large",
            f"If {factor:.0f} micro-batches make a step, divide the loss of each by their number, once.",
        )
