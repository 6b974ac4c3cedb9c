"""Curves → a table: one row a stream and codebook, its figures first → last → best beside how they went."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter

from rich.style import Style

from predlog.cli.text.paper import Paper
from predlog.reading.curves import Course, Curve
from predlog.reading.words import between, counted, lane, nats
from predlog.reading.words import rank as place
from predlog.records.text import percent, visible
from predlog.sinks.terminal.style import HEADING, NAME, PLAIN

_SPARK = Style.parse("cyan")
# No sparkline is worth drawing below, nor easier to read above.
_NARROWEST, _WIDEST = 8, 40
_MARGIN = 2
# Between two columns.
_GAP = 2


@dataclass(frozen=True, slots=True)
class _Figure:
    """One figure of a curve in words: its values, the step of the best, and how it went."""

    title: str
    values: tuple[str, ...]
    at: str
    went: tuple[float | None, ...]
    is_log: bool = False

    def drawn(self, paper: Paper, width: int) -> str:
        if len(self.went) < 2:
            return ""
        return sparkline(self.went, width, BLOCKS if paper.glyphs.arrow == "→" else INK, is_log=self.is_log)


def add_curves(paper: Paper, curves: Sequence[Curve]) -> None:
    """Add the table of all curves, or a line for each where there is no terminal."""
    for stream, group in groupby(curves, key=attrgetter("stream")):
        ones = list(group)
        if paper.is_screen:
            paper.heading(_title(paper, stream, ones))
            if note := _counted(ones):
                paper.line("  ", (note, NAME))  # behind the title it would be cut where the terminal is narrow
            _add_rows(paper, ones)
        else:
            for one in ones:
                paper.line(_plainly(paper, one))


def _title(paper: Paper, stream: str, curves: Sequence[Curve]) -> str:
    """Name what is the same for all codebooks of a stream, or between what it is."""
    first, last = min(one.first_step for one in curves), max(one.last_step for one in curves)
    parts = [
        visible(stream, " "),
        counted(len(curves), "codebook") if curves[0].codebook is not None else "",
        f"{_many([one.steps for one in curves], 'step')}, {_range(first, last)}",
        _many([one.records for one in curves], "record"),
        f"{between(map(percent, sorted({one.share for one in curves})))} supervised",
    ]
    return f" {paper.glyphs.dot} ".join(filter(None, parts))


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _many(counts: Sequence[int], what: str) -> str:
    least, most = min(counts), max(counts)
    return counted(most, what) if least == most else f"{least} to {counted(most, what)}"


def _counted(curves: Sequence[Curve]) -> str:
    ways = {one.counted for one in curves}
    if ways == {"supervised"}:
        return ""
    return "accuracy of the tokens shown alone" if ways == {"shown"} else "accuracy in part of the tokens shown alone"


def _figures(curve: Curve) -> Iterator[_Figure]:
    points = curve.points
    yield _figure("accuracy", curve.accuracy, percent, [point.accuracy for point in points])
    yield _figure("log-probability", curve.logprob, nats, [point.logprob for point in points])
    yield _figure("median rank", curve.rank, place, [point.rank for point in points], is_log=True)


def _figure(
    title: str,
    course: Course | None,
    say: Callable[[float | None], str],
    went: Sequence[float | None],
    *,
    is_log: bool = False,
) -> _Figure:
    if course is None:
        return _Figure(title, ("-",), "", ())
    marks = course if course.first.step != course.last.step else course[:1]
    at = f"@{course.best.step}" if len(marks) > 1 else ""
    return _Figure(title, tuple(say(mark.value) for mark in marks), at, tuple(went), is_log)


def _plainly(paper: Paper, curve: Curve) -> str:
    """Give a curve in one line, every number with its name."""
    figures = [_plain_figure(paper, one) for one in _figures(curve)]
    return (
        f"stream {lane(curve.stream, curve.codebook)}: {counted(curve.steps, 'step')},"
        f" {_range(curve.first_step, curve.last_step)}, {counted(curve.records, 'record')},"
        f" {percent(curve.share)} supervised; {'; '.join(figures)}{', '.join(['', *filter(None, [_counted([curve])])])}"
    )


def _plain_figure(paper: Paper, figure: _Figure) -> str:
    if len(figure.values) < 3:
        return f"{figure.title} {figure.values[0]}"
    first, last, best = figure.values
    drawn = figure.drawn(paper, 16)
    return (
        f"{figure.title} {first} first, {last} last, {best} best at step {figure.at[1:]}{f' {drawn}' if drawn else ''}"
    )


def _add_rows(paper: Paper, curves: Sequence[Curve]) -> None:
    names = [_name(one, curves) for one in curves]
    margin = _MARGIN + max(map(len, names)) + (2 if any(names) else 0)
    columns = list(zip(*(_aligned(paper, column) for column in zip(*map(_figures, curves), strict=True)), strict=True))
    widths = _widths(columns[0], paper.width - margin)
    if not widths:
        _add_stacked(paper, names, columns)
        return
    titles = (one.title.ljust(width) for (_, one), width in zip(columns[0], widths, strict=True))
    paper.line((" " * margin + "".join(titles), NAME))
    for name, row in zip(names, columns, strict=True):
        _add_row(paper, f"{' ' * _MARGIN}{name}".ljust(margin), row, widths)


def _widths(row: Sequence[tuple[str, _Figure]], room: int) -> list[int]:
    """Give columns of one width, or of what each needs, if that is too narrow for one; none where there is no room."""
    needed = [max(len(text), len(one.title)) + _GAP for text, one in row]
    width = room // len(needed)
    if max(needed) <= width:
        return [width] * len(needed)
    spare = (room - sum(needed)) // len(needed)
    return [one + spare for one in needed] if spare >= 0 else []


def _name(curve: Curve, curves: Sequence[Curve]) -> str:
    """Give the codebook, and its supervised share where codebooks have several."""
    if curve.codebook is None:
        return ""
    share = f" {percent(curve.share)}" if len({one.share for one in curves}) > 1 else ""
    return f"{curve.codebook:>2}{share}"


def _aligned(paper: Paper, column: Sequence[_Figure]) -> list[tuple[str, _Figure]]:
    """Give the numbers of a column's figures, the first ones of all rows below each other.

    Nothing is filled up between the numbers of one row: a hole there would look like a slip.
    """
    first = max(len(one.values[0]) for one in column)
    texts = [_numbers(paper, one, first) for one in column]
    whole = max(map(len, texts))
    return [(text.ljust(whole), one) for text, one in zip(texts, column, strict=True)]


def _numbers(paper: Paper, figure: _Figure, first: int = 0) -> str:
    return f" {paper.glyphs.arrow} ".join([figure.values[0].rjust(first), *figure.values[1:]])


def _add_row(paper: Paper, name: str, row: Sequence[tuple[str, _Figure]], widths: Sequence[int]) -> None:
    """Add a row: of one line where there is room for what is drawn beside the numbers, else of two."""
    at = max(len(one.at) for _, one in row)
    beside = min(*(width - len(text) - at - 4 for (text, _), width in zip(row, widths, strict=True)), _WIDEST)
    if beside >= _NARROWEST:
        cells = [(*_at(text, one, at), _spark(paper, one, beside)) for text, one in row]
        paper.line((name, HEADING), *_joined(cells, widths))
        return
    paper.line((name, HEADING), *_joined([((text, PLAIN),) for text, _ in row], widths))
    below = min(min(widths) - at - 3, _WIDEST)
    if any(one.at for _, one in row):
        paper.line(
            " " * len(name), *_joined([(_spark(paper, one, below), (f" {one.at}", NAME)) for _, one in row], widths)
        )


def _add_stacked(paper: Paper, names: Sequence[str], rows: Sequence[Sequence[tuple[str, _Figure]]]) -> None:
    """Add a line a figure, and what is drawn below it: for terminals that are too narrow for columns."""
    for name, row in zip(names, rows, strict=True):
        if name:
            paper.line((f"  {name}", HEADING))
        for _, one in row:
            paper.line((f"  {one.title} ", NAME), _numbers(paper, one), (f" {one.at}", NAME))
            if drawn := one.drawn(paper, min(paper.width - _MARGIN, _WIDEST)):
                paper.line("  ", (drawn, _SPARK))


def _at(text: str, figure: _Figure, width: int) -> tuple[tuple[str, Style], tuple[str, Style]]:
    """Give a row's numbers and, next to them, the step of the best, together as wide as in all rows."""
    numbers = text.rstrip()
    return (numbers, PLAIN), (f" {figure.at}".ljust(len(text) - len(numbers) + width + 2), NAME)


def _spark(paper: Paper, figure: _Figure, width: int) -> tuple[str, Style]:
    return figure.drawn(paper, width), _SPARK


def _joined(cells: Sequence[Sequence[tuple[str, Style]]], widths: Sequence[int]) -> Iterator[tuple[str, Style]]:
    """Yield the parts of cells, each cell filled up to its width."""
    for cell, width in zip(cells, widths, strict=True):
        yield from cell
        yield " " * (width - sum(len(text) for text, _ in cell)), PLAIN


BLOCKS = "▁▂▃▄▅▆▇█"
INK = ".:-=+*%#"
# Sums of so much are still finite.
_HIGHEST = 1e300


def sparkline(values: Sequence[float | None], width: int, levels: str = BLOCKS, *, is_log: bool = False) -> str:
    """Draw numbers from the lowest to the highest, at most `width` of them: of more, neighbours are averaged.

    Where there is no number there is a space, and where there is no room, nothing. A logarithmic scale is for numbers
    above 0.
    """
    if width < 1:
        return ""
    shown = [_scaled(value, is_log=is_log) for value in values]
    if len(shown) > width:
        edges = [place * len(shown) // width for place in range(width + 1)]
        shown = [_mean(shown[start:end]) for start, end in pairwise(edges)]
    known = [value for value in shown if value is not None]
    if not known:
        return ""
    lowest, span = min(known), max(known) - min(known)
    return "".join(" " if value is None else levels[_level(value - lowest, span, len(levels))] for value in shown)


def _scaled(value: float | None, *, is_log: bool) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return math.log(max(value, 1e-9)) if is_log else min(max(value, -_HIGHEST), _HIGHEST)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _level(height: float, span: float, levels: int) -> int:
    # A hair more: 0.6 / 0.8 of eight levels is six, whatever rounding makes of it.
    return min(int(height / span * levels + 1e-9), levels - 1) if span else 0
