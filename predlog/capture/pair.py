"""What was passed to `compare` → one checked pair: canonical views and, if rows are made on demand, their source."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from predlog.capture import layout as layouts
from predlog.capture.positions import NOTHING_KNOWN, Positions, to_positions
from predlog.capture.projection import Fused, Head, Projection, Source, to_fused
from predlog.capture.reduction import Columns, Rows, check_container, to_columns
from predlog.capture.tensors import as_ids, as_tensor
from predlog.errors import NothingToCompareError, PairError


@dataclass(frozen=True, slots=True)
class Pair(layouts.Views):
    """Views of a pair that was checked.

    The logits may be `shift` positions shorter: the last rows have no label. If rows are made on demand, `source` makes
    them, and `logits` are their outline, whose values are not read. If rows were reduced elsewhere, `columns`
    [s, k, t] are what is left of them, and `logits` are the outline of these. `positions` are what else is known of
    each label's position. `fused` is what the head of a projection has returned of each row.
    """

    source: Source | None = None
    is_trained: bool = False
    columns: Columns | None = None
    positions: Positions = NOTHING_KNOWN
    fused: Fused | None = None

    def of_samples(self, slices: Sequence[slice]) -> "Pair":
        """Return the pair of these samples, as views; of several slices, as copies."""

        def part(value: Tensor) -> Tensor:
            return value[slices[0]] if len(slices) == 1 else torch.cat([value[one] for one in slices])

        return replace(
            self,
            logits=part(self.logits),
            labels=part(self.labels),
            inputs=None if self.inputs is None else part(self.inputs),
            source=None if self.source is None else self.source.each(part),
            columns=None if self.columns is None else self.columns.each(part),
            positions=self.positions.each(part),
            fused=None if self.fused is None else self.fused.each(part),
        )

    @property
    def vocabulary(self) -> int | None:
        """The number of logits in a row; None if that is not known."""
        if self.columns is not None:
            return self.columns.vocabulary
        return self.logits.shape[-1] if self.source is None else self.source.vocabulary


@dataclass(frozen=True, slots=True)
class _Given:
    """What was passed as logits: `outline` has the shape of all; it is the only chunk if that holds all logits.

    Of rows that were reduced elsewhere, the chunks are the columns.
    """

    outline: Tensor
    chunks: tuple[Tensor, ...]
    head: Head | None = None
    columns: Columns | None = None
    fused: Fused | None = None


def to_pair(
    logits: object,
    labels: object,
    inputs: object,
    *,
    layout: str | None,
    shift: int,
    ignore_index: int,
    product: torch.dtype | None,
    **known: object,
) -> Pair:
    """Check what was passed, and return it in canonical form; nothing is copied, and no value is read.

    `logits` are a tensor, a `Projection`, `Rows`, or a list of chunks along time. `product` is the type in which rows
    are projected; None takes the weight's. `known` is what `to_positions` takes. Raises PairError if they are no pair.
    """
    given = _given(logits, layout, product)
    outline = given.outline
    if given.columns is None and not outline.dtype.is_floating_point:
        raise PairError(f"logits {list(outline.shape)} are {outline.dtype}: are logits and labels swapped?")
    ids = _labels(labels)
    read = None if inputs is None else as_ids("inputs", inputs)
    if layout is None and _are_flattened(outline, ids, read):
        layout, ids = "(b t) v, b t", ids.view(read.shape)  # type: ignore[union-attr] # then there are inputs
    views = layouts.canonical(outline, ids, read, layout, shift, is_reduced=given.columns is not None)
    source = _source(given, ids, layout)
    columns = given.columns and given.columns.each(lambda column: layouts.viewed_rows(column, ids, layout))
    fused = given.fused and given.fused.each(lambda column: layouts.viewed_rows(column, ids, layout))
    if type(ignore_index) is not int or not -(2**63) <= ignore_index < 2**63:
        what = f"is {ignore_index}" if type(ignore_index) is int else f"is of type {type(ignore_index).__name__}"
        raise PairError(f"ignore_index {what}: pass a Python int of at most 64 bits, such as -100")
    samples, codebooks, length = views.labels.shape
    positions = to_positions(ids, layout, (samples, codebooks, length), **known)
    _check_devices(given, ids, read, positions)
    is_trained = any(chunk.requires_grad for chunk in given.chunks)
    return Pair(
        views.logits, views.labels, views.inputs, views.has_codebooks, source, is_trained, columns, positions, fused
    )  # fmt: skip


def _are_flattened(logits: Tensor, labels: Tensor, inputs: Tensor | None) -> bool:
    """Return whether logits and labels are flattened, and the inputs, which are not, show of which shape they were."""
    if inputs is None or labels.ndim != 1 or inputs.ndim != 2:
        return False
    return logits.ndim <= 2 and labels.shape[0] == inputs.numel() == logits.shape[0]


def _labels(given: object) -> Tensor:
    labels = as_tensor("labels", given)
    if labels.dtype.is_floating_point or labels.dtype.is_complex:
        raise NothingToCompareError(
            f"labels are floats: nothing to compare (labels {list(labels.shape)} are {labels.dtype}, and token ids must"
            " be integers)"
        )
    return as_ids("labels", labels)


def _given(logits: object, layout: str | None, product: torch.dtype | None) -> _Given:
    if isinstance(logits, Projection):
        hidden = as_tensor("hidden", logits.hidden)
        return _Given(hidden, (hidden,), _head(logits, product), fused=to_fused(logits, hidden))
    if isinstance(logits, Rows):
        columns = to_columns(logits)
        return _Given(columns.prediction, tuple(column for _, column in columns.named()), columns=columns)
    if isinstance(logits, list | tuple | dict) and logits:
        check_container(logits)
        if not isinstance(logits, dict) and not isinstance(logits[0], int | float | list | tuple):
            given = tuple(as_tensor("logits", chunk) for chunk in logits)
            # The last chunk may have no rows, where the shift has taken them.
            chunks = tuple(chunk for chunk in given if chunk.numel()) or given[:1]
            return _Given(_joined(chunks, layout), chunks)
    whole = as_tensor("logits", logits)
    return _Given(whole, (whole,))


def _source(given: _Given, labels: Tensor, layout: str | None) -> Source | None:
    """Return what makes rows, for labels that fit the outline; None if all logits were passed as one tensor."""
    head, chunks = given.head, given.chunks
    if given.columns is not None or (head is None and given.outline is chunks[0]):
        return None
    views = tuple(layouts.viewed(chunk, labels, layout) for chunk in chunks)
    if head is not None and views[0].shape[-1] != head.weight.shape[1]:
        raise PairError(
            f"hidden states {list(chunks[0].shape)} are {views[0].shape[-1]} wide, and the weight "
            f"{list(head.weight.shape)} takes {head.weight.shape[1]}: it must be [vocabulary, width]"
        )
    return Source(views, head)


def _joined(chunks: Sequence[Tensor], layout: str | None) -> Tensor:
    """Return an empty tensor of the shape of all chunks together, on the meta device."""
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
    _check_positive("scale", projection.scale, "None if it is not known")
    _check_positive("softcap", projection.softcap, "None")
    return Head(weight, bias, projection.scale, projection.softcap, product or weight.dtype)


def _plain(name: str, value: object) -> Tensor:
    tensor = as_tensor(f"the head's {name}", value)
    if not tensor.dtype.is_floating_point:
        raise PairError(f"the head's {name} {list(tensor.shape)} is {tensor.dtype}: it must be of floating point")
    return tensor


def _check_positive(name: str, value: float | None, otherwise: str) -> None:
    if value is None:
        return
    if type(value) not in {int, float}:
        raise PairError(
            f"{name} is of type {type(value).__name__}: pass a Python number; reading a tensor waits for the device"
        )
    if not math.isfinite(value):
        raise PairError(f"{name}={value} must be finite")
    if value <= 0:
        raise PairError(f"{name}={value} must be above 0, or {otherwise}")


def _check_devices(given: _Given, labels: Tensor, inputs: Tensor | None, positions: Positions) -> None:
    head = () if given.head is None else (given.head.weight, given.head.bias)
    returned = () if given.fused is None else (column for _, column in given.fused.named())
    tensors = (*given.chunks, *head, labels, inputs, *positions.all(), *returned)
    devices = {tensor.device for tensor in tensors if tensor is not None}
    if len(devices) > 1:
        raise PairError(f"the pair lies on several devices, {sorted(map(str, devices))}: move it to one")
