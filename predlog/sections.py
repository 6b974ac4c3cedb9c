"""Records and sums → what stands in the sections of the page, as harmless text."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from predlog.findings import CODES, page
from predlog.records import Finding, Gap, Run
from predlog.sinks.visible import visible
from predlog.summary import Curve, Point, Summary

_SPARK = 96, 22
_MOST_NAMED = 5
# Characters of settings or evidence.
_LONGEST = 20_000
_STEPS_NAMED = "step {0}", "steps {0} to {1}"


class Measure(NamedTuple):
    """A measure of a stream as text: at its first point, at its last, and at its best; and a small curve."""

    first: str
    last: str
    best: str
    spark: str


def seen(text: object) -> str:
    """Give any text so that nothing in it is invisible or steers; of a long one, its start."""
    return visible(str(text), " ")


def number(value: float) -> str:
    """Give a number with its thousands apart."""
    return f"{value:,}"


def counted(count: int, what: str) -> str:
    """Give a count and its noun."""
    return f"{number(count)} {what}{'' if count == 1 else 's'}"


def steps(first: int, last: int) -> str:
    """Name a range of steps."""
    return _STEPS_NAMED[first != last].format(first, last)


# --- head ---------------------------------------------------------------------------------------------------------


def facts(summary: Summary) -> Iterator[str]:
    """Yield what a reader wants to know first: how much was logged, when, and with what."""
    points = [point for curve in summary.curves for point in curve.points]
    yield steps(min(point.first_step for point in points), max(point.last_step for point in points))
    yield counted(sum(point.records for point in points), "comparison")
    if not summary.runs:
        return
    ranks = {run.rank for run in summary.runs}
    yield f"{counted(len(ranks), 'rank')} of {max(run.world_size for run in summary.runs)}"
    yield f"started {_time(summary.runs[0].timestamp)}"
    versions = summary.runs[-1].versions
    yield from (f"{name} {seen(versions[name])}" for name in ("predlog", "torch") if name in versions)


def notes(summary: Summary, damage: int) -> Iterator[dict[str, str]]:
    """Yield what must not be overlooked: findings that stand, what is missing, what is damaged."""
    standing = [one for one in findings(summary.findings) if one["level"] != "info"]
    if standing:
        kind = "bad" if any(one["level"] == "error" for one in standing) else "warn"
        named = "; ".join(f"{one['code']} ({one['where']}, step {one['step']})" for one in standing[:_MOST_NAMED])
        more = f" and {len(standing) - _MOST_NAMED} more" if len(standing) > _MOST_NAMED else ""
        stand = "stands" if len(standing) == 1 else "stand"
        yield _note(kind, f"{counted(len(standing), 'finding')} {stand}: {named}{more}.", "#findings", "What to do")
    else:
        yield _note("good", "No finding stands.")
    lost = sum(gap.count for gap in summary.gaps)
    if lost:
        yield _note("warn", f"Captured, and missing here: {counted(lost, 'comparison')}.", "#missing", "Which")
    if damage:
        yield _note("warn", f"Damaged in the files: {counted(damage, 'place')}.", "#damage", "Which")


def _note(kind: str, text: str, href: str = "", link: str = "") -> dict[str, str]:
    return {"kind": kind, "text": text, "href": href, "link": link}


# --- streams ------------------------------------------------------------------------------------------------------


def streams(curves: Sequence[Curve]) -> Iterator[dict[str, Any]]:
    """Yield a row a stream and codebook."""
    for curve in curves:
        points = curve.points
        yield {
            "title": lane(curve.stream, curve.codebook),
            "steps": f"{points[0].first_step} to {points[-1].last_step}",
            "records": number(sum(point.records for point in points)),
            "supervised": _percent(_share(points)),
            "accuracy": _measure([point.accuracy for point in points], max, _percent),
            "logprob": _measure([point.logprob for point in points], max, "{:.3f}".format),
            "rank": _measure([point.rank for point in points], min, "{:.4g}".format, math.log),
        }


def lane(stream: str, codebook: int | None) -> str:
    """Name a stream, and its codebook where it has one."""
    return seen(stream) if codebook is None else f"{seen(stream)} codebook {codebook}"


def _share(points: Sequence[Point]) -> float:
    return sum(point.supervised for point in points) / max(sum(point.length for point in points), 1)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _measure(
    values: Iterable[float | None],
    best: Callable[[Iterable[float]], float],
    written: Callable[[float], str],
    scaled: Callable[[float], float] = float,
) -> Measure:
    known = [value for value in values if value is not None]
    if not known:
        return Measure("-", "-", "-", "")
    return Measure(
        written(known[0]), written(known[-1]), written(best(known)), _spark([scaled(value) for value in known])
    )


def _spark(values: Sequence[float]) -> str:
    """Give the corners of a small curve, in the units of its box."""
    if len(values) < 2:
        return ""
    width, height = _SPARK
    values = [*values[:: math.ceil(len(values) / width)], values[-1]]
    lowest, highest = min(values), max(values)
    span = highest - lowest or 1.0
    corners = (
        (width * place / (len(values) - 1), height - 2 - (height - 4) * (value - lowest) / span)
        for place, value in enumerate(values)
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


# --- findings -----------------------------------------------------------------------------------------------------


def findings(found: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    """Yield what is said of each finding, those that stand first, and whether it stands."""
    states = [state(one, found[place + 1 :]) for place, one in enumerate(found)]
    told = [(one, said) for one, said in zip(found, states, strict=True) if one.level != "info"]
    for one, said in sorted(told, key=lambda pair: pair[1] is not None):
        yield {
            "code": seen(one.code),
            "level": "info" if said else one.level if one.level in {"error", "warning"} else "warning",
            "state": said or f"{seen(one.level)}, stands",
            "where": f"{lane(one.stream, one.codebook)}{_codebooks(one)}",
            "step": one.step,
            "href": f"#{urlencode({'stream': seen(one.stream), 'step': one.step}, errors='backslashreplace')}",
            "message": seen(one.message),
            "help": page(one.code) if one.code in CODES else "",
            "evidence": seen_json(one.evidence) if one.evidence else "",
        }


def state(finding: Finding, later: Iterable[Finding]) -> str | None:
    """Say that a finding is gone, or ended with its attempt; None where it stands."""
    for one in later:
        if one.rank == finding.rank and one.attempt > finding.attempt:
            return f"was there when attempt {finding.attempt} ended"
        if one.level == "info" and _subject(one) == _subject(finding):
            return f"gone at step {one.step}"
    return None


def _subject(finding: Finding) -> tuple[Any, ...]:
    codebooks = finding.evidence.get("codebooks")
    return finding.attempt, finding.rank, finding.stream, finding.codebook, finding.code, json.dumps(codebooks)


def _codebooks(finding: Finding) -> str:
    codebooks = finding.evidence.get("codebooks")
    return f" codebooks {seen(', '.join(map(str, codebooks)))}" if isinstance(codebooks, list) and codebooks else ""


def seen_json(value: Any) -> str:
    """Give a value as indented JSON in ASCII, which hides nothing; of a long one, its start."""
    text = json.dumps(value, indent=2)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


# --- the run ------------------------------------------------------------------------------------------------------


def attempts(runs: Sequence[Run], ends: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """Yield what is known of each attempt and rank: when, where, with which versions and settings, and how it ended."""
    closed = {(end.attempt, end.rank): end for end in ends}
    several = len({run.rank for run in runs}) > 1
    for run in runs:
        end = closed.get((run.attempt, run.rank))
        yield {
            "title": f"Attempt {run.attempt}{f', rank {run.rank}' if several else ''}",
            "facts": list(_facts(run, end)),
            "settings": seen_json(run.settings),
        }


def _facts(run: Run, end: Run | None) -> Iterator[tuple[str, str]]:
    yield "started", _time(run.timestamp)
    yield "ended", _time(end.timestamp) if end else "not closed: it goes on, or was killed"
    yield "host", f"{seen(run.host)}, process {run.pid}"
    yield "ranks", f"rank {run.rank} of {run.world_size}"
    yield "versions", ", ".join(f"{seen(name)} {seen(version)}" for name, version in run.versions.items())
    yield "schema", str(run.schema)
    if run.context:
        yield "context", seen_json(run.context)
    if end and end.stats:
        yield "comparisons", ", ".join(_counts(end.stats))


def _counts(stats: dict[str, Any]) -> Iterator[str]:
    for name, count in stats.items():
        if isinstance(count, int) and (count or name in {"submitted", "written"}):
            yield f"{number(count)} {seen(name)}"


def _time(timestamp: str) -> str:
    return seen(timestamp[:19].replace("T", " ")) + " UTC"


def gaps(found: Sequence[Gap]) -> Iterator[dict[str, Any]]:
    """Yield what is missing, and why."""
    for one in found:
        yield {
            "count": number(one.count),
            "reason": seen(one.reason),
            "steps": f"{one.first_step} to {one.last_step}",
            "rank": one.rank,
            "attempt": one.attempt,
        }


def damage(found: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield which lines of which files can't be read, and why."""
    for one in found:
        yield {"file": seen(one.file), "line": "-" if one.line is None else one.line, "reason": seen(one.reason)}
