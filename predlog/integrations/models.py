"""What a Hugging Face model is called with and gives, and how its loss takes that."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.nn import functional
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

# By how many positions the labels lead the logits in what these losses are given.
_SHIFTS = {"ForCausalLMLoss": 1, "ForMaskedLMLoss": 0}
# A model may be one of several classes, by what its configuration holds.
_classes: Iterable[Any] = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
_CAUSAL = {name for names in _classes for name in ((names,) if isinstance(names, str) else names)}


def core(model: Any) -> Any:
    """Give the model that PEFT has changed, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def shift(model: Any) -> int | None:
    """Give by how many positions the labels lead the logits, going by the model's own loss; None where it tells not."""
    loss_type = getattr(model, "loss_type", None)
    if hasattr(model, "_loss_function") or loss_type is not None:
        known = _SHIFTS.get(getattr(model.loss_function, "__name__", ""))
        if known is not None and not model.config.is_encoder_decoder:
            return known
    if getattr(model.config, "is_encoder_decoder", False):
        return 0
    return 1 if any(kind.__name__ in _CAUSAL for kind in type(model).__mro__) else None


def inputs(model: Any, given: Any, labels: Tensor) -> Tensor | None:
    """Give what the model read, where that stands at the labels' positions."""
    is_decoded = getattr(model.config, "is_encoder_decoder", False)
    inputs = given.get("decoder_input_ids" if is_decoded else "input_ids")
    return inputs if isinstance(inputs, Tensor) and inputs.shape == labels.shape else None


def logits(output: Any) -> Any:
    """Give the logits of what a model gave; None where there are none."""
    if isinstance(output, tuple):
        return output[1] if len(output) > 1 else None  # behind the loss
    return output.get("logits") if hasattr(output, "get") else getattr(output, "logits", None)


def is_overwritten() -> bool:
    """Say whether the loss has taken torch's place: Liger's writes its gradients where the logits stood."""
    return functional.cross_entropy.__module__ != functional.__name__


def is_spread(weight: Tensor) -> bool:
    """Say whether each process has a part of a weight only, as FSDP2 keeps it."""
    return type(weight).__name__ == "DTensor"


def tokenizer(processing: Any) -> Any:
    """Give the tokenizer of what a trainer was given to process its data with; None where there is none."""
    for one in (processing, getattr(processing, "tokenizer", None)):
        if hasattr(one, "decode") and hasattr(one, "convert_ids_to_tokens"):
            return one
    return None
