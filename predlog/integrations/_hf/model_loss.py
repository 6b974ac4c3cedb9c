"""The loss that a Hugging Face model or its trainer reports, as far as it is the cross-entropy of the labels."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from predlog.integrations._hf.hooks import item
from predlog.integrations.known_positions import scalar

_UNCHECKED = "the reported loss is not checked: {}"


def of_output(model: Any, given: Mapping[str, Any], output: Any, report: Callable[[str], None]) -> dict[str, Any]:
    """Return the loss in a model's output, and what its sum was divided by, as `compare_due` takes them.

    The result is empty, and one line says why, if it has a term that is not known.
    """
    loss = scalar(output[0] if isinstance(output, tuple) and output else item(output, "loss"))
    if not isinstance(loss, Tensor) or not loss.is_floating_point():
        return {}
    config = getattr(model, "config", None)
    routed = given.get("output_router_logits")
    if routed if routed is not None else _setting(config, "output_router_logits"):
        weight, auxiliary = _setting(config, "router_aux_loss_coef"), scalar(item(output, "aux_loss"))
        if weight != 0:
            if not isinstance(weight, int | float) or not isinstance(auxiliary, Tensor):
                name = type(model).__name__
                report(_UNCHECKED.format(f"{name} adds a loss of its router, which its output does not show"))
                return {}
            loss = loss - weight * auxiliary.to(loss.device)
    return {"reported_loss": loss, "items": scalar(given.get("num_items_in_batch"))}


def is_known(trainer: Any) -> bool:
    """Return whether a trainer's own loss is the cross-entropy of the labels, as far as its arguments show.

    It is not with label smoothing, and is multiplied by the number of processes if there are several.
    """
    args = getattr(trainer, "args", None)
    smooths = getattr(args, "label_smoothing_factor", 0) and getattr(trainer, "compute_loss_func", None) is None
    return not smooths and getattr(args, "world_size", 1) == 1 and getattr(args, "n_gpu", 0) <= 1


def of_trainer(trainer: Any, loss: Any, items: Any, report: Callable[[str], None]) -> dict[str, Any]:
    """Return the loss that a trainer computed by itself, and its divisor, as `report_due_loss` takes them; or nothing.

    There is nothing, and one line says so, with label smoothing.
    """
    if not is_known(trainer):
        if smoothing := getattr(getattr(trainer, "args", None), "label_smoothing_factor", 0):
            report(_UNCHECKED.format(f"label_smoothing_factor={smoothing} changes it"))
        return {}
    found = scalar(loss)
    return {} if found is None else {"loss": found, "items": scalar(items)}


def _setting(config: Any, name: str) -> Any:
    """Return a value of a model's configuration, or of its text part's."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(config, name, getattr(text, name, None))
