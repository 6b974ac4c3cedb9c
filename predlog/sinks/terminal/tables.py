"""The full form of a comparison on a terminal: every token shown, with its position, probability and rank.

All forms yield rich Segments directly. `rich.table.Table` measures and wraps every cell as a document of its own,
which takes over twenty times as long, and a thread takes that time from the training loop.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import ConsoleOptions
from rich.segment import Segment

from predlog.records.schema import Event
from predlog.records.text import encodable, probability, visible
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
    known,
    padded,
    shorten,
    token_text,
    where,
)

_NAMES = ("position", "input", "label", "prediction", "p(label)", "rank")
_NAMES_WIDTH = max(map(len, _NAMES)) + 2
# No column is wider than the first, and none is made narrower than the second to save room.
_WIDEST, _NARROWEST = 25, 7


class _Column(NamedTuple):
    cells: tuple[str, ...]
    width: int
    match: bool | None
    is_plain: bool  # in ASCII a text is as wide as it is long, and none of these is wider than its column


def full(ones: Sequence[Event], about: About, options: ConsoleOptions) -> Iterator[Segment]:
    """Draw comparisons, one under the other."""
    for one, before, here in walk(ones, about):
        if one["codebook"] is None:
            yield from token_table(one, here, options)
        else:
            if not continues(one, before):
                yield from codebook_heading(one, here, options)
            yield from codebook_row(one, options)


def token_table(event: Event, about: About, options: ConsoleOptions) -> Iterator[Segment]:
    """Draw the first and last supervised tokens, one column each, in as few bands as the width allows.

    There are one or two heading lines, a line for a note, then five lines per band, or six if the inputs are known. A
    correct prediction has a tick, so it is seen without colour too. From 20 columns on, no line is wider than the
    console.
    """
    glyphs = glyphs_of(options)
    parts = [*where(event), *figures(event)]
    yield from heading(
        parts, about.errors, options, glyphs, colour=about.colour, note=about.note, is_warning=not event["supervised"]
    )
    if window := event.get("window"):
        yield Segment(_text_line(window, options, glyphs), NAME)
        yield END
    first, last = (
        [_column(token, glyphs, options.encoding) for token in event["tokens"] if token["slot"] == slot]
        for slot in ("first", "last")
    )
    for band in _bands([group for group in (first, last) if group], options.max_width - _NAMES_WIDTH):
        yield from _band(band, glyphs)


def _text_line(window: Sequence[dict[str, Any]], options: ConsoleOptions, glyphs: Glyphs) -> str:
    """Return one line of the text: the end of what the model read before the first label, a bar, and the labels."""
    first = next((one for one in window if one["asked"]), window[0])
    room = max(options.max_width - _NAMES_WIDTH - 1, 1)
    ends = ((first["read"] or "")[-room:], first["asked"][:room])
    read, asked = (encodable(visible(end, " "), options.encoding) for end in ends)
    begin = max(room // 2, room - cell_len(asked) - cell_len(glyphs.divider))
    if cell_len(read) > begin:
        # The end of it is what matters, so it is cut from the other side.
        read = shorten(read[::-1], begin, glyphs.ellipsis[::-1])[::-1]
    line = f" {'text':<{_NAMES_WIDTH}}{read}{glyphs.divider}{asked}"
    return shorten(line, options.max_width, glyphs.ellipsis)


def _column(token: dict[str, Any], glyphs: Glyphs, encoding: str) -> _Column:
    # The place before each text is reserved for the tick, so no token can be taken for one.
    label = f" {encodable(token_text(token, 'label', glyphs), encoding)}"
    mark = glyphs.right if token["match"] else " "
    prediction = f"{mark}{encodable(token_text(token, 'prediction', glyphs), encoding)}"
    read = "" if token["input"] is None else f" {encodable(token_text(token, 'input', glyphs), encoding)}"
    cells = (
        f" {token['position']}",
        read,
        label,
        prediction,
        f" {probability(token['label_logprob'])}",
        f" {known(token['label_rank'])}",
    )
    is_plain = label.isascii() and prediction.isascii() and read.isascii()
    width = max(map(len if is_plain else cell_len, cells))
    return _Column(cells, min(width, _WIDEST), token["match"], is_plain and width <= _WIDEST)


def _bands(groups: list[list[_Column]], room: int) -> Iterator[list[list[_Column]]]:
    """Yield the groups of columns that are shown side by side: all if they fit, else one band per group, else parts."""
    if sum(column.width + 1 for column in chain(*groups)) + len(groups) - 1 <= room:
        if groups:
            yield groups
        return
    for group in groups:
        many = max(room // (_NARROWEST + 1), 1)
        for start in range(0, len(group), many):
            yield [_fitted(group[start : start + many], room)]


def _fitted(group: list[_Column], room: int) -> list[_Column]:
    """Return the group with its widest columns narrowed until it fits the room."""
    widths = [column.width for column in group]
    limit = max(widths)
    while sum(min(width, limit) + 1 for width in widths) > room and limit > 1:
        limit -= 1
    return [column if column.width <= limit else column._replace(width=limit, is_plain=False) for column in group]


def _band(groups: list[list[_Column]], glyphs: Glyphs) -> Iterator[Segment]:
    for row, name in enumerate(_NAMES):
        if name == "input" and not any(column.cells[row] for column in chain(*groups)):
            continue
        yield Segment(f" {name:<{_NAMES_WIDTH - 1}}", NAME)
        if name == "prediction":
            yield from _coloured(groups, row, glyphs)
        else:
            text = glyphs.divider.join(_text(group, row, glyphs) for group in groups)
            yield Segment(text, NAME if name == "position" else PLAIN)
        yield END


def _coloured(groups: list[list[_Column]], row: int, glyphs: Glyphs) -> Iterator[Segment]:
    for place, group in enumerate(groups):
        if place:
            yield Segment(glyphs.divider, PLAIN)
        for match, columns in groupby(group, key=attrgetter("match")):
            yield Segment(_text(columns, row, glyphs), judged(match))


def _text(columns: Iterable[_Column], row: int, glyphs: Glyphs) -> str:
    return "".join(
        [
            cells[row].ljust(width + 1) if is_plain else f"{padded(cells[row], width, glyphs.ellipsis)} "
            for cells, width, _, is_plain in columns
        ]
    )
