"""The words, marks and colours that all displays of an event share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import ConsoleOptions
from rich.segment import Segment
from rich.style import Style

from predlog.records.schema import Event
from predlog.records.text import encodable, lacking, nats, percent, sample_name, share, visible
from predlog.records.token_text import UNKNOWN, cut, token_id
from predlog.records.token_text import token_text as drawn

HEADING = Style.parse("bold")
NAME = Style.parse("dim")
RIGHT = Style.parse("green")
WRONG = Style.parse("red")
PLAIN = Style.null()
WARNING = Style.parse("yellow")
ERROR = Style.parse("bold red")
END = Segment.line()
# One for each stream, in the order in which they appear; red, yellow and green have a meaning.
STREAMS = tuple(map(Style.parse, ("bold cyan", "bold magenta", "bold bright_blue", "bold color(208)")))


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that a stream can show beside the tokens' own."""

    right: str = "✓"
    space: str = "␣"
    ellipsis: str = "…"
    dot: str = "·"
    divider: str = "│"
    arrow: str = "→"
    error: str = "✗"
    warning: str = "!"
    times: str = "×"
    brackets: str = "⟨⟩"
    rule: str = "─"


UNICODE = Glyphs()
ASCII = Glyphs(
    right="=", space="\\s", ellipsis="~", dot="-", divider="|", arrow=">", error="x", times="*", brackets="<>", rule="-"
)  # fmt: skip


def glyphs_of(options: ConsoleOptions) -> Glyphs:
    """Return the characters that a console can show."""
    return ASCII if options.ascii_only else UNICODE


def heading(
    parts: Sequence[str], errors: Sequence[str], options: ConsoleOptions, glyphs: Glyphs, *,
    colour: Style = PLAIN, note: str = "", is_warning: bool = False,
) -> Iterator[Segment]:  # fmt: skip
    """Yield the line over a table: where (three parts), the codes of open errors, figures. What doesn't fit is in two.

    The stream has its own colour, unless an error is open. A note has a line of its own.
    """
    between = f" {glyphs.dot} "
    place, values = ([encodable(one, options.encoding) for one in half if one] for half in (parts[:3], parts[3:]))
    place += [encodable(f"{glyphs.error} {code}", options.encoding) for code in errors]
    lines = [between.join([*place, *values])]
    if values and cell_len(lines[0]) > options.max_width:
        lines = [between.join(place), f"  {between.join(values)}"]
    style = ERROR if errors else WARNING if is_warning else HEADING
    first = shorten(lines[0], options.max_width, glyphs.ellipsis)
    start = len(place[0]) + len(between)
    yield Segment(first[:start], style)
    yield Segment(first[start : start + len(place[1])], style if errors else colour)
    yield Segment(first[start + len(place[1]) :], style)
    yield END
    for line in lines[1:]:
        yield Segment(shorten(line, options.max_width, glyphs.ellipsis), style)
        yield END
    if note:
        yield Segment(shorten(f"  {note}", options.max_width, glyphs.ellipsis), NAME)
        yield END


def where(event: Event, *, codebook: bool = True) -> list[str]:
    """Return step, stream, codebook and sample, and the rank unless it is the first."""
    which = f" codebook {event['codebook']}" if codebook and event["codebook"] is not None else ""
    stream = visible(event["stream"], " ")
    rank = f" rank {event['rank']}" if event["rank"] else ""
    sample = sample_name(event["sample"], event.get("sample_id"))
    return [f"step {event['step']}", f"{stream}{which}", f"sample {sample}{rank}"]


def supervised(event: Event) -> str:
    """Return how many of the positions that are known the loss sees."""
    length = event["length"] - (event.get("missing_rows") or 0)
    if not event["supervised"]:
        return f"nothing supervised: every label of {length} is ignored"
    return f"{event['supervised']} of {length} supervised"


def accuracy(event: Event, *, is_short: bool = False) -> str:
    """Return the accuracy over all supervised positions, or over the tokens shown if only these were counted.

    The short one is for a column: `41.2%` or `5/10`.
    """
    if not event["supervised"]:
        return ""
    if event["matched"] is not None:
        return percent(share(event["matched"], event["supervised"])) + ("" if is_short else " correct")
    matches = [token["match"] for token in event["tokens"] if token["match"] is not None]
    correct, shown = sum(matches), len(matches)
    if event["tokens"] and not shown:
        return ""
    return f"{correct}/{shown}" if is_short else f"{correct} of {shown} shown correct"


def figures(event: Event) -> list[str]:
    """Return what is missing, loss, accuracy, values that are not finite and supervised positions; empty if none."""
    not_finite = f"{event['nonfinite']} probabilities not finite" if event["nonfinite"] else ""
    return [partial(event), loss(event), accuracy(event), not_finite, supervised(event)]


def partial(event: Event) -> str:
    """Return what a joined comparison has no parts of."""
    return lacking(event.get("missing_ids"), event.get("missing_rows"))


def loss(event: Event) -> str:
    """Return the loss of the sample, if it is known."""
    value = event.get("loss")
    return "" if value is None else f"loss {nats(value)}"


def token_text(token: dict[str, Any], which: str, glyphs: Glyphs) -> str:
    """Return a token's text, or its id if it has none; `?` for a prediction that is not known."""
    if which == "prediction" and token["match"] is None:
        return UNKNOWN
    return drawn(token[f"{which}_text"], token[which], glyphs.space, glyphs.times, glyphs.brackets)


def judged(match: bool | None) -> Style:
    """Return the style of a prediction: correct, wrong, or plain if that is not known."""
    return PLAIN if match is None else RIGHT if match else WRONG


def known(number: float | None) -> str:
    """Return a number as text, or a dash if it is not known."""
    return "-" if number is None else str(number)


def quoted(text: str | None, token: int | None) -> str:
    """Return a token's text in quotes, or its id."""
    if text is None:
        return token_id(token)
    shown = visible(text, " ").replace('"', '\\"')
    return f'"{shown}"'


def listed(items: Iterable[str]) -> str:
    """Return a list in brackets."""
    return f"[{', '.join(items)}]"


def shorten(text: str, width: int, ellipsis: str = "…") -> str:
    """Return visible text cut to at most `width` terminal cells, the cut marked; wide characters are never halved."""
    return cut(text, width, ellipsis, cell_len)


def padded(text: str, width: int, ellipsis: str) -> str:
    """Return visible text in exactly `width` terminal cells: cut, or with blanks."""
    used = len(text) if text.isascii() else cell_len(text)
    if used > width:
        text = shorten(text, width, ellipsis)
        used = cell_len(text)
    return text + " " * (width - used)
