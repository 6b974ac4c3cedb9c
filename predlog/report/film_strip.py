"""Comparisons → the film strip's data: columns of numbers, each text once, at most as much as a browser can show fast.

If there are too many comparisons, whole steps are left out at even distances; how many is reported.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple

from predlog.records.schema import Comparison, Passage, Token
from predlog.records.text import lacking, visible
from predlog.records.token_text import cut, token_cell, token_id, token_text
from predlog.report import whole_samples
from predlog.report.cell_links import CellLinks
from predlog.report.passage_text import shown_text
from predlog.report.whole_samples import exact

MOST: Final = 20_000
# Characters of a text; a longer one is cut, and its length is shown.
_LONGEST = 200
# Samples that can be chosen by their ids: more would be no list to choose from.
_MOST_IDS = 500


class LeftOut(NamedTuple):
    """How many steps and comparisons the strip shows, of how many; `every` is 1 if nothing is left out."""

    every: int
    steps: int
    of_steps: int
    comparisons: int
    of_comparisons: int


class Strip:
    """The comparisons of evenly spaced steps, about `most` at most; the first and the last step are included.

    With `bulk`, one that keeps all of its tokens counts once more for each so many of these.
    """

    def __init__(self, most: int = MOST, bulk: int | None = None) -> None:
        self._most = most
        self._bulk = bulk
        self._every = 1
        self._steps: list[list[Comparison]] = []
        self._newest: list[Comparison] = []
        self._at: tuple[int, int] | None = None
        self._of_steps = self._of_comparisons = self._kept = 0

    def add(self, comparison: Comparison) -> None:
        """Add the next comparison; those of one step must follow one another."""
        at = comparison.attempt, comparison.step
        if at != self._at:
            self._at = at
            self._newest = []
            if self._of_steps % self._every == 0:
                self._steps.append(self._newest)
            self._of_steps += 1
        self._of_comparisons += 1
        self._newest.append(comparison)
        if self._newest is self._steps[-1]:
            self._kept += self._weight(comparison)
            self._thin()

    @property
    def left_out(self) -> LeftOut:
        """Return how many steps and comparisons the strip shows, of how many."""
        steps = self.steps
        return LeftOut(self._every, len(steps), self._of_steps, sum(map(len, steps)), self._of_comparisons)

    def columns(self, *, spells: bool = True) -> dict[str, Any]:
        """Return the strip as plain values: `rows`, `tokens` and `texts` in columns, one list per column."""
        return columns([self], [""], spells=spells)

    @property
    def rows(self) -> list[Comparison]:
        """Return the comparisons that the strip shows."""
        return list(chain.from_iterable(self.steps))

    @property
    def steps(self) -> list[list[Comparison]]:
        """Return the same, one list per step: the same object as long as its step is shown."""
        if self._steps and self._steps[-1] is not self._newest:
            return [*self._steps, self._newest]
        return self._steps

    def _thin(self) -> None:
        while self._kept > self._most and len(self._steps) > 2:
            self._steps = self._steps[::2]
            self._every *= 2
            self._kept = sum(self._weight(one) for step in self._steps for one in step)

    def _weight(self, comparison: Comparison) -> int:
        kept = comparison.all_tokens
        return 1 if kept is None or self._bulk is None else 1 + len(kept.positions) // self._bulk


def columns(strips: Sequence[Strip], names: Sequence[str], *, spells: bool = True) -> dict[str, Any]:
    """Return the strips of several runs as one, as plain values; `run` is the place of a row's run among the names.

    The rows of several runs are sorted by step, so that those of the same step follow one another. With `spells`, ids
    without a text have that which they have elsewhere in the stream: see `whole_samples`.
    """
    pairs = _pairs(strips)
    rows = [row for _, row in pairs]
    # Each id with its text, once, and its place; if there is no token, the place is -1.
    known: dict[tuple[int | None, str | None], int] = {(None, None): -1}
    tokens = _tokens(list(chain.from_iterable(row.tokens for row in rows)), known)
    whole = whole_samples.columns(rows, partial(_place, known), spells=spells)
    del known[None, None]
    streams = sorted(dict.fromkeys(row.stream for row in rows), key=_precedence)
    # Each text around the tokens once, too: of the same sample it is the same at every step.
    windows = {window: place for place, window in enumerate(dict.fromkeys(row.window for row in rows if row.window))}
    samples, which = named_samples(rows)
    made = _rows(rows, {stream: place for place, stream in enumerate(streams)}, windows)
    widths = _widths(rows)
    return {
        "runs": list(names),
        "streams": [visible(stream, " ") for stream in streams],
        "first": widths[0],
        "last": widths[1],
        "samples": samples,
        "rows": made | {"sample": which, "run": [place for place, _ in pairs]},
        "windows": [[_passage(passage) for passage in window] for window in windows],
        "tokens": tokens,
        "whole": whole,
        "texts": [None if text is None else shown(text) for _, text in known],
        "cells": _cells(known),
        "ids": [token_id(token) for token, _ in known],
    }


def links(strips: Sequence[Strip]) -> list[CellLinks]:
    """Return the links to the cells that are shown, of each run."""
    pairs = _pairs(strips)
    rows = [row for _, row in pairs]
    samples, which = named_samples(rows)
    made = []
    for number in range(len(strips)):
        own = [(row, samples[one]) for (place, row), one in zip(pairs, which, strict=True) if place == number]
        made.append(CellLinks([row for row, _ in own], [name for _, name in own], sum(_widths(rows))))
    return made


def _pairs(strips: Sequence[Strip]) -> list[tuple[int, Comparison]]:
    pairs = [(place, row) for place, strip in enumerate(strips) for row in strip.rows]
    if len(strips) > 1:
        pairs.sort(key=lambda pair: (pair[1].attempt, pair[1].step))
    return pairs


# Streams of samples that are there to be looked at come first: probes, then what is held out.
_PROBE: Final = re.compile("probe", re.IGNORECASE)
_HELD_OUT: Final = re.compile("eval|(val|valid|validation|dev|test|held[ _-]?out)(?![^\\W_])", re.IGNORECASE)


def _precedence(stream: str) -> int:
    return 0 if _PROBE.match(stream) else 1 if _HELD_OUT.match(stream) else 2


def shown(text: str) -> str:
    """Return a token's text as all displays draw it; only the start of a very long text."""
    whole = token_text(text, None)
    start = cut(whole, _LONGEST)
    return whole if start == whole else f"{start} ({len(text)} characters)"


def _shortened(text: str, space: str) -> str:
    if len(text) > _LONGEST:
        return f"{visible(text[:_LONGEST], space)}… ({len(text)} characters)"
    return visible(text, space)


def named_samples(rows: list[Comparison]) -> tuple[list[str], list[int]]:
    """Return the names of the samples that the strip can follow, and which of them each row shows.

    A sample whose id comes at several steps of a stream is followed by that, wherever it is in the batch. Any other is
    known by its place in the batch alone. Of the ids the most frequent are named, before the places.
    """
    seen: dict[tuple[str, str | None], set[tuple[int, int]]] = {}
    for row in rows:
        seen.setdefault((row.stream, row.sample_id), set()).add((row.attempt, row.step))
    often = Counter({key: len(steps) for key, steps in seen.items() if key[1] is not None and len(steps) > 1})
    followed = {key for key, _ in often.most_common(_MOST_IDS)}
    own = [row.sample_id if (row.stream, row.sample_id) in followed else row.sample for row in rows]
    ids = dict.fromkeys(one for one in own if isinstance(one, str))
    places = sorted({one for one in own if isinstance(one, int)})
    # Names are in the address, so each must be of one sample only.
    names: dict[str, None] = dict.fromkeys(map(str, places))
    for one in ids:
        name = visible(one, " ")
        while name in names:
            name += " (id)"
        names[name] = None
    at = {key: place for place, key in enumerate([*ids, *places])}
    return [*names][len(places) :] + [*names][: len(places)], [at[one] for one in own]


def _passage(passage: Passage) -> list[Any]:
    """Return how many tokens are left out before a passage, what was read, and what was asked for."""
    read = None if passage.read is None else shown_text(passage.read)
    return [exact(passage.left_out), read, shown_text(passage.asked)]


def _cells(known: Iterable[tuple[int | None, str | None]]) -> dict[str, str]:
    """Return the texts that are cut among others, by their place."""
    both = [(token_text(text, token), token_cell(text, token)) for token, text in known]
    return {str(place): cell for place, (whole, cell) in enumerate(both) if cell != whole}


def _rows(
    rows: list[Comparison], streams: dict[str, int], windows: dict[tuple[Passage, ...], int]
) -> dict[str, list[Any]]:
    return {
        "step": [exact(row.step) for row in rows],
        "stream": [streams[row.stream] for row in rows],
        **{name: [exact(getattr(row, name)) for row in rows] for name in _NUMBERS},
        "place": [exact(row.sample) for row in rows],
        "sample_id": [None if row.sample_id is None else visible(row.sample_id, " ") for row in rows],
        "loss": [row.loss for row in rows],
        "context": [_context(row.context) for row in rows],
        "window": [windows[row.window] if row.window else -1 for row in rows],
        "known": [exact(row.length - (row.missing_rows or 0)) for row in rows],
        "lacking": [lacking(row.missing_ids, row.missing_rows) for row in rows],
        "first": [_firsts(row) for row in rows],
        "count": [len(row.tokens) for row in rows],
    }


_NUMBERS = (
    "codebook", "rank", "attempt", "length", "vocabulary", "shift", "supervised", "matched", "nonfinite",
)  # fmt: skip


_Known = dict[tuple[int | None, str | None], int]


def _place(known: _Known, token: int | None, text: str | None) -> int:
    """Return the place of an id with its text among those in the page."""
    return known.setdefault((token, text), len(known) - 1)


def _tokens(tokens: list[Token], known: _Known) -> dict[str, Any]:
    place = partial(_place, known)
    return {
        "position": [exact(token.position) for token in tokens],
        "label": [place(token.label, token.label_text) for token in tokens],
        "prediction": [place(token.prediction, token.prediction_text) for token in tokens],
        "input": [place(token.input, token.input_text) for token in tokens],
        "match": "".join("?" if token.match is None else "01"[token.match] for token in tokens),
        "label_logprob": [token.label_logprob for token in tokens],
        "prediction_logprob": [token.prediction_logprob for token in tokens],
        "label_rank": [exact(token.label_rank) for token in tokens],
    }


def _context(context: dict[str, Any]) -> str:
    texts = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in context.items()
    }
    return ", ".join(f"{visible(name, ' ')}={_shortened(text, ' ')}" for name, text in texts.items())


def _firsts(comparison: Comparison) -> int:
    return sum(token.slot == "first" for token in comparison.tokens)


def _widths(rows: list[Comparison]) -> tuple[int, int]:
    """Return how many first tokens a row has at most, and how many last ones."""
    firsts = [_firsts(row) for row in rows]
    lasts = (len(row.tokens) - first for row, first in zip(rows, firsts, strict=True))
    return max(firsts, default=0), max(lasts, default=0)
