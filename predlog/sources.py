"""Where rows of logits come from when nobody made all of them: hidden states and a head, or chunks along time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from predlog import layout as layouts
from predlog.errors import PairError
from predlog.rows import gathered

# Rows of a head's weight that are cast at once.
_TOGETHER = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Hidden states and the head that would make logits of them: handed to `compare` in place of logits.

    Models with a fused head and loss make no logits at all. Here only the rows shown are projected, as the model would:
    `softcap · tanh(scale · (hidden · weightᵀ + bias) / softcap)`, without the tanh where `softcap` is None. They are
    computed in the weight's type, or in autocast's where `compare` is called under it. How many predictions are right
    is known of the tokens shown only.

    Args:
        hidden: What the head reads, laid out as logits would be, with the model's width in place of the vocabulary.
        weight: [vocabulary, width], as `torch.nn.Linear` has it.
        bias: [vocabulary].
        scale: What the model multiplies logits with (Cohere's `logit_scale`; 1 / Granite's `logits_scaling`). None,
            where that, or whatever else the model does to them, is not known beyond that it keeps their order:
            predictions and ranks are right then, and probabilities are left out.
        softcap: Gemma 2's `final_logit_softcapping`.
    """

    hidden: object
    weight: object
    bias: object = None
    scale: float | None = 1.0
    softcap: float | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The part of a `Projection` that all rows share."""

    weight: Tensor
    bias: Tensor | None
    scale: float | None
    softcap: float | None
    dtype: torch.dtype

    def project(self, hidden: Tensor) -> Tensor:
        """Give the logits [..., vocabulary] of hidden states [..., width]."""
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
    """Rows of logits that are made when they are asked for, from chunks [s, k, t, v or width] along time."""

    chunks: tuple[Tensor, ...]
    head: Head | None

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
        """Whether the rows are the model's logits: else they have their order alone."""
        return self.head is None or self.head.scale is not None

    @property
    def tensors(self) -> list[Tensor]:
        """All that it is made from."""
        head = [] if self.head is None else [self.head.weight, self.head.bias]
        return [tensor for tensor in (*self.chunks, *head) if tensor is not None]

    def at(self, where: Tensor) -> Tensor:
        """Give the rows [s, k, n, v] at the times [s, k, n] of the first samples and codebooks."""
        found, start = None, 0
        for chunk in self.chunks:
            lanes = chunk[: where.shape[0], : where.shape[1]]
            index = (where - start).clamp_(0, lanes.shape[2] - 1).unsqueeze(-1)
            here = gathered(lanes, index.expand(-1, -1, -1, lanes.shape[-1]), dim=2)
            found = here if found is None else torch.where((where >= start).unsqueeze(-1), here, found)
            start += chunk.shape[2]
        assert found is not None  # noqa: S101 - for the type checker
        return found if self.head is None else self.head.project(found)


@dataclass(frozen=True, slots=True)
class Given:
    """What was handed over as logits: `outline` has their shape, and their values where these are all there is."""

    outline: Tensor
    chunks: tuple[Tensor, ...]
    head: Head | None

    @property
    def is_whole(self) -> bool:
        """Whether they are logits as they are."""
        return self.head is None and self.outline is self.chunks[0]

    def source(self, labels: Tensor, layout: str | None) -> Source:
        """Give what makes rows, for labels that fit the outline."""
        views = tuple(layouts.viewed(chunk, labels, layout) for chunk in self.chunks)
        if self.head is not None and views[0].shape[-1] != self.head.weight.shape[1]:
            raise PairError(
                f"hidden states {list(self.chunks[0].shape)} are {views[0].shape[-1]} wide, and the weight "
                f"{list(self.head.weight.shape)} takes {self.head.weight.shape[1]}: it must be [vocabulary, width]"
            )
        return Source(views, self.head)


def autocast_type(logits: object) -> torch.dtype | None:
    """Give the type in which the caller's autocast would project; None where it would not meddle."""
    weight = logits.weight if isinstance(logits, Projection) else None
    if not isinstance(weight, Tensor) or weight.dtype == torch.float64:  # which autocast leaves alone
        return None
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def given(logits: object, layout: str | None, product: torch.dtype | None = None) -> Given:
    """Take what was handed over as logits: a tensor, a `Projection`, or a list of chunks along time.

    `product` is the type in which rows are projected; None takes the weight's. Raises PairError where it is none of
    these.
    """
    if isinstance(logits, Projection):
        hidden = layouts.as_tensor("hidden", logits.hidden)
        return Given(hidden, (hidden,), _head(logits, product))
    if isinstance(logits, list | tuple) and logits and not isinstance(logits[0], int | float | list | tuple):
        chunks = tuple(layouts.as_tensor("logits", chunk) for chunk in logits)
        return Given(_joined(chunks, layout), chunks, None)
    whole = layouts.as_tensor("logits", logits)
    return Given(whole, (whole,), None)


def _joined(chunks: Sequence[Tensor], layout: str | None) -> Tensor:
    """Give the outline of all chunks together, without making it."""
    first = chunks[0]
    if len(chunks) == 1:
        return first
    axis = layouts.time_axis(first.ndim, layout)
    shapes = [[*chunk.shape[:axis], *chunk.shape[axis + 1 :]] for chunk in chunks]
    if any(shape != shapes[0] or chunk.dtype != first.dtype for shape, chunk in zip(shapes, chunks, strict=True)):
        listed = ", ".join(f"{list(chunk.shape)} {chunk.dtype}" for chunk in chunks)
        raise PairError(f"chunks of logits must differ in their time (axis {axis}) only: {listed}", "layout-mismatch")
    shape = list(first.shape)
    shape[axis] = sum(chunk.shape[axis] for chunk in chunks)
    return torch.empty(shape, dtype=first.dtype, device="meta")


def _head(projection: Projection, product: torch.dtype | None) -> Head:
    weight = _plain("weight", projection.weight)
    bias = None if projection.bias is None else _plain("bias", projection.bias)
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        shapes = f"weight {list(weight.shape)}" + ("" if bias is None else f" and bias {list(bias.shape)}")
        raise PairError(f"a head's {shapes} must be [vocabulary, width] and [vocabulary]")
    scale, softcap = projection.scale, projection.softcap
    if scale is not None and _number("scale", scale) <= 0:
        raise PairError(f"scale={scale} must be above 0, or None where it is not known")
    if softcap is not None and _number("softcap", softcap) <= 0:
        raise PairError(f"softcap={softcap} must be above 0, or None")
    return Head(weight, bias, scale, softcap, product or weight.dtype)


def _plain(name: str, value: object) -> Tensor:
    if type(value).__name__ == "DTensor":
        raise PairError(
            f"the head's {name} is a DTensor, and gathering it is a collective, which predlog never issues: hand the "
            "projection over inside of the forward, where FSDP has gathered it"
        )
    tensor = layouts.as_tensor(f"the head's {name}", value)
    if not tensor.dtype.is_floating_point:
        raise PairError(f"the head's {name} {list(tensor.shape)} is {tensor.dtype}: it must be of floating point")
    return tensor


def _number(name: str, value: object) -> float:
    if type(value) not in {int, float}:
        raise PairError(
            f"{name} is of type {type(value).__name__}: pass a Python number; to read a tensor stops the device"
        )
    if not math.isfinite(value):  # type: ignore[arg-type]
        raise PairError(f"{name}={value} must be finite")
    return value  # type: ignore[return-value]
