"""How the loss of a Hugging Face model takes its labels, read from its source: shifted or not, masked or not.

Where the shapes of a pair fit no shift, none is asked for.

The name of a class does not show it: BART's causal model takes labels that are shifted, and so may the user's model.
"""

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor

from predlog.capture.layout import fitting_layouts
from predlog.integrations._hf import source

# The shift of the losses that transformers gives its models.
_LOSSES = {"ForCausalLMLoss": 1, "ForMaskedLMLoss": 0, "ForTokenClassification": 0}
_ITS_OWN = re.compile(r"self\.loss_function\(|cross_entropy|CrossEntropy|nll_loss|NLLLoss")
_SHIFTED = re.compile(r"\blabels\[(?:\.\.\.|:),\s*1:\s*\]")
_AS_GIVEN = re.compile(r"\blabels\.(?:view|reshape|flatten)\(")
# Other code that may move labels against logits by an unknown number: logits that begin later, too.
_LATER = re.compile(r"\w:-1\b")
_OTHERWISE = re.compile(r":-1\b|\broll\(|\bpad\(|\bshift\w*\(|^\s*labels = (?!labels\.to\()", re.MULTILINE)

# What may be made of a mask, and where a label at which it is 0 is taken out, replaced, or given no weight.
_MADE = re.compile(r"^[ ]*(\w*(?:mask|active|keep|valid|pad|weight)\w*) = (.*)", re.MULTILINE)
_SAME_LABELS = r"\b\w*labels(?:\[[.:, 1-]*\]|\.(?:view|reshape|to|flatten|contiguous)\([^()]*\))*"
_LEFT_OUT = re.compile(
    rf"{_SAME_LABELS}\[([^\n=]*\w[^\n]*?)\](?:\.|\)|,|\s|$)|{_SAME_LABELS}\.masked_fill_?\(([^,]*),"
    rf"|torch\.where\(([^,]*),\s*{_SAME_LABELS}|\bloss(?:es)?(?:\.\w+\([^()]*\))* \*=? ([^\n]*)"
)


def shift(model: Any) -> int | None:
    """Return by how many positions the labels lead the logits; None if the model's loss does not show it."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return 0
    text = _of_loss(model)
    return None if text is None else _read(model, text)


def mask(model: Any) -> str | None:
    """Return the argument whose zeros the model's own loss leaves out, as LLaVA's and Qwen2-Audio's; None without."""
    text = _of_loss(model) or ""
    is_decoded = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    return _read_mask(text, "decoder_attention_mask" if is_decoded else "attention_mask")


def _read_mask(text: str, name: str) -> str | None:
    names = {name}
    for made, of in _MADE.findall(text):
        if _names_any(names, of):
            names.add(made)
    found = _LEFT_OUT.finditer(text)
    return name if any(_names_any(names, "".join(filter(None, one.groups()))) for one in found) else None


def _names_any(names: set[str], text: str) -> bool:
    return any(re.search(rf"(?<![\w.]){name}\b(?!=)", text) is not None for name in names)


def _of_loss(model: Any) -> str | None:
    """Return the text of the `forward` that computes the model's loss; None if it can't be found."""
    for kind in source.classes(type(model)):
        found = source.forwards(kind)
        if not found:
            return None  # its source is not available
        for text in found:
            if _ITS_OWN.search(text) is not None or ("loss" in text and "super().forward(" not in text):
                return text
    return None


def _read(model: Any, text: str) -> int | None:
    if "self.loss_function(" in text:
        return _LOSSES.get(getattr(model.loss_function, "__name__", ""))
    if _LATER.search(text) is not None:
        return None
    if _SHIFTED.search(text) is not None:
        return 1
    return 0 if _AS_GIVEN.search(text) is not None and _OTHERWISE.search(text) is None else None


def of_samples(logits: Any, labels: Tensor) -> tuple[Any, Tensor] | None:
    """Return a classifier's pair, [b, c] and [b] or [b, 1], as b samples of one position; None if it is none."""
    if getattr(logits, "ndim", None) != 2:
        return None
    if labels.ndim == 1:
        return logits[:, None], labels[:, None]
    return (logits[:, None], labels) if tuple(labels.shape) == (logits.shape[0], 1) else None


def chosen(
    model: Any, passed: int | None, read: int | None, pair: tuple[Any, Tensor] | None,
    report: Callable[[str, str], None], *, has_loss: bool,
) -> int | None:  # fmt: skip
    """Return the shift that was passed, or else the one that was read; None, which is reported, if neither was.

    `has_loss` is whether the model computes its own loss, which a shift that was passed may contradict. `pair` is
    logits and labels of which no layout is known: None is also returned if they fit no shift.
    """
    name = type(model).__name__
    known = read if passed is None else passed
    if pair is not None and (why := _why_not_of_tokens(*pair, known)) is not None:
        report(f"{name} has {why}", "not of tokens")
        return None
    if passed is not None and has_loss and read not in {None, passed}:
        report(
            f"shift={passed} was passed, and the loss of {name} shifts by {read}: what is recorded is not what that"
            " loss gets, so findings about it can't be trusted",
            "contradicted shift",
        )
    if known is None:
        report(f"how the loss of {name} shifts its labels isn't known: pass shift=", "unknown shift")
    return known


def _why_not_of_tokens(logits: Any, labels: Tensor, shift: int | None) -> str | None:
    """Return why logits and labels are no pair of tokens without a layout; None if they may be one."""
    shape = getattr(logits, "shape", None)  # of a Projection, too
    if shape is None:
        return None
    found = f"logits {list(shape)} for labels {list(labels.shape)}"
    if shape == labels.shape:
        return f"{found}, as for several labels of each sample: nothing to compare"
    if len(shape) > 3 or labels.ndim > 2:
        fitting = " or ".join(map(repr, fitting_layouts(shape, labels.shape, shift or 0)))
        return f"{found}: not recorded, since the meaning of further axes isn't known; pass layout=" + (
            f", such as {fitting}" if fitting else ", if they are of tokens"
        )
    if shift is None and len(shape) == 3 and labels.ndim == 2 and shape[1] != labels.shape[1]:
        return (
            f"{found}, which are not of the same positions, as for a CTC loss: nothing to compare; if a pair of tokens"
            " is elsewhere, call predlog.compare where you have it"
        )
    return None
