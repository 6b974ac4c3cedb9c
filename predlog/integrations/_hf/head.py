"""What a Hugging Face model does between its hidden states and its logits, read from its source.

Trainers with a fused head and loss make no logits. What the logits would be is known if all steps of the model's
`forward` are known here. Its source is read, because one name in a configuration means different things in different
models.
"""

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from predlog.capture.projection import Projection
from predlog.integrations._hf import source
from predlog.integrations._hf.hooks import item

_READ = r"(?:hidden_states|last_hidden_state|\w*outputs?\[0\]|\w*outputs?\.last_hidden_state)"
# In training all positions are wanted, so that the slice changes nothing. The second is that of transformers 4.46.
_KEPT = r"(?:\[(?::|\.\.\.), (?:slice_indices|-num_logits_to_keep:)(?:, :)?\])?"
_HIDDEN = rf"(?:{_READ}{_KEPT}|slice_logits_to_keep\({_READ}, logits_to_keep\))"
# The head reads the hidden states: a head that reads something else is unknown.
_CALLED = re.compile(rf"self\.(\w+)\({_HIDDEN}(?:\.to\((?:dtype=)?self\.\w+\.weight\.dtype\))?\)(.*)")
_SAME_HIDDEN = re.compile(rf"{_HIDDEN}(.*)")
_SAME_VALUES = re.compile(r"^(?:\.float\(\)|\.contiguous\(\))+")
_ASSIGNED = re.compile(r"^\s*(logits|lm_logits|hidden_states|last_hidden_state) ([*/]?)= (.+?)\s*$")
# Values that are changed in place, and logits that are changed on their way to the loss.
_IN_PLACE = re.compile(
    r"^\s*(logits|lm_logits|hidden_states|last_hidden_state)(?:\[.*\] \S*= |\.\w+_\(| (?:[-+@%]|\*\*|//)= )"
)
_WORKED_ON = re.compile(r"(?<!\w)(logits|lm_logits) (?:[-+*/@]|\*\*) ")
# The last two are one step of older models, which apply a head of several slices and put its logits together.
_NO_CHANGES = {
    "", "None", "torch.tanh(logits)", "torch.cat(logits, dim=-1)",
    "[F.linear(hidden_states, lm_head_slices[i]) for i in range(self.config.pretraining_tp)]",
}  # fmt: skip


def _soft_cap(model: Any) -> float | None:
    return getattr(model.config.get_text_config(), "final_logit_softcapping", None)


# Known scales, of the logits or, before a head without a bias, of its inputs, and the factor that each means.
_SCALES: dict[str, Callable[[Any], float]] = {
    "/ self.config.logits_scaling": lambda model: 1 / model.config.logits_scaling,  # Granite
    "* self.config.logits_scaling": lambda model: model.config.logits_scaling,  # HyperCLOVA X
    "* self.logit_scale": lambda model: model.logit_scale,  # Cohere
    "* self.model.lm_head_multiplier": lambda model: model.model.lm_head_multiplier,  # Falcon H1
    "/ self.config.logits_mup_width_multiplier": lambda model: 1 / model.config.logits_mup_width_multiplier,  # Inkling
}
# Gemma, in three lines.
_SOFT_CAPS = {
    "/ self.config.final_logit_softcapping", "* self.config.final_logit_softcapping", "/ final_logit_softcapping",
    "* final_logit_softcapping",
}  # fmt: skip


class Head(NamedTuple):
    """The linear layer that makes logits of hidden states, and what is done to the logits after it.

    `scale` is None if that is not known, and `unknown` is the step that is not.
    """

    linear: nn.Linear
    scale: float | None
    softcap: float | None
    unknown: str | None

    def project(self, hidden: object) -> Projection:
        """Return what `compare` takes in place of logits."""
        return Projection(hidden, self.linear.weight, self.linear.bias, scale=self.scale, softcap=self.softcap)


def head_of(model: Any) -> Head | str:
    """Return the head of a model, or, as a string, why its logits can't be made of its hidden states.

    A `forward` whose source does not call the head, such as one that fuses head and loss, is expected to do what the
    one of its base class does, or the one that it has replaced.
    """
    head = model.get_output_embeddings()
    linear = _unwrapped(head)
    if not isinstance(linear, nn.Linear) or type(linear).forward is not nn.Linear.forward:
        return f"its head is a {type(linear).__name__}, not a plain linear layer"
    names = {name for name, module in model.named_children() if module is head}
    if not names:
        return "there is more to its head than a linear layer"
    calls_it = False
    for text in (text for kind in source.classes(type(model)) for text in source.forwards(kind)):
        changes = list(_changes(text, names))
        if any(target == "head" for _, target, _ in changes):
            return _read(model, linear, changes)
        calls_it |= any(f"self.{name}(" in text for name in names)
    if calls_it:
        return "its head reads something other than its hidden states"
    return Head(linear, None, None, "no forward of its classes shows it")


def _read(model: Any, linear: nn.Linear, changes: Iterable[tuple[str, str, str]]) -> Head | str:
    scale, softcap, unknown = 1.0, None, None
    for statement, target, change in changes:
        if target == "hidden" and change and (change not in _SCALES or linear.bias is not None):
            return f"its forward changes its hidden states (`{statement}`)"
        if change in _SCALES:
            scale *= _SCALES[change](model)
        elif change in _SOFT_CAPS:
            softcap = _soft_cap(model)
        elif change not in _NO_CHANGES:
            unknown = unknown or f"`{statement}`"
    temperature = _temperature(model)
    if softcap is not None and temperature != 1:
        unknown = unknown or "a temperature after its soft cap"
    return Head(linear, None if unknown else scale / temperature, softcap, unknown)


def _temperature(model: Any) -> float:
    """Return the temperature that TRL's fused head divides logits by, as in GRPO: TRL's own `forward` holds it."""
    forward = inspect.unwrap(getattr(model.forward, "__func__", model.forward), stop=_holds_temperature)
    if not _holds_temperature(forward):
        return 1.0
    temperature: float = inspect.getclosurevars(forward).nonlocals["temperature"]
    return temperature


def _holds_temperature(forward: Any) -> bool:
    return "temperature" in getattr(getattr(forward, "__code__", None), "co_freevars", ())


def _unwrapped(head: Any) -> Any:
    """Return the layer that is trained if PEFT keeps the original beside it (`modules_to_save`)."""
    copies, active = getattr(head, "modules_to_save", None), getattr(head, "active_adapters", None)
    return copies[active[0]] if copies and active and active[0] in copies else head


def _changes(text: str, heads: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield what a `forward` does to hidden states and logits: the statement, what it changes, and the change.

    A statement that calls the head on the hidden states changes the "head".
    """
    for line in text.splitlines():
        statement = _ASSIGNED.match(line)
        if statement is None:
            if (changed := _IN_PLACE.match(line) or _WORKED_ON.search(line)) is not None:
                yield line.strip(), "hidden" if "hidden" in changed[1] else "logits", "unknown"
            continue
        target, operator, value = statement.groups()
        written = f"{target} {operator}= {value}"
        if operator:
            yield written, "hidden" if "hidden" in target else "logits", f"{operator} {value}"
        elif (called := _CALLED.fullmatch(value)) is not None and called[1] in heads:
            yield written, "head", _plain(called[2])
        elif "hidden" in target:
            same = _SAME_HIDDEN.fullmatch(value)
            yield written, "hidden", "unknown" if same is None else _plain(same[1])
        else:
            yield written, "logits", _plain(value.removeprefix("logits"))


def _plain(change: str) -> str:
    """Return a change of a tensor without the parts that keep its values."""
    return _SAME_VALUES.sub("", change).strip()


# The label of which TRL's head returns nothing.
_IGNORED = -100


def with_scores(projection: Projection, output: Any, *, shift: int, ignore_index: int) -> Projection:
    """Return a projection with the label's log-probability, the entropy and the match of each row, if there are any.

    TRL returns them as `log_probs`, `entropy` and `is_top1`: of labels that it shifts itself [b, t - 1], of labels that
    were shifted before [b, t]. They are 0 where the label is -100, so that they are of no use with another
    `ignore_index`.
    """
    logprobs, entropy, match = (item(output, name) for name in ("log_probs", "entropy", "is_top1"))
    hidden = projection.hidden
    if not isinstance(logprobs, Tensor) or not isinstance(hidden, Tensor) or ignore_index != _IGNORED:
        return projection
    rows = hidden[:, : hidden.shape[1] - shift] if shift else hidden
    if logprobs.shape != rows.shape[:-1] or not logprobs.is_floating_point():
        return projection
    return replace(
        projection,
        hidden=rows,
        label_logprob=logprobs,
        entropy=entropy if _fits(entropy, logprobs) and entropy.is_floating_point() else None,
        match=match if _fits(match, logprobs) and match.dtype == torch.bool else None,
    )


def _fits(value: Any, logprobs: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == logprobs.shape
