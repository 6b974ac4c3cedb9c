"""The source of rows of logits that are not there as one tensor: hidden states and a head, or chunks along time.

And what a fused head has returned of each row: the log-probability of its label, its entropy, and whether it matches.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from predlog.capture.rows import gathered
from predlog.capture.score import Scores
from predlog.capture.tensors import as_tensor
from predlog.errors import PairError
from predlog.numbers.snapshot import Sizes

# What a fused head may have returned of each row.
_NAMES = ("label_logprob", "entropy", "match")
# Rows of a head's weight that are cast at once.
_TOGETHER = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Hidden states and the head that would make logits of them, to be passed to `compare` in place of logits.

    Models with a fused head and loss make no logits at all. Here only the rows shown are projected, as the model would:
    `softcap · tanh(scale · (hidden · weightᵀ + bias) / softcap)`, without the tanh if `softcap` is None. They are
    computed in the weight's type, or in autocast's if `compare` is called under it. Loss, entropy and accuracy over all
    positions are left out, because only the tokens shown are predicted, unless the fused head has returned them: then
    pass what it has, in the shape of the hidden states without their last axis.

    Args:
        hidden: What the head reads, laid out as logits would be, with the model's width in place of the vocabulary.
        weight: [vocabulary, width], as `torch.nn.Linear` has it.
        bias: [vocabulary].
        scale: The factor on the model's logits (Cohere's `logit_scale`; 1 / Granite's `logits_scaling`). None, if
            it is not known what the model does to the logits, except that it keeps their order: predictions and ranks
            are correct then, and probabilities are left out.
        softcap: Gemma 2's `final_logit_softcapping`.
        label_logprob: The log-probability of each row's label, as a fused loss has computed it; where there is no
            label it may be anything. With it the loss is recorded, and the worst tokens are known.
        entropy: The entropy of each row in nats; only with `label_logprob`.
        match: Whether the label is what each row predicts, as booleans; only with `label_logprob`.
    """

    hidden: object
    weight: object
    bias: object = None
    scale: float | None = 1.0
    softcap: float | None = None
    label_logprob: object = None
    entropy: object = None
    match: object = None


@dataclass(frozen=True, slots=True)
class Head:
    """The part of a `Projection` that all rows share."""

    weight: Tensor
    bias: Tensor | None
    scale: float | None
    softcap: float | None
    dtype: torch.dtype

    def project(self, hidden: Tensor) -> Tensor:
        """Return the logits [..., vocabulary] of hidden states [..., width]."""
        logits = self._linear(hidden.to(self.dtype))
        if self.scale not in {1, None}:
            logits = logits * self.scale
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap

    def _linear(self, hidden: Tensor) -> Tensor:
        if self.weight.dtype == self.dtype:
            return functional.linear(hidden, self.weight, self.bias)
        # A copy of the whole weight in another type could be a gigabyte.
        parts = self.weight.split(_TOGETHER)
        biases = [None] * len(parts) if self.bias is None else self.bias.to(self.dtype).split(_TOGETHER)
        made = zip(parts, biases, strict=True)
        return torch.cat([functional.linear(hidden, part.to(self.dtype), bias) for part, bias in made], -1)


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of logits that are made on demand, from chunks [s, k, t, v or width] along time."""

    chunks: tuple[Tensor, ...]
    head: Head | None

    def rows(self, samples: int, codebooks: int, length: int) -> Iterator[Tensor]:
        """Yield the rows of the first sequences as chunks [s, k, t, v], in order, of so many rows altogether."""
        for chunk in self.chunks:
            yield chunk[:samples, :codebooks, : max(length, 0)]
            length -= chunk.shape[2]

    def narrowed(self, columns: int) -> "Source":
        """Return the source of the first columns of each row."""
        if self.head is None:
            return Source(tuple(chunk[..., :columns] for chunk in self.chunks), None)
        bias = None if self.head.bias is None else self.head.bias[:columns]
        return Source(self.chunks, replace(self.head, weight=self.head.weight[:columns], bias=bias))

    def each(self, change: Callable[[Tensor], Tensor]) -> "Source":
        """Return the source after a change of each chunk."""
        return Source(tuple(map(change, self.chunks)), self.head)

    @property
    def vocabulary(self) -> int:
        """The number of logits in a row."""
        return self.chunks[0].shape[-1] if self.head is None else self.head.weight.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the rows."""
        return self.chunks[0].dtype if self.head is None else self.head.dtype

    @property
    def has_probabilities(self) -> bool:
        """Whether the rows are the model's logits; if not, only their order is."""
        return self.head is None or self.head.scale is not None

    def at(self, where: Tensor) -> Tensor:
        """Return the rows [s, k, n, v] at the times [s, k, n] of the first samples and codebooks."""
        found, start = None, 0
        for chunk in self.chunks:
            part = chunk[: where.shape[0], : where.shape[1]]
            index = (where - start).clamp_(0, part.shape[2] - 1).unsqueeze(-1)
            here = gathered(part, index.expand(-1, -1, -1, part.shape[-1]), dim=2)
            found = here if found is None else torch.where((where >= start).unsqueeze(-1), here, found)
            start += chunk.shape[2]
        assert found is not None  # noqa: S101 - for the type checker
        return found if self.head is None else self.head.project(found)


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
