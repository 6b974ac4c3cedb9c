"""A snapshot → the fields of its comparisons, and the facts that findings need in addition."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from predlog.findings.facts import Facts, Shown, Text
from predlog.numbers.losses import loss_fact
from predlog.numbers.parts import to_part
from predlog.numbers.snapshot import Counts, Pieces, Sizes, Snapshot, Whole, each
from predlog.numbers.window import Chosen
from predlog.records.window import Excerpt

_UNKNOWN = (None,)


def unpack(snapshot: Snapshot) -> Iterator[tuple[dict[str, Any], Facts]]:
    """Yield the fields of a comparison, and the facts that findings need in addition, per sample and codebook."""
    if snapshot.numbers is None:
        return
    numbers, sizes = snapshot.numbers(), snapshot.sizes
    best = numbers.statistics.best or itertools.repeat(())
    columns: list[Iterable[Any]] = [*numbers.statistics[:-1], best, numbers.around, numbers.reads, numbers.homes]
    rows = zip(*columns, strict=False)
    sequences = itertools.product(range(sizes.samples), range(sizes.codebooks))
    whole = itertools.repeat(None) if numbers.whole is None else numbers.whole
    texts = itertools.chain(numbers.texts, itertools.repeat(None))
    ids = None if snapshot.ids is None else snapshot.ids()
    for (sample, codebook), shown, counts, scored, text in zip(
        sequences, numbers.shown, numbers.counts, whole, texts, strict=False
    ):
        chosen = list(itertools.islice(rows, sum(map(len, shown))))
        place, number = sizes.place(sample), codebook if sizes.has_codebooks else None
        fields, facts = _unpacked(sizes, place, number, shown, chosen, counts, scored, text)
        yield {**fields, "sample_id": None if ids is None else ids[sample]}, facts


def unpack_parts(snapshot: Snapshot, texts: int = 0) -> Iterator[tuple[dict[str, Any], Facts]]:
    """Yield the fields of a part, and the facts that its rules need, per sample and codebook of a shard.

    `texts` is of how many of the worst tokens the texts are wanted.
    """
    if snapshot.numbers is None:
        return
    numbers = snapshot.numbers()
    both = zip(unpack(replace(snapshot, numbers=lambda: numbers)), each(numbers), strict=True)
    loss = loss_fact(snapshot)
    for (fields, facts), one in both:
        part = to_part(fields, one, snapshot.sizes, texts)
        if loss is not None:  # that of all samples, so it is written once
            part["facts"]["loss"], loss = loss, None
        yield part, facts


def _unpacked(
    sizes: Sizes,
    sample: int,
    codebook: int | None,
    ends: Chosen,
    rows: Sequence[Any],
    counts: Counts,
    whole: Whole | None,
    text: Pieces | None,
) -> tuple[dict[str, Any], Facts]:
    made = [
        _token(row + sizes.shift, numbers, sizes) for row, numbers in zip(itertools.chain(*ends), rows, strict=True)
    ]
    worst = [{"slot": None, **token} for token, *_ in made[len(made) - len(ends.worst) :]]
    # What the worst tokens show is no evidence: they are the exceptions.
    rows, made = rows[: len(rows) - len(worst)], made[: len(made) - len(worst)]
    tokens, shown, broken, missing = zip(*made, strict=True) if made else ((), (), (), ())
    slots = [*["first"] * len(ends.first), *["last"] * len(ends.last)]
    # What a fused head has returned needs no logits, whose scale may not be known.
    has_loss = sizes.has_probabilities or sizes.scored != "all"
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
        "loss": _mean(whole.loss) if whole is not None and is_whole and has_loss else None,
        "entropy": _mean(whole.entropy) if whole is not None and is_whole and has_loss else None,
        "nonfinite": sum(missing),
        "tokens": [{"slot": slot, **token} for slot, token in zip(slots, tokens, strict=True)],
        "worst": worst,
        "all_tokens": None if whole is None else whole.tokens,
        "window": None if text is None else _merged(text),  # until `Decode` has made it text
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


def _span(ends: Chosen, supervised: int) -> tuple[int, int] | None:
    """Return the first and the last row with a label; None if these are not shown."""
    last = ends.last or (ends.first if len(ends.first) == supervised else ())
    return (ends.first[0], last[-1]) if ends.first and last else None


def _follower(sizes: Sizes, ends: Chosen, rows: Sequence[Any], supervised: int) -> int | None:
    """Return the input that follows the last label; None if that label is not shown, or the sequence ends there."""
    if not rows or (not ends.last and len(ends.first) < supervised):
        return None
    *_, (_, follower), _ = rows[-1]
    return follower if (ends.last or ends.first)[-1] + 2 < sizes.length else None


def _token(position: int, numbers: Any, sizes: Sizes) -> tuple[dict[str, Any], Shown, bool, int]:
    """Return a token's fields, what findings are judged by, and what is not finite.

    That is whether the row is not, and how many log-probabilities are not.

    To findings, neighbouring labels that are ignored or past an end are None.
    """
    prediction, above, peak, label_logit, log_sum, best, around_it, (read, _), (document, place) = numbers
    before, label, after, after_next = around_it
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
        "position": position,
        "document": document,
        "document_position": place,
        "label": label,
        "prediction": prediction,
        "match": prediction == label,
        "label_logprob": label_logprob,
        "prediction_logprob": prediction_logprob,
        "label_rank": above + 1 if has_label and not has_nan and above is not None else None,
        "alternatives": [
            {
                "prediction": one,
                "logprob": _finite(logit - peak - log_sum) if sizes.has_probabilities else None,
                "text": None,
            }
            for one, logit in best
        ]
        if not has_nan
        else [],
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


def _mean(number: float) -> float | None:
    return round(number, 6) + 0.0 if isfinite(number) else None


def _finite(logprob: float) -> float | None:
    # float32 statistics are exact to six decimals; adding zero turns -0.0 into 0.0.
    return round(logprob, 6) + 0.0 if isfinite(logprob) else None


def _merged(cut: Pieces) -> Excerpt:
    """Return the ids of the pieces that were cut out of a text, in its order.

    Where labels end, and the model did not read the last one back, as in masked language modelling, what it read in
    that place follows the label.
    """
    ids: list[int] = []
    is_asked = bytearray()
    left_out: dict[int, int] = {}
    first, last, hidden = -1, 0, max(cut.pieces[0].start - cut.begin, 0)
    for number, piece in enumerate(cut.pieces):
        if number:
            before = cut.pieces[number - 1]
            hidden += piece.start - before.start - len(before.is_asked)
        labels = memoryview(piece.labels).cast("q").tolist()
        read = None if piece.inputs is None else memoryview(piece.inputs).cast("q").tolist()
        many, at = len(piece.is_asked), 0
        is_last = number == len(cut.pieces) - 1
        while at < many:
            asked = piece.is_asked[at] != 0
            stop = piece.is_asked.find(not asked, at)
            stop = many if stop < 0 else stop
            more = labels[at:stop] if asked else [] if read is None else read[at:stop]
            if more:
                if hidden > 0:
                    left_out[len(ids)] = hidden
                hidden = 0
            else:
                hidden += stop - at
            first = len(ids) if asked and first < 0 else first
            ids += more
            is_asked += bytes([asked]) * len(more)
            if asked:
                last = len(ids)
                is_end = (stop < many or is_last) and piece.start + stop - 1 < cut.end
                if is_end and read is not None and stop <= len(read) and read[stop - 1] != labels[stop - 1]:
                    ids.append(read[stop - 1])
                    is_asked.append(0)
            at = stop
    if first < 0:
        first = last = len(ids)
    knows_inputs = cut.pieces[0].inputs is not None
    return Excerpt(ids, bytes(is_asked), first, last, left_out, knows_inputs, cut.window.text, cut.window.beyond)
