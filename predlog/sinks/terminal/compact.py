"""The compact form of comparisons on a terminal: a heading and three lines per sample, side by side if they fit."""

from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import ConsoleOptions
from rich.segment import Segment

from predlog.records.schema import Event
from predlog.records.text import encodable, probability
from predlog.records.token_text import WIDEST
from predlog.sinks.terminal.codebooks import codebook_heading, codebook_row
from predlog.sinks.terminal.drawn import About, continues, walk
from predlog.sinks.terminal.style import (
    END,
    NAME,
    PLAIN,
    Glyphs,
    figures,
    glyphs_of,
    heading,
    judged,
    padded,
    token_text,
    where,
)

_NAMES = " label ", " pred  ", " p     "
_NAMES_WIDTH = len(_NAMES[0])
# A text is cut to `WIDEST`, and to less, before a token is left out: with two blanks between the columns down to the
# first, then with one blank down to the second, at which ten tokens fit into 78 columns.
_NARROW, _NARROWEST = 8, 6
# Columns between samples, and how many each has at least, unless all that it shows needs fewer.
_GAP, _ENOUGH = 3, 78
# No heading is shorter.
_SMALLEST = 40


_Group = Sequence[tuple[Event, Event | None, About]]


class _Token(NamedTuple):
    label: str
    prediction: str  # empty if it is the label
    probability: str
    match: bool
    slot: str
    width: int


class _Column(NamedTuple):
    token: _Token
    before: str  # what separates it from the column before, after a blank
    width: int


def compact(ones: Sequence[Event], about: About, options: ConsoleOptions) -> Iterator[Segment]:
    """Draw the comparisons of one pair, below a rule if the last one drawn is of another step.

    A sample takes a heading, a second one if the first is too narrow, and the lines label, prediction and probability
    of the label; one with codebooks takes a line per codebook. No line is wider than the console, from 20 columns on.
    """
    glyphs = glyphs_of(options)
    if about.is_new_step:
        yield Segment(glyphs.rule * options.max_width, NAME)
        yield END
    groups = [[*group] for _, group in groupby(walk(ones, about), key=lambda one: one[0]["sample"])]
    many = _side_by_side(ones, len(groups), options, glyphs)
    room = (options.max_width - _GAP * (many - 1)) // many
    how = options.update(width=room)
    for start in range(0, len(groups), many):
        row = groups[start : start + many]
        for part in (_heading, _body):
            yield from _beside([part(group, how, glyphs) for group in row], room)


def _side_by_side(ones: Sequence[Event], count: int, options: ConsoleOptions, glyphs: Glyphs) -> int:
    """Return how many of the samples stand side by side."""
    if options.max_width < 2 * _SMALLEST + _GAP or count < 2:
        return 1
    needed = min(max(_needed(one, options, glyphs) for one in ones), _ENOUGH)
    return max(min((options.max_width + _GAP) // (needed + _GAP), count), 1)


def _needed(one: Event, options: ConsoleOptions, glyphs: Glyphs) -> int:
    """Return the width at which a sample is shown whole."""
    if one["codebook"] is not None:
        return _ENOUGH
    tokens = _tokens(one, glyphs, options.encoding)
    columns = _columns(tokens, len(tokens), " ", glyphs)
    above = f" {glyphs.dot} ".join([*where(one), *filter(None, figures(one))])
    return max(_NAMES_WIDTH + sum(column.width + len(column.before) + 1 for column in columns), cell_len(above))


def _heading(group: _Group, options: ConsoleOptions, glyphs: Glyphs) -> Iterator[Segment]:
    one, before, about = group[0]
    if one["codebook"] is None:
        parts = [*where(one), *figures(one)]
        yield from heading(
            parts, about.errors, options, glyphs, colour=about.colour, note=about.note, is_warning=not one["supervised"]
        )
    elif not continues(one, before):
        yield from codebook_heading(one, about, options)


def _body(group: _Group, options: ConsoleOptions, glyphs: Glyphs) -> Iterator[Segment]:
    for one, *_ in group:
        if one["codebook"] is not None:
            yield from codebook_row(one, options)
        elif one["tokens"]:
            yield from _rows(_fitted(_tokens(one, glyphs, options.encoding), options.max_width, glyphs), glyphs)


def _beside(blocks: Sequence[Iterator[Segment]], room: int) -> Iterator[Segment]:
    """Yield the lines of blocks side by side, each filled with blanks but the last."""
    if len(blocks) == 1:
        yield from blocks[0]
        return
    for lines in zip_longest(*map(_lines, blocks), fillvalue=()):
        for place, line in enumerate(lines):
            yield from line
            if place < len(lines) - 1:
                used = sum(cell_len(segment.text) for segment in line)
                yield Segment(" " * (room - used + _GAP), PLAIN)
        yield END


def _lines(block: Iterator[Segment]) -> Iterator[Sequence[Segment]]:
    line: list[Segment] = []
    for segment in block:
        if segment is END:
            yield line
            line = []
        else:
            line.append(segment)


def _tokens(one: Event, glyphs: Glyphs, encoding: str) -> list[_Token]:
    return [_token(token, glyphs, encoding) for token in one["tokens"]]


def _token(token: dict[str, Any], glyphs: Glyphs, encoding: str) -> _Token:
    label = encodable(token_text(token, "label", glyphs), encoding)
    prediction = "" if token["match"] else encodable(token_text(token, "prediction", glyphs), encoding)
    chance = probability(token["label_logprob"])
    width = max(cell_len(label), cell_len(prediction), len(chance))
    return _Token(label, prediction, chance, token["match"], token["slot"], min(width, WIDEST))


def _fitted(tokens: list[_Token], room: int, glyphs: Glyphs) -> list[_Column]:
    """Return the columns that fit: the widest narrowed and moved together, then the tokens in the middle left out."""
    room -= _NAMES_WIDTH
    for many in range(len(tokens), 0, -1):
        for blank, narrowest in ((" ", _NARROW), ("", _NARROWEST)):
            columns = _columns(tokens, many, blank, glyphs)
            for limit in range(WIDEST, narrowest - 1, -1):
                narrowed = [_narrowed(column, limit) for column in columns]
                if sum([len(before) + width + 1 for _, before, width in narrowed]) - 1 <= room:
                    return narrowed
    token = tokens[0]
    return [_Column(token, " ", min(token.width, max(room - 1, 1)))]


def _columns(tokens: list[_Token], many: int, blank: str, glyphs: Glyphs) -> list[_Column]:
    """Return the columns of so many tokens, from both ends of those that are given, as wide as they may be."""
    start = many - many // 2
    kept = tokens if many == len(tokens) else [*tokens[:start], *tokens[len(tokens) - many // 2 :]]
    columns, slot = [], kept[0].slot if kept else ""
    for place, token in enumerate(kept):
        before = f"{glyphs.divider} " if token.slot != slot else blank
        if place == start and many < len(tokens):
            before = f"{glyphs.ellipsis} "
        slot = token.slot
        columns.append(_Column(token, before, token.width))
    return columns


def _narrowed(column: _Column, limit: int) -> _Column:
    """Return a column that is no wider than the limit; a number is never cut."""
    width = max(min(column.width, limit), len(column.token.probability))
    return column if width == column.width else column._replace(width=width)


def _rows(columns: list[_Column], glyphs: Glyphs) -> Iterator[Segment]:
    labels = "".join([f"{before}{padded(token.label, width, glyphs.ellipsis)} " for token, before, width in columns])
    chances = "".join([f"{before}{token.probability:<{width}} " for token, before, width in columns])
    yield Segment(_NAMES[0], NAME)
    yield Segment(labels.rstrip(), PLAIN)
    yield END
    yield Segment(_NAMES[1], NAME)
    yield from _predictions(columns, glyphs)
    yield END
    yield Segment(_NAMES[2], NAME)
    yield Segment(chances.rstrip(), PLAIN)
    yield END


def _predictions(columns: list[_Column], glyphs: Glyphs) -> Iterator[Segment]:
    """Yield the row of predictions, in few segments: a mark stands for one that is the label."""
    cells, style, last = "", PLAIN, columns[-1]
    for column in columns:
        token, before, width = column
        own = judged(token.match)
        if cells and (len(before) > 1 or own is not style):
            yield Segment(cells, style)
            cells = ""
        if len(before) > 1:
            yield Segment(before, PLAIN)
            before = ""
        shown = padded(glyphs.right if token.match else token.prediction, width, glyphs.ellipsis)
        cells, style = f"{cells}{before}{shown.rstrip() if column is last else shown + ' '}", own
    yield Segment(cells, style)
