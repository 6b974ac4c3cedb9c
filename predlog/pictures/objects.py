"""What the commands say with --json: plain values that every reader of JSON takes."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from predlog.curves import Course, Curve
from predlog.damage import Damage
from predlog.starts import Attempt
from predlog.summary import Missing
from predlog.troubles import Shared


def dumped(value: Any) -> str:
    """Give one line of JSON in ASCII: what is not finite as null, half characters by their names."""
    return json.dumps(_plain(value), allow_nan=False) + "\n"


def stream(curve: Curve) -> dict[str, Any]:
    """Give a stream and codebook with its figures, and its curve as columns."""
    points = curve.points
    return {
        "stream": curve.stream,
        "codebook": curve.codebook,
        "steps": curve.steps,
        "first_step": curve.first_step,
        "last_step": curve.last_step,
        "records": curve.records,
        "length": curve.length,
        "supervised": curve.supervised,
        "share": curve.share,
        "counted": curve.counted,
        "accuracy": _course(curve.accuracy),
        "logprob": _course(curve.logprob),
        "rank": _course(curve.rank),
        "curve": {
            "first_step": [point.first_step for point in points],
            "last_step": [point.last_step for point in points],
            "share": [point.share for point in points],
            "accuracy": [point.accuracy for point in points],
            "logprob": [point.logprob for point in points],
            "rank": [point.rank for point in points],
        },
    }


def finding(one: Shared) -> dict[str, Any]:
    """Give a finding with what became of it, and the ranks that said it."""
    record = one.found.finding
    return {
        "code": record.code,
        "level": record.level,
        "state": one.found.fate,
        "step": record.step,
        "until": one.found.until,
        "by": one.found.by,
        "stream": record.stream,
        "codebooks": list(one.codebooks),
        "run": record.run,
        "attempt": record.attempt,
        "ranks": list(one.ranks),
        "message": record.message,
        "evidence": record.evidence,
        "help": record.help,
    }


def gap(one: Missing) -> dict[str, Any]:
    """Give what is missing for one reason."""
    return {
        "reason": one.reason,
        "count": one.count,
        "gaps": one.gaps,
        "first_step": one.first_step,
        "last_step": one.last_step,
    }


def attempt(one: Attempt) -> dict[str, Any]:
    """Give one process of an attempt."""
    head = one.start or one.end
    return {
        "run": one.run,
        "attempt": one.number,
        "rank": one.rank,
        "host": head and head.host,
        "pid": head and head.pid,
        "world_size": head and head.world_size,
        "versions": head and head.versions,
        "settings": head and head.settings,
        "context": head and head.context,
        "started": one.start and one.start.timestamp,
        "latest": one.timestamp,
        "ended": one.end and one.end.timestamp,
        "first_step": one.first_step,
        "last_step": one.last_step,
        "records": one.records,
        "replaced": one.replaced,
        "stats": one.end and one.end.stats,
    }


def damages(damage: Iterable[Damage]) -> list[dict[str, Any]]:
    """Give where lines are damaged or missing."""
    return [{"file": str(one.file), "line": one.line, "reason": one.reason, "hole": one.hole} for one in damage]


def _course(course: Course | None) -> dict[str, Any] | None:
    if course is None:
        return None
    named = zip(("first", "last", "best"), course, strict=True)
    return {key: value for name, mark in named for key, value in ((name, mark.value), (f"{name}_step", mark.step))}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return value
