"""One packed tensor ↔ plain numbers: what `capture` puts together on the device, `unpack` reads on the host.

Everything is a 32-bit word, because every device has those: ids take two words each, statistics are float32 bit for
bit. `Section` names what stands where, so both sides go by the same list.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Any

import torch
from torch import Tensor

from predlog.facts import Facts, Shown
from predlog.rows import Statistics
from predlog.specials import SpecialTokens


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a pair is shown, and whether all matches are counted."""

    samples: int = 2
    first: int = 5
    last: int = 5
    codebooks: int = 8
    accuracy: bool = True


@dataclass(frozen=True, slots=True)
class Sections:
    """The names and widths of what is packed, in order: ids (64 bits), counts and values (32 bits)."""

    ids: tuple[tuple[str, int], ...]
    counts: tuple[tuple[str, int], ...]
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Capture:
    """What was captured of one pair: packed words [sample, codebook, word] on the host, and their meaning."""

    packed: Tensor
    sections: Sections
    window: Window
    length: int
    vocabulary: int
    shift: int
    ignore_index: int
    specials: SpecialTokens
    has_codebooks: bool
    is_trained: bool

    @property
    def count(self) -> int:
        """The number of comparisons it holds: one a sample and codebook."""
        return self.packed.shape[0] * self.packed.shape[1]


def pack(ids: Mapping[str, Tensor], counts: Mapping[str, Tensor], statistics: Statistics) -> tuple[Tensor, Sections]:
    """Pack ids, counts and statistics, each [s, k, n], into int32 words [s, k, words]."""
    counts = {**counts, "prediction": statistics.prediction, "above": statistics.above}
    peak, label_logit = statistics.peak, statistics.label_logit
    if peak.dtype == torch.float64:
        # Packed as float32, large float64 logits would lose what their difference is about. So it is packed, as its
        # float32 value and, in the peak's place, what that is too much; a NaN stays one.
        difference = label_logit - peak
        label_logit = difference.to(torch.float32)
        peak = torch.where(peak.isnan(), peak, (label_logit - difference).nan_to_num(0.0))
    values = {"peak": peak, "label_logit": label_logit, "log_sum": statistics.log_sum}
    words = [
        torch.cat(list(ids.values()), -1).view(torch.int32),
        torch.cat(list(counts.values()), -1).to(torch.int32),
        torch.cat(list(values.values()), -1).to(torch.float32).view(torch.int32),
    ]
    return torch.cat(words, -1), Sections(_widths(ids), _widths(counts), _widths(values))


def unpack(capture: Capture) -> Iterator[tuple[dict[str, Any], Facts]]:
    """Yield what was captured of each sample and codebook: the fields of a comparison, and the facts beyond it."""
    samples, codebooks, _ = capture.packed.shape
    sections = capture.sections
    sizes = [2 * _width(sections.ids), _width(sections.counts), _width(sections.values)]
    ids, counts, values = torch.split(capture.packed.flatten(0, 1), sizes, dim=-1)
    lanes = zip(
        itertools.product(range(samples), range(codebooks)),
        _as(torch.int64, ids),
        counts.tolist(),
        _as(torch.float32, values),
        strict=True,
    )
    for (sample, codebook), lane_ids, lane_counts, lane_values in lanes:
        lane = {
            **_cut(sections.ids, lane_ids),
            **_cut(sections.counts, lane_counts),
            **_cut(sections.values, lane_values),
        }
        yield _unpacked(capture, sample, codebook if capture.has_codebooks else None, lane)


def _widths(columns: Mapping[str, Tensor]) -> tuple[tuple[str, int], ...]:
    return tuple((name, column.shape[-1]) for name, column in columns.items())


def _width(section: tuple[tuple[str, int], ...]) -> int:
    return sum(width for _, width in section)


def _as(dtype: torch.dtype, words: Tensor) -> list[Any]:
    # A slice may start at an odd word, and 64-bit views need an even one.
    return words.clone(memory_format=torch.contiguous_format).view(dtype).tolist()


def _cut(section: tuple[tuple[str, int], ...], row: list[Any]) -> dict[str, list[Any]]:
    cut, start = {}, 0
    for name, width in section:
        cut[name] = row[start : start + width]
        start += width
    return cut


def _unpacked(
    capture: Capture, sample: int, codebook: int | None, lane: dict[str, list[Any]]
) -> tuple[dict[str, Any], Facts]:
    supervised = lane["supervised"][0]
    tokens: list[dict[str, Any]] = []
    shown: list[Shown] = []
    nonfinite = 0
    for at, slot in enumerate(_slots(capture.window, supervised)):
        if slot:
            token, missing = _token(slot, lane, at, capture.vocabulary)
            tokens.append(token)
            shown.append(_shown(token, lane["labels"][4 * at : 4 * at + 4], capture))
            nonfinite += missing
    fields = {
        "codebook": codebook,
        "sample": sample,
        "length": capture.length,
        "vocabulary": capture.vocabulary,
        "shift": capture.shift,
        "supervised": supervised,
        "matched": _only(lane, "matched"),
        "nonfinite": nonfinite,
        "tokens": tokens,
    }
    facts = Facts(
        sample=sample,
        codebook=codebook,
        length=capture.length,
        vocabulary=capture.vocabulary,
        shift=capture.shift,
        ignore_index=capture.ignore_index,
        specials=capture.specials,
        supervised=supervised,
        nonfinite=nonfinite,
        out_of_range=lane["out_of_range"][0],
        lowest=lane["lowest"][0],
        highest=lane["highest"][0],
        fingerprint=(*lane["fingerprint"], *lane.get("read_sum", ())),
        matched=fields["matched"],
        copied=_only(lane, "copied"),
        equal=_all(lane, "equal"),
        compared=_all(lane, "compared"),
        start=tuple(lane.get("start", ())),
        follower=_follower(capture, lane, shown),
        pad=_only(lane, "pad"),
        eos=_only(lane, "eos"),
        bos=_only(lane, "bos"),
        tokens=tuple(shown),
    )
    return fields, facts


def _follower(capture: Capture, lane: dict[str, list[Any]], shown: Sequence[Shown]) -> int | None:
    """Give the input that follows the last label; None where it is not known, or the row ends there."""
    if "read" not in lane or not shown or not capture.window.last:
        return None
    is_there = shown[-1].position - capture.shift + 2 < capture.length
    return lane["read"][-1] if is_there else None


def _only(lane: dict[str, list[Any]], name: str) -> int | None:
    return lane[name][0] if name in lane else None


def _all(lane: dict[str, list[Any]], name: str) -> tuple[int, ...] | None:
    return tuple(lane[name]) if name in lane else None


def _slots(window: Window, supervised: int) -> list[str | None]:
    """Name the slot of each captured token; None where the sample has no such token or showed it already."""
    first = min(window.first, supervised)
    last = min(window.last, supervised - first)
    nothing = window.first - first + window.last - last
    return [*["first"] * first, *[None] * nothing, *["last"] * last]


def _shown(token: dict[str, Any], labels: Sequence[int], capture: Capture) -> Shown:
    """Keep of a token what findings are judged by, with the labels around it that are there and not ignored."""
    position, ignored, length = token["position"], capture.ignore_index, capture.length
    before, label, after, after_next = labels
    around = (
        before if position >= 1 and before != ignored else None,
        after if position + 1 < length and after != ignored else None,
        after_next if position + 2 < length and after_next != ignored else None,
    )
    return Shown(
        position,
        label,
        token["prediction"],
        token["input"],
        token["label_logprob"],
        token["prediction_logprob"],
        around,
    )


def _token(slot: str, lane: dict[str, list[Any]], at: int, vocabulary: int) -> tuple[dict[str, Any], int]:
    """Give a token's fields, and how many of its log-probabilities are not finite."""
    label, prediction, above = lane["labels"][4 * at + 1], lane["prediction"][at], lane["above"][at]
    peak, label_logit, log_sum = lane["peak"][at], lane["label_logit"][at], lane["log_sum"][at]
    in_range = 0 <= label < vocabulary
    has_nan = isnan(peak)
    label_logprob = _finite(label_logit - peak - log_sum) if in_range else None
    prediction_logprob = _finite(-log_sum)
    token = {
        "slot": slot,
        "position": lane["position"][at],
        "label": label,
        "prediction": None if has_nan else prediction,
        "match": prediction == label and not has_nan,
        "label_logprob": label_logprob,
        "prediction_logprob": prediction_logprob,
        "label_rank": above + 1 if in_range and not has_nan else None,
        "input": lane["read"][at] if "read" in lane else None,
        "input_text": None,
        "label_text": None,
        "prediction_text": None,
    }
    return token, (in_range and label_logprob is None) + (prediction_logprob is None)


def _finite(logprob: float) -> float | None:
    # Six decimals are what float32 statistics are good for; adding zero turns -0.0 into 0.0.
    return round(logprob, 6) + 0.0 if isfinite(logprob) else None
