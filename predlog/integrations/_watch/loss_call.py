"""A call of `cross_entropy` or `linear_cross_entropy` → the pair that `compare` takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from predlog._runtime.failure import located, own_failure
from predlog._runtime.notices import Notices
from predlog._runtime.torch_state import alone, obstacle
from predlog.capture.dtensor import is_dtensor, local, spans
from predlog.capture.projection import Projection
from predlog.capture.tensors import as_tensor
from predlog.errors import PairError
from predlog.integrations._watch import autograd_rows

_notices = Notices()
# As `findings` knows it.
_PART = "part of the batch"


@dataclass(frozen=True, slots=True, eq=False)
class LossPair:
    """The arguments of `compare`, at shift 0, for what a loss was called with.

    `more` are the inputs, masks and positions. `is_mean` is whether the loss is the plain mean over the labels, and
    `is_sum` whether it is their sum, or is not summed up: then it may be that of a part of the batch.
    """

    logits: object
    labels: object
    ignore_index: Any
    layout: str | None = None
    more: Mapping[str, Tensor] = field(default_factory=dict)
    is_mean: bool = False
    is_sum: bool = False

    @property
    def is_nothing(self) -> bool:
        """Whether there are no rows, whose mean is NaN, but whose sum adds nothing to those of other parts."""
        return self.is_sum and isinstance(self.labels, Tensor) and not self.labels.numel()

    @property
    def declared(self) -> frozenset[str]:
        """What is declared of the pair: that it may be a part of the batch.

        It is a sum within a function that makes gradients by itself, or the labels are a small part of larger ones.
        """
        labels = self.labels
        if not self.is_sum or not isinstance(labels, Tensor):
            return frozenset()
        try:
            whole = labels.untyped_storage().nbytes() // labels.itemsize
        except own_failure(RuntimeError):  # some devices have no storages
            whole = 0
        return frozenset({_PART}) if not torch.is_grad_enabled() or 2 * labels.numel() <= whole else frozenset()

    def without_more(self) -> "LossPair":
        """Return the pair alone: what is known of positions is that of the first loss of a call."""
        return replace(self, more={})


def _of_cross_entropy(
    input: object,  # noqa: A002 - torch's names
    target: object,
    weight: object = None,
    size_average: object = None,
    ignore_index: object = -100,
    reduce: object = None,
    reduction: object = "mean",
    label_smoothing: object = 0.0,
    **_more: object,
) -> LossPair:
    is_plain = weight is None and size_average is None and reduce is None
    return LossPair(
        input, target, ignore_index,
        is_mean=is_plain and reduction == "mean" and label_smoothing == 0,
        is_sum=reduction in {"sum", "none"} and size_average is None and reduce is None,
    )  # fmt: skip


def _of_linear_cross_entropy(
    input: object,  # noqa: A002 - torch's names
    linear_weight: object,
    target: object,
    *,
    linear_bias: object = None,
    ignore_index: object = None,
    **_more: object,
) -> LossPair:
    head = Projection(input, linear_weight, linear_bias)
    return LossPair(head, target, -100 if ignore_index is None else ignore_index)


_READERS: dict[Any, Any] = {functional.cross_entropy: _of_cross_entropy}

if hasattr(functional, "linear_cross_entropy"):
    _READERS[functional.linear_cross_entropy] = _of_linear_cross_entropy
LOSSES = tuple(_READERS)


def pair_of_call(
    loss: Any, args: tuple[Any, ...], kwargs: dict[str, Any], known: Mapping[str, Tensor]
) -> LossPair | str:
    """Return the pair that a loss was called with, or the reason why there is none to show.

    `known` are the arguments of the module's forward that `compare` takes, too, such as `inputs`, the ids [b, t] that
    the model read. They are used only if the rows are known to be of the same positions.
    """
    as_it_is: LossPair = _READERS[loss](*args, **kwargs)
    logits = as_it_is.logits
    head = logits if isinstance(logits, Projection) else None
    try:
        rows, whole = _rows(logits) if head is None else (as_tensor("logits", head.hidden), None)
        labels = as_tensor("labels", as_it_is.labels)
    except PairError:
        return as_it_is  # `compare` reports it
    if obstacle() is not None:
        return as_it_is
    if labels.is_floating_point():
        return f"labels {list(labels.shape)} are probabilities: probabilities as labels are not recorded"
    if rows.ndim > 3 or (head is not None and getattr(head.weight, "ndim", 2) != 2):
        return (
            f"not recorded: logits for labels {list(labels.shape)} have further axes, whose meaning is unknown; call"
            " predlog.compare(logits, labels, step) where you have both, with layout="
        )
    graph = rows if whole is None else whole
    came_from = _origin(graph) if rows.ndim > 1 else None
    enter, leave = alone()
    try:
        enter()
        more, layout, ids = _of_rows(known, came_from), None, known.get("inputs")
        rows = rows.detach()
        if rows.ndim == 3:
            layout = "b v t, b t"
        elif rows.ndim == 1 and labels.ndim == 0:
            rows, labels = rows.unsqueeze(0), labels.unsqueeze(0)
        elif came_from is not None and labels.shape == rows.shape[:1] and not _is_transposed(ids, came_from):
            shape = (came_from.samples, came_from.length)
            rows, labels = rows.unflatten(0, shape), labels.unflatten(0, shape)
        made = rows if head is None else replace(head, hidden=rows)
        if (mask := known.get("loss_mask")) is not None and mask.shape == labels.shape:
            more["loss_mask"] = mask.detach()
        pair = replace(as_it_is, logits=made, labels=labels, layout=layout, more=more)
    finally:
        leave()
    if whole is None:
        return pair
    return replace(pair, logits=whole if rows.ndim == 2 else _sharded_like(whole, rows))


def _rows(value: object) -> tuple[Tensor, Any]:
    """Return rows to be read and what they are sharded as; of a DTensor of columns, the local rows and the DTensor.

    Raises PairError for what `compare` can't read, or has to read as it is.
    """
    if not is_dtensor(value):
        return as_tensor("logits", value), None
    assert isinstance(value, Tensor)  # noqa: S101 - for the type checker
    if value.ndim != 2 or 0 in spans("logits", value):
        raise PairError("a part of the rows")
    with torch.no_grad():
        return local(value), value


def _sharded_like(whole: Any, rows: Tensor) -> Tensor:
    """Return local rows [b, t, columns] as the DTensor that they are of, which issues no collective."""
    placements = [type(one)(2) if hasattr(one, "dim") else one for one in whole.placements]
    shape = torch.Size([*rows.shape[:2], whole.shape[-1]])
    stride = (shape[1] * shape[2], shape[2], 1)
    with torch.no_grad():
        made: Tensor = type(whole).from_local(
            rows, whole.device_mesh, placements, run_check=False, shape=shape, stride=stride
        )
    return made


def _is_transposed(ids: Tensor | None, came_from: autograd_rows.Origin) -> bool:
    """Return whether the ids show that the rows are in the order [t, b], so that their first axis is the time."""
    shape = (came_from.samples, came_from.whole)
    return ids is not None and tuple(ids.shape) == shape[::-1] != shape


def _origin(rows: Tensor) -> autograd_rows.Origin | None:
    try:
        return autograd_rows.origin(rows)
    except own_failure(Exception) as error:  # torch may change its graph at any time
        _notices.report_once(
            "graph",
            f"predlog.watch can't read the autograd graph of torch {torch.__version__}, so the rows of a loss are"
            f" recorded as one sample, without inputs: {located(error)}; call predlog.compare(logits, labels, step)"
            " for samples",
            error,
        )
        return None


def with_positions(pair: LossPair, known: Mapping[str, Tensor], part: Any) -> LossPair:
    """Return the pair of a chunk with what is known of its positions, of which the autograd graph shows the part."""
    enter, leave = alone()
    try:
        enter()
        return replace(pair, more={**_of_rows(known, part), **pair.more})
    finally:
        leave()


def _of_rows(known: Mapping[str, Tensor], came_from: Any) -> dict[str, Tensor]:
    """Return what is known of the positions of the rows; nothing if these are unknown or others."""
    if came_from is None or (start := came_from.start) is None:
        return {}
    whole, more = [came_from.samples, came_from.whole], {}
    for name, value in known.items():
        if list(value.shape) == whole and name != "loss_mask":
            more[name] = value.detach()[:, start : start + came_from.length]
        elif name == "position_ids" and list(value.shape) in (whole[1:], [1, whole[1]]):
            more[name] = value.detach()[..., start : start + came_from.length]
        elif name == "row_index" and list(value.shape) in (whole[1:], [1, whole[1]]):
            rows = value.detach().view(1, -1)[:, start : start + came_from.length]
            more[name] = rows.expand(came_from.samples, -1)
        elif name == "document_ids" and value.ndim == 1 and came_from.samples == 1 and not start:
            more[name] = value.detach()  # cumulative lengths
    return more
