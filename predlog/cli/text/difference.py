"""What differs between two runs → its lines."""

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.table import Column, Table
from rich.text import Text

from predlog.cli.text.findings import add_open
from predlog.cli.text.paper import Paper, Part
from predlog.reading.contrast import Alone, First, Kind, Misses, Row
from predlog.reading.diff import Difference
from predlog.reading.words import counted, lane
from predlog.reading.words import nats as in_nats
from predlog.records.schema import Token
from predlog.records.text import nats, percent, sample_name, visible
from predlog.sinks.terminal.style import HEADING, NAME, PLAIN, RIGHT, WARNING, WRONG, known, quoted

_SAYS: dict[Kind, str] = {
    "labels": "labels differ, so the runs saw other data,",
    "inputs": "inputs differ",
    "predictions": "predictions differ",
    "logprobs": "log-probabilities differ by more than rounding",
    "ranks": "ranks differ",
    "losses": "losses of all supervised tokens differ",
}
# Cells of a number at least, and between two columns.
_NUMBER, _GAP = 6, 2


def add_difference(paper: Paper, found: Difference, most: int) -> None:
    """Add where two runs differ, how their streams compare, and what only one predicts correctly."""
    rows = list(found.rows.values())
    for name, ones in zip("AB", found.open_findings, strict=True):
        for one in ones:
            paper.line((f"in {name}:", NAME))
            add_open(paper, one)
    paper.heading("where they differ")
    for line in _where(found, rows):
        paper.paragraph(line, WARNING)
    for name, (a, b) in found.settings.items():
        paper.paragraph(
            f"settings: {visible(name, ' ')} is {visible(str(a), ' ')} in A, {visible(str(b), ' ')} in B", NAME
        )
    shared = [row for row in rows if row.records]
    if shared:
        paper.heading("at the steps that both have")
        if not (paper.is_screen and paper.table(_table(paper, shared))):
            for row in shared:
                paper.paragraph(_plainly(row))
    if any(row.score.only_a or row.score.only_b for row in rows):
        _add_tokens(paper, found, rows, most)


def _where(found: Difference, rows: Sequence[Row]) -> Iterator[str]:
    firsts = [one for kind, one in found.first.items() if kind in _SAYS]
    if firsts:
        earliest = min(firsts, key=lambda one: one.step)
        yield f"first difference at step {earliest.step}: {earliest.kind}"
    else:
        yield (
            "common records are the same" if any(row.records for row in rows) else "no stream has a step in both runs"
        )
    if (token := found.first_token) is not None and token.a is not None and token.b is not None:
        yield _first_token(token, token.a, token.b)
    for kind, first in found.first.items():
        if kind in _SAYS:
            count = sum(row.differing.get(kind, 0) for row in rows)
            records = sum(row.records for row in rows)
            yield f"{_SAYS[kind]} in {count} of {counted(records, 'record')}, first at {_place(first)}{_tokens(first)}"
    if "labels" in found.first:
        same = sum(row.score.tokens for row in rows)
        yield (
            "where labels differ, accuracy and log-probability are of different tokens; of the tokens shown, "
            f"{same} have the same label at the same place, and only these are compared one by one"
        )
    if lone := found.first.get("records"):
        count = sum(row.differing.get("records", 0) for row in rows)
        only = "A" if lone.only == "a" else "B"
        yield f"{counted(count, 'record')} of other samples or ranks, first at {_place(lone)}: only {only} has it"
    yield from _alone(rows)


def _alone(rows: Sequence[Row]) -> Iterator[str]:
    for stream in dict.fromkeys(row.stream for row in rows):
        mine = [row for row in rows if row.stream == stream]
        for name, ones in (("A", [row.only_a for row in mine]), ("B", [row.only_b for row in mine])):
            if any(one.steps for one in ones):
                yield f"only {name} has {_range(ones)} of {lane(stream, None)}"


def _range(ones: Iterable[Alone]) -> str:
    known = [one for one in ones if one.first_step is not None and one.last_step is not None]
    first, last = min(one.first_step or 0 for one in known), max(one.last_step or 0 for one in known)
    count = counted(max(one.steps for one in known), "step")
    return f"{count}, {first}," if first == last else f"{count}, {first} to {last},"


def _place(first: First) -> str:
    sample = "" if first.sample is None else f", sample {sample_name(first.sample, first.sample_id)}"
    rank = f", rank {first.rank}" if first.rank else ""
    position = "" if first.position is None else f", position {first.position}"
    return f"step {first.step}, {lane(first.stream, first.codebook)}{sample}{rank}{position}"


def _tokens(first: First) -> str:
    """Return what two tokens have of the kind that differs."""
    a, b = first.a, first.b
    if first.kind == "losses":
        return ""
    if a is None or b is None:
        return ": not among the tokens shown"
    match first.kind:
        case "labels" | "inputs":
            return _data(first.kind, a, b)
        case "predictions":
            said = f"A {text(a, 'prediction')}, B {text(b, 'prediction')}"
        case "logprobs":
            said = f"A {a.label_logprob}, B {b.label_logprob}"
        case _:
            said = f"A {a.label_rank}, B {b.label_rank}"
    return f": label {text(a, 'label')}, {said}"


def _data(kind: str, a: Token, b: Token) -> str:
    which = kind.removesuffix("s")
    return f": A {text(a, which)}, B {text(b, which)}"


def _first_token(first: First, a: Token, b: Token) -> str:
    """Return the first token that differs, the log-probabilities of its label, and what both runs predict."""
    said = _data(first.kind, a, b) if first.kind in {"labels", "inputs"} else f": label {text(a, 'label')}"
    logprobs = f"log-probability {known(a.label_logprob)} in A and {known(b.label_logprob)} in B"
    predictions = f"A predicts {text(a, 'prediction')}, B {text(b, 'prediction')}"
    return f"first token that differs: {_place(first)}{said}, {logprobs}; {predictions}"


def text(token: Token, which: str) -> str:
    """Return a token's text in quotes, or its id."""
    return quoted(getattr(token, f"{which}_text"), getattr(token, which))


# In words A, B and B - A, and whether B is better: above 0 if it is.
_Figure = tuple[str, str, str, float]


def _figures(row: Row, *, is_scored: bool) -> dict[str, _Figure]:
    """Return loss and accuracy of both; without a loss of all tokens, accuracy and log-probability."""
    accuracies, logprobs, losses = (
        (row.a.accuracy, row.b.accuracy),
        (row.a.logprob, row.b.logprob),
        (row.a.loss, row.b.loss),
    )
    accuracy = (percent(accuracies[0]), percent(accuracies[1]), *_change(*accuracies, scale=100, digits=1))
    if is_scored:
        said, change = _change(*losses, scale=1, digits=3)
        return {"loss": (nats(losses[0]), nats(losses[1]), said, -change), "accuracy": accuracy}
    logprob = (in_nats(logprobs[0]), in_nats(logprobs[1]), *_change(*logprobs, scale=1, digits=2))
    return {"accuracy": accuracy, "log-probability": logprob}


def _change(a: float | None, b: float | None, *, scale: float, digits: int) -> tuple[str, float]:
    if a is None or b is None:
        return "-", 0.0
    change = scale * (b - a)
    return (f"{change:+.{digits}f}" if change else f"{0:.{digits}f}"), change


def _table(paper: Paper, rows: Sequence[Row]) -> Table:
    """Return three tables side by side: which curve it is, and two figures of it."""
    names = [paper.encodable(lane(row.stream, row.codebook)) for row in rows]
    first = _part(" ", Column(style=HEADING, width=max(map(cell_len, names))), Column("steps", justify="right"))
    for name, row in zip(names, rows, strict=True):
        first.add_row(name, str(row.steps))
    is_scored = any(row.a.loss is not None for row in rows)
    figures = [_figures(row, is_scored=is_scored) for row in rows]
    whole = Table.grid(padding=(0, _GAP, 0, 0))
    whole.add_row(first, *(_figure_part(title, [one[title] for one in figures]) for title in figures[0]))
    return whole


def _figure_part(title: str, figures: Iterable[_Figure]) -> Table:
    part = _part(title, *(Column(name, justify="right", min_width=_NUMBER) for name in ("A", "B", "B - A")))
    for a, b, said, better in figures:
        part.add_row(a, b, Text(said, RIGHT if better > 0 else WRONG if better < 0 else PLAIN))
    return part


def _part(title: str, *columns: Column) -> Table:
    return Table(
        *columns, title=title, title_justify="right", title_style=NAME, header_style=NAME, box=None, pad_edge=False,
        padding=(0, _GAP, 0, 0),
    )  # fmt: skip


def _plainly(row: Row) -> str:
    figures = _figures(row, is_scored=row.a.loss is not None).items()
    said = ", ".join(f"{title} A {a}, B {b}, B - A {change}" for title, (a, b, change, _) in figures)
    return f"stream {lane(row.stream, row.codebook)}: {counted(row.steps, 'step')} in both, {said}"


def _add_tokens(paper: Paper, found: Difference, rows: Sequence[Row], most: int) -> None:
    tokens, both = sum(row.score.tokens for row in rows), sum(row.score.both for row in rows)
    neither = sum(row.score.neither for row in rows)
    paper.heading("tokens that only one predicts correctly")
    shown = f"of {counted(tokens, 'token')} with the same label at the same place"
    paper.paragraph(f"{shown}, {both} are correct in both and {neither} in neither")
    for name, other, count in (
        ("a", "B", sum(row.score.only_a for row in rows)),
        ("b", "A", sum(row.score.only_b for row in rows)),
    ):
        paper.paragraph(f"correct in {name.upper()} and wrong in {other}: {count}")
        for row, one in found.worst("a" if name == "a" else "b", most):
            paper.line(*_missed(paper, row, one, name.upper(), other, has_lane=len(rows) > 1))


def _missed(paper: Paper, row: Row, one: Misses, name: str, other: str, *, has_lane: bool) -> Iterator[Part]:
    where = f" of {lane(row.stream, row.codebook)}" if has_lane else ""
    start = "  " if paper.is_screen else f"correct in {name}: "
    yield f"{start}{one.count:>5} × " if paper.glyphs.arrow == "→" else f"{start}{one.count:>5} x "
    yield quoted(one.text, one.label), RIGHT
    yield f"{where}, first at step {one.step}, where {other} has "
    yield text(one.other, "prediction"), WRONG
