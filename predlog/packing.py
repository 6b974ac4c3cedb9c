"""One packed tensor ↔ plain numbers: what `capture` puts together on the device, `unpack` reads on the host.

Everything is a 32-bit word, because every device has those: token ids take two words each, statistics are
float32 bit for bit. The order of the sections is the order of the fields of `Sections`.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from predlog.rows import Statistics


@dataclass(frozen=True, slots=True)
class Window:
    """Which tokens of a pair are shown, and whether all matches are counted."""

    samples: int = 2
    first: int = 5
    last: int = 5
    accuracy: bool = True


@dataclass(frozen=True, slots=True)
class Capture:
    """What was captured of one pair: packed words [sample, codebook, word] on the host, and their meaning."""

    packed: Tensor
    window: Window
    length: int
    vocabulary: int
    shift: int
    has_codebooks: bool
    has_inputs: bool

    @property
    def count(self) -> int:
        """The number of comparisons it holds: one a sample and codebook."""
        return self.packed.shape[0] * self.packed.shape[1]


def pack(
    *,
    label: Tensor,
    read: Tensor | None,
    position: Tensor,
    statistics: Statistics,
    supervised: Tensor,
    matched: Tensor | None,
) -> Tensor:
    """Pack token columns [s, k, n] and counts [s, k, 1] into int32 words [s, k, words]."""
    ids = [label] if read is None else [label, read]
    counts = [position, statistics.prediction, statistics.above, supervised]
    if matched is not None:
        counts.append(matched)
    peak, label_logit = statistics.peak, statistics.label_logit
    if peak.dtype == torch.float64:
        # Packed as float32, large float64 logits would lose what their difference is about. So it is packed, as its
        # float32 value and, in the peak's place, what that is too much; a NaN stays one.
        difference = label_logit - peak
        label_logit = difference.to(torch.float32)
        peak = torch.where(peak.isnan(), peak, (label_logit - difference).nan_to_num(0.0))
    values = [peak, label_logit, statistics.log_sum]
    return torch.cat(
        [
            *(column.view(torch.int32) for column in ids),
            *(column.to(torch.int32) for column in counts),
            *(column.to(torch.float32).view(torch.int32) for column in values),
        ],
        -1,
    )


def unpack(capture: Capture) -> Iterator[dict[str, Any]]:
    """Yield what was captured of each sample and codebook, as the fields of a comparison."""
    window, tokens = capture.window, capture.window.first + capture.window.last
    samples, codebooks, _ = capture.packed.shape
    ids, read, counts, totals, values = torch.split(
        capture.packed.flatten(0, 1),
        [2 * tokens, 2 * tokens * capture.has_inputs, 3 * tokens, 1 + window.accuracy, 3 * tokens],
        dim=-1,
    )
    lanes = zip(
        itertools.product(range(samples), range(codebooks)),
        _as(torch.int64, ids),
        _as(torch.int64, read) if capture.has_inputs else itertools.repeat([None] * tokens),
        counts.unflatten(-1, (3, tokens)).tolist(),
        totals.tolist(),
        _as(torch.float32, values.unflatten(-1, (3, tokens))),
        strict=False,
    )
    for (sample, codebook), label, inputs, (position, prediction, above), (supervised, *matched), floats in lanes:
        columns = zip(label, inputs, position, prediction, above, *floats, strict=True)
        shown = [
            _token(slot, column, capture.vocabulary)
            for slot, column in zip(_slots(window, supervised), columns, strict=True)
            if slot
        ]
        yield {
            "codebook": codebook if capture.has_codebooks else None,
            "sample": sample,
            "length": capture.length,
            "vocabulary": capture.vocabulary,
            "shift": capture.shift,
            "supervised": supervised,
            "matched": matched[0] if matched else None,
            "nonfinite": sum(nonfinite for _, nonfinite in shown),
            "tokens": [token for token, _ in shown],
        }


def _as(dtype: torch.dtype, words: Tensor) -> list[Any]:
    # A slice may start at an odd word, and 64-bit views need an even one.
    return words.clone(memory_format=torch.contiguous_format).view(dtype).tolist()


def _slots(window: Window, supervised: int) -> list[str | None]:
    """Name the slot of each captured token; None where the sample has no such token or showed it already."""
    first = min(window.first, supervised)
    last = min(window.last, supervised - first)
    nothing = window.first - first + window.last - last
    return [*["first"] * first, *[None] * nothing, *["last"] * last]


def _token(slot: str, column: tuple[Any, ...], vocabulary: int) -> tuple[dict[str, Any], int]:
    """Give a token's fields, and how many of its log-probabilities are not finite."""
    label, read, position, prediction, above, peak, label_logit, log_sum = column
    in_range = 0 <= label < vocabulary
    has_nan = math.isnan(peak)
    label_logprob = _finite(label_logit - peak - log_sum) if in_range else None
    prediction_logprob = _finite(-log_sum)
    token = {
        "slot": slot,
        "position": position,
        "label": label,
        "prediction": None if has_nan else prediction,
        "match": prediction == label and not has_nan,
        "label_logprob": label_logprob,
        "prediction_logprob": prediction_logprob,
        "label_rank": above + 1 if in_range and not has_nan else None,
        "input": read,
        "label_text": None,
        "prediction_text": None,
    }
    return token, (in_range and label_logprob is None) + (prediction_logprob is None)


def _finite(logprob: float) -> float | None:
    # Six decimals are what float32 statistics are good for; adding zero turns -0.0 into 0.0.
    return round(logprob, 6) + 0.0 if math.isfinite(logprob) else None
