"""A comparison as a picture: a table for terminals, plain lines for logs and pipes.

Both yield rich Segments directly. `rich.table.Table` measures and wraps every cell as a document of its own,
which costs over twenty times as much and, in a thread, as much of the training loop's time.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from predlog.records import Event
from predlog.sinks.visible import encodable, shorten, visible

_HEADING = Style.parse("bold")
_NAME = Style.parse("dim")
_RIGHT = Style.parse("green")
_WRONG = Style.parse("red")
_PLAIN = Style.null()
_WARNING = Style.parse("yellow")

_NAMES = ("position", "label", "prediction", "p(label)", "rank")
_NAMES_WIDTH = max(map(len, _NAMES)) + 2
# No column is wider than this where there is room, nor narrower than that where there is none.
_WIDEST, _NARROWEST = 25, 7
_END = Segment.line()


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that a stream can show beside the tokens' own."""

    right: str = "✓"
    space: str = "␣"
    ellipsis: str = "…"
    dot: str = "·"
    divider: str = "│"


_UNICODE, _ASCII = Glyphs(), Glyphs(right="=", space="\\s", ellipsis="~", dot="-", divider="|")


@dataclass(frozen=True, slots=True)
class _Column:
    cells: tuple[str, ...]
    width: int
    match: bool


class TokenTable:
    """The first and last supervised tokens of one comparison, a column each, in as few bands as the width allows.

    A right prediction carries a tick, so it is seen without colour too. From 20 columns on, no line is wider
    than the console.
    """

    def __init__(self, event: Event) -> None:
        self._event = event

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield a heading line, then five lines a band."""
        glyphs = _ASCII if options.ascii_only else _UNICODE
        yield from _heading(self._event, options, glyphs)
        first, last = (
            [_column(token, glyphs, options.encoding) for token in self._event["tokens"] if token["slot"] == slot]
            for slot in ("first", "last")
        )
        for band in _bands([group for group in (first, last) if group], options.max_width - _NAMES_WIDTH):
            yield from _band(band, glyphs)


def _heading(event: Event, options: ConsoleOptions, glyphs: Glyphs) -> Iterator[Segment]:
    parts = [*_where(event), _right(event), _not_finite(event), _supervised(event)]
    text = encodable(f" {glyphs.dot} ".join(filter(None, parts)), options.encoding)
    yield Segment(shorten(text, options.max_width, glyphs.ellipsis), _HEADING if event["supervised"] else _WARNING)
    yield _END


def _where(event: Event) -> list[str]:
    codebook = "" if event["codebook"] is None else f" codebook {event['codebook']}"
    stream = visible(event["stream"], " ")
    return [f"step {event['step']}", f"{stream}{codebook}", f"sample {event['sample']}"]


def _supervised(event: Event) -> str:
    if not event["supervised"]:
        return f"nothing supervised: every label of {event['length']} is ignored"
    return f"{event['supervised']} of {event['length']} supervised"


def _right(event: Event) -> str:
    if not event["supervised"]:
        return ""
    if event["matched"] is None:
        shown = [token["match"] for token in event["tokens"]]
        return f"{sum(shown)} of {len(shown)} shown right"
    return f"{100 * event['matched'] / event['supervised']:.1f}% right"


def _not_finite(event: Event) -> str:
    return f"{event['nonfinite']} probabilities not finite" if event["nonfinite"] else ""


def _column(token: dict[str, Any], glyphs: Glyphs, encoding: str) -> _Column:
    # The place before each text is the tick's alone, so no token can be taken for one.
    label = f" {encodable(_text(token, 'label', glyphs.space), encoding)}"
    mark = glyphs.right if token["match"] else " "
    prediction = f"{mark}{encodable(_text(token, 'prediction', glyphs.space), encoding)}"
    position, rank = f" {token['position']}", f" {_known(token['label_rank'])}"
    probability = f" {_probability(token['label_logprob'])}"
    width = max(cell_len(label), cell_len(prediction), len(position), len(probability), len(rank))
    return _Column((position, label, prediction, probability, rank), min(width, _WIDEST), token["match"])


def _text(token: dict[str, Any], which: str, space: str) -> str:
    text = token[f"{which}_text"]
    return _id(token[which]) if text is None else visible(text, space) or '""'


def _id(token: int | None) -> str:
    return "nan" if token is None else str(token)


def _known(number: int | None) -> str:
    return "-" if number is None else str(number)


def _probability(logprob: float | None) -> str:
    if logprob is None:
        return "-"
    probability = math.exp(logprob)
    return f"{probability:.2f}" if probability >= 0.005 else f"{probability:.0e}".replace("e-0", "e-")


def _bands(groups: list[list[_Column]], room: int) -> Iterator[list[list[_Column]]]:
    """Yield the groups of columns that stand side by side: all where they fit, else a band a group, else parts."""
    if sum(column.width + 1 for column in chain(*groups)) + len(groups) - 1 <= room:
        if groups:
            yield groups
        return
    for group in groups:
        many = max(room // (_NARROWEST + 1), 1)
        for start in range(0, len(group), many):
            yield [_fitted(group[start : start + many], room)]


def _fitted(group: list[_Column], room: int) -> list[_Column]:
    """Narrow the widest columns until the group fits the room."""
    widths = [column.width for column in group]
    limit = max(widths)
    while sum(min(width, limit) + 1 for width in widths) > room and limit > 1:
        limit -= 1
    return [_Column(column.cells, min(column.width, limit), column.match) for column in group]


def _band(groups: list[list[_Column]], glyphs: Glyphs) -> Iterator[Segment]:
    divider = glyphs.divider
    for row, name in enumerate(_NAMES):
        yield Segment(f" {name:<{_NAMES_WIDTH - 1}}", _NAME)
        if name == "prediction":
            yield from _coloured(groups, row, glyphs, divider)
        else:
            cells = ("".join(_padded(column.cells[row], column.width, glyphs) for column in group) for group in groups)
            yield Segment(divider.join(cells), _NAME if name == "position" else _PLAIN)
        yield _END


def _coloured(groups: list[list[_Column]], row: int, glyphs: Glyphs, divider: str) -> Iterator[Segment]:
    for place, group in enumerate(groups):
        if place:
            yield Segment(divider, _PLAIN)
        for match, columns in groupby(group, key=_is_right):
            text = "".join(_padded(column.cells[row], column.width, glyphs) for column in columns)
            yield Segment(text, _RIGHT if match else _WRONG)


def _is_right(column: _Column) -> bool:
    return column.match


def _padded(cell: str, width: int, glyphs: Glyphs) -> str:
    # Counting the cells of a text takes a look-up; in ASCII they are its characters.
    used = len(cell) if cell.isascii() else cell_len(cell)
    if used > width:
        cell = shorten(cell, width, glyphs.ellipsis)
        used = cell_len(cell)
    return cell + " " * (width - used + 1)


class PlainLines:
    """The same as `TokenTable` in a few lines without drawing, each whole by itself: made for `grep`."""

    def __init__(self, event: Event) -> None:
        self._event = event

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield one line about the sample and three a group of tokens."""
        for line in self._lines():
            yield Segment(encodable(line, options.encoding))
            yield _END

    def _lines(self) -> Iterator[str]:
        event = self._event
        where = f"predlog {' '.join(_where(event))}:"
        parts = (_right(event), _not_finite(event), _supervised(event))
        yield f"{where} {', '.join(filter(None, parts))}"
        for slot in ("first", "last"):
            tokens = [token for token in event["tokens"] if token["slot"] == slot]
            if tokens:
                named = f"{where} {slot} {len(tokens)}"
                yield f"{named} labels {_list(_quoted(token, 'label') for token in tokens)}"
                yield f"{named} predictions {_list(_quoted(token, 'prediction') for token in tokens)}"
                yield (
                    f"{named} positions {_list(str(token['position']) for token in tokens)}"
                    f" p(label) {_list(_probability(token['label_logprob']) for token in tokens)}"
                    f" ranks {_list(_known(token['label_rank']) for token in tokens)}"
                )


def _quoted(token: dict[str, Any], which: str) -> str:
    text = token[f"{which}_text"]
    if text is None:
        return _id(token[which])
    shown = visible(text, " ").replace('"', '\\"')
    return f'"{shown}"'


def _list(items: Iterable[str]) -> str:
    return f"[{', '.join(items)}]"
