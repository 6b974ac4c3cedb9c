"""A pair of distributed tensors → the part of it that this process has, as plain tensors.

Logits may be sharded over the vocabulary, the samples or the rows; labels and what is laid out as they are may be whole
or sharded likewise. What is whole is cut to the part that the logits are of.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor

from predlog.capture.dtensor import Span, dimensions, is_dtensor, is_subclass, local, settled, spans
from predlog.capture.layout import INFERRED
from predlog.capture.projection import Projection
from predlog.capture.shard import Shard
from predlog.errors import NothingHereError, PairError

# What is laid out as the labels are, or over their samples.
_BESIDE: Final = ("loss_mask", "position_ids", "document_ids", "attention_mask", "row_index", "sample_ids")


@dataclass(frozen=True, slots=True)
class Local:
    """The part of a pair that this process has.

    `part` is that of the vocabulary, `samples` and `rows` those of the batch and of each sequence, None for all; `rows`
    are the positions of the labels. `is_trained` is whether the logits require gradients, None if they themselves tell.
    `remark` says what of the pair counts for nobody, and what to pass.
    """

    logits: object
    labels: object
    inputs: object
    beside: dict[str, object] = field(default_factory=dict)
    part: Span | None = None
    samples: Span | None = None
    rows: Span | None = None
    is_trained: bool | None = None
    remark: str | None = None


def axes_of(value: Tensor, labels: object, layout: object) -> list[str]:
    """Return the names of the axes of logits, by their layout or, without one, by their number; "(b t)" is folded."""
    if layout is None:
        layout = INFERRED.get((value.ndim, getattr(labels, "ndim", 0)))
    return _names(layout, 0, value.ndim)


def _names(layout: object, side: int, many: int) -> list[str]:
    pattern = layout.split(",")[side] if type(layout) is str and layout.count(",") == 1 else ""
    names = re.findall(r"\([^)]*\)|[a-z]+", pattern)
    return names if len(names) == many else []


def to_local(
    logits: object, labels: object, inputs: object, layout: str | None, shard: object, beside: Mapping[str, object],
    shift: int = 0,
) -> Local:  # fmt: skip
    """Return the part of a pair that this process has; a pair without distributed tensors comes back as it is.

    Gradients must be off. `beside` are arguments by name. Raises PairError for tensors that can't be read without a
    collective, or that are not cut alike, and NothingHereError if this process has nothing of the pair.
    """
    found = replace(_Logits(logits, labels, layout, shard).local(), inputs=inputs, beside=dict(beside))
    if isinstance(shard, Shard) and isinstance(found.logits, Tensor):
        names = axes_of(found.logits, labels, layout)
        is_split = beside.get("row_index") is not None  # then the others wait for what is written of no column, too
        if "v" in names and not found.logits.shape[names.index("v")] and not is_split:
            raise NothingHereError("this rank has no column of the vocabulary")
    if not any(map(is_subclass, (labels, inputs, *beside.values()))) and not (found.samples or found.rows):
        return found
    if layout is None:
        layout = INFERRED.get((_outline(logits).ndim, getattr(labels, "ndim", 0)))
    of_labels = _names(layout, 1, getattr(labels, "ndim", 0))
    if found.rows is not None and shift and type(shift) is int:
        given = {"labels": labels, "inputs": inputs, **beside}
        is_whole = all(_is_of_all(name, one, of_labels, found.rows.whole) for name, one in given.items())
        time = axes_of(_outline(found.logits), labels, layout).index("t")
        found = _with_labels_of_last_rows(found, found.rows, shift, time) if is_whole else _without(found, shift)
    wanted = {"b": found.samples, "t": found.rows}

    def cut(name: str, value: object) -> object:
        return _cut(name, value, _axes(name, value, of_labels), wanted)

    return replace(
        found,
        labels=cut("labels", labels),
        inputs=None if inputs is None else cut("inputs", inputs),
        beside={name: value if name not in _BESIDE else cut(name, value) for name, value in beside.items()},
    )


def _axes(name: str, value: object, of_labels: list[str]) -> list[str]:
    """Return the names of the axes of the labels, or of what is beside them: it may be that of all samples."""
    many = 1 if isinstance(value, list | tuple) else getattr(value, "ndim", -1)
    likely = [["b"]] if name == "sample_ids" else [of_labels, [one for one in of_labels if one != "k"], ["t"]]
    return next((one for one in likely if len(one) == many), [])


def _is_of_all(name: str, value: Any, of_labels: list[str], length: int) -> bool:
    """Return whether this process has a value for all positions, or none for any."""
    axes = _axes(name, value, of_labels)
    if "t" not in axes:
        return True
    time = axes.index("t")
    return bool(value.shape[time] == length) and not (is_dtensor(value) and time in spans(name, value))


def _with_labels_of_last_rows(found: Local, rows: Span, shift: int, time: int) -> Local:
    """Return a part with the labels of its last rows, which are those after its own, as all labels are here.

    Rows that have no label, as the last ones of a sample, are left out. Raises NothingHereError if no row here has one.
    """
    many = min(rows.stop, rows.whole - shift) - rows.start
    if many <= 0:
        raise NothingHereError("no row of this rank has a label")
    stop = min(rows.stop + shift, rows.whole)
    if many < rows.length and stop > rows.stop:  # else there are as many labels as rows
        found = replace(found, logits=_first_rows(found.logits, time, many))
    return replace(found, rows=Span(rows.start, stop - rows.start, rows.whole))


def _without(found: Local, shift: int) -> Local:
    """Return a part with a remark about labels that belong to rows of another rank, if there are any."""
    assert found.rows is not None  # noqa: S101 - for the type checker
    if not found.rows.start:
        return found
    remark = (
        f"labels are sharded over their positions, as the logits are, at shift={shift}: the first of each part belong"
        " to rows of another rank, and count for none. Shift labels before they are sharded, and pass shift=0, or pass"
        " whole labels"
    )
    return replace(found, remark=remark)


def _first_rows(logits: Any, axis: int, many: int) -> object:
    if isinstance(logits, Projection):
        return replace(logits, hidden=_first_rows(logits.hidden, axis, many))
    return logits.narrow(axis, 0, many)


def with_rows(here: Local) -> Local:
    """Return a part with the index of its rows in the whole sample, if the distributed logits tell and nobody else."""
    if here.rows is None or here.beside.get("row_index") is not None:
        return here
    start, device = here.rows.start, getattr(here.labels, "device", None)
    index = torch.arange(start, start + here.rows.length, device=device)
    return replace(here, beside=here.beside | {"row_index": index})


def _outline(logits: object) -> Any:
    """Return a tensor of the shape of the logits, but for the vocabulary, and the time if they are chunks."""
    if isinstance(logits, Projection):
        return logits.hidden
    return logits[0] if isinstance(logits, list | tuple) and logits else logits


def _cut(name: str, value: Any, names: list[str], wanted: Mapping[str, Span | None]) -> object:
    """Return what this process has of a value whose axes have these names: as much as it has of the logits."""
    own: dict[int, Span] = {}
    if is_subclass(value):
        own = spans(name, value) if is_dtensor(value) else {}
        value = local(value) if is_dtensor(value) else settled(value)
    for axis, one in own.items():
        axis_name = names[axis] if axis < len(names) else None
        if axis_name is None or wanted.get(axis_name) != one:
            raise PairError(
                f"{name} are a DTensor, sharded over axis {axis} ({one.length} of {one.whole} from {one.start} on), and"
                " the logits are not cut so: redistribute them to Replicate, or as the logits are"
            )
    for axis, axis_name in enumerate(names):
        span = wanted.get(axis_name)
        if span is None or axis in own:
            continue
        if isinstance(value, list | tuple):
            value = value[span.start : span.stop] if len(value) == span.whole else value
        elif isinstance(value, Tensor) and value.shape[axis] == span.whole:
            value = value.narrow(axis, span.start, span.length)
        elif hasattr(value, "shape") and hasattr(value, "__getitem__") and value.shape[axis] == span.whole:
            value = value[(*[slice(None)] * axis, slice(span.start, span.stop))]
    return value


@dataclass(frozen=True, slots=True)
class _Logits:
    """Logits as they were passed, and what says which axes they have."""

    given: Any
    labels: object
    layout: str | None
    shard: object

    def local(self) -> Local:
        """Return the local part of the logits, with the labels as they are."""
        given = self.given
        as_is = Local(given, self.labels, None)
        if isinstance(given, Projection):
            return self._of_projection(given) if any(map(is_subclass, _parts(given))) else as_is
        if isinstance(given, list | tuple) and given and any(map(is_subclass, given)):
            return self._of_chunks([self._of_tensor("logits", one) for one in given])
        return self._of_tensor("logits", given) if is_subclass(given) else as_is

    def _of_chunks(self, chunks: list[Local]) -> Local:
        first = chunks[0]
        if any((one.part, one.samples, one.rows) != (first.part, first.samples, None) for one in chunks):
            raise PairError("chunks of logits are DTensors that are not sharded alike, or over their time: pass one")
        return replace(first, logits=[one.logits for one in chunks], is_trained=any(one.is_trained for one in chunks))

    def _of_tensor(self, name: str, value: Any, last: str = "v") -> Local:
        """Return the local part of logits, or of hidden states, whose `last` axis, the width, stands for v."""
        if not is_subclass(value):
            return Local(value, self.labels, None)
        if not is_dtensor(value):
            return Local(settled(value), self.labels, None, is_trained=value.requires_grad)
        found = spans(name, value)
        names = axes_of(value, self.labels, self.layout)
        if not last:
            names = ["width" if one == "v" else one for one in names]
        parts: dict[str, Span] = {}
        for axis, span in found.items():
            named = names[axis] if names else last if axis == value.ndim - 1 else "?"
            if named not in {last, "b", "t"}:
                raise _not_cut_so(name, value, axis, named)
            parts[named] = span
        if any(not one.length for one in parts.values()):
            raise NothingHereError(f"this rank has nothing of {name} {list(value.shape)}")
        part = parts.get("v")
        if part is None and self.shard is not None and last == "v" and "v" in names:
            columns = value.shape[names.index("v")]
            part = Span(0, columns, columns)
        return Local(
            local(value), self.labels, None, {}, part, parts.get("b"), parts.get("t"), is_trained=value.requires_grad
        )

    def _of_projection(self, given: Projection) -> Local:
        found = self._of_tensor("hidden", given.hidden, last="")
        weight: Any = given.weight
        of = spans("the head's weight", weight) if is_dtensor(weight) else {}
        if 1 in of:
            raise PairError(
                f"the head's weight {list(weight.shape)} is a DTensor that is sharded over its width, so each rank has"
                " a term of the logits alone: pass it gathered, or sharded over the vocabulary"
            )
        part = of.get(0)
        if part is not None and not part.length:
            raise NothingHereError("this rank has no row of the head's weight")
        if part is not None and not (isinstance(self.shard, Shard) or _is_same_on(weight, given.hidden)):
            raise PairError(
                f"the head's weight {list(weight.shape)} is a DTensor, of which this rank has the rows {part.start} to"
                f" {part.stop - 1}, and"
                " gathering it is a collective, which predlog never issues. If FSDP has sharded it, pass the projection"
                " inside the forward, where FSDP has gathered it; if tensor parallelism has, and all its ranks have the"
                " same hidden states, pass shard=predlog.Shard()"
            )
        if part is not None and len(dimensions(weight, {0})) > 1:
            raise PairError(
                f"the head's weight {list(weight.shape)} is a DTensor that several dimensions of its mesh shard over"
                " the vocabulary: pass the projection inside the forward, where FSDP has gathered its own"
            )
        cut: dict[str, Any] = {
            name: _cut(f"the head's {name}", value, ["v"], {"v": part})
            for name, value in (("weight", weight), ("bias", given.bias))
            if value is not None
        }
        return replace(found, logits=replace(given, hidden=found.logits, **cut), part=part)


def _parts(given: Projection) -> tuple[object, ...]:
    return given.hidden, given.weight, given.bias


def _is_same_on(weight: Any, hidden: Any) -> bool:
    """Return whether hidden states are the same on all ranks that have a part of a weight."""
    if not is_dtensor(hidden) or hidden.device_mesh != weight.device_mesh:
        return False
    return all(hidden.placements[one].is_replicate() for one in dimensions(weight, {0}))


def _not_cut_so(name: str, value: Any, axis: int, named: str) -> PairError:
    what = {
        "?": "pass a layout",
        "k": "codebooks are compared together: redistribute them",
        "width": "their width, so each rank has a term of the logits alone: redistribute them to Replicate",
    }.get(named, f"its layout has {named} there, whose parts can't be told apart: pass .to_local(), or redistribute")
    return PairError(f"{name} {list(value.shape)} are a DTensor, sharded over axis {axis}: {what}")
