"""The form for logs and pipes: one line per comparison, made for `grep`, `awk` and `shlex`."""

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len
from rich.console import ConsoleOptions
from rich.segment import Segment

from predlog.records.schema import Event
from predlog.records.text import brief, encodable, nats, probability, share, visible
from predlog.records.token_text import UNKNOWN, token_id
from predlog.sinks.terminal.drawn import About
from predlog.sinks.terminal.style import END, Glyphs, glyphs_of, shorten

# What a shell, and `shlex.split`, would not read as one word as it is.
_NOT_A_WORD = re.compile(r"[\s\"'\\=]")
# Cells: a token is cut to the first; a pair has at least the second, so that most lines of a run are aligned.
_WIDEST, _USUAL = 40, 16


def log_lines(ones: Sequence[Event], about: About, options: ConsoleOptions) -> Iterator[Segment]:
    """Yield one line per comparison: names and values, then label and prediction of each token shown.

    A note about the stream is a line before them.

    The lines of one pair are aligned. Values with blanks are quoted.
    """
    glyphs = glyphs_of(options)
    if about.note:
        note = f"predlog step={ones[0]['step']} stream={word(ones[0]['stream'])} note={word(about.note)}"
        yield Segment(encodable(note, options.encoding))
        yield END
    heads = [encodable(" ".join(["predlog", *_values(one, about.errors)]), options.encoding) for one in ones]
    rows = [[encodable(pair, options.encoding) for pair in _pairs(one["tokens"], glyphs)] for one in ones]
    start = max(map(cell_len, heads))
    widths = [max(_USUAL, *map(cell_len, column)) for column in zip_longest(*rows, fillvalue="")]
    for head, row in zip(heads, rows, strict=True):
        cells = [_filled(cell, width) for cell, width in zip(row, widths, strict=False)]
        yield Segment("  ".join([_filled(head, start), *cells]).rstrip() if cells else head)
        yield END


def _values(event: Event, errors: Sequence[str]) -> Iterator[str]:
    yield f"step={event['step']}"
    yield f"stream={word(event['stream'])}"
    if event["codebook"] is not None:
        yield f"codebook={event['codebook']}"
    yield f"sample={event['sample']}"
    if event.get("sample_id") is not None:
        yield f"sample_id={word(event['sample_id'])}"
    if event["rank"]:
        yield f"rank={event['rank']}"
    if event.get("loss") is not None:
        yield f"loss={nats(event['loss'])}"
    if event["supervised"]:
        yield from _correct(event)
    yield f"supervised={event['supervised']}/{event['length'] - (event.get('missing_rows') or 0)}"
    yield from (f"{name}={event[name]}" for name in ("missing_ids", "missing_rows", "nonfinite") if event.get(name))
    if errors:
        yield f"errors={word(','.join(errors))}"
    if not event["supervised"]:
        yield f"note={word('nothing supervised: every label is ignored')}"


def _correct(event: Event) -> Iterator[str]:
    """Yield how many predictions are correct, if any is known."""
    matches = [token["match"] for token in event["tokens"] if token["match"] is not None]
    if event["matched"] is not None:
        yield f"accuracy={_share(event['matched'], event['supervised'])}"
    elif matches or not event["tokens"]:
        yield f"shown_correct={sum(matches)}/{len(matches)}"


def _share(part: int, whole: int) -> str:
    """Return a share in three decimals; what is not all or nothing never reads as if it were."""
    value = share(part, whole)
    return f"{min(value, 0.999):.3f}" if 0.0005 <= value < 1 else f"{value:.1e}" if 0 < value < 1 else f"{value:.3f}"


def word(text: str) -> str:
    """Return a text that reads as one word, in quotes if it needs them."""
    shown = visible(text, " ")
    return f'"{_escaped(shown)}"' if not shown or _NOT_A_WORD.search(shown) else shown


def _escaped(shown: str) -> str:
    return shown.replace('"', '\\"')


def _pairs(tokens: Sequence[dict[str, Any]], glyphs: Glyphs) -> Iterator[str]:
    """Yield `"label">"prediction"`, or a tick and the label, with the probability of the label."""
    slot = None
    for token in tokens:
        edge = f"{glyphs.divider} " if slot not in {None, token["slot"]} else ""
        slot = token["slot"]
        label = _token(token, "label", glyphs)
        wrong = f"{label}{glyphs.arrow}{_token(token, 'prediction', glyphs)}"
        pair = f"{glyphs.right}{label}" if token["match"] else wrong
        yield f"{edge}{pair} {probability(token['label_logprob'])}"


def _token(token: dict[str, Any], which: str, glyphs: Glyphs) -> str:
    text = token[f"{which}_text"]
    if which == "prediction" and token["match"] is None:
        return UNKNOWN
    if text is None:
        return token_id(token[which])
    return f'"{_escaped(shorten(brief(text, " ", glyphs.times, glyphs.brackets), _WIDEST, glyphs.ellipsis))}"'


def _filled(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))
