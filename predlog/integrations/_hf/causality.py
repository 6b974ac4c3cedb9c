"""Whether a model's logits depend on inputs after their own: later inputs are replaced, and earlier logits compared."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor

from predlog.integrations._hf import hooks

Sight = Literal["causal", "sees the future", "sees both sides", "unknown"]
# The share of labels that must be the next inputs.
_NEARLY_ALL: Final = 0.9
# Of how far later rows move, rounding is less than this; that of half precision may be more.
_LITTLE: Final = 1e-3
# Logits that differ by so many roundings of the largest may have been summed up in another order.
_ROUNDINGS: Final = 16
# How to fix a model that sees the future.
FIX: Final = (
    "Make its attention causal: config.is_decoder=True for BERT and similar encoders, is_causal, or the mask that is"
    " passed; and look for anything else that mixes positions, such as a convolution, a pooling or a norm over time."
)


class Moved(NamedTuple):
    """How rows of logits moved when the inputs from some position of each sample on were replaced.

    Of `rows` before these positions, `moved` did, the furthest by `largest`; `own` is by how far any row
    moved, `noise` by how far any moved when nothing was replaced. `scale` is the largest logit, `precision` the
    distance from 1 to the next number of their type.
    """

    which: str
    rows: int
    moved: int
    largest: float
    own: float
    noise: float
    scale: float
    precision: float

    @property
    def is_seen(self) -> bool:
        """Whether the rows moved by more than rounding and noise can explain."""
        return self.largest > max(_ROUNDINGS * self.precision * self.scale, 8 * self.noise)

    @property
    def is_certain(self) -> bool:
        """Whether it is certain that they moved, or that they did not."""
        return self.is_seen or (self.own > 0 and self.largest <= max(self.noise, _LITTLE * self.own))

    @property
    def evidence(self) -> dict[str, Any]:
        """The numbers of a finding."""
        names = ("rows", "moved", "largest", "own", "noise")
        return {name: getattr(self, name) for name in names}

    @property
    def words(self) -> str:
        """What was seen, in numbers."""
        return (
            f"with {self.which} replaced, {self.moved} of {self.rows} earlier rows of logits move, by up to"
            f" {self.largest:.2g}"
        )


class Causality(NamedTuple):
    """What a model sees, why that is known or not, and how its logits moved."""

    sight: Sight
    why: str
    moved: Moved | None = None


class Inputs(NamedTuple):
    """The ids [b, t] that the rows of logits read, by the name of their argument, with their mask and their labels."""

    name: str
    ids: Tensor
    mask: Tensor | None
    labels: Tensor
    shift: int
    ignore_index: int

    @property
    def supervised(self) -> Tensor:
        """Which positions of the ids have a row of logits with a label; without any, all.

        What is not supervised may be seen on purpose, as a prefix is.
        """
        found = torch.zeros_like(self.ids, dtype=torch.bool)
        found[:, : self.ids.shape[1] - self.shift] = self.labels[:, self.shift :] != self.ignore_index
        return found if bool(found.any()) else torch.ones_like(found)

    @property
    def are_next_tokens(self) -> bool:
        """Whether the labels are the inputs one position on, so that a model must not see these."""
        if self.shift:
            return True
        known = self.labels[:, :-1] != self.ignore_index
        equal = (self.labels[:, :-1] == self.ids[:, 1:]) & known
        return bool(equal.sum() > _NEARLY_ALL * known.sum())


def check(model: Any, inputs: Inputs, call: Callable[[Mapping[str, Tensor]], Any]) -> Causality:
    """Return what a model sees; `call` returns its logits [b, t, v] with these ids in place of its own."""
    changes = [*_changes(inputs, _special(model))]
    if not changes:
        return Causality("unknown", f"{inputs.name} have no token that can be replaced, with a row of logits before it")
    before, again = (call({inputs.name: inputs.ids}) for _ in range(2))
    if not isinstance(before, Tensor) or before.ndim != 3 or before.shape[1] < inputs.ids.shape[1]:
        return Causality("unknown", f"{type(model).__name__} gives no logits for each of its {inputs.name}")
    noise = float(_distances(before, again, inputs).max())
    found = [_moved(inputs, before, call({inputs.name: ids}), rows, which, noise) for which, ids, rows in changes]
    worst = max(found, key=lambda one: (one.is_seen, one.largest))
    if worst.is_seen:
        if inputs.are_next_tokens:
            return Causality("sees the future", worst.words, worst)
        return Causality("sees both sides", f"{worst.words}; its labels are not the next inputs, so it may", worst)
    if not worst.is_certain:
        why = "which may be rounding: try it in float32" if worst.own > 0 else "and the later ones don't move either"
        return Causality("unknown", f"{worst.words}, {why}", worst)
    return Causality("causal", f"no row of logits moved when later {inputs.name} were replaced", worst)


def _changes(inputs: Inputs, special: frozenset[int]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield what is replaced, the ids with it, and which rows are before that, [b, t]: the last id, then more of them.

    A mask may be wrong at one end only, as that of a prefix. Special tokens stay: they may stand for an image.
    """
    may = torch.ones_like(inputs.ids, dtype=torch.bool) if inputs.mask is None else inputs.mask != 0
    may &= ~torch.isin(inputs.ids, torch.tensor([*special], dtype=inputs.ids.dtype, device=inputs.ids.device))
    others = _others(inputs.ids, may)
    if others is None:
        return
    supervised = inputs.supervised
    number = (may & (supervised.cumsum(1) - supervised.int() > 0)).cumsum(1)  # of those with a supervised row before
    total = number[:, -1:]
    for which, is_late in (
        (f"the last of the {inputs.name}", number == total),
        (f"the last quarter of the {inputs.name}", 4 * number > 3 * total),
        (f"the second half of the {inputs.name}", 2 * number > total),
        (f"the last three quarters of the {inputs.name}", 4 * number > total),
    ):
        late = may & is_late & (number > 0)
        earlier = supervised & (late.cumsum(1) == 0) & late.any(1, keepdim=True)
        if bool(earlier.any()):
            yield which, torch.where(late, others, inputs.ids), earlier


def _others(ids: Tensor, may: Tensor) -> Tensor | None:
    """Return another id of the same batch for each id that may be replaced; None if there is only one."""
    known = ids[may].unique()
    if len(known) < 2:
        return None
    places = torch.searchsorted(known, ids.contiguous()).clamp(max=len(known) - 1)
    others: Tensor = known[(places + 1) % len(known)]
    return others


def _moved(inputs: Inputs, before: Tensor, after: Tensor, earlier: Tensor, which: str, noise: float) -> Moved:
    distances = _distances(before, after, inputs)
    rows = distances[earlier.to(distances.device)]
    return Moved(
        which, len(rows), int((rows > noise).sum()), float(rows.max()), float(distances.max()), noise,
        float(before.nan_to_num(0, 0, 0).abs().max()), torch.finfo(before.dtype).eps,
    )  # fmt: skip


def _distances(before: Tensor, after: Tensor, inputs: Inputs) -> Tensor:
    """Return by how far each row moved, [b, t]; what stands before the ids, such as a learnt prompt, is left out."""
    return torch.stack([_distance(*rows) for rows in zip(before, after, strict=True)])[:, -inputs.ids.shape[1] :]


def _distance(before: Tensor, after: Tensor) -> Tensor:
    one, other = before.float(), after.float()
    is_same = (one == other) | (one.isnan() & other.isnan())
    return (one - other).abs().nan_to_num(torch.inf).masked_fill(is_same, 0).amax(-1)


def _special(model: Any) -> frozenset[int]:
    """Return the ids that a model's configuration names: what pads, begins and ends, and what stands for an image."""
    config: Any = getattr(model, "config", None)
    return frozenset(_named(config.to_dict())) if hasattr(config, "to_dict") else frozenset()


def _named(values: Mapping[str, Any]) -> Iterator[int]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _named(value)
        elif "token_id" in str(name) or "token_index" in str(name):
            yield from (one for one in (value if isinstance(value, list) else [value]) if type(one) is int)


def inputs_of(
    model: Any, given: Mapping[str, Any], decoded: Tensor | None, labels: Tensor, shift: int, ignore_index: int
) -> Inputs | str:
    """Return the ids that the rows of logits read; a text says why they are not known."""
    is_decoder = hooks.is_encoder_decoder(model)
    name, masked = ("decoder_input_ids", "decoder_attention_mask") if is_decoder else ("input_ids", "attention_mask")
    ids = given.get(name) if given.get(name) is not None else decoded
    if not isinstance(ids, Tensor):
        return f"the batch has no {name}"
    if ids.ndim != 2 or ids.shape != labels.shape:
        return f"{name} {list(ids.shape)} and labels {list(labels.shape)} are not both of the same [b, t]"
    mask = given.get(masked)
    return Inputs(
        name, ids, mask if isinstance(mask, Tensor) and mask.shape == ids.shape else None, labels, shift, ignore_index
    )
