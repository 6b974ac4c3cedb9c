"""A comparison as people see it: a table for terminals, plain lines for logs and pipes.

All yield rich Segments directly. `rich.table.Table` measures and wraps every cell as a document of its own,
which takes over twenty times as long, and a thread takes that time from the training loop.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from predlog.records.schema import Event
from predlog.records.text import encodable
from predlog.sinks.terminal.style import (
    END,
    NAME,
    PLAIN,
    RIGHT,
    WARNING,
    WRONG,
    Glyphs,
    accuracy,
    figures,
    glyphs_of,
    heading,
    known,
    listed,
    probability,
    quoted,
    shorten,
    token_text,
    where,
)

# In the first heading of a stream.
NO_INPUTS = "inputs not known: the alignment is not checked; pass inputs="
_NAMES = ("position", "input", "label", "prediction", "p(label)", "rank")
_NAMES_WIDTH = max(map(len, _NAMES)) + 2
# No column is wider than the first, and none is made narrower than the second to save room.
_WIDEST, _NARROWEST = 25, 7


class _Column(NamedTuple):
    cells: tuple[str, ...]
    width: int
    match: bool
    is_plain: bool  # in ASCII a text is as wide as it is long, and none of these is wider than its column


Draw = Callable[[Event, Sequence[str], ConsoleOptions], Iterator[Segment]]


class Drawn(NamedTuple):
    """A comparison that is drawn when rich prints it, and has found out its options, which takes time, anyway."""

    draw: Draw
    event: Event
    errors: Sequence[str] = ()

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Yield the segments."""
        return self.draw(self.event, self.errors, options)


def token_table(event: Event, errors: Sequence[str], options: ConsoleOptions, *, note: str = "") -> Iterator[Segment]:
    """Draw the first and last supervised tokens, one column each, in as few bands as the width allows.

    There is a heading line, with a note a second one, then five lines per band, or six if the inputs are known. A
    correct prediction has a tick, so it is seen without colour too. From 20 columns on, no line is wider than the
    console.
    """
    glyphs = glyphs_of(options)
    parts = [*where(event), *figures(event)]
    yield from heading(parts, errors, options, glyphs, note=note, is_warning=not event["supervised"])
    first, last = (
        [_column(token, glyphs, options.encoding) for token in event["tokens"] if token["slot"] == slot]
        for slot in ("first", "last")
    )
    for band in _bands([group for group in (first, last) if group], options.max_width - _NAMES_WIDTH):
        yield from _band(band, glyphs)


def _column(token: dict[str, Any], glyphs: Glyphs, encoding: str) -> _Column:
    # The place before each text is reserved for the tick, so no token can be taken for one.
    label = f" {encodable(token_text(token, 'label', glyphs.space), encoding)}"
    mark = glyphs.right if token["match"] else " "
    prediction = f"{mark}{encodable(token_text(token, 'prediction', glyphs.space), encoding)}"
    read = "" if token["input"] is None else f" {encodable(token_text(token, 'input', glyphs.space), encoding)}"
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
            yield Segment(_text(columns, row, glyphs), RIGHT if match else WRONG)


def _text(columns: Iterable[_Column], row: int, glyphs: Glyphs) -> str:
    return "".join(
        [
            cells[row].ljust(width + 1) if is_plain else _padded(cells[row], width, glyphs)
            for cells, width, _, is_plain in columns
        ]
    )


def _padded(cell: str, width: int, glyphs: Glyphs) -> str:
    used = cell_len(cell)
    if used > width:
        cell = shorten(cell, width, glyphs.ellipsis)
        used = cell_len(cell)
    return cell + " " * (width - used + 1)


# Decoded codes are cut to this width; ids are as wide as the largest of the vocabulary.
_TEXT = 8


def codebook_row(
    event: Event, errors: Sequence[str], options: ConsoleOptions, *, has_heading: bool, note: str = ""
) -> Iterator[Segment]:
    """Draw the accuracy of one codebook and the tokens shown in one line, below a heading of two if it is wanted.

    A correct prediction has a tick; beside a wrong one is what was predicted, if there is room for it.
    """
    glyphs, tokens = glyphs_of(options), event["tokens"]
    digits = max(len(str(_largest_id(event))), len("nan"))
    width = _TEXT if any(token["label_text"] is not None for token in tokens) else digits
    of = len(str(event["length"]))
    start = f" {event['codebook']:>3} {accuracy(event, is_short=True):>6} {event['supervised']:>{of}}  "
    room = options.max_width - len(start) - 1  # for the divider
    is_wide = len(tokens) * (2 * width + 3) <= room
    cell = 2 * width + 2 if is_wide else width + 1
    if has_heading:
        yield from heading(where(event, codebook=False), errors, options, glyphs, note=note)
        how = f"label{glyphs.arrow}prediction" if is_wide else f"label, {glyphs.right} if predicted"
        names = f" {'correct':>10} {'of':>{of}}  {how}, one row per codebook"
        yield Segment(shorten(encodable(names, options.encoding), options.max_width, glyphs.ellipsis), NAME)
        yield END
    yield Segment(shorten(start, options.max_width, glyphs.ellipsis), PLAIN if event["supervised"] else WARNING)
    many = min(max(room // (cell + 1), 0), len(tokens))
    first, last = tokens[: many - many // 2], tokens[len(tokens) - many // 2 :]
    gap = "" if many == len(tokens) else glyphs.ellipsis
    yield from _cells([*first, *last], cell, glyphs, options.encoding, is_wide=is_wide)
    yield Segment(gap if room > many * (cell + 1) else "", NAME)  # tokens were left out
    yield END


def _largest_id(event: Event) -> int:
    """Return the largest id that can be shown; if the vocabulary is not known, the largest that is shown."""
    if event["vocabulary"] is not None:
        return int(event["vocabulary"]) - 1
    return max((token[name] or 0 for token in event["tokens"] for name in ("label", "prediction")), default=0)


def _cells(
    tokens: list[dict[str, Any]], width: int, glyphs: Glyphs, encoding: str, *, is_wide: bool
) -> Iterator[Segment]:
    slot = None
    for token in tokens:
        if slot is not None and token["slot"] != slot:
            yield Segment(glyphs.divider, PLAIN)
        slot = token["slot"]
        label = token_text(token, "label", glyphs.space)
        if token["match"]:
            text = f"{glyphs.right}{label}"
        elif is_wide:
            text = f" {label}{glyphs.arrow}{token_text(token, 'prediction', glyphs.space)}"
        else:
            text = f" {label}" if token["prediction"] is not None else " nan"
        yield Segment(_padded(encodable(text, encoding), width, glyphs), RIGHT if token["match"] else WRONG)


def plain_lines(event: Event, errors: Sequence[str], options: ConsoleOptions, *, note: str = "") -> Iterator[Segment]:
    """Yield the same in lines without drawing, each whole by itself: made for `grep`.

    There is one line about the sample and three per group of tokens, or, for a codebook, all in one.
    """
    for line in _lines(event, errors, note):
        yield Segment(encodable(line, options.encoding))
        yield END


def _lines(event: Event, errors: Sequence[str], note: str) -> Iterator[str]:
    named = f"predlog {' '.join(where(event))}:"
    about = f"{named} {', '.join(filter(None, (*figures(event), *errors, note)))}"
    if event["codebook"] is None:
        yield about
        for slot in ("first", "last"):
            if tokens := [token for token in event["tokens"] if token["slot"] == slot]:
                yield from _group_lines(f"{named} {slot} {len(tokens)}", tokens)
    elif event["tokens"]:
        yield f"{about}, {_quoted(event['tokens'], 'label')} {_quoted(event['tokens'], 'prediction')}"
    else:
        yield about


def _group_lines(named: str, tokens: list[dict[str, Any]]) -> Iterator[str]:
    if tokens[0]["input"] is not None:
        yield f"{named} {_quoted(tokens, 'input')}"
    yield f"{named} {_quoted(tokens, 'label')}"
    yield f"{named} {_quoted(tokens, 'prediction')}"
    yield (
        f"{named} positions {listed(str(token['position']) for token in tokens)}"
        f" p(label) {listed(probability(token['label_logprob']) for token in tokens)}"
        f" ranks {listed(known(token['label_rank']) for token in tokens)}"
    )


def _quoted(tokens: list[dict[str, Any]], which: str) -> str:
    return f"{which}s {listed(quoted(token[f'{which}_text'], token[which]) for token in tokens)}"
