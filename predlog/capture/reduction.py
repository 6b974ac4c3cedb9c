"""Rows of logits that were reduced elsewhere: what is left of them, and how it becomes the numbers of a pair.

The log-probabilities of a row are logits of the same distribution, whose exponentials add up to 1. So the reductions
of a row of logits are known without the row: its peak is the prediction's log-probability, and so on.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from predlog.capture import counts
from predlog.capture.rows import Statistics, hits, is_number, wanted_ids
from predlog.capture.snapshot import Numbers, Sizes
from predlog.capture.tensors import as_ids, as_signed, as_tensor
from predlog.capture.window import Ends, Window, ends
from predlog.errors import PairError

# The prediction of a position whose row was not reduced.
_NO_ROW = -1
# By how much a log-probability may miss what it must be, per nat and in nats: bfloat16 rounds it by 0.4 %.
_ROUNDING = 0.01
# Of a column: its name in `Rows`, and what it is called in messages.
_COLUMNS = {
    "prediction": "predictions of Rows",
    "prediction_logprob": "log-probabilities of Rows' predictions",
    "label_logprob": "log-probabilities of Rows' labels",
    "label_rank": "label ranks of Rows",
}


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What is left of rows of logits that were reduced elsewhere, to be passed to `compare` in place of logits.

    Elsewhere is inside `jax.jit`, on a TPU, in another process, or in a test. All arrays have the same shape: that of
    the logits without the axis of the vocabulary. They are shifted as the logits are, and `layout` is the one of the
    logits, with v. torch tensors, NumPy arrays and everything that supports DLPack can be passed.

    Args:
        prediction: The index of the largest logit of each row, as integers. -1 marks a position whose row was not
            reduced: its token is not shown, and of its sample the accuracy is left out.
        prediction_logprob: The natural logarithm of the prediction's probability; NaN for a row that holds NaN or
            infinity, of which the prediction is left out.
        label_logprob: The natural logarithm of the label's probability; NaN if it is not known.
        label_rank: 1 + how many logits of the row exceed the label's, as integers. None leaves the ranks out.
        vocabulary: How many logits a row had. Without it, labels that are too large are not noticed, and neither is a
            loss that stays at that of guessing.
    """

    prediction: object
    prediction_logprob: object
    label_logprob: object
    label_rank: object = None
    vocabulary: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Columns:
    """Tensors of the same shape, one per number of a row; there may be no ranks."""

    prediction: Tensor
    prediction_logprob: Tensor
    label_logprob: Tensor
    label_rank: Tensor | None
    vocabulary: int | None = None

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors by name."""
        for name in _COLUMNS:
            if (column := getattr(self, name)) is not None:
                yield name, column

    def shown(self, sizes: Sizes) -> "Columns":
        """Return the rows of columns [sample, codebook, time] that may be shown, as 64-bit integers and floats."""
        rows = sizes.length - sizes.shift
        return self.each(lambda one: _kept(one[: sizes.samples, : sizes.codebooks, :rows]))

    def each(self, change: Callable[[Tensor], Tensor]) -> "Columns":
        """Return the columns after a change of each."""
        rank = None if self.label_rank is None else change(self.label_rank)
        numbers = change(self.prediction), change(self.prediction_logprob), change(self.label_logprob)
        return Columns(*numbers, rank, self.vocabulary)


def _kept(column: Tensor) -> Tensor:
    return column.to(column_type(column)) if column.dtype.is_floating_point else as_signed(column)


def column_type(column: Tensor) -> torch.dtype:
    """Return the type in which a column is kept: 64-bit integers, or floats that are exact for its values."""
    if not column.dtype.is_floating_point:
        return torch.int64
    return torch.float64 if column.dtype == torch.float64 else torch.float32


def to_columns(rows: Rows) -> Columns:
    """Return the arrays of rows as tensors over their memory; raise PairError if they can't be what they are to be."""
    if rows.vocabulary is not None and (type(rows.vocabulary) is not int or not 1 <= rows.vocabulary < 2**63):
        raise PairError(
            f"vocabulary of Rows is {_briefly(rows.vocabulary)}: pass a Python int above 0 and below 2**63, or None"
        )
    columns = Columns(
        as_ids(_COLUMNS["prediction"], rows.prediction),
        _logprobs("prediction_logprob", rows.prediction_logprob),
        _logprobs("label_logprob", rows.label_logprob),
        None if rows.label_rank is None else as_ids(_COLUMNS["label_rank"], rows.label_rank),
        rows.vocabulary,
    )
    shapes = {name: list(column.shape) for name, column in columns.named()}
    if any(shape != shapes["prediction"] for shape in shapes.values()):
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise PairError(f"the arrays of Rows differ in their shapes: {listed}", "layout-mismatch", **shapes)
    return columns


def _logprobs(name: str, value: object) -> Tensor:
    column = as_tensor(_COLUMNS[name], value)
    if not column.dtype.is_floating_point:
        raise PairError(f"{_COLUMNS[name]} {list(column.shape)} are {column.dtype}: they must be of floating point")
    return column


def _many(count: int, one: str) -> str:
    return f"{count} {one}{'s' * (count != 1)}"


def _briefly(value: object) -> str:
    return str(value) if type(value) is int else f"of type {type(value).__name__}"


def to_numbers(columns: Columns, sizes: Sizes, window: Window, labels: Tensor, inputs: Tensor | None) -> Numbers:
    """Return the numbers of columns [s, k, rows] and ids [s, k, t] on the host.

    Raises PairError if no supervised position has a row, or if the numbers of one that is shown contradict each other.
    """
    scored = labels[..., sizes.shift :]
    supervised = scored != sizes.ignore_index
    has_row = columns.prediction != _NO_ROW
    shown = ends(supervised & has_row, window)
    unreduced = (supervised & ~has_row).sum(-1, keepdim=True)
    if unreduced.any() and not (supervised & has_row).any():
        raise PairError(
            f"no supervised position has a row: the predictions of Rows are {_NO_ROW} at all {int(unreduced.sum())} of"
            f" the first {_many(sizes.samples, 'sample')}. Reduce the rows of those positions"
        )
    statistics = _statistics(columns, sizes, shown, scored)
    found = None
    if window.accuracy:
        counted = supervised & has_row & is_number(columns.prediction_logprob)
        found = hits(columns.prediction, wanted_ids(scored, inputs), counted).sum(-2)
    return counts.to_numbers(sizes, labels, inputs, shown, statistics, found, unreduced)


def _statistics(columns: Columns, sizes: Sizes, shown: Sequence[Ends], scored: Tensor) -> Statistics:
    """Return the reductions of the rows shown, as if the log-probabilities of each row had been its logits."""
    places = [(number, row) for number, both in enumerate(shown) for rows in both for row in rows]
    index = torch.tensor([number * scored.shape[-1] + row for number, row in places], dtype=torch.int64, device="cpu")
    prediction, logprob, label_logprob, label = (
        column.flatten().index_select(0, index).tolist()
        for column in (columns.prediction, columns.prediction_logprob, columns.label_logprob, scored)
    )
    ranks: list[int | None] = [None] * len(places)
    if columns.label_rank is not None:
        ranks = columns.label_rank.flatten().index_select(0, index).tolist()
    for place, *numbers in zip(places, prediction, logprob, label_logprob, ranks, label, strict=True):
        if (problem := _contradiction(*numbers, limit=sizes.limit)) is not None:
            sample, codebook = divmod(place[0], sizes.codebooks)
            raise _contradicting(problem, numbers, sample, codebook if sizes.has_codebooks else None, place[1], sizes)
    return Statistics(
        prediction=prediction,
        above=[None if rank is None else rank - 1 for rank in ranks],
        # Rounding may have made a probability larger than 1. NaN stays NaN, since it is not above 0.
        peak=[0.0 if one > 0 else one for one in logprob],
        label_logit=[0.0 if one > 0 else one for one in label_logprob],
        log_sum=[0.0 if one > 0 else -one for one in logprob],
    )


def _contradiction(
    prediction: int, logprob: float, label_logprob: float, rank: int | None, label: int, *, limit: int
) -> str | None:
    """Return what can't be true of a row of any logits, and what to do; None if nothing is wrong.

    What a row says of a label that has no logit, and of a prediction if the row is not finite, is not looked at.
    """
    if math.isnan(logprob):
        return None
    slack = _ROUNDING * (1 + abs(logprob))
    has_label = 0 <= label < limit and not math.isnan(label_logprob)
    is_best = label_logprob >= logprob - slack
    checks = (
        (not 0 <= prediction < limit, f"predictions are ids below the vocabulary's size, or {_NO_ROW}"),
        (
            logprob > _ROUNDING or (has_label and label_logprob > _ROUNDING),
            "log-probabilities are at most 0: pass neither losses nor probabilities",
        ),
        (
            has_label and label_logprob > logprob + slack,
            "the label is more probable than the prediction, which must be that of the largest logit",
        ),
        (
            has_label and rank is not None and not 1 <= rank <= limit,
            "ranks count from 1, which is the best, to the vocabulary's size",
        ),
        (
            has_label
            and ((rank == 1 and not is_best) or (prediction == label and not (is_best and rank in {None, 1}))),
            "the numbers are of different labels: reduce each row for the label that it is shown with",
        ),
        (
            has_label
            and prediction != label
            and math.exp(min(0.0, logprob)) + math.exp(min(0.0, label_logprob)) > 1 + 2 * _ROUNDING,
            "the probabilities of prediction and label add up to more than 1",
        ),
        (
            has_label and rank is not None and rank > 1 and label_logprob > -math.log(rank) + slack,
            "a label of rank r has a probability of at most 1/r",
        ),
        (
            -math.inf < logprob < -math.log(limit) - slack,
            "the prediction is less probable than one over the vocabulary's size: pass log-probabilities, not logits",
        ),
    )
    return next((problem for is_wrong, problem in checks if is_wrong), None)


def _contradicting(
    problem: str, numbers: Sequence[float | None], sample: int, codebook: int | None, row: int, sizes: Sizes
) -> PairError:
    names = (*_COLUMNS, "label")
    listed = ", ".join(f"{name}={value:.6g}" for name, value in zip(names, numbers, strict=True) if value is not None)
    where = f"sample {sample}" + ("" if codebook is None else f", codebook {codebook}")
    position = row + sizes.shift
    evidence: dict[str, Any] = {"sample": sample, "codebook": codebook, "position": position}
    evidence |= {
        name: one if one is None or math.isfinite(one) else None for name, one in zip(names, numbers, strict=True)
    }
    return PairError(f"Rows can't be of logits: {problem}; at {where}, position {position}: {listed}", **evidence)
