"""Comparisons → columns for the page of the text view: each sample's running text, and tokens besides those shown.

These are all tokens of a record that has kept them, and the worst ones, of as many samples as a browser shows fast.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from predlog.records.schema import Comparison
from predlog.records.text import visible
from predlog.report.running_text import Known, Piece, pieces

# The highest whole number that JavaScript stores exactly.
_EXACT: Final = 2**53 - 1
# Tokens of all samples together: about 30 bytes each.
MOST: Final = 100_000
Place = Callable[[int | None, str | None], int]
_Texts = dict[int | None, str]


def columns(rows: list[Comparison], place: Place, most: int = MOST, *, spells: bool = True) -> dict[str, Any]:
    """Return the texts of samples and their further tokens; `place` returns where an id with its text is in the page.

    `count` has one entry per row, 0 if it has none here, and `kept` how many tokens its record has as columns. Of too
    many samples, those of evenly spaced steps are there, and of the last. `text` is the number of a row's text among
    `texts`; rows of the same sample have the same. `dropped` are positions that are not in a text.

    The columns of a record have ids only. With `spells` a token has the text that its id has elsewhere in the stream
    and codebook. Without it, because texts were redacted, it has only what was recorded at its own position.
    """
    chosen = _chosen(rows, most)
    samples, numbers = _samples(rows, chosen)
    is_needed = spells and any(rows[number].all_tokens is not None for number in chosen)
    known = _texts_of_ids(rows) if is_needed else {}
    texts, dropped = [], {}
    for number, (key, sample) in enumerate(samples):
        before = dict(sample.labels)
        for position, label in sample.labels.items():
            if (text := known.get(key, {}).get(label)) is not None:
                sample.texts.setdefault(position, text)
        texts.append(list(_items(pieces(sample), sample)))
        if gone := sorted(before.keys() - sample.labels.keys()):
            dropped[str(number)] = list(map(exact, gone))
    return {
        "kept": [_size(row) for row in rows],
        "text": numbers,
        "texts": texts,
        "dropped": dropped,
        **_tokens(rows, chosen, [samples[number] for number in numbers], known, place),
    }


_Key = tuple[str, int | None]


def _samples(rows: list[Comparison], chosen: set[int]) -> tuple[list[tuple[_Key, Known]], list[int]]:
    """Return what is known of each sample's text, and which of them each row is of."""
    found: dict[Any, list[int]] = {}
    samples: list[tuple[_Key, Known]] = []
    numbers = []
    for row_number, row in enumerate(rows):
        whole = row_number in chosen and row.all_tokens is not None
        shown = tuple((token.position, token.label) for token in row.tokens)
        candidates = found.setdefault((row.stream, row.codebook, row.length, row.shift, row.window, shown), [])
        for number in candidates:
            if samples[number][1].fits(row, whole=whole):
                break
        else:
            number = len(samples)
            candidates.append(number)
            samples.append(((row.stream, row.codebook), Known(row.window)))
        samples[number][1].add(row, whole=whole, has_worst=row_number in chosen)
        numbers.append(number)
    return samples, numbers


def _texts_of_ids(rows: Iterable[Comparison]) -> dict[_Key, _Texts]:
    """Return the texts of ids in each stream and codebook; of none where an id has two, as redactions make them."""
    texts: dict[_Key, _Texts] = {}
    unsure = set()
    for row in rows:
        known = texts.setdefault((row.stream, row.codebook), {})
        for token, text in _shown_texts(row):
            if text is not None and known.setdefault(token, text) != text:
                unsure.add((row.stream, row.codebook))
    return {key: {} if key in unsure else known for key, known in texts.items()}


def _shown_texts(row: Comparison) -> Iterator[tuple[int | None, str | None]]:
    for token in (*row.tokens, *row.worst):
        yield token.label, token.label_text
        yield token.prediction, token.prediction_text
        yield from ((one.prediction, one.text) for one in token.alternatives)


def _items(made: Iterable[Piece], sample: Known) -> Iterator[Any]:
    """Yield a text's pieces as plain values: a number of tokens, a kind with a number, or with a part of a passage."""
    for kind, many, passage, span in made:
        if kind == "token":
            yield many
        elif passage is None or sample.passages is None:
            yield [kind, exact(many)]
        else:
            text = sample.passages[passage].read if kind == "read" else sample.passages[passage].asked
            yield [kind, passage, *(shown_at(text or "", at) for at in span)]


def _tokens(
    rows: list[Comparison], chosen: set[int], samples: list[tuple[_Key, Known]], known: dict[_Key, _Texts], place: Place
) -> dict[str, list[Any]]:
    made: dict[str, list[Any]] = {
        "count": [], "position": [], "label": [], "prediction": [], "label_logprob": [], "label_rank": [],
    }  # fmt: skip
    for number, (row, (key, sample)) in enumerate(zip(rows, samples, strict=True)):
        of_ids = known.get(key, {})
        ones = list(_further(row)) if number in chosen else []
        made["count"].append(len(ones))
        for position, label, prediction, prediction_text, logprob, rank in ones:
            made["position"].append(exact(position))
            made["label"].append(place(label, sample.texts.get(position)))
            text = of_ids.get(prediction) if prediction_text is None else prediction_text
            if text is None and prediction == label:
                text = sample.texts.get(position)
            made["prediction"].append(place(prediction, text))
            made["label_logprob"].append(None if logprob is None else round(logprob, 4))
            made["label_rank"].append(exact(rank))
    return made


def _further(row: Comparison) -> Iterator[tuple[int, int, int | None, str | None, float | None, int | None]]:
    """Yield position, label, prediction, its text, log-probability and rank of all tokens kept, and of the worst."""
    positions: set[int] = set()
    if row.all_tokens is not None:
        kept = row.all_tokens
        positions.update(kept.positions)
        texts = {(one.position, one.prediction): one.prediction_text for one in (*row.tokens, *row.worst)}
        for position, label, prediction, logprob, rank in zip(
            kept.positions, kept.labels, kept.predictions, kept.label_logprobs, kept.label_ranks, strict=True
        ):
            yield position, label, prediction, texts.get((position, prediction)), logprob, rank
    for token in row.worst:
        if token.position not in positions:
            yield (
                token.position, token.label, token.prediction, token.prediction_text, token.label_logprob,
                token.label_rank,
            )  # fmt: skip


def _chosen(rows: list[Comparison], most: int) -> set[int]:
    """Return the numbers of rows whose tokens are in the page."""
    steps: dict[tuple[int, int], list[int]] = {}
    sizes = [sum(1 for _ in _further(row)) for row in rows]
    for number, row in enumerate(rows):
        if sizes[number]:
            steps.setdefault((row.attempt, row.step), []).append(number)
    every = max(math.ceil(sum(sizes) / most), 1)
    groups = list(steps.values())
    chosen, left = set(), most
    for group in [*groups[-1:], *groups[:-1:every]]:
        for number in group:
            if sizes[number] <= left:
                chosen.add(number)
                left -= sizes[number]
    return chosen


def exact(number: int | None) -> int | str | None:
    """Return a number as JavaScript can store it: as text if it is too large."""
    return number if number is None or abs(number) <= _EXACT else str(number)


def _size(row: Comparison) -> int:
    return 0 if row.all_tokens is None else len(row.all_tokens.positions)


# --- texts around the tokens ----------------------------------------------------------------------------------------
# Characters of each end of a longer text around the tokens.
_LONGEST_END: Final = 1000
_CUT: Final = " … "


def shown_text(text: str) -> str:
    """Return a text around the tokens with every character visible and harmless; only the ends of a very long one."""
    if len(text) > 2 * _LONGEST_END:
        return f"{shown_text(text[:_LONGEST_END])}{_CUT}{shown_text(text[-_LONGEST_END:])}"
    # Line by line, because a line of ASCII takes no look at each character.
    return "\\n".join(visible(line, " ") for line in text.split("\n"))


def shown_at(text: str, at: int) -> int:
    """Return where a place of a text is in what is shown of it, in characters."""
    if len(text) <= 2 * _LONGEST_END or at <= _LONGEST_END:
        return len(shown_text(text[:at]))
    end = text[-_LONGEST_END:]
    before = len(shown_text(text[:_LONGEST_END]))
    into = at - len(text) + _LONGEST_END
    return before if into < 0 else before + len(_CUT) + len(shown_text(end[:into]))
