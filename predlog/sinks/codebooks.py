"""A comparison of one codebook as one row: eight tables a sample would be more than anybody reads."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

from predlog.records import Event
from predlog.sinks.visible import encodable, shorten
from predlog.sinks.wording import (
    ASCII,
    END,
    NAME,
    PLAIN,
    RIGHT,
    UNICODE,
    WARNING,
    WRONG,
    Glyphs,
    heading,
    listed,
    not_finite,
    quoted,
    right,
    supervised,
    token_text,
    where,
)

# Decoded codes are cut to this width; ids are as wide as the largest of the vocabulary.
_TEXT = 8


class CodebookRow:
    """One codebook: how many are right, and the tokens shown; the sample's first row comes with a heading.

    A right prediction carries a tick; beside a wrong one stands what was predicted, where there is room for that.
    """

    def __init__(self, event: Event, errors: Sequence[str] = (), *, has_heading: bool) -> None:
        self._event = event
        self._errors = errors
        self._has_heading = has_heading

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the heading's two lines, where wanted, and one line for the codebook."""
        glyphs = ASCII if options.ascii_only else UNICODE
        event = self._event
        digits = max(len(str(event["vocabulary"] - 1)), len("nan"))
        width = _TEXT if any(token["label_text"] is not None for token in event["tokens"]) else digits
        start = _start(event)
        room = options.max_width - len(start) - 1  # for the divider
        tokens = event["tokens"]
        is_wide = len(tokens) * (2 * width + 3) <= room
        cell = 2 * width + 2 if is_wide else width + 1
        if self._has_heading:
            yield from heading(where(event, codebook=False), self._errors, options, glyphs)
            how = f"label{glyphs.arrow}prediction" if is_wide else f"label, {glyphs.right} if predicted"
            names = f" {'right':>10} {'of':>{len(str(event['length']))}}  {how}, a codebook a row"
            yield Segment(shorten(encodable(names, options.encoding), options.max_width, glyphs.ellipsis), NAME)
            yield END
        yield Segment(shorten(start, options.max_width, glyphs.ellipsis), PLAIN if event["supervised"] else WARNING)
        many = min(max(room // (cell + 1), 0), len(tokens))
        first, last = tokens[: many - many // 2], tokens[len(tokens) - many // 2 :]
        gap = "" if many == len(tokens) else glyphs.ellipsis
        yield from _cells([*first, *last], cell, glyphs, options.encoding, is_wide=is_wide)
        yield Segment(gap if room > many * (cell + 1) else "", NAME)  # tokens were left out
        yield END


def _start(event: Event) -> str:
    share = right(event).removesuffix(" right").removesuffix(" shown").replace(" of ", "/")
    return f" {event['codebook']:>3} {share:>6} {event['supervised']:>{len(str(event['length']))}}  "


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
        text = shorten(encodable(text, encoding), width, glyphs.ellipsis)
        yield Segment(text + " " * (width + 1 - cell_len(text)), RIGHT if token["match"] else WRONG)


class CodebookLine:
    """The same in one line without drawing, whole by itself: made for `grep`."""

    def __init__(self, event: Event, errors: Sequence[str] = ()) -> None:
        self._event = event
        self._errors = errors

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield one line."""
        event = self._event
        parts = ", ".join(filter(None, (right(event), not_finite(event), supervised(event), *self._errors)))
        line = f"predlog {' '.join(where(event))}: {parts}"
        if event["tokens"]:
            labels = listed(quoted(token, "label") for token in event["tokens"])
            predictions = listed(quoted(token, "prediction") for token in event["tokens"])
            line += f", labels {labels} predictions {predictions}"
        yield Segment(encodable(line, options.encoding))
        yield END
