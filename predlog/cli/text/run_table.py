"""Several runs compared with the first one → a table per stream and codebook, and the open findings."""

from collections.abc import Callable, Sequence

from predlog.cli.text.paper import Paper
from predlog.cli.text.rows import Cell, add_rows, end_of
from predlog.findings.ledger import Found, across_ranks
from predlog.reading.contrast import Kind
from predlog.reading.curves import Course, Curve, Key
from predlog.reading.reader import Which
from predlog.reading.run_table import Compared, first_difference, keys
from predlog.reading.words import counted, lane, seen, subject
from predlog.reading.words import nats as in_nats
from predlog.records.text import nats, percent
from predlog.sinks.terminal.style import ERROR, HEADING, NAME, PLAIN, RIGHT, WARNING

_KINDS: dict[Kind, str] = {"logprobs": "log-probabilities"}


def name(run: Compared) -> str:
    """Return the path of a run, and its attempt if it was chosen."""
    return f"{seen(run.reading.path)}{attempt_named(run.reading.attempt)}"


def attempt_named(which: Which) -> str:
    """Return which attempt was chosen, to follow a path; nothing if none was."""
    return "" if which is None else ", all attempts" if which == "all" else f", attempt {which}"


def add_run_table(paper: Paper, runs: Sequence[Compared]) -> None:
    """Add how each run went and where it first differs from the first one; without a terminal, a line for each."""
    names = [paper.encodable(name(run)) for run in runs]
    for key in keys(runs):
        mine = [(name, run) for name, run in zip(names, runs, strict=True) if run.curve(key) is not None]
        if paper.is_screen:
            paper.heading(lane(*key))
            _add_lane(paper, key, mine)
        else:
            for each, run in mine:
                paper.line(f"{each}: {_plainly(names[0], key, run)}")
    found = [(each, one) for each, run in zip(names, runs, strict=True) for one in open_findings(run)]
    if found:
        paper.heading("open findings")
    for each, one in found:
        sign = paper.glyphs.error if one.finding.level == "error" else paper.glyphs.warning
        said = f"{seen(one.finding.code)} since step {one.finding.step}, {subject(one.finding)}"
        style = ERROR if one.finding.level == "error" else WARNING
        if paper.is_screen:
            paper.paragraph(f"{each}: {sign} {said}", style)
        else:
            paper.paragraph(f"{each}: finding {said}, is open")


def open_findings(run: Compared) -> list[Found]:
    """Return the findings of a run that are open at its end, those of several ranks once."""
    return [one for one in across_ranks(run.summary.findings) if one.is_open]


def _add_lane(paper: Paper, key: Key, runs: Sequence[tuple[str, Compared]]) -> None:
    curves = [curve for _, run in runs if (curve := run.curve(key)) is not None]
    is_scored = any(curve.loss is not None for curve in curves)
    figure = "loss" if is_scored else "log-probability"
    titles = ["steps", figure, "best", "accuracy", "best", "first difference"]
    rows: list[list[Cell]] = []
    for curve, (_, run) in zip(curves, runs, strict=True):
        values = [str(curve.steps), *_values(curve, is_scored=is_scored)]
        rows.append([*((value, PLAIN) for value in values), _differs(key, run)])
    if add_rows(paper, [each for each, _ in runs], titles, rows):
        return
    for (each, _), row in zip(runs, rows, strict=True):
        steps, loss, best, accuracy, most, (differs, style) = [*(cell for cell, _ in row[:-1]), row[-1]]
        paper.line((end_of(each, paper.width, paper.glyphs.ellipsis).rstrip(), HEADING))
        paper.paragraph(f"  {counted(int(steps), 'step')}, {figure} {loss} (best {best}), {accuracy} (best {most})")
        if run_differs := differs.strip():
            paper.line("  ", (run_differs, style))


def _values(curve: Curve, *, is_scored: bool) -> tuple[str, str, str, str]:
    """Return the last and the best loss and accuracy; without a loss, the log-probability of the labels shown."""
    loss = _last_and_best(curve.loss, nats) if is_scored else _last_and_best(curve.logprob, in_nats)
    return *loss, *_last_and_best(curve.accuracy, percent)


def _last_and_best(course: Course | None, say: Callable[[float | None], str]) -> tuple[str, str]:
    return ("-", "-") if course is None else (say(course.last.value), say(course.best.value))


def _differs(key: Key, run: Compared) -> Cell:
    """Return where a run first differs from the first one: step and kind, and what each is the cause of is left out."""
    if run.difference is None:
        return "", PLAIN
    row = run.row(key)
    if row is None or not row.records:
        return "no step in common", NAME
    if (first := first_difference(row)) is not None:
        return f"step {first.step}: {_KINDS.get(first.kind, first.kind)}", WARNING
    only = [f"{one.steps} {which}" for one, which in ((row.only_b, "more"), (row.only_a, "fewer")) if one.steps]
    if only:
        return f"same; steps: {', '.join(only)}", PLAIN
    return ("same where both have a record", PLAIN) if row.differing else ("same", RIGHT)


def _plainly(first: str, key: Key, run: Compared) -> str:
    curve = run.curve(key)
    assert curve is not None  # noqa: S101 - for the type checker: only runs that have it are shown
    is_scored = curve.loss is not None
    loss, best, accuracy, most = _values(curve, is_scored=is_scored)
    figures = f"{'loss' if is_scored else 'log-probability'} {loss} (best {best}), accuracy {accuracy} (best {most})"
    differs, _ = _differs(key, run)
    beside = f", beside {first}: {differs}" if differs else ""
    return f"stream {lane(*key)}: {counted(curve.steps, 'step')}, {figures}{beside}"
