"""What a Hugging Face model is called with and gives."""

from typing import Any

from torch import Tensor
from torch.nn import functional


def core(model: Any) -> Any:
    """Give the model that PEFT has changed, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def inputs(model: Any, given: Any, labels: Tensor) -> Tensor | None:
    """Give what the model read, where that stands at the labels' positions."""
    is_decoded = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    inputs = given.get("decoder_input_ids" if is_decoded else "input_ids")
    return inputs if isinstance(inputs, Tensor) and inputs.shape == labels.shape else None


def logits(output: Any, *, has_loss: bool) -> Any:
    """Give the logits of what a model gave; None where there are none."""
    if isinstance(output, tuple):
        return output[has_loss] if len(output) > has_loss else None  # behind the loss
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
