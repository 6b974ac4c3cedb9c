"""What the reductions of rows on the CPU and on devices share."""

from typing import NamedTuple

import torch
from torch import Tensor


class Statistics(NamedTuple):
    """What is kept of the rows shown, a number a row each, on the host.

    log p(label) = label_logit - peak - log_sum and log p(prediction) = -log_sum, with log_sum the log of
    Σ exp(row - peak) in float32. The differences are taken in float64, so they are exact to a few float32
    roundings however large the logits are.
    """

    prediction: list[int]
    above: list[int]
    peak: list[float]
    label_logit: list[float]
    log_sum: list[float]


def wanted_ids(labels: Tensor, read: Tensor | None) -> Tensor:
    """Give the ids [s, k, t, w] that predictions are held against: the labels and, where known, the inputs."""
    return torch.stack([labels] if read is None else [labels, read], -1)


def hits(prediction: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """Say which predictions [..., t] are the first wanted id of [..., t, w], and which the second but not the first."""
    found = (prediction.unsqueeze(-1) == wanted) & counted.unsqueeze(-1)
    if wanted.shape[-1] > 1:
        found[..., 1] &= ~found[..., 0]
    return found


def gathered(values: Tensor, index: Tensor, dim: int = -1) -> Tensor:
    """Gather, float8 too, which can't be gathered; its bytes can."""
    if values.dtype.itemsize == 1:
        return values.view(torch.uint8).gather(dim, index).view(values.dtype)
    return values.gather(dim, index)


def exact(rows: Tensor) -> Tensor:
    """Give float8 rows, which have no maximum, as float32; the others as they are, half precision included."""
    return rows.to(torch.float32) if rows.dtype.itemsize == 1 else rows


def is_number(values: Tensor) -> Tensor:
    """Say which values are no NaN."""
    return values == values  # noqa: PLR0124 - cheaper than isnan, and the same
