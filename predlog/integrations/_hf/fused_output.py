"""The per-token numbers in the output of TRL's fused head, which makes no logits."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from predlog.capture.projection import Projection
from predlog.integrations._hf.hooks import item

# The label of which TRL's head returns nothing.
_IGNORED = -100


def with_scores(projection: Projection, output: Any, *, shift: int, ignore_index: int) -> Projection:
    """Return a projection with the label's log-probability, the entropy and the match of each row, if there are any.

    TRL returns them as `log_probs`, `entropy` and `is_top1`: of labels that it shifts itself [b, t - 1], of labels that
    were shifted before [b, t]. They are 0 where the label is -100, so that they are of no use with another
    `ignore_index`.
    """
    logprobs, entropy, match = (item(output, name) for name in ("log_probs", "entropy", "is_top1"))
    hidden = projection.hidden
    if not isinstance(logprobs, Tensor) or not isinstance(hidden, Tensor) or ignore_index != _IGNORED:
        return projection
    rows = hidden[:, : hidden.shape[1] - shift] if shift else hidden
    if logprobs.shape != rows.shape[:-1] or not logprobs.is_floating_point():
        return projection
    return replace(
        projection,
        hidden=rows,
        label_logprob=logprobs,
        entropy=entropy if _fits(entropy, logprobs) and entropy.is_floating_point() else None,
        match=match if _fits(match, logprobs) and match.dtype == torch.bool else None,
    )


def _fits(value: Any, logprobs: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == logprobs.shape
