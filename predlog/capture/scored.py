"""The scores of all rows, summed up per sequence on the host: the loss of a sample, and its tokens as columns."""

import math
from collections.abc import Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from predlog.capture.documents import Documents
from predlog.capture.positions import Positions
from predlog.capture.score import Scores
from predlog.capture.tensors import as_signed
from predlog.numbers.snapshot import ShardRows, Sizes, Whole
from predlog.numbers.window import Window

# Positions of a line: with more, a record would be longer than any reader takes.
MOST_TOKENS = 150_000


def of_samples(
    scores: Scores, labels: Tensor, supervised: Tensor, weights: Tensor | None, sizes: Sizes, window: Window
) -> list[Whole]:
    """Return the loss, the entropy and, if they are asked for, all tokens of each sequence [s, k, rows].

    The loss is Σ w · loss / Σ w over the supervised rows, with the weights w [s, k, t] of the labels, or else 1.
    """
    counted = supervised.to(torch.float64)
    if weights is not None:
        weighed = weights[..., sizes.shift :].to(torch.float64)
        counted = torch.where(supervised, weighed, 0.0)
    total = counted.sum(-1)
    losses = torch.where(counted > 0, scores.loss.to(torch.float64) * counted, 0.0).sum(-1) / total
    many = supervised.sum(-1)
    entropies = torch.where(supervised, scores.entropy.to(torch.float64), 0.0).sum(-1) / many
    numbers = zip(losses.flatten().tolist(), entropies.flatten().tolist(), strict=True)
    tokens: list[dict[str, Any] | None] = [None] * sizes.count
    if window.all_tokens:
        columns = [
            None if one is None else one.flatten(0, 1)
            for one in (supervised, labels, scores.prediction, scores.loss, scores.above)
        ]
        tokens = [
            _tokens([None if one is None else one[here] for one in columns], sizes, window)
            for here in range(sizes.count)
        ]
    return [Whole(*both, one) for both, one in zip(numbers, tokens, strict=True)]


def rows_of_shard(
    scores: Scores, labels: Tensor, supervised: Tensor, inputs: Tensor | None, positions: Positions,
    known: Documents | None, sizes: Sizes,
) -> list[Whole]:  # fmt: skip
    """Return what a shard knows of the supervised rows of each sequence [s, k, rows], for the one who joins shards."""
    assert sizes.shard is not None  # noqa: S101 - for the type checker
    assert scores.peak is not None  # noqa: S101 - as above
    assert scores.log_sum is not None  # noqa: S101 - as above
    start, stop, _ = sizes.shard
    weights = positions.weights
    index = None if positions.index is None else as_signed(positions.index)[..., sizes.shift :] - sizes.shift
    loss, peak, log_sum = (one.to(torch.float64) for one in (scores.loss, scores.peak, scores.log_sum))
    # Of a row whose logits are all -inf here, the difference is not known, but the logit is.
    label = torch.where(peak == -math.inf, -math.inf, peak + log_sum - loss)
    columns = {
        "labels": labels,
        "inputs": None if inputs is None else inputs[..., : labels.shape[-1]],
        "weights": None if weights is None else weights[..., sizes.shift :],
        "documents": None if known is None else known.ids[..., sizes.shift :],
        "places": None if known is None else known.places[..., sizes.shift :],
        "prediction": torch.where(scores.prediction < 0, -1, scores.prediction + start),
        "peak": peak,
        "log_sum": log_sum,
        "entropy": scores.entropy,
        "label_logit": torch.where((labels >= start) & (labels < stop), label, math.nan),
    }
    places = None if index is None else index.flatten(0, 1)
    flat = {name: None if one is None else one.flatten(0, 1) for name, one in columns.items()}
    found = []
    for here, mask in enumerate(supervised.flatten(0, 1)):
        rows = mask.nonzero().squeeze(-1)
        own = {name: None if one is None else one[here][rows].tolist() for name, one in flat.items()}
        numbers = (rows if places is None else places[here][rows]).tolist()
        found.append(Whole(math.nan, math.nan, None, ShardRows(numbers, **own)))  # type: ignore[arg-type] # as named
    return found


def _tokens(columns: Sequence[Tensor | None], sizes: Sizes, window: Window) -> dict[str, Any]:
    """Return the first tokens of one sequence as columns of equal length."""
    supervised, *rest = columns
    assert supervised is not None  # noqa: S101 - for the type checker
    rows = supervised.nonzero().squeeze(-1)[: window.all_tokens]
    unknown: list[Any] = [None] * len(rows)
    labels, predictions, losses, above = [unknown if one is None else one[rows].tolist() for one in rest]
    is_known = [sizes.has_probabilities and isfinite(loss) for loss in losses]
    has_rank = [loss == loss and many is not None for loss, many in zip(losses, above, strict=True)]  # noqa: PLR0124 - not NaN
    return {
        "positions": (rows + sizes.shift).tolist(),
        "labels": labels,
        "predictions": [one if one >= 0 else None for one in predictions],
        "label_logprobs": [
            round(-loss, 6) + 0.0 if known else None for loss, known in zip(losses, is_known, strict=True)
        ],
        "label_ranks": [many + 1 if known else None for many, known in zip(above, has_rank, strict=True)],
    }
