"""The check of one stream's reported loss against the cross-entropy of its pairs.

If both differ, what explains it is named, if only one explanation fits. A loss with terms that are not known can't be
checked, which is reported once.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from predlog.findings.reported_loss import (
    CLOSE,
    MOST_PARTS,
    SAME,
    TOLERANCE,
    Explanation,
    Reported,
    Totals,
    expected,
    explanations,
    fits,
    nearest,
)
from predlog.findings.rule import CLEAN, Fault, Verdict

# Without a second record, an explanation must explain so much, and fit closely.
_LARGE: Final = 0.05
_RECORDS: Final = 2


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

    @property
    def is_checked(self) -> bool:
        """Whether the loss was told to be that of the pair, or of something else."""
        return self.is_known and self.state is not None

    def judge(self, totals: Totals, reported: Reported) -> Verdict | str:
        """Return what the loss of one record shows; a string says why it can't be checked, or no more."""
        self.is_asked = True
        if self.is_off or not totals.recorded.weight:
            return None
        distances = [abs(one - reported.loss) for one in _healthy(totals, reported) if fits(one, reported)]
        if distances:
            if nearest(totals, reported) < min(distances) or (totals.lacks_ways and not _is_close(totals, reported)):
                return None  # of an untrained model all ways give nearly the same, and another one fits better, or may
            self.explanation, self.has_fitted = None, True
            return CLEAN
        close = list(explanations(totals, reported, CLOSE))
        found = close or list(explanations(totals, reported, TOLERANCE))
        if not found:
            return self._unexplained(totals, reported)
        if len({SAME.get(one.name, one.name) for one in found}) > 1:
            return None  # several fit: another record may tell
        one = found[0]
        self._times = self._times + 1 if one.name == self.explanation else 1
        self.explanation = one.name
        mean = expected(totals.recorded, reported) / one.parts
        is_large = not abs(reported.loss - mean) < _LARGE * abs(reported.loss)  # NaN is large
        is_known = one.parts == 1 or reported.accumulate is not None
        is_exact = reported.precision < CLOSE or math.isnan(reported.loss)
        is_sure = self._times >= _RECORDS or (is_large and close and is_known and is_exact)
        return _fault(one, totals, reported.loss, mean) if is_sure else None

    def _unexplained(self, totals: Totals, reported: Reported) -> str | None:
        """Return what is reported if nothing explains the loss; one that is a number switches the check off."""
        if not math.isfinite(reported.loss):
            return _no_number(totals, reported.loss)
        # A record that differs alone, such as the last batch of an epoch, proves nothing.
        self.is_off = not self.has_fitted and self.explanation is None
        return _off(totals, reported.loss) if self.is_off else None


def _fault(one: Explanation, totals: Totals, loss: float, mean: float) -> Fault:
    both = f"{loss:.6g}", f"{mean:.6g}"
    return Fault(
        f"the reported loss is {both[0]}, and the cross-entropy of the pair as it is recorded is {both[1]}: {one.what}",
        one.fix,
        {
            "reported": float(both[0]) if math.isfinite(loss) else both[0],
            "expected": float(both[1]) if math.isfinite(mean) else both[1],
            "labels": round(totals.recorded.weight),
            "explanation": one.name,
        },
    )


def _off(totals: Totals, loss: float) -> str:
    return (
        f"the reported loss {loss:.6g} is not the cross-entropy of the pair, {totals.recorded.mean:.6g} per"
        f" label of {totals.recorded.weight:.0f}, however it is summed up: it has other terms (label smoothing, weights"
        " of classes, an auxiliary loss, a temperature), or belongs to another pair; it is not checked any more. Report"
        " the cross-entropy alone to have it checked"
    )


def _no_number(totals: Totals, loss: float) -> str:
    return (
        f"the reported loss is {loss}, and the cross-entropy of the pair is {totals.recorded.mean:.6g} per label of"
        f" {totals.recorded.weight:.0f}: what else is in the loss is no finite number"
    )


def _is_close(totals: Totals, reported: Reported) -> bool:
    """Return whether a loss is one that says that all is well, and that of other labels hardly."""
    return reported.precision < CLOSE and any(fits(one, reported, CLOSE) for one in _healthy(totals, reported))


def _healthy(totals: Totals, reported: Reported) -> Iterator[float]:
    """Yield the losses that say that all is well: the mean, the weighted one, and these divided for accumulation.

    A weighted sum is divided by the sum of the weights, or by the number of labels.
    """
    for name in ("as recorded", "weighted"):
        if name in totals.ways:
            mean = expected(totals.ways[name], reported)
            yield mean
            yield expected(totals.ways[name]._replace(weight=totals.recorded.weight), reported)
            if reported.items and reported.accumulate == 1:
                yield totals.ways[name].mean  # of one micro-batch; its items may count labels that have no row
            if reported.accumulate:
                yield mean / reported.accumulate
            elif reported.loss and 1.5 < (parts := mean / reported.loss) < MOST_PARTS + 0.5:
                # Each loss is often divided by the number of micro-batches before it is reported.
                yield mean / round(parts)
