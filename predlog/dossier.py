"""What was found, where it ran, what is missing and what is damaged → what the page says of it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from predlog.damage import Damage
from predlog.findings import CODES, page
from predlog.phrases import counted, number, place, seen, seen_json, steps, subject
from predlog.sections import moment
from predlog.standing import Found
from predlog.starts import Attempt
from predlog.summary import Missing

MOST_FINDINGS: Final = 200
MOST_PROCESSES: Final = 64
MOST_DAMAGE: Final = 100


def findings(found: Sequence[Found]) -> Iterator[dict[str, Any]]:
    """Yield what is said of each finding, those that stand first; the help of a code comes with the first of it."""
    helped = set()
    for one in sorted(found, key=_gone)[:MOST_FINDINGS]:
        finding = one.finding
        yield {
            "code": seen(finding.code),
            "level": _level(one),
            "state": _state(one),
            "where": subject(finding),
            "step": finding.step,
            "href": place(finding.stream, finding.codebook, finding.step),
            "message": seen(finding.message),
            "help": page(finding.code) if finding.code in CODES and finding.code not in helped else "",
            "helped": finding.code in helped and finding.code in CODES,
            "evidence": seen_json(finding.evidence) if finding.evidence else "",
        }
        helped.add(finding.code)


def _gone(one: Found) -> bool:
    return not one.stands


def _level(one: Found) -> str:
    if not one.stands:
        return "info"
    return "error" if one.finding.level == "error" else "warning"


def _state(one: Found) -> str:
    return {
        "stands": f"{seen(one.finding.level)}, stands",
        "gone": f"gone at step {one.until}",
        "explained": f"explained at step {one.until} by {seen(one.by)}",
        "earlier": f"of attempt {one.finding.attempt}; not found again since",
    }[one.fate]


def attempts(listed: Sequence[Attempt]) -> Iterator[dict[str, Any]]:
    """Yield what is known of each process of each attempt: when, where, with what, and how it ended."""
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
        yield "started", "not known: its first line is missing"
        return
    yield "started", moment(start.timestamp)
    yield "host", f"{seen(start.host)}, process {start.pid}, rank {start.rank} of {start.world_size}"
    yield "versions", ", ".join(f"{seen(name)} {seen(version)}" for name, version in start.versions.items())
    if start.context:
        yield "context", seen_json(start.context)


def _recorded(attempt: Attempt) -> Iterator[tuple[str, str]]:
    if attempt.first_step is not None and attempt.last_step is not None:
        yield "recorded", f"{counted(attempt.records, 'comparison')}, {steps(attempt.first_step, attempt.last_step)}"
    if attempt.end is None:
        newest = f"; its newest record is of {moment(attempt.timestamp)}" if attempt.timestamp else ""
        yield "ended", f"not closed: it goes on, or was killed{newest}"
        return
    yield "ended", moment(attempt.end.timestamp)
    counts = (attempt.end.stats or {}).items()
    told = [f"{number(count)} {seen(name)}" for name, count in counts if isinstance(count, int) and count]
    yield "comparisons", ", ".join(told) or "none"


def missing(found: Iterable[Missing]) -> Iterator[dict[str, Any]]:
    """Yield what is missing, a row a reason."""
    for one in found:
        yield {
            "count": number(one.count),
            "reason": seen(one.reason),
            "gaps": number(one.gaps),
            "steps": f"{one.first_step} to {one.last_step}",
        }


def damage(found: Sequence[Damage]) -> Iterator[dict[str, Any]]:
    """Yield which places of which files can't be read, and why."""
    for one in found[:MOST_DAMAGE]:
        yield {"file": seen(one.file), "line": one.line, "reason": seen(one.reason)}
