"""A snapshot → the fields of its comparisons, and the facts that findings need in addition."""

import itertools
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from predlog.capture.snapshot import Counts, Sizes, Snapshot
from predlog.capture.window import Ends
from predlog.findings.facts import Facts, Shown, Text

_UNKNOWN = (None,)


def unpack(snapshot: Snapshot) -> Iterator[tuple[dict[str, Any], Facts]]:
    """Yield the fields of a comparison, and the facts that findings need in addition, per sample and codebook."""
    if snapshot.numbers is None:
        return
    numbers, sizes = snapshot.numbers(), snapshot.sizes
    rows = zip(*numbers.statistics, numbers.around, numbers.reads, numbers.homes, strict=True)
    sequences = itertools.product(range(sizes.samples), range(sizes.codebooks))
    for (sample, codebook), ends, counts in zip(sequences, numbers.shown, numbers.counts, strict=True):
        shown = list(itertools.islice(rows, len(ends.first) + len(ends.last)))
        yield _unpacked(sizes, sample, codebook if sizes.has_codebooks else None, ends, shown, counts)


def _unpacked(
    sizes: Sizes, sample: int, codebook: int | None, ends: Ends, rows: Sequence[Any], counts: Counts
) -> tuple[dict[str, Any], Facts]:
    slots = [*["first"] * len(ends.first), *["last"] * len(ends.last)]
    places = zip(slots, itertools.chain(*ends), rows, strict=True)
    made = [_token(slot, row + sizes.shift, numbers, sizes) for slot, row, numbers in places]
    tokens, shown, broken, missing = zip(*made, strict=True) if made else ((), (), (), ())
    # If rows are missing, the predictions were not all counted.
    is_whole = not any(counts.get("unreduced", ()))
    hits = counts.get("hits", ()) if is_whole else ()
    fields: dict[str, Any] = {
        "codebook": codebook,
        "sample": sample,
        "length": sizes.length,
        "vocabulary": sizes.vocabulary,
        "shift": sizes.shift,
        "supervised": counts["supervised"][0],
        "matched": hits[0] if hits else None,
        "nonfinite": sum(missing),
        "tokens": list(tokens),
    }
    facts = Facts(
        sample=sample,
        codebook=codebook,
        length=sizes.length,
        vocabulary=sizes.vocabulary,
        shift=sizes.shift,
        ignore_index=sizes.ignore_index,
        specials=sizes.specials,
        supervised=fields["supervised"],
        nonfinite=fields["nonfinite"],
        broken=sum(broken),
        out_of_range=counts.get("out_of_range", (0,))[0],
        lowest=counts["lowest"][0],
        highest=counts["highest"][0],
        fingerprint=counts["fingerprint"],
        copied=hits[1] if len(hits) > 1 else None,
        equal=counts.get("equal"),
        compared=counts.get("compared"),
        lone=counts.get("lone"),
        start=counts.get("start", ()),
        crossing=counts.get("crossing", _UNKNOWN)[0],
        from_padding=counts.get("from_padding", _UNKNOWN)[0],
        padding=counts.get("padding", _UNKNOWN)[0],
        separators=counts.get("separators"),
        varied=counts.get("varied", _UNKNOWN)[0],
        follower=_follower(sizes, ends, rows, fields["supervised"]) if is_whole else None,
        pad=counts.get("pad", _UNKNOWN)[0],
        eos=counts.get("eos", _UNKNOWN)[0],
        bos=counts.get("bos", _UNKNOWN)[0],
        tokens=shown,
        text=_text(counts.get("text")),
        unk=counts.get("unk", _UNKNOWN)[0],
        span=_span(ends, fields["supervised"]),
        is_weighed=sizes.has_weights,
        special_run=counts.get("special_run"),
        holes=counts.get("holes"),
        answer=counts.get("answer"),
    )
    return fields, facts


def _text(counted: tuple[int, ...] | None) -> Text | None:
    if counted is None:
        return None
    begin, end, first, last, opening, head, inner, ended, lowest, highest, documents, *tail = counted
    return Text(begin, end, first, last, opening, head, inner, ended, (lowest, highest), documents, tuple(tail))


def _span(ends: Ends, supervised: int) -> tuple[int, int] | None:
    """Return the first and the last row with a label; None if these are not shown."""
    last = ends.last or (ends.first if len(ends.first) == supervised else ())
    return (ends.first[0], last[-1]) if ends.first and last else None


def _follower(sizes: Sizes, ends: Ends, rows: Sequence[Any], supervised: int) -> int | None:
    """Return the input that follows the last label; None if that label is not shown, or the sequence ends there."""
    if not rows or (not ends.last and len(ends.first) < supervised):
        return None
    *_, (_, follower), _ = rows[-1]
    return follower if (ends.last or ends.first)[-1] + 2 < sizes.length else None


def _token(slot: str, position: int, numbers: Any, sizes: Sizes) -> tuple[dict[str, Any], Shown, bool, int]:
    """Return a token's fields, what findings are judged by, and what is not finite.

    That is whether the row is not, and how many log-probabilities are not.

    To findings, neighbouring labels that are ignored or past an end are None.
    """
    prediction, above, peak, label_logit, log_sum, (before, label, after, after_next), (read, _), (document, place) = (
        numbers
    )
    ignored, length = sizes.ignore_index, sizes.length
    has_nan = peak != peak  # noqa: PLR0124 - a call of isnan costs three times as much
    # In a row without NaN, a label's logit that is NaN was not known to whoever reduced the row.
    has_label = 0 <= label < sizes.limit and (has_nan or label_logit == label_logit)  # noqa: PLR0124 - as above
    label_logprob = _finite(label_logit - peak - log_sum) if has_label else None
    prediction_logprob = _finite(-log_sum)
    is_broken = prediction_logprob is None
    missing = (has_label and label_logprob is None) + is_broken
    if not sizes.has_probabilities:
        label_logprob = prediction_logprob = None
    if has_nan:
        prediction = None
    token = {
        "slot": slot,
        "position": position,
        "document": document,
        "document_position": place,
        "label": label,
        "prediction": prediction,
        "match": prediction == label,
        "label_logprob": label_logprob,
        "prediction_logprob": prediction_logprob,
        "label_rank": above + 1 if has_label and not has_nan and above is not None else None,
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
    return token, shown, is_broken, missing


def _finite(logprob: float) -> float | None:
    # float32 statistics are exact to six decimals; adding zero turns -0.0 into 0.0.
    return round(logprob, 6) + 0.0 if isfinite(logprob) else None
