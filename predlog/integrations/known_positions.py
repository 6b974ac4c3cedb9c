"""What a batch has beside its labels, as masks and positions → those that `compare` can take with these labels.

A callback finds them by their names. A name may mean something else in a program, so what does not fit is left out.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from predlog.capture.tensors import as_tensor
from predlog.errors import PairError

NAMES = ("loss_mask", "position_ids", "document_ids", "attention_mask", "row_index")


def fitting(
    labels: Tensor, found: Mapping[str, Any], *, layout: str | None = None, inputs: Tensor | None = None
) -> dict[str, Tensor]:
    """Return what was found, by the names of `compare`'s arguments, as far as it belongs to the labels.

    An attention mask is returned in any shape, since `compare` says which one it uses.
    """
    kept = {}
    for name, value in found.items():
        if not isinstance(value, Tensor) or value.device != labels.device or not _can_be_read(name, value):
            continue
        is_of_ids = name in {"position_ids", "document_ids", "row_index"}
        if is_of_ids and (value.is_floating_point() or value.is_complex() or value.dtype.itemsize < 2):
            continue
        is_lengths = name == "document_ids" and value.ndim == 1 and (labels.ndim == 1 or labels.shape[0] == 1)
        if name == "attention_mask" or is_lengths or _fits(value, labels, layout, inputs):
            kept[name] = value
    return kept


def begins_with_padding(config: Any) -> bool:
    """Return whether a decoder's first input is the token that also pads, as T5's: its mask may be 0 there."""
    start = getattr(config, "decoder_start_token_id", None)
    return start is not None and start == getattr(config, "pad_token_id", None)


def scalar(value: object) -> Any:
    """Return a loss or a count that is one number; None for anything else."""
    if isinstance(value, Tensor):
        is_one = value.numel() == 1 and not value.dtype.is_complex and value.dtype.itemsize > 1
        return value.detach() if is_one and _can_be_read("reported_loss", value) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _can_be_read(name: str, value: Tensor) -> bool:
    try:
        as_tensor(name, value)
    except PairError:
        return False
    return True


def _fits(value: Tensor, labels: Tensor, layout: str | None, inputs: Tensor | None) -> bool:
    shape, own = list(value.shape), list(labels.shape)
    if labels.ndim == 1 and inputs is not None:
        return shape == list(inputs.shape)  # flattened labels, whose samples the inputs show
    if shape == own:
        return True
    if layout is None:
        return labels.ndim == 2 and shape in ([1, own[1]], own[1:])
    names = layout.rpartition(",")[2].split()
    return len(names) == len(own) and shape == [size for axis, size in zip(names, own, strict=True) if axis != "k"]
