"""The runs of a folder → a row each; on a terminal that is too narrow for columns, and in a pipe, in words."""

import time
from collections.abc import Sequence
from pathlib import Path

from predlog.cli.text.paper import Paper
from predlog.cli.text.rows import Cell, add_rows, end_of
from predlog.reading.listing import Listed, state
from predlog.reading.words import counted, moment, seen
from predlog.records.text import nats, percent
from predlog.sinks.terminal.style import ERROR, HEADING, NAME, PLAIN, RIGHT, WARNING

_STATES = {
    "running": RIGHT, "ended": PLAIN, "interrupted": WARNING, "failed": ERROR, "stopped": WARNING, "packed": NAME,
}  # fmt: skip
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_TITLES = ("step", "loss", "accuracy", "state", "age", "open findings")


def age(seconds: float) -> str:
    """Return how long ago something was, in the largest unit that is not above it."""
    unit, length = max(((unit, one) for unit, one in _UNITS.items() if one <= max(seconds, 1)), key=lambda one: one[1])
    return f"{int(max(seconds, 0) / length)} {unit}"


def add_runs(paper: Paper, runs: Sequence[Listed], folder: Path | None = None) -> None:
    """Add the runs, and, if findings may be missing, a line that says so.

    `folder` is where all of them are: where there is no room for their paths, their names in it have to do.
    """
    now = time.time()
    if not paper.is_screen:
        for one in runs:
            paper.line(_plainly(one, now))
    elif runs:
        _add_rows(paper, runs, now, folder)
        if any(map(_may_have_more, runs)):
            what = "+?: only the beginning and the end of a long file are read; predlog check reads all of it"
            paper.paragraph(what, NAME)


def _add_rows(paper: Paper, runs: Sequence[Listed], now: float, folder: Path | None) -> None:
    names = [paper.encodable(seen(one.path)) for one in runs]
    shorter = [paper.encodable(seen(one.name)) for one in runs]
    short = None if folder is None else (paper.encodable(f"in {seen(folder)}"), shorter)
    rows = [
        [*((cell, _STATES.get(cell, PLAIN)) for cell in _figures(one, now)), found]
        for one in runs
        for found in [_found(paper, one)]
    ]
    if not add_rows(paper, names, _TITLES, rows, short=short):
        for name, one in zip(names if short is None else shorter, runs, strict=True):
            _add_stacked(paper, name, one, now)


def _figures(one: Listed, now: float) -> tuple[str, ...]:
    step = "-" if one.step is None else str(one.step)
    return step, nats(one.loss), percent(one.accuracy), state(one), age(now - one.at)


def _may_have_more(one: Listed) -> bool:
    return not one.is_complete and not one.is_packed


def _found(paper: Paper, one: Listed) -> Cell:
    """Return the code of the first open finding, which is the worst, and how many more there are."""
    if one.is_packed:
        return "-", NAME
    maybe = " +?" if _may_have_more(one) else ""
    if not one.findings:
        return f"none{maybe}", NAME
    worst = one.findings[0]
    is_error = worst.level == "error"
    more = f" +{len(one.findings) - 1}" if len(one.findings) > 1 else ""
    text = f"{paper.glyphs.error if is_error else paper.glyphs.warning} {seen(worst.code)}{more}{maybe}"
    return paper.encodable(text), ERROR if is_error else WARNING


def _add_stacked(paper: Paper, name: str, one: Listed, now: float) -> None:
    """Add a run in lines below each other: its name, its figures, and its findings."""
    step, loss, accuracy, is_what, ago = _figures(one, now)
    paper.line((end_of(name, paper.width, paper.glyphs.ellipsis).rstrip(), HEADING))
    paper.line("  ", (is_what, _STATES[is_what]), f" {paper.glyphs.dot} {ago}")
    if one.step is not None:
        paper.paragraph(f"  {f' {paper.glyphs.dot} '.join([f'step {step}', f'loss {loss}', accuracy])}")
    if one.findings or _may_have_more(one):
        paper.line("  ", _found(paper, one))


def _plainly(one: Listed, now: float) -> str:
    """Return a run in one line, every figure with its name."""
    parts: list[str] = [f"{state(one)} by {seen(one.error)}" if state(one) == "failed" else state(one)]
    if one.step is not None:
        parts.append(f"step {one.step} of {seen(one.stream)}")
        parts += [f"loss {nats(one.loss)}"] if one.loss is not None else []
        parts += [f"accuracy {percent(one.accuracy)}"] if one.accuracy is not None else []
    if one.timestamp is not None:
        parts.append(f"latest record {moment(one.timestamp)} ({age(now - one.at)} ago)")
    codes = ", ".join(seen(finding.code) for finding in one.findings)
    if not one.is_packed:
        parts.append(f"{counted(len(one.findings), 'open finding')}{f': {codes}' if codes else ''}")
    if _may_have_more(one):
        parts.append("a long file, of which only the beginning and the end were read")
    return f"{seen(one.path)}: {', '.join(parts)}"
