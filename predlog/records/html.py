"""Records as a notebook shows them: HTML, in which every text of a run is escaped."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from predlog.records.text import harmless, percent, probability, share

_RIGHT, _WRONG, _GREY = "#1a7f37", "#cf222e", "#57606a"
_LEVELS = {"error": (_WRONG, "✗"), "warning": ("#9a6700", "!"), "info": (_RIGHT, "✓")}


def comparison(record: Any) -> str:
    """Return a comparison as a table: one column per token, its prediction in green with a tick if it is correct."""
    codebook = "" if record.codebook is None else f" codebook {record.codebook}"
    heading = f"step {record.step} · {text(record.stream)}{codebook} · sample {record.sample} · {correct(record)}"
    return (
        f"<div><b>{heading} · {record.supervised} of {record.length} supervised</b>"
        f"{''.join(_passages(record.window or ()))}<table>{''.join(_rows(record.tokens))}</table></div>"
    )


def finding(record: Any) -> str:
    """Return a finding as a paragraph: its sign, its code, where, what and what to do."""
    colour, sign = _LEVELS.get(record.level, _LEVELS["warning"])
    more = f" More: <code>{text(record.help)}</code>" if record.help else ""
    title = f'<b style="color:{colour}">{sign} {text(record.code)}</b>, step {record.step}'
    return f"<div>{title}: {text(record.message)}{more}</div>"


def reading(path: object, files: Sequence[object], last: Iterable[str]) -> str:
    """Return a path, how many files it names, and its last records, which are HTML already."""
    many = "1 file" if len(files) == 1 else f"{len(files)} files"
    return f"<div>predlog.read(<code>{text(repr(str(path)))}</code>): {many}{''.join(last)}</div>"


def inspection(summary: str, findings: Iterable[Any], comparisons: Iterable[Any], remarks: Iterable[str]) -> str:
    """Return what one look at a pair has shown: its findings first, then its tables, then what is undecided."""
    lines = [f'<div style="color:{_GREY}">{text(line)}</div>' for line in remarks]
    shown = [*map(finding, findings), *map(comparison, comparisons), *lines]
    return f"<div><div><b>{text(summary)}</b></div>{''.join(shown)}</div>"


def text(value: str) -> str:
    """Return any text as HTML that shows it, and does nothing else."""
    return escape(harmless(value))


def correct(record: Any) -> str:
    """Return how many predictions are correct."""
    if record.matched is not None and record.supervised:
        return f"{escape(percent(share(record.matched, record.supervised)))} correct"
    return f"{sum(token.match for token in record.tokens)} of {len(record.tokens)} shown correct"


def _rows(tokens: Sequence[Any]) -> Iterator[str]:
    rows = {
        "position": [str(token.position) for token in tokens],
        "input": [_token(token.input, token.input_text) for token in tokens],
        "label": [_token(token.label, token.label_text) for token in tokens],
        "prediction": [_prediction(token) for token in tokens],
        "p(label)": [probability(token.label_logprob) for token in tokens],
        "rank": ["-" if token.label_rank is None else str(token.label_rank) for token in tokens],
    }
    # The first tokens and the last ones are apart.
    edges = [number for number in range(1, len(tokens)) if tokens[number].slot != tokens[number - 1].slot]
    for name, cells in rows.items():
        if name != "input" or any(token.input is not None for token in tokens):
            yield f'<tr><th style="text-align:left">{name}</th>{"".join(_cells(cells, edges))}</tr>'


def _passages(window: Iterable[Any]) -> Iterator[str]:
    """Yield the text around the tokens: what was read in grey, a bar where labels begin, and what is left out."""
    for one in window:
        missing = f" … {one.left_out} tokens … " if one.left_out else ""
        bar = "▏" if one.read and one.asked else ""
        yield f'<span style="color:{_GREY}">{missing}{text(one.read or "")}</span>{bar}{text(one.asked)}'


def _cells(cells: Sequence[str], edges: Sequence[int]) -> Iterator[str]:
    for number, cell in enumerate(cells):
        edge = ";border-left:1px solid" if number in edges else ""
        yield f'<td style="text-align:left;white-space:pre{edge}">{cell}</td>'


def _token(number: int | None, decoded: str | None) -> str:
    return text(decoded) if decoded is not None else "-" if number is None else str(number)


def _prediction(token: Any) -> str:
    colour, sign = (_RIGHT, "✓ ") if token.match else (_WRONG, "")
    shown = "nan" if token.prediction is None else _token(token.prediction, token.prediction_text)
    return f'<span style="color:{colour}">{sign}{shown}</span>'
