"""What a fused head has returned of each row: the log-probability of its label, its entropy, and whether it matches."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from predlog.capture.projection import Projection
from predlog.capture.score import Scores
from predlog.capture.snapshot import Sizes
from predlog.capture.tensors import as_tensor
from predlog.errors import PairError

_NAMES = ("label_logprob", "entropy", "match")


@dataclass(frozen=True, slots=True)
class Fused:
    """Tensors [s, k, rows] of a head that makes no logits; entropies and matches may not be known."""

    label_logprob: Tensor
    entropy: Tensor | None
    match: Tensor | None

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors by name."""
        for name in _NAMES:
            if (column := getattr(self, name)) is not None:
                yield name, column

    def each(self, change: Callable[[Tensor], Tensor]) -> "Fused":
        """Return the tensors after a change of each."""
        columns = dict(self.named())
        return Fused(*(change(columns[name]) if name in columns else None for name in _NAMES))  # type: ignore[arg-type] # the first is there

    def scores(self, labels: Tensor, sizes: Sizes) -> Scores:
        """Return the scores of the rows of labels [s, k, rows]; a prediction is known only where it is the label."""
        samples, codebooks, rows = labels.shape
        own = self.each(lambda column: column[:samples, :codebooks, :rows].detach())
        # Rounding may have made a probability larger than 1; NaN stays NaN.
        loss = torch.where(own.label_logprob > 0, 0.0, -own.label_logprob)
        loss = loss.masked_fill((labels < 0) | (labels >= sizes.limit), math.nan)
        entropy = torch.full_like(loss, math.nan) if own.entropy is None else own.entropy
        predictions = torch.full_like(labels, -1)
        return Scores(predictions if own.match is None else torch.where(own.match, labels, predictions), loss, entropy)


def to_fused(projection: Projection, hidden: Tensor) -> Fused | None:
    """Return what a projection's head has returned, None if nothing; raise PairError if it does not fit its rows."""
    given = {name: value for name in _NAMES if (value := getattr(projection, name)) is not None}
    if not given:
        return None
    if "label_logprob" not in given:
        raise PairError(f"{' and '.join(given)} of a Projection need its label_logprob: pass it, too")
    columns = {name: as_tensor(f"{name} of Projection", value) for name, value in given.items()}
    for name, column in columns.items():
        shape, wanted = list(column.shape), list(hidden.shape[:-1])
        if shape != wanted:
            raise PairError(
                f"{name} {shape} of a Projection must have one value for each row of its hidden states"
                f" {list(hidden.shape)}: {wanted}",
                "layout-mismatch",
                **{name: shape, "hidden": list(hidden.shape)},
            )
        is_boolean = column.dtype == torch.bool
        if is_boolean != (name == "match") or not (is_boolean or column.dtype.is_floating_point):
            kind = "booleans" if name == "match" else "of floating point"
            raise PairError(f"{name} {shape} of a Projection is {column.dtype}: it must be {kind}")
    return Fused(columns["label_logprob"], columns.get("entropy"), columns.get("match"))
