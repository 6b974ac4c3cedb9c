"""What a Hugging Face model does between its hidden states and its logits, as its own source says.

Trainers with a fused head and loss make no logits. What they would be is known where the model's `forward` consists of
steps that are known here: its text is read, since the same names in a configuration mean other things in other models.
"""

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

from torch import nn

from predlog.capture.projection import Projection
from predlog.integrations._hf import source

_READ = r"(?:hidden_states|last_hidden_state|\w*outputs?\[0\]|\w*outputs?\.last_hidden_state)"
# With all positions wanted, as in training, a slice is no change.
_HIDDEN = rf"(?:{_READ}(?:\[:, slice_indices(?:, :)?\])?|slice_logits_to_keep\({_READ}, logits_to_keep\))"
# Where the head reads them: a head that reads something else is none that is known.
_CALLED = re.compile(rf"self\.(\w+)\({_HIDDEN}(?:\.to\((?:dtype=)?self\.\w+\.weight\.dtype\))?\)(.*)")
_SAME_HIDDEN = re.compile(rf"{_HIDDEN}(.*)")
_SAME_VALUES = re.compile(r"^(?:\.float\(\)|\.contiguous\(\))+")
_ASSIGNED = re.compile(r"^\s*(logits|lm_logits|hidden_states|last_hidden_state) ([*/]?)= (.+?)\s*$")
# Values that are changed where they are, and logits that reach the loss as something else.
_IN_PLACE = re.compile(
    r"^\s*(logits|lm_logits|hidden_states|last_hidden_state)(?:\[.*\] \S*= |\.\w+_\(| (?:[-+@%]|\*\*|//)= )"
)
_WORKED_ON = re.compile(r"(?<!\w)(logits|lm_logits) (?:[-+*/@]|\*\*) ")
_NO_CHANGES = {"", "None", "torch.tanh(logits)"}


def _soft_cap(model: Any) -> float | None:
    return getattr(model.config.get_text_config(), "final_logit_softcapping", None)


# What is done to the logits, or before a head without a bias to what it reads, and what it multiplies logits with.
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
    """The linear layer that makes logits of hidden states, and what is done to them then.

    `scale` is None where that is not known, and `unknown` says what it is that is not.
    """

    linear: nn.Linear
    scale: float | None
    softcap: float | None
    unknown: str | None

    def project(self, hidden: object) -> Projection:
        """Give what `compare` takes in place of logits."""
        return Projection(hidden, self.linear.weight, self.linear.bias, scale=self.scale, softcap=self.softcap)


def head_of(model: Any) -> Head | str:
    """Give the head of a model, or say why its logits can't be made of its hidden states.

    A `forward` that does not say what it makes of its head is expected to do as that of the class it comes from, or
    that it has replaced: such are those that fuse head and loss.
    """
    head = model.get_output_embeddings()
    linear = _unwrapped(head)
    if not isinstance(linear, nn.Linear) or type(linear).forward is not nn.Linear.forward:
        return f"its head is a {type(linear).__name__}, and no plain linear layer"
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
        return "its head reads something else than its hidden states"
    return Head(linear, None, None, "no forward of its classes says so")


def _read(model: Any, linear: nn.Linear, changes: Iterable[tuple[str, str, str]]) -> Head | str:
    scale, softcap, unknown = 1.0, None, None
    for statement, target, change in changes:
        if target == "hidden" and change and (change not in _SCALES or linear.bias is not None):
            return f"its forward does something to its hidden states (`{statement}`)"
        if change in _SCALES:
            scale *= _SCALES[change](model)
        elif change in _SOFT_CAPS:
            softcap = _soft_cap(model)
        elif change not in _NO_CHANGES:
            unknown = unknown or f"`{statement}`"
    temperature = _temperature(model)
    if softcap is not None and temperature != 1:
        unknown = unknown or "a temperature behind its soft cap"
    return Head(linear, None if unknown else scale / temperature, softcap, unknown)


def _temperature(model: Any) -> float:
    """Give what TRL's fused head divides logits by, as GRPO samples with it: the `forward` put in place holds it."""
    forward = inspect.unwrap(getattr(model.forward, "__func__", model.forward), stop=_holds_temperature)
    if not _holds_temperature(forward):
        return 1.0
    temperature: float = inspect.getclosurevars(forward).nonlocals["temperature"]
    return temperature


def _holds_temperature(forward: Any) -> bool:
    return "temperature" in getattr(getattr(forward, "__code__", None), "co_freevars", ())


def _unwrapped(head: Any) -> Any:
    """Give the layer that is trained where PEFT keeps the original beside it (`modules_to_save`)."""
    copies, active = getattr(head, "modules_to_save", None), getattr(head, "active_adapters", None)
    return copies[active[0]] if copies and active and active[0] in copies else head


def _changes(text: str, heads: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield what a `forward` does to hidden states and to logits: the statement, which of them, and what.

    A statement that calls the head on the hidden states is one of the "head".
    """
    for line in text.splitlines():
        statement = _ASSIGNED.match(line)
        if statement is None:
            if (changed := _IN_PLACE.match(line) or _WORKED_ON.search(line)) is not None:
                yield line.strip(), "hidden" if "hidden" in changed[1] else "logits", "unknown"
            continue
        target, operator, value = statement.groups()
        said = f"{target} {operator}= {value}"
        if operator:
            yield said, "hidden" if "hidden" in target else "logits", f"{operator} {value}"
        elif (called := _CALLED.fullmatch(value)) is not None and called[1] in heads:
            yield said, "head", _plain(called[2])
        elif "hidden" in target:
            same = _SAME_HIDDEN.fullmatch(value)
            yield said, "hidden", "unknown" if same is None else _plain(same[1])
        else:
            yield said, "logits", _plain(value.removeprefix("logits"))


def _plain(change: str) -> str:
    """Give what is done to a tensor beside what leaves its values as they are."""
    return _SAME_VALUES.sub("", change).strip()
