"""Records as a notebook shows them: HTML, in which every text of a run is escaped.

A notebook's theme may be light or dark, and doesn't say which. So the colours can be read on both, and what is less
important is faint. Styles are at each element, because many viewers remove all others.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any, Final

from predlog.records.text import harmless, lacking, nats, percent, probability, sample_name, share
from predlog.records.token_text import UNKNOWN, WIDEST, cut, token_text

_RIGHT, _WRONG, _UNSURE = "#258f3f", "#e03e44", "#a87200"
# One for each stream, in the order in which they appear, as on a terminal.
STREAMS: Final = ("#0a8599", "#c04fae", "#4a78d6", "#bb6a1c")
_LEVELS = {"error": (_WRONG, "✗"), "warning": (_UNSURE, "!"), "info": (_RIGHT, "✓")}
FULL: Final = ("position", "input", "label", "prediction", "p(label)", "rank")
COMPACT: Final = ("short label", "pred", "p")
_FONT = "font:13px/1.45 var(--jp-code-font-family,ui-monospace,SFMono-Regular,Menlo,Consolas,monospace)"
_CELL = "text-align:left;white-space:pre;border:0;padding:0 1em 0 0;background:none"
_FAINT = "opacity:.65;font-weight:normal"
_ARROW = "→"
CODEBOOKS = f"one row per codebook: loss, correct, label{_ARROW}prediction"
# Cells of a token in the full form, the same as on a terminal, and tokens of a row, from both ends.
_LONGEST, _MOST_TOKENS = 24, 40


def comparison(record: Any) -> str:
    """Return a comparison as a table: one column per token, its prediction in green with a tick if it is correct."""
    table = _table([*_sample(record, FULL, (), "", "")])
    return f"<div>{table}{''.join(_passages(record.window or ()))}</div>"


def comparisons(
    records: Iterable[Any], names: Sequence[str] = FULL, *, errors: Mapping[str, Sequence[str]], note: str = "",
    colours: Mapping[str, str],
) -> str:  # fmt: skip
    """Return comparisons as one table, in which each codebook of a sample is a row.

    `names` are the rows of a sample without codebooks. By stream, `errors` has the codes of its open errors, and
    `colours` its colour. The note is below the first heading of a stream whose inputs are not known.
    """
    rows: list[str] = []
    for (_, stream, _, codebook), group in groupby(records, lambda one: (*_place(one), one.codebook is not None)):
        first, *more = group
        how = errors.get(stream, ()), colours.get(stream, ""), _note(first, note)
        note = note if how[2] == "" else ""
        if not codebook:
            for one in (first, *more):
                rows += _sample(one, names, *how)
        else:
            rows.append(_heading([*where(first), partial(first), CODEBOOKS], first, *how))
            rows += [_codebook(one) for one in (first, *more)]
    return _table(rows)


def page(title: str, parts: Iterable[str]) -> str:
    """Return parts as a page of its own, for a viewer that shows files; it loads nothing and runs nothing."""
    return (
        '<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src'
        " 'none'; style-src 'unsafe-inline'\"><style>:root{color-scheme:light dark}body{margin:.5em}</style>"
        f"<title>{text(title)}</title>{''.join(parts)}"
    )


def finding(record: Any) -> str:
    """Return a finding as a paragraph: its sign, its code, where, what and what to do."""
    colour, sign = _LEVELS.get(record.level, _LEVELS["warning"])
    more = f' More: <code style="white-space:nowrap">{text(record.help)}</code>' if record.help else ""
    title = f'<b style="color:{colour}">{sign} {text(record.code)}</b>, step {record.step}'
    return f"<div>{title}: {text(record.message)}{more}</div>"


def remark(line: str) -> str:
    """Return a line that is less important than what is around it."""
    return f'<div style="{_FAINT}">{text(line)}</div>'


def facts(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return names and values, one per row, under a title."""
    lines = "".join(
        f'<tr style="background:none"><th style="{_CELL};{_FAINT}">{text(name)}</th>'
        f'<td style="{_CELL};white-space:pre-wrap">{text(value)}</td></tr>'
        for name, value in rows
    )
    return f"<div><b>{text(title)}</b>{_table([lines])}</div>"


def reading(path: object, files: Sequence[object], last: Iterable[str]) -> str:
    """Return a path, how many files it names, and its last records, which are HTML already."""
    many = "1 file" if len(files) == 1 else f"{len(files)} files"
    return f"<div>predlog.read(<code>{text(repr(str(path)))}</code>): {many}{''.join(last)}</div>"


def inspection(summary: str, findings: Iterable[Any], comparisons: Iterable[Any], remarks: Iterable[str]) -> str:
    """Return what one look at a pair has shown: its findings first, then its tables, then what is undecided."""
    shown = [*map(finding, findings), *map(comparison, comparisons), *map(remark, remarks)]
    return f"<div><div><b>{text(summary)}</b></div>{''.join(shown)}</div>"


def text(value: str) -> str:
    """Return any text as HTML that shows it, and does nothing else."""
    return escape(harmless(value))


def correct(record: Any) -> str:
    """Return how many predictions are correct."""
    if record.matched is not None and record.supervised:
        return f"{percent(share(record.matched, record.supervised))} correct"
    known = [token.match for token in record.tokens if token.match is not None]
    return f"{sum(known)} of {len(known)} shown correct" if known or not record.tokens else ""


def _place(record: Any) -> tuple[int, str, int]:
    return record.step, record.stream, record.sample


def _note(record: Any, note: str) -> str:
    return note if record.tokens and record.tokens[0].input is None else ""


def where(record: Any) -> list[str]:
    """Return step, stream and sample, and the rank unless it is the first."""
    rank = f" rank {record.rank}" if record.rank else ""
    return [f"step {record.step}", record.stream, f"sample {sample_name(record.sample, record.sample_id)}{rank}"]


def heading(parts: Iterable[str], errors: Iterable[str]) -> list[str]:
    """Return the parts of a heading that say something, with the open errors after step, stream and sample."""
    known = [part for part in parts if part]
    return [*known[:3], *(f"✗ {code}" for code in errors), *known[3:]]


def figures(record: Any) -> list[str]:
    """Return what the console's heading says: what is missing, loss, accuracy, not finite, supervised positions."""
    loss = "" if record.loss is None else f"loss {nats(record.loss)}"
    not_finite = f"{record.nonfinite} probabilities not finite" if record.nonfinite else ""
    length = record.length - (record.missing_rows or 0)
    if not record.supervised:
        return [partial(record), loss, not_finite, f"nothing supervised: every label of {length} is ignored"]
    supervised = f"{record.supervised} of {length} supervised"
    return [partial(record), loss, correct(record), not_finite, supervised]


def partial(record: Any) -> str:
    """Return what a joined comparison has no parts of."""
    return lacking(record.missing_ids, record.missing_rows)


def _table(rows: Iterable[str]) -> str:
    # Wide rows are scrolled, and not wrapped.
    table = f'<table style="{_FONT};border-collapse:collapse;margin:0">{"".join(rows)}</table>'
    return f'<div style="overflow-x:auto">{table}</div>'


def _heading(parts: Sequence[str], record: Any, errors: Sequence[str], colour: str, note: str) -> str:
    shown = list(map(text, heading(parts, errors)))
    if colour and not errors:
        shown[1] = f'<span style="color:{colour}">{shown[1]}</span>'
    style = f"{_CELL};padding-top:.5em"
    if errors or not record.supervised:
        style += f";color:{_WRONG if errors else _UNSURE}"
    below = f'<span style="{_FAINT}">\n  {text(note)}</span>' if note else ""
    width = min(len(record.tokens), _MOST_TOKENS) + 1
    return f'<tr style="background:none"><th colspan="{width}" style="{style}">{" · ".join(shown)}{below}</th></tr>'


def _sample(record: Any, names: Sequence[str], errors: Sequence[str], colour: str, note: str) -> Iterator[str]:
    place = where(record)
    if record.codebook is not None:
        place[1] += f" codebook {record.codebook}"
    yield _heading([*place, *figures(record)], record, errors, colour, note)
    tokens, edges = shown(record.tokens)
    for name in names if tokens else ():
        if name != "input" or any(token.input is not None for token in tokens):
            yield _row(name.removeprefix("short "), [_VALUES[name](token) for token in tokens], edges)


def _passages(window: Iterable[Any]) -> Iterator[str]:
    """Yield the text around the tokens: what was read, faint, a bar where labels begin, and what is left out."""
    for one in window:
        missing = f" … {one.left_out} tokens … " if one.left_out else ""
        bar = "▏" if one.read and one.asked else ""
        yield f'<span style="{_FAINT}">{missing}{text(one.read or "")}</span>{bar}{text(one.asked)}'


def _codebook(record: Any) -> str:
    tokens, edges = shown(record.tokens)
    loss = "" if record.loss is None else f"{nats(record.loss):>6}"
    right = correct(record).removesuffix(" correct").removesuffix(" shown") or UNKNOWN
    return _row(f"{record.codebook:>2} {loss} {right:>6} of {record.supervised}", map(_pair, tokens), edges)


def shown(tokens: Sequence[Any]) -> tuple[Sequence[Any], Mapping[int, str]]:
    """Return the tokens that are shown, and what is at the left of some: a line where the last ones begin, or `…`."""
    kept = tokens if len(tokens) <= _MOST_TOKENS else [*tokens[: _MOST_TOKENS // 2], *tokens[-_MOST_TOKENS // 2 :]]
    edges = {number: "│" for number in range(1, len(kept)) if kept[number].slot != kept[number - 1].slot}
    return kept, edges if kept is tokens else {**edges, _MOST_TOKENS // 2: "…"}


def _row(name: str, cells: Iterable[str], edges: Mapping[int, str]) -> str:
    shown = [
        f'<td style="{_CELL}">{f"{_EDGES[edges[number]]}" if number in edges else ""}{cell}</td>'
        for number, cell in enumerate(cells)
    ]
    return f'<tr style="background:none"><th style="{_CELL};{_FAINT}"> {name}</th>{"".join(shown)}</tr>'


_EDGES = {edge: f'<span style="{_FAINT}">{edge} </span>' for edge in "│…"}


def _token(number: int | None, decoded: str | None, longest: int = _LONGEST) -> str:
    if decoded is None and number is None:
        return "-"
    return escape(cut(token_text(decoded, number), longest))


def _predicted(token: Any, longest: int = _LONGEST) -> str:
    if token.match is None:
        return UNKNOWN
    return "nan" if token.prediction is None else _token(token.prediction, token.prediction_text, longest)


def _judged(token: Any, shown: str) -> str:
    """Return a prediction in the colour of what it is; without one if that is not known."""
    return f" {shown}" if token.match is None else _right(shown) if token.match else _wrong(f" {shown}")


def _right(shown: str) -> str:
    return f'<span style="color:{_RIGHT}">✓{shown}</span>'


def _wrong(shown: str) -> str:
    return f'<span style="color:{_WRONG}">{shown}</span>'


def _pair(token: Any) -> str:
    label = _token(token.label, token.label_text, WIDEST)
    if token.match:
        return _right(label)
    return f"{label}{_ARROW}{_predicted(token) if token.match is None else _wrong(_predicted(token, WIDEST))}"


# Labels begin where predictions do, after the place of the tick.
_VALUES: Final[Mapping[str, Any]] = {
    "position": lambda token: f" {token.position}",
    "input": lambda token: f" {_token(token.input, token.input_text)}",
    "label": lambda token: f" {_token(token.label, token.label_text)}",
    "prediction": lambda token: _judged(token, _predicted(token)),
    "p(label)": lambda token: f" {probability(token.label_logprob)}",
    "short label": lambda token: f" {_token(token.label, token.label_text, WIDEST)}",
    "pred": lambda token: _judged(token, "" if token.match else _predicted(token, WIDEST)),
    "p": lambda token: f" {probability(token.label_logprob)}",
    "rank": lambda token: f" {'-' if token.label_rank is None else token.label_rank}",
}
