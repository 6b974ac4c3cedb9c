"""Curves → the figures of each stream, the loss first, and how they went; of codebooks, a table."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.table import Table
from rich.text import Text

from predlog.cli.text.paper import Paper
from predlog.reading.curves import SMOOTHED, Course, Curve
from predlog.reading.words import between, counted, lane
from predlog.reading.words import nats as logprob
from predlog.reading.words import rank as place
from predlog.records.text import HIGHEST, nats, percent, visible
from predlog.sinks.terminal.style import HEADING, NAME

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

    @property
    def summarized(self) -> str:
        """The last value, and which it came from and which was best: 2.31 (from 8.34, best 1.92 @228)."""
        if len(self.values) < 3:
            return self.values[0]
        first, last, best = self.values
        return f"{last} (from {first}, best {best} {self.at})"


_Column = list[tuple[str, _Figure]]


@dataclass(frozen=True, slots=True)
class _Spark:
    """How a figure went, drawn as wide as its column is, and the step of the best after it."""

    paper: Paper
    figure: _Figure
    at: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        drawn = self.figure.drawn(self.paper, min(options.max_width - len(self.at), _WIDEST))
        yield Text.assemble((drawn, _SPARK), (self.at, NAME))


def add_curves(paper: Paper, curves: Sequence[Curve]) -> None:
    """Add a line per figure, or a table of codebooks; one line per curve if there is no terminal."""
    if paper.is_screen:
        if any(one.codebook is not None for one in curves):
            paper.line((f"first {paper.glyphs.arrow} last {paper.glyphs.arrow} best @step", NAME))
        if any(one.loss is not None for one in curves):
            paper.line((f"loss: the mean of {SMOOTHED} records, in nats", NAME))
    for stream, group in groupby(curves, key=attrgetter("stream")):
        ones = list(group)
        if paper.is_screen:
            paper.heading(_title(paper, stream, ones))
            if note := _counted(ones):
                paper.line("  ", (note, NAME))  # after the title it would be cut on a narrow terminal
            if ones[0].codebook is None:
                _add_figures(paper, list(_figures(ones[0])))
            else:
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
    return "accuracy of the tokens shown only" if ways == {"shown"} else "accuracy partly of the tokens shown only"


# The name that curves and their points have for it, its title, and how a value is written.
_Kind = tuple[str, str, Callable[[float | None], str]]
_ACCURACY: _Kind = ("accuracy", "accuracy", percent)
_RANK: _Kind = ("rank", "median rank", place)
_SCORED: Sequence[_Kind] = (("loss", "loss", nats), _ACCURACY, _RANK)
_SHOWN: Sequence[_Kind] = (_ACCURACY, ("logprob", "log-probability", logprob), _RANK)


def _figures(curve: Curve, *, is_scored: bool | None = None) -> Iterator[_Figure]:
    """Yield the figures of a curve; without a loss of all tokens, the log-probability of those shown."""
    is_scored = curve.loss is not None if is_scored is None else is_scored
    for name, title, say in _SCORED if is_scored else _SHOWN:
        course: Course | None = getattr(curve, name)
        if course is None:
            yield _Figure(title, ("-",), "", ())
            continue
        marks = course if course.first.step != course.last.step else course[:1]
        at = f"@{course.best.step}" if len(marks) > 1 else ""
        went = tuple(getattr(point, name) for point in curve.points)
        yield _Figure(title, tuple(say(mark.value) for mark in marks), at, went, is_log=name == "rank")


def _plainly(paper: Paper, curve: Curve) -> str:
    """Return a curve in one line, every number with its name."""
    figures = [_plain_figure(paper, one) for one in _figures(curve)]
    return (
        f"stream {lane(curve.stream, curve.codebook)}: {counted(curve.steps, 'step')},"
        f" {_range(curve.first_step, curve.last_step)}, {counted(curve.records, 'record')},"
        f" {percent(curve.share)} supervised; {'; '.join(figures)}{', '.join(['', *filter(None, [_counted([curve])])])}"
    )


def _plain_figure(paper: Paper, figure: _Figure) -> str:
    drawn = figure.drawn(paper, 16) if len(figure.values) > 1 else ""
    return f"{figure.title} {figure.summarized}{f' {drawn}' if drawn else ''}"


def _add_figures(paper: Paper, figures: Sequence[_Figure]) -> None:
    """Add one line per figure, and how it went after it, or below where the terminal is narrow."""
    titles = max(len(one.title) for one in figures)
    texts = [f"{' ' * _MARGIN}{one.title:<{titles}}  " for one in figures]
    used = max(len(text) + len(one.summarized) for text, one in zip(texts, figures, strict=True)) + _GAP
    room = min(paper.width - used, _WIDEST)
    for text, one in zip(texts, figures, strict=True):
        beside = one.drawn(paper, room) if room >= _NARROWEST else ""
        filled = " " * (used - len(text) - len(one.summarized)) if beside else ""
        paper.line((text, NAME), one.summarized, filled, (beside, _SPARK))
        if room < _NARROWEST and (below := one.drawn(paper, min(paper.width - _MARGIN, _WIDEST))):
            paper.line(" " * _MARGIN, (below, _SPARK))


def _add_rows(paper: Paper, curves: Sequence[Curve]) -> None:
    """Add a table of one line per curve if there is room for what is drawn beside the numbers, else of two lines."""
    names = [_name(one, curves) for one in curves]
    is_scored = any(one.loss is not None for one in curves)
    rows = [_figures(one, is_scored=is_scored) for one in curves]
    columns = [_aligned(paper, column) for column in zip(*rows, strict=True)]
    needed = [_needed(column) for column in columns]
    if not (
        paper.table(_beside(paper, names, columns))
        or paper.table(_below(paper, names, columns, [max(needed)] * len(needed)))
        or paper.table(_below(paper, names, columns, needed))
    ):
        _add_stacked(paper, names, list(zip(*columns, strict=True)))


def _needed(column: _Column) -> int:
    return max(max(len(numbers), len(one.title), len(one.at) + 1) for numbers, one in column)


def _beside(paper: Paper, names: Sequence[str], columns: Sequence[_Column]) -> Table:
    table = _table(names)
    for column in columns:
        width = _needed([(f"{numbers} {one.at}", one) for numbers, one in column])
        table.add_column(column[0][1].title, no_wrap=True, width=width)
        table.add_column(min_width=_NARROWEST, ratio=1)
    for name, *row in zip(names, *columns, strict=True):
        cells: list[RenderableType] = []
        for numbers, one in row:
            cells += [Text.assemble(numbers, (f" {one.at}", NAME)), _Spark(paper, one)]
        table.add_row(name, *cells)
    return table


def _below(paper: Paper, names: Sequence[str], columns: Sequence[_Column], widths: Sequence[int]) -> Table:
    table = _table(names)
    ratio = 1 if len(set(widths)) == 1 else None
    at = max(len(one.at) for column in columns for _, one in column)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column[0][1].title, no_wrap=True, width=width, ratio=ratio)
    for name, *row in zip(names, *columns, strict=True):
        table.add_row(name, *(numbers for numbers, _ in row))
        if any(one.at for _, one in row):
            table.add_row("", *(_Spark(paper, one, f" {one.at:<{at}}") for _, one in row))
    return table


def _table(names: Sequence[str]) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, _GAP, 0, 0), header_style=NAME)
    table.add_column(style=HEADING, width=max(map(len, names)))
    return table


def _name(curve: Curve, curves: Sequence[Curve]) -> str:
    """Return the codebook after a margin, and its supervised share where codebooks have several."""
    share = f" {percent(curve.share)}" if len({one.share for one in curves}) > 1 else ""
    return f"{' ' * _MARGIN}{curve.codebook:>2}{share}"


def _aligned(paper: Paper, column: Sequence[_Figure]) -> _Column:
    """Return the numbers of a column's figures, the first ones of all rows below each other.

    Nothing is filled up between the numbers of one row: a hole there would look like a mistake.
    """
    first = max(len(one.values[0]) for one in column)
    return [(_numbers(paper, one, first), one) for one in column]


def _numbers(paper: Paper, figure: _Figure, first: int = 0) -> str:
    return f" {paper.glyphs.arrow} ".join([figure.values[0].rjust(first), *figure.values[1:]])


def _add_stacked(paper: Paper, names: Sequence[str], rows: Sequence[Sequence[tuple[str, _Figure]]]) -> None:
    """Add one line per figure, and what is drawn below it: for terminals that are too narrow for columns."""
    for name, row in zip(names, rows, strict=True):
        paper.line((name, HEADING))
        for _, one in row:
            paper.line((f"  {one.title} ", NAME), _numbers(paper, one), (f" {one.at}", NAME))
            if drawn := one.drawn(paper, min(paper.width - _MARGIN, _WIDEST)):
                paper.line("  ", (drawn, _SPARK))


BLOCKS = "▁▂▃▄▅▆▇█"
INK = ".:-=+*%#"


def sparkline(values: Sequence[float | None], width: int, levels: str = BLOCKS, *, is_log: bool = False) -> str:
    """Draw numbers from the lowest to the highest, at most `width` of them: of more, neighbours are averaged.

    A missing number is a space; without room, the text is empty. A logarithmic scale is for numbers
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
    return math.log(max(value, 1e-9)) if is_log else min(max(value, -HIGHEST), HIGHEST)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _level(height: float, span: float, levels: int) -> int:
    # A little more: 0.6 / 0.8 of eight levels is six, whatever rounding makes of it.
    return min(int(height / span * levels + 1e-9), levels - 1) if span else 0
