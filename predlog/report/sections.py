"""Summary of a run → the texts and tables of its page: head, streams, tokens, findings, attempts."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from predlog.findings.catalog import CODES, page
from predlog.findings.ledger import Found
from predlog.reading.coverage import unchecked
from predlog.reading.curves import Course, Curve
from predlog.reading.forgetting import Sights
from predlog.reading.runs import Attempt
from predlog.reading.summary import Key, Summary
from predlog.reading.words import (
    counted,
    lacking,
    lane,
    left_out,
    moment,
    number,
    place,
    seen,
    seen_json,
    steps,
    subject,
)
from predlog.records.text import nats, percent
from predlog.records.token_text import token_cell
from predlog.report.cell_links import CellLinks
from predlog.report.contents import Contents
from predlog.report.film_strip import shown

# Width and height of a small curve.
_SPARK = 96, 22
_MOST_NAMED = 5


class Note(NamedTuple):
    """A line at the top: its kind (good, bad, warn or plain), its text, and a link to where the page has more."""

    kind: str
    text: str
    href: str = ""
    link: str = ""


class OfRun(NamedTuple):
    """The run that a row is of: its place on the page and its name; neither if it is the only one."""

    place: int | None
    name: str

    @property
    def address(self) -> str:
        """Return what a link to the strip adds, to choose the run."""
        return "" if self.place is None else f"&{urlencode({'run': self.name})}"


ALONE: Final = OfRun(None, "")


# --- head ---------------------------------------------------------------------------------------------------------
def facts(summary: Summary) -> Iterator[str]:
    """Yield the facts under the title: how much was logged, when, and with which versions."""
    curves = summary.curves.values()
    if curves:
        yield steps(min(curve.first_step for curve in curves), max(curve.last_step for curve in curves))
    yield counted(sum(curve.records for curve in curves), "comparison")
    yield counted(len(summary.ranks), "rank")
    if runs := summary.runs:
        yield f"started {moment(runs[0].timestamp)} UTC"
        versions = runs[-1].versions
        yield from (f"{name} {seen(versions[name])}" for name in ("predlog", "torch") if name in versions)


def notes(summary: Summary, damage: int, of_run: str = "") -> Iterator[Note]:
    """Yield the notes under the title: open findings, comparisons missing or without parts, refused pairs, damage.

    `of_run` is the end of the ids of what they lead to.
    """
    opened = [one for one in summary.findings if one.is_open]
    not_checked = list(unchecked(summary.coverage))
    if opened:
        yield _open(opened)
    else:
        yield Note("good", "No open findings in what was checked." if not_checked else "No open findings.")
    if summary.left_out:
        earlier = left_out(summary.left_out)
        yield Note("plain", f"{earlier[0].upper()}{earlier[1:]}.")
    if not_checked:
        listed = "; ".join(f"{one.what} ({one.why}: {_streams(one.streams)})" for one in not_checked)
        yield Note("plain", f"Not checked: {listed}.")
    missing = sum(gap.count for gap in summary.gaps)
    if missing:
        yield Note("warn", f"Captured, but missing here: {counted(missing, 'comparison')}.", f"#missing{of_run}", "Why")
    if lacks := [*summary.lacks]:
        named = "; ".join(map(lacking, lacks[:_MOST_NAMED]))
        others = sum(one.many for one in lacks[_MOST_NAMED:])
        more = f"; {counted(others, 'comparison')} more lack parts" if others else ""
        yield Note("warn", f"Partial: {named}{more}.")
    if refused := summary.lost["refused"]:
        yield Note("warn", f"Refused, because they can't be compared: {counted(refused, 'pair')}.", "#findings", "Why")
    if damage:
        yield Note("warn", f"Damaged in the files: {counted(damage, 'place')}.", f"#damage{of_run}", "Which")


def _streams(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(map(seen, names[:_MOST_NAMED]))}{more}"


def _open(found: Sequence[Found]) -> Note:
    ones = [one.finding for one in found]
    named = "; ".join(f"{seen(one.code)} ({subject(one)}, step {one.step})" for one in ones[:_MOST_NAMED])
    more = f" and {len(ones) - _MOST_NAMED} more" if len(ones) > _MOST_NAMED else ""
    kind = "bad" if any(one.level == "error" for one in ones) else "warn"
    return Note(kind, f"{counted(len(ones), 'open finding')}: {named}{more}.", "#findings", "What to do")


def errors(summary: Summary) -> list[str]:
    """Return the names of the open errors, for the film strip."""
    ones = [one.finding for one in summary.findings if one.is_open and one.finding.level == "error"]
    return [f"{seen(one.code)} ({subject(one)})" for one in ones[:_MOST_NAMED]]


# --- streams ------------------------------------------------------------------------------------------------------
def streams(curves: Sequence[Curve], names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield one row per stream and codebook, with the figures of these names, as `measures` has them."""
    of_shown = {
        "supervised": "",
        "shown": "accuracy of the tokens shown",
        "both": "accuracy in part of the tokens shown",
    }
    for curve in curves:
        points = curve.points
        logs = [None if point.rank is None else math.log(point.rank) for point in points]
        of = {
            "loss": _measure(curve.loss, nats, [point.loss for point in points]),
            "accuracy": _measure(curve.accuracy, percent, [point.accuracy for point in points]),
            "logprob": _measure(curve.logprob, "{:.3f}".format, [point.logprob for point in points]),
            "rank": _measure(curve.rank, "{:,g}".format, logs),
        }
        yield {
            **_named(curve.stream, curve.codebook),
            "note": of_shown[curve.counted],
            "steps": number(curve.steps),
            "records": number(curve.records),
            "supervised": percent(curve.share),
            "measures": [of[name] for name in names],
        }


def measures(curves: Sequence[Curve]) -> dict[str, str]:
    """Return the titles of the figures shown, by name: the loss if any has one, the log-probability if any has none."""
    wanted = {"loss": "loss", "accuracy": "accuracy", "logprob": "log-probability", "rank": "rank"}
    if all(curve.loss is None for curve in curves):
        del wanted["loss"]
    elif all(curve.loss is not None for curve in curves):
        del wanted["logprob"]
    return wanted


def _named(stream: str, codebook: int | None) -> dict[str, str]:
    """Return a stream and its codebook, together and apart: if there is little room, only the stream's name is cut."""
    part = "" if codebook is None else f"codebook {codebook}"
    return {"title": lane(stream, codebook), "stream": seen(stream), "codebook": part}


def _measure(course: Course | None, written: Callable[[float], str], values: Sequence[float | None]) -> dict[str, str]:
    if course is None:
        return {"first": "-", "last": "-", "best": "-", "best_step": "", "spark": ""}
    texts = {name: written(mark.value) for name, mark in course._asdict().items()}
    curve = spark([value for value in values if value is not None])
    return {**texts, "best_step": f"step {course.best.step}", "spark": curve}


def spark(values: Sequence[float]) -> str:
    """Return the corners of a small curve; none for fewer than two values."""
    if len(values) < 2:
        return ""
    width, height = _SPARK
    values = [*values[: -1 : math.ceil(len(values) / width)], values[-1]]
    lowest = min(values)
    span = max(values) - lowest or 1.0
    corners = (
        (width * place / (len(values) - 1), height - 2 - (height - 4) * (value - lowest) / span)
        for place, value in enumerate(values)
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def _of_run(link: str, of: OfRun) -> str:
    return link and link + of.address


# --- tokens -------------------------------------------------------------------------------------------------------
def tokens(found: dict[Key, list[Sights]], links: CellLinks, of: OfRun) -> Iterator[dict[str, Any]]:
    """Yield the rows of tokens of a run, each with links to the cells where it was last seen, and last correct."""
    for (stream, codebook), ones in found.items():
        for one in ones:
            yield {
                "text": token_cell(one.text, one.label),
                "whole": str(one.label) if one.text is None else shown(one.text),
                "id": "" if one.text is None else str(one.label),
                **_named(stream, codebook),
                "sights": one,
                "run": of.place,
                "right_href": _of_run(links.to((stream, codebook), one.last_right or 0, one.label, match=True), of),
                "last_href": _of_run(links.to((stream, codebook), one.last_step, one.label, match=False), of),
            }


MOST_FINDINGS: Final = 200
MOST_PROCESSES: Final = 64


def findings(runs: Iterable[tuple[OfRun, Contents]]) -> Iterator[dict[str, Any]]:
    """Yield one row per finding of all runs, open ones first; the help of a code comes with its first row."""
    helped = set()
    every = [(of, one) for of, run in runs for one in run.summary.findings]
    for of, one in sorted(every, key=lambda pair: not pair[1].is_open)[:MOST_FINDINGS]:
        finding = one.finding
        yield {
            "run": of.place,
            "code": seen(finding.code),
            "level": _level(one),
            "state": _state(one),
            "where": subject(finding),
            "step": finding.step,
            "href": place(finding.stream, finding.codebook, finding.step) + of.address,
            "message": seen(finding.message),
            "help": page(finding.code) if finding.code in CODES and finding.code not in helped else "",
            "helped": finding.code in helped and finding.code in CODES,
            "evidence": seen_json(finding.evidence) if finding.evidence else "",
        }
        helped.add(finding.code)


def _level(one: Found) -> str:
    if not one.is_open:
        return "info"
    return "error" if one.finding.level == "error" else "warning"


def _state(one: Found) -> str:
    return {
        "stands": f"{seen(one.finding.level)}, open",
        "gone": f"gone at step {one.until}",
        "explained": f"explained at step {one.until} by {seen(one.by)}",
        "earlier": f"of attempt {one.finding.attempt}, superseded by a later attempt",
    }[one.fate]


def attempts(listed: Sequence[Attempt]) -> Iterator[dict[str, Any]]:
    """Yield the facts of each process of each attempt: when, where, with which versions, and how it ended."""
    for attempt in listed[:MOST_PROCESSES]:
        named = "" if attempt.run is None else f" of {seen(attempt.run)}"
        yield {
            "title": f"Attempt {attempt.number}{named}, rank {attempt.rank}",
            "facts": [*_started(attempt), *_recorded(attempt)],
            "settings": seen_json(attempt.start.settings) if attempt.start else "",
        }


def _started(attempt: Attempt) -> Iterator[tuple[str, str]]:
    start = attempt.start
    if start is None:
        yield "started", "unknown: its first line is missing"
        return
    yield "started", f"{moment(start.timestamp)} UTC"
    yield "host", f"{seen(start.host)}, process {start.pid}, rank {start.rank} of {start.world_size}"
    yield "versions", ", ".join(f"{seen(name)} {seen(version)}" for name, version in start.versions.items())
    if start.context:
        yield "context", seen_json(start.context)


def _recorded(attempt: Attempt) -> Iterator[tuple[str, str]]:
    if attempt.first_step is not None and attempt.last_step is not None:
        yield "recorded", f"{counted(attempt.records, 'comparison')}, {steps(attempt.first_step, attempt.last_step)}"
    if attempt.end is None:
        newest = f"; its newest record is from {moment(attempt.timestamp)} UTC" if attempt.timestamp else ""
        yield "ended", f"not closed: it is running, or was killed{newest}"
        return
    by = "" if attempt.error is None else f", by {seen(attempt.error)}"
    yield "ended", f"{moment(attempt.end.timestamp)} UTC{by}"
    counts = (attempt.end.stats or {}).items()
    named = [f"{number(count)} {seen(name)}" for name, count in counts if isinstance(count, int) and count]
    yield "comparisons", ", ".join(named) or "none"
