"""Rows of logits that were reduced elsewhere: what is left of them, and how it becomes the numbers of a pair.

The log-probabilities of a row are logits of the same distribution, whose exponentials add up to 1. So the reductions
of a row of logits are known without the row: its peak is the prediction's log-probability, and so on.
"""

import math
import numbers
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from predlog.capture import counts, score
from predlog.capture.arrays import article
from predlog.capture.contradictions import NO_ROW, Row, check_predictions, check_rows
from predlog.capture.positions import Positions
from predlog.capture.rows import is_number
from predlog.capture.score import Scores
from predlog.capture.tensors import as_ids, as_signed, as_tensor
from predlog.capture.window import chosen, with_worst
from predlog.errors import PairError
from predlog.numbers.snapshot import Numbers, Sizes, Statistics
from predlog.numbers.window import Chosen, Window

# Of a column: its name in `Rows`, and what it is called in messages.
_COLUMNS = {
    "prediction": "predictions of Rows",
    "prediction_logprob": "log-probabilities of Rows' predictions",
    "label_logprob": "log-probabilities of Rows' labels",
    "label_rank": "label ranks of Rows",
    "entropy": "entropies of Rows",
}
# Which of them have no name where they are passed.
_IN_ORDER = 4


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
        entropy: The entropy of each row in nats; NaN if it is not known. None leaves the entropies out.
    """

    prediction: object
    prediction_logprob: object
    label_logprob: object
    label_rank: object = None
    vocabulary: SupportsIndex | None = field(default=None, kw_only=True)
    entropy: object = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Columns:
    """Tensors of the same shape, one per number of a row; there may be no ranks and no entropies."""

    prediction: Tensor
    prediction_logprob: Tensor
    label_logprob: Tensor
    label_rank: Tensor | None
    vocabulary: int | None = None
    entropy: Tensor | None = None

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
        rank, entropy = (None if one is None else change(one) for one in (self.label_rank, self.entropy))
        numbers = change(self.prediction), change(self.prediction_logprob), change(self.label_logprob)
        return Columns(*numbers, rank, self.vocabulary, entropy)


def _kept(column: Tensor) -> Tensor:
    return column.to(column_type(column)) if column.dtype.is_floating_point else as_signed(column)


def column_type(column: Tensor) -> torch.dtype:
    """Return the type in which a column is kept: 64-bit integers, or floats that are exact for its values."""
    if not column.dtype.is_floating_point:
        return torch.int64
    return torch.float64 if column.dtype == torch.float64 else torch.float32


def to_columns(rows: Rows) -> Columns:
    """Return the arrays of rows as tensors over their memory; raise PairError if they can't be what they are to be."""
    columns = Columns(
        as_ids(_COLUMNS["prediction"], rows.prediction),
        _logprobs("prediction_logprob", rows.prediction_logprob),
        _logprobs("label_logprob", rows.label_logprob),
        None if rows.label_rank is None else as_ids(_COLUMNS["label_rank"], rows.label_rank, "ranks"),
        _vocabulary(rows.vocabulary),
        None if rows.entropy is None else _logprobs("entropy", rows.entropy),
    )
    shapes = {name: list(column.shape) for name, column in columns.named()}
    if any(shape != shapes["prediction"] for shape in shapes.values()):
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise PairError(f"the arrays of Rows differ in their shapes: {listed}", "layout-mismatch", **shapes)
    return columns


def check_container(value: list[Any] | tuple[Any, ...] | dict[Any, Any]) -> None:
    """Raise PairError if what was passed as logits holds Rows, or the arrays of Rows."""
    kind = type(value).__name__
    names = list(value) if isinstance(value, dict) else getattr(value, "_fields", ())
    named = [name for name in _COLUMNS if name in names]
    if len(named) > 1:
        rows = "**rows" if isinstance(value, dict) else "**rows._asdict()"
        raise PairError(
            f"logits are {article(kind)} with {', '.join(named)}: pass predlog.Rows({rows}, vocabulary=…) of it"
        )
    if isinstance(value, dict):
        return
    if isinstance(value[0], Rows):
        raise PairError(f"logits are {article(kind)} of Rows: concatenate their arrays along time, and pass one")
    if len(value) in {_IN_ORDER - 1, _IN_ORDER}:
        # The types in words, since these may be arrays of any kind.
        integers = ["int" in str(getattr(one, "dtype", "")) for one in value]
        if integers in ([True, False, False], [True, False, False, True]):
            raise PairError(
                f"logits are {article(kind)} of arrays of integers and floats, as Rows have them: pass"
                " predlog.Rows(*rows, vocabulary=…) of it"
            )


def _vocabulary(size: SupportsIndex | None) -> int | None:
    if size is None:
        return None
    # A tensor has an index, too, but reading it would wait for its device.
    if not isinstance(size, numbers.Integral) or isinstance(size, bool):
        problem = f"of type {type(size).__name__}"
    elif 1 <= (found := operator.index(size)) < 2**63:
        return found
    else:
        problem = str(found)
    raise PairError(f"vocabulary of Rows is {problem}: pass an int above 0 and below 2**63, or None")


def _logprobs(name: str, value: object) -> Tensor:
    column = as_tensor(_COLUMNS[name], value)
    what = f"{_COLUMNS[name]} {list(column.shape)} are {column.dtype}"
    if not column.dtype.is_floating_point:
        raise PairError(f"{what}: they must be of floating point")
    if column.dtype.itemsize == 1:
        raise PairError(f"{what}, which is too coarse for log-probabilities: pass float32, or bfloat16 at least")
    return column


def _many(count: int, one: str) -> str:
    return f"{count} {one}{'s' * (count != 1)}"


def to_numbers(
    columns: Columns, sizes: Sizes, window: Window, labels: Tensor, inputs: Tensor | None, positions: Positions
) -> Numbers:
    """Return the numbers of columns [s, k, rows] and ids [s, k, t] on the host.

    Raises PairError if no supervised position has a row, or if the numbers of one that is shown contradict each other.
    """
    scored = labels[..., sizes.shift :]
    supervised = scored != sizes.ignore_index
    has_row = columns.prediction != NO_ROW
    shown = chosen(supervised & has_row, window)
    unreduced = (supervised & ~has_row).sum(-1, keepdim=True)
    if unreduced.any() and not (supervised & has_row).any():
        which = f"{_many(sizes.samples, 'sample')} shown" if sizes.places else f"first {_many(sizes.samples, 'sample')}"
        raise PairError(
            f"no supervised position has a row: the predictions of Rows are {NO_ROW} at all {int(unreduced.sum())} of"
            f" the {which}. Reduce the rows of those positions"
        )
    counted = supervised & has_row & is_number(columns.prediction_logprob)
    check_predictions(columns.prediction, counted, sizes)
    scores = None
    if window.score:
        loss = torch.where(columns.label_logprob > 0, 0.0, -columns.label_logprob)
        loss.masked_fill_((scored < 0) | (scored >= sizes.limit), math.nan)
        above = None if columns.label_rank is None else columns.label_rank - 1
        entropy = torch.full_like(loss, math.nan) if columns.entropy is None else columns.entropy
        scores = Scores(torch.where(counted, columns.prediction, NO_ROW), loss, entropy, above)
        left_out = ~(supervised & has_row)
        for number, every in enumerate(shown):
            left_out.flatten(0, 1)[number, [*chain(*every)]] = True
        shown = with_worst(shown, *score.worst(loss, left_out, window.worst))
    statistics = _statistics(columns, sizes, shown, scored)
    return counts.to_numbers(sizes, labels, inputs, positions, shown, statistics, scores, window, unreduced)


def _statistics(columns: Columns, sizes: Sizes, shown: Sequence[Chosen], scored: Tensor) -> Statistics:
    """Return the reductions of the rows shown, as if the log-probabilities of each row had been its logits."""
    places = [(number, row) for number, every in enumerate(shown) for row in chain(*every)]
    index = torch.tensor([number * scored.shape[-1] + row for number, row in places], dtype=torch.int64, device="cpu")
    prediction, logprob, label_logprob, label = (
        column.flatten().index_select(0, index).tolist()
        for column in (columns.prediction, columns.prediction_logprob, columns.label_logprob, scored)
    )
    ranks: list[int | None] = [None] * len(places)
    if columns.label_rank is not None:
        ranks = columns.label_rank.flatten().index_select(0, index).tolist()
    # The worst would contradict first, and are no fair part of all.
    are_ends = [row not in shown[number].worst for number, row in places]
    check_rows(compress(map(Row, places, prediction, logprob, label_logprob, ranks, label), are_ends), sizes)
    return Statistics(
        prediction=prediction,
        above=[None if rank is None else rank - 1 for rank in ranks],
        # Rounding may have made a probability larger than 1. NaN stays NaN, since it is not above 0.
        peak=[0.0 if one > 0 else one for one in logprob],
        label_logit=[0.0 if one > 0 else one for one in label_logprob],
        log_sum=[0.0 if one > 0 else -one for one in logprob],
    )
