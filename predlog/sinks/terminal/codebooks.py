"""A codebook of a sample as one line: its accuracy, and its labels with what was predicted in their place."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.console import ConsoleOptions
from rich.segment import Segment

from predlog.records.schema import Event
from predlog.records.text import encodable, nats
from predlog.records.token_text import UNKNOWN
from predlog.sinks.terminal.drawn import About
from predlog.sinks.terminal.style import (
    END,
    NAME,
    PLAIN,
    WARNING,
    Glyphs,
    accuracy,
    glyphs_of,
    heading,
    judged,
    padded,
    partial,
    shorten,
    token_text,
    where,
)

# Decoded codes are cut to this width; ids are as wide as the largest of the vocabulary.
_TEXT = 8


def codebook_heading(event: Event, about: About, options: ConsoleOptions) -> Iterator[Segment]:
    """Draw the two lines over the rows of a sample: where, and what is in the columns."""
    glyphs, line = glyphs_of(options), _line_of(event, options)
    place = [*where(event, codebook=False), partial(event)]
    yield from heading(place, about.errors, options, glyphs, colour=about.colour, note=about.note)
    unknown = f", {UNKNOWN} if not known" if partial(event) else ""
    how = f"label{glyphs.arrow}prediction" if line.is_wide else f"label, {glyphs.right} if predicted{unknown}"
    of = len(str(event["length"]))
    loss = "" if event.get("loss") is None else f"{'loss':>7} "
    names = f"    {loss}{'correct':>7} {'of':>{of}}  {how}, one row per codebook"
    yield Segment(shorten(encodable(names, options.encoding), options.max_width, glyphs.ellipsis), NAME)
    yield END


def codebook_row(event: Event, options: ConsoleOptions) -> Iterator[Segment]:
    """Draw the loss, if known, and the accuracy of one codebook, and its tokens, in one line.

    A correct prediction has a tick; beside a wrong one is what was predicted, if there is room for it.
    """
    glyphs, tokens, line = glyphs_of(options), event["tokens"], _line_of(event, options)
    style = PLAIN if event["supervised"] else WARNING
    yield Segment(shorten(line.start, options.max_width, glyphs.ellipsis), style)
    many = min(max(line.room // (line.cell + 1), 0), len(tokens))
    first, last = tokens[: many - many // 2], tokens[len(tokens) - many // 2 :]
    gap = "" if many == len(tokens) else glyphs.ellipsis
    yield from _cells([*first, *last], line.cell, glyphs, options.encoding, is_wide=line.is_wide)
    yield Segment(gap if line.room > many * (line.cell + 1) else "", NAME)  # tokens were left out
    yield END


class _Line(NamedTuple):
    start: str
    room: int
    cell: int
    is_wide: bool  # predictions have room beside labels


def _line_of(event: Event, options: ConsoleOptions) -> _Line:
    tokens = event["tokens"]
    digits = max(len(str(_largest_id(event))), len("nan"))
    width = _TEXT if any(token["label_text"] is not None for token in tokens) else digits
    of = len(str(event["length"]))
    loss = "" if event.get("loss") is None else f"{nats(event['loss']):>7} "
    correct = accuracy(event, is_short=True) or (UNKNOWN if event["supervised"] else "")
    start = f" {event['codebook']:>3}{loss} {correct:>6} {event['supervised']:>{of}}  "
    room = options.max_width - len(start) - 1  # for the divider
    is_wide = len(tokens) * (2 * width + 3) <= room
    return _Line(start, room, 2 * width + 2 if is_wide else width + 1, is_wide)


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
        label = token_text(token, "label", glyphs)
        if token["match"]:
            text = f"{glyphs.right}{label}"
        elif token["match"] is None and not is_wide:
            text = f"{UNKNOWN}{label}"
        elif is_wide:
            text = f" {label}{glyphs.arrow}{token_text(token, 'prediction', glyphs)}"
        else:
            text = f" {label}" if token["prediction"] is not None else " nan"
        shown = padded(encodable(text, encoding), width, glyphs.ellipsis)
        yield Segment(f"{shown} ", judged(token["match"]))
