"""Rows that were reduced elsewhere → PairError, if what they say can't be true of any logits.

How far numbers may miss each other follows the precision in which they are held. A log-softmax that is computed and
stored in one type misses by at most 0.7 eps per nat and in nats. If the log-sum-exp is subtracted from the logits
themselves, it misses by eps times the largest logit. A row holds no logits, so this must be assumed: at most 1000 in
float32, and 32 in half precision, where what is larger is already wrong in the first digit.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from predlog.errors import PairError
from predlog.numbers.snapshot import Sizes

# The prediction of a position whose row was not reduced.
NO_ROW = -1
# Of 16 eps the first half is for logits as large as 32, the rest is a margin. float32 is allowed 1024 eps.
_MANY_EPS, _LEAST_SLACK = 16, 2.0**-13
# Compilers may take the argmax of logits rounded to bfloat16, and the log-softmax of the same logits not rounded: XLA
# does by default. Two logits that are equal once they are rounded differ by up to 0.25 before, if they are below 64.
_ROUNDED_APART = 0.25
# Significant bits of float16 and bfloat16, and their eps.
_HALVES = ((8, 2.0**-7), (11, 2.0**-10))
_DIGITS = 53
_DIFFERENT = (
    "the numbers are of different labels, or of logits in different types: reduce each row for the label that it is"
    " shown with, and all its numbers from the same logits"
)


class Row(NamedTuple):
    """One row shown, the label that it is shown with, and where it is: [sample · codebook, row]."""

    place: tuple[int, int]
    prediction: int
    prediction_logprob: float
    label_logprob: float
    label_rank: int | None
    label: int

    def has_label(self, limit: int) -> bool:
        """Return whether the row says anything of its label."""
        return 0 <= self.label < limit and not math.isnan(self.label_logprob)

    def logprobs(self, limit: int) -> list[float]:
        """Return its log-probabilities that are known."""
        found = [self.prediction_logprob]
        return [*found, self.label_logprob] if self.has_label(limit) else found


def check_predictions(prediction: Tensor, counted: Tensor, sizes: Sizes) -> None:
    """Raise PairError if one of the predictions [s, k, rows] on the host that are `counted` is no id.

    That is looked at in all rows, because the accuracy counts all of them.
    """
    outside = ((prediction < 0) | (prediction >= sizes.limit)) & counted
    if not outside.any():
        return
    sequence, row = divmod(int(outside.flatten().nonzero()[0]), prediction.shape[-1])
    found = int(prediction.flatten(0, 1)[sequence, row])
    wanted = "ids from 0 on" if sizes.vocabulary is None else f"ids from 0 to {sizes.limit - 1}"
    problem = f"predictions are {wanted}, or {NO_ROW} for a position without a row, and {int(outside.sum())} are not"
    raise _refused(problem, (sequence, row), {"prediction": found}, sizes)


def check_rows(rows: Iterable[Row], sizes: Sizes) -> None:
    """Raise PairError if a row shown contradicts itself; rows that are not finite are not looked at."""
    finite = [row for row in rows if not math.isnan(row.prediction_logprob)]
    for row in finite:
        above = any(one > slack([one]) for one in row.logprobs(sizes.limit))
        problem = _above_zero(finite, sizes.limit) if above else _contradiction(row, sizes.limit)
        if problem is not None:
            raise _refused(problem, row.place, {name: getattr(row, name) for name in Row._fields[1:]}, sizes)


def slack(logprobs: Iterable[float]) -> float:
    """Return by how much log-probabilities of one row may miss what they must be, per nat and in nats.

    The precision is that of the values, because bfloat16 and float16 are often widened after they were rounded. Zero
    is exact in every type, so it does not count.
    """
    used = [_significant_bits(one) for one in logprobs if one and math.isfinite(one)]
    eps = next((eps for bits, eps in _HALVES if used and min(used) <= bits), 0.0)
    return max(_MANY_EPS * eps, _LEAST_SLACK)


def _significant_bits(value: float) -> int:
    digits = int(math.ldexp(math.frexp(abs(value))[0], _DIGITS))
    return _DIGITS - ((digits & -digits).bit_length() - 1)


def _contradiction(row: Row, limit: int) -> str | None:
    """Return what can't be true of a row of any logits, and what to do; None if nothing is wrong.

    What a row says of a label that has no logit is not looked at.
    """
    _, prediction, logprob, label_logprob, rank, label = row
    share = slack(row.logprobs(limit))
    # The least that each can have been before it was rounded.
    least, least_of_label = logprob - share * (1 + abs(logprob)), label_logprob - share * (1 + abs(label_logprob))
    size = "the vocabulary's size" if limit == sys.maxsize else f"the vocabulary's size, {limit}"
    if logprob == -math.inf:
        return "the largest logit has a probability above 0, and -inf is none: reduce rows in float32"
    is_best = label_logprob >= min(least, logprob - _ROUNDED_APART)
    of_label = (
        (
            min(least_of_label, label_logprob - _ROUNDED_APART) > logprob,
            "the label is more probable than the prediction, which must be that of the largest logit",
        ),
        (rank is not None and not 1 <= rank <= limit, f"ranks count from 1, which is the best, to {size}"),
        (
            (rank == 1 or prediction == label) and not is_best,
            _DIFFERENT,
        ),
        (
            prediction != label and math.exp(min(0.0, least)) + math.exp(min(0.0, least_of_label)) > 1,
            "the probabilities of prediction and label add up to more than 1",
        ),
        (
            rank is not None and rank > 1 and least_of_label > -math.log(rank),
            "a label of rank r has a probability of at most 1/r",
        ),
    )
    of_prediction = (
        logprob + (logprob - least) < -math.log(limit),
        f"the prediction is less probable than one over {size}: pass log-probabilities, not logits",
    )
    checks = (*of_label, of_prediction) if row.has_label(limit) else (of_prediction,)
    return next((problem for is_wrong, problem in checks if is_wrong), None)


def _above_zero(rows: Sequence[Row], limit: int) -> str:
    """Return what is passed instead of log-probabilities, as far as the rows tell."""
    values = [one for row in rows for one in row.logprobs(limit)]
    labelled = [row for row in rows if row.has_label(limit)]
    above = [one for one in values if one > slack([one])]
    what = "neither logits, losses nor probabilities"
    if 2 * len(above) >= len(values):
        if all(0 <= one <= 1 for one in values):
            what = "not probabilities, as these seem to be, but their logarithms"
        elif labelled and all(row.label_logprob > max(row.prediction_logprob, 0) for row in labelled):
            what = "not losses, as these seem to be, but their negatives"
        elif 1 < max(above) < math.inf:
            what = "not raw logits, as these seem to be, but their log_softmax"
    return (
        f"log-probabilities are at most 0, and {len(above)} of the {len(values)} shown are above, up to"
        f" {max(above):.6g}: pass {what}"
    )


def _refused(problem: str, place: tuple[int, int], numbers: dict[str, Any], sizes: Sizes) -> PairError:
    listed = ", ".join(f"{name}={value:.6g}" for name, value in numbers.items() if value is not None)
    sequence, number = divmod(place[0], sizes.codebooks)
    sample = sizes.place(sequence)
    codebook = number if sizes.has_codebooks else None
    where = f"sample {sample}" + ("" if codebook is None else f", codebook {codebook}")
    position = place[1] + sizes.shift
    evidence: dict[str, Any] = {"sample": sample, "codebook": codebook, "position": position}
    evidence |= {name: one if one is None or math.isfinite(one) else None for name, one in numbers.items()}
    return PairError(f"Rows can't be of logits: {problem}; at {where}, position {position}: {listed}", **evidence)
