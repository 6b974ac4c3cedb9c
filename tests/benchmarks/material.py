"""Pairs, events and terminals that the benchmarks share."""

import io
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from tests import events

# So many pairs, each of which shows rows that no other does, so that their rows are more than any cache holds.
_PAIRS = 48
# Where one sample ends and the next begins, ten rows are shown.
_SHIFT = 10


class Shape(NamedTuple):
    """The shape of a batch's logits, and their type."""

    samples: int
    length: int
    vocabulary: int
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"({self.samples}, {self.length}, {self.vocabulary}) {str(self.dtype).removeprefix('torch.')}"


SMALL = Shape(2, 512, 32000, torch.float32)
LARGE = Shape(4, 2048, 32000, torch.bfloat16)
WIDE = Shape(2, 1024, 128256, torch.bfloat16)


def pairs(shape: Shape, device: torch.device, kind: str = "random") -> Iterator[tuple[Tensor, Tensor]]:
    """Cycle through contiguous batches that are cut, a few rows further each time, from one long stretch of rows.

    Labels are random, half masked (the first half of each sample), half right or all right.
    """
    size = shape.samples * shape.length
    rows = torch.randn(size + _SHIFT * (_PAIRS - 1), shape.vocabulary, dtype=shape.dtype, device=device)
    labels = _labels(rows, kind)
    cut: list[tuple[Tensor, Tensor]] = []
    for start in range(0, _SHIFT * _PAIRS, _SHIFT):
        those = labels[start : start + size].view(shape[:2]).clone()
        if kind == "half masked":
            those[:, : shape.length // 2] = -100
        cut.append((rows[start : start + size].view(shape[:3]), those))
    return itertools.cycle(cut)


def _labels(rows: Tensor, kind: str) -> Tensor:
    labels = torch.randint(rows.shape[-1], rows.shape[:1], device=rows.device)
    if kind == "half right":
        return torch.where(torch.rand(labels.shape, device=rows.device) < 0.5, rows.argmax(-1), labels)
    return rows.argmax(-1) if kind == "all right" else labels


def comparison() -> dict[str, Any]:
    """Return the event of a comparison with ten tokens, their texts known."""
    tokens = [
        events.token(
            64 + number,
            label,
            label if number % 2 else label - 31,
            slot="first" if number < 5 else "last",
            label_logprob=round(-0.1 - 1.234567 * number, 6),
            prediction_logprob=-0.087654,
            label_rank=1 + 31 * number,
            label_text=f" tok{label}",
            prediction_text=f" tok{label if number % 2 else label - 31}",
        )
        for number, label in enumerate(range(400, 410))
    ]
    return events.comparison(tokens=tokens)


def terminal() -> Console:
    """Make a terminal in memory."""
    return Console(file=io.StringIO(), force_terminal=True, width=80, color_system="truecolor")
