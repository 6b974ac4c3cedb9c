"""What the host holds of a pair → plain numbers: the fields of its comparisons, and the facts beyond them."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from predlog import counting
from predlog.captured import Capture, Held
from predlog.facts import Facts, Shown
from predlog.window import Ends

_Lane = dict[str, Any]


def unpack(capture: Capture) -> Iterator[tuple[dict[str, Any], Facts]]:
    """Yield what was captured of each sample and codebook: the fields of a comparison, and the facts beyond it."""
    if capture.hold is None:
        return
    held = capture.hold()
    counts = _counts(held, capture)
    tokens = zip(*(column.tolist() for column in held.statistics), _ids_shown(held, capture), strict=True)
    lanes = itertools.product(range(capture.samples), range(capture.codebooks))
    for (sample, codebook), ends, counted in zip(lanes, held.shown, counts, strict=True):
        shown = list(itertools.islice(tokens, len(ends.first) + len(ends.last)))
        yield _unpacked(capture, sample, codebook if capture.has_codebooks else None, ends, shown, counted)


def _counts(held: Held, capture: Capture) -> Iterator[_Lane]:
    """Give for each lane what is counted over all of it, by name: a list of ints each."""
    labels = held.labels[..., capture.shift :]
    supervised = labels != capture.ignore_index
    counts = counting.of_labels(labels, supervised) | counting.of_specials(
        labels, capture.specials, capture.ignore_index
    )
    fingerprints = [counting.fingerprints(labels)]
    if held.inputs is not None:
        counts |= counting.of_inputs(labels, held.inputs, supervised, capture.ignore_index)
        fingerprints.append(counting.fingerprints(held.inputs))
    if held.hits is not None:
        counts["hits"] = held.hits
    lanes = list(_by_lane(counts))
    if any(lane["lowest"][0] < 0 or lane["highest"][0] >= capture.vocabulary for lane in lanes):
        outside = _by_lane(counting.out_of_range(labels, supervised, capture.vocabulary))
        lanes = [lane | more for lane, more in zip(lanes, outside, strict=True)]
    for lane, *prints in zip(lanes, *fingerprints, strict=True):
        yield lane | {"fingerprint": prints}


def _by_lane(counts: counting.Counts) -> Iterator[_Lane]:
    widths = [column.shape[-1] for column in counts.values()]
    for row in torch.cat(list(counts.values()), -1).flatten(0, 1).tolist():
        values = iter(row)
        yield {name: list(itertools.islice(values, width)) for name, width in zip(counts, widths, strict=True)}


def _ids_shown(held: Held, capture: Capture) -> Iterable[tuple[list[int], list[int | None]]]:
    """Give for each row shown the labels before, at, after and two after its own, and the inputs at it and two after.

    Beyond the ends stands whatever is nearest.
    """
    last = capture.length - 1
    labels, reads = [], []
    for lane, ends in enumerate(held.shown):
        start = lane * capture.length
        for row in itertools.chain(*ends):
            at = row + capture.shift
            labels += [start + max(at - 1, 0), start + at, start + min(at + 1, last), start + min(at + 2, last)]
            reads += [start + row, start + min(row + 2, last)]
    return zip(_many(_taken(held.labels, labels), 4), _many(_taken(held.inputs, reads), 2), strict=True)


def _taken(ids: Tensor | None, index: list[int]) -> list[Any]:
    if ids is None:
        return [None] * len(index)
    return ids.view(-1).index_select(0, torch.tensor(index, dtype=torch.int64, device="cpu")).tolist()


def _many(values: list[Any], many: int) -> Iterator[list[Any]]:
    return (values[start : start + many] for start in range(0, len(values), many))


def _unpacked(
    capture: Capture, sample: int, codebook: int | None, ends: Ends, rows: Sequence[Any], counts: _Lane
) -> tuple[dict[str, Any], Facts]:
    tokens: list[dict[str, Any]] = []
    shown: list[Shown] = []
    nonfinite = 0
    slots = [*["first"] * len(ends.first), *["last"] * len(ends.last)]
    for slot, row, numbers in zip(slots, itertools.chain(*ends), rows, strict=True):
        token, beyond, missing = _token(slot, row + capture.shift, numbers, capture)
        tokens.append(token)
        shown.append(beyond)
        nonfinite += missing
    hits = counts.get("hits", ())
    fields = {
        "codebook": codebook,
        "sample": sample,
        "length": capture.length,
        "vocabulary": capture.vocabulary,
        "shift": capture.shift,
        "supervised": counts["supervised"][0],
        "matched": hits[0] if hits else None,
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
        supervised=fields["supervised"],
        nonfinite=nonfinite,
        out_of_range=_only(counts, "out_of_range") or 0,
        lowest=counts["lowest"][0],
        highest=counts["highest"][0],
        fingerprint=tuple(counts["fingerprint"]),
        matched=fields["matched"],
        copied=hits[1] if len(hits) > 1 else None,
        equal=_all(counts, "equal"),
        compared=_all(counts, "compared"),
        start=tuple(counts.get("start", ())),
        follower=_follower(capture, ends, rows, fields["supervised"]),
        pad=_only(counts, "pad"),
        eos=_only(counts, "eos"),
        bos=_only(counts, "bos"),
        tokens=tuple(shown),
    )
    return fields, facts


def _follower(capture: Capture, ends: Ends, rows: Sequence[Any], supervised: int) -> int | None:
    """Give the input that follows the last label; None where that is not shown, or the row ends there."""
    if not rows or (not ends.last and len(ends.first) < supervised):
        return None
    *_, (_, (_, follower)) = rows[-1]
    return follower if (ends.last or ends.first)[-1] + 2 < capture.length else None


def _only(counts: _Lane, name: str) -> int | None:
    return counts[name][0] if name in counts else None


def _all(counts: _Lane, name: str) -> tuple[int, ...] | None:
    return tuple(counts[name]) if name in counts else None


def _token(slot: str, position: int, numbers: Any, capture: Capture) -> tuple[dict[str, Any], Shown, int]:
    """Give a token's fields, what findings are judged by, and how many log-probabilities are not finite.

    Labels around it that are not there or ignored are None to the findings.
    """
    prediction, above, peak, label_logit, log_sum, ((before, label, after, after_next), (read, _)) = numbers
    ignored, length = capture.ignore_index, capture.length
    in_range = 0 <= label < capture.vocabulary
    has_nan = peak != peak  # noqa: PLR0124 - a call of isnan costs three times as much
    label_logprob = _finite(label_logit - peak - log_sum) if in_range else None
    prediction_logprob = _finite(-log_sum)
    if has_nan:
        prediction = None
    token = {
        "slot": slot,
        "position": position,
        "label": label,
        "prediction": prediction,
        "match": prediction == label,
        "label_logprob": label_logprob,
        "prediction_logprob": prediction_logprob,
        "label_rank": above + 1 if in_range and not has_nan else None,
        "input": read,
        "input_text": None,
        "label_text": None,
        "prediction_text": None,
    }
    around = (
        before if position >= 1 and before != ignored else None,
        after if position + 1 < length and after != ignored else None,
        after_next if position + 2 < length and after_next != ignored else None,
    )
    shown = Shown(position, label, prediction, read, label_logprob, prediction_logprob, around)
    return token, shown, (in_range and label_logprob is None) + (prediction_logprob is None)


def _finite(logprob: float) -> float | None:
    # Six decimals are what float32 statistics are good for; adding zero turns -0.0 into 0.0.
    return round(logprob, 6) + 0.0 if isfinite(logprob) else None
