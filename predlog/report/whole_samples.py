"""Comparisons that kept all their tokens → columns for the page, of as many samples as a browser shows fast."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

from predlog.records.schema import Comparison

# The highest whole number that JavaScript stores exactly.
_EXACT: Final = 2**53 - 1
# Tokens of all samples together: about 30 bytes each.
MOST: Final = 100_000
Place = Callable[[int | None, str | None], int]


def columns(rows: list[Comparison], place: Place, most: int = MOST) -> dict[str, list[Any]]:
    """Return the tokens of whole samples in columns; `place` returns where an id with its text is in the page.

    `count` has one entry per row, 0 if it has none here, and `kept` how many tokens its record has. Of too many
    samples, those of evenly spaced steps are there, and of the last.
    """
    chosen = _chosen(rows, most)
    texts = _texts(rows)
    made: dict[str, list[Any]] = {
        "kept": [_size(row) for row in rows],
        "count": [], "position": [], "label": [], "prediction": [], "label_logprob": [], "label_rank": [],
    }  # fmt: skip
    for number, row in enumerate(rows):
        if row.all_tokens is None or number not in chosen:
            made["count"].append(0)
            continue
        known = texts[row.stream, row.codebook]
        made["count"].append(_size(row))
        made["position"] += map(exact, row.all_tokens.positions)
        made["label"] += [place(one, known.get(one)) for one in row.all_tokens.labels]
        made["prediction"] += [place(one, known.get(one)) for one in row.all_tokens.predictions]
        made["label_logprob"] += [None if one is None else round(one, 4) for one in row.all_tokens.label_logprobs]
        made["label_rank"] += map(exact, row.all_tokens.label_ranks)
    return made


def _texts(rows: Iterable[Comparison]) -> dict[tuple[str, int | None], dict[int | None, str | None]]:
    """Return the texts of ids among the tokens shown: the columns of a record have ids only."""
    texts: dict[tuple[str, int | None], dict[int | None, str | None]] = {}
    for row in rows:
        known = texts.setdefault((row.stream, row.codebook), {})
        for token in (*row.tokens, *row.worst):
            if token.label_text is not None:
                known[token.label] = token.label_text
            if token.prediction_text is not None:
                known[token.prediction] = token.prediction_text
    return texts


def _chosen(rows: list[Comparison], most: int) -> set[int]:
    """Return the numbers of rows whose tokens are in the page."""
    steps: dict[tuple[int, int], list[int]] = {}
    for number, row in enumerate(rows):
        if row.all_tokens is not None:
            steps.setdefault((row.attempt, row.step), []).append(number)
    every = max(math.ceil(sum(_size(row) for row in rows) / most), 1)
    groups = list(steps.values())
    chosen, left = set(), most
    for group in [*groups[-1:], *groups[:-1:every]]:
        for number in group:
            if _size(rows[number]) <= left:
                chosen.add(number)
                left -= _size(rows[number])
    return chosen


def exact(number: int | None) -> int | str | None:
    """Return a number as JavaScript can store it: as text if it is too large."""
    return number if number is None or abs(number) <= _EXACT else str(number)


def _size(row: Comparison) -> int:
    return 0 if row.all_tokens is None else len(row.all_tokens.positions)
