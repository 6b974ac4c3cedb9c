"""What the reductions of logit rows on the CPU and on other devices share."""

from collections.abc import Iterable

import torch
from torch import Tensor


def wanted_ids(labels: Tensor, inputs: Tensor | None) -> Tensor:
    """Return the ids [s, k, t, w] that predictions are compared with: the rows' labels and, if known, inputs."""
    return torch.stack([labels] if inputs is None else [labels, inputs[..., : labels.shape[-1]]], -1)


def hits(prediction: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """Return [..., t, w]: whether a prediction [..., t] is the first wanted id, and whether it is the second only."""
    found = (prediction.unsqueeze(-1) == wanted) & counted.unsqueeze(-1)
    if wanted.shape[-1] > 1:
        found[..., 1] &= ~found[..., 0]
    return found


def best_of(rows: Iterable[Tensor], many: int) -> list[list[tuple[int, float]]]:
    """Return the ids and values of so many largest logits of each row of several [n, v]; nothing for none."""
    found = [exact(one).topk(min(many, one.shape[-1])) for one in rows] if many else []
    return [
        [*zip(ids, values, strict=True)]
        for one in found
        for ids, values in zip(one.indices.tolist(), one.values.tolist(), strict=True)
    ]


def gathered(values: Tensor, index: Tensor, dim: int = -1) -> Tensor:
    """Gather values of any type: torch gathers no float8, but its bytes."""
    if values.dtype.itemsize == 1:
        return values.view(torch.uint8).gather(dim, index).view(values.dtype)
    return values.gather(dim, index)


def selected(values: Tensor, rows: Tensor) -> Tensor:
    """Return rows of values of any type: older torch selects no float8, but its bytes."""
    if values.dtype.itemsize == 1:
        return values.view(torch.uint8).index_select(0, rows).view(values.dtype)
    return values.index_select(0, rows)


def exact(rows: Tensor) -> Tensor:
    """Return float8 rows, which have no maximum in torch, as float32, and all others unchanged."""
    return rows.to(torch.float32) if rows.dtype.itemsize == 1 else rows


def is_number(values: Tensor) -> Tensor:
    """Return which values are not NaN."""
    return values == values  # noqa: PLR0124 - cheaper than isnan, and the same
