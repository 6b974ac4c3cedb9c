"""What the commands print with --json: plain values that every reader of JSON takes."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from predlog.findings.ledger import Found
from predlog.reading.contrast import KINDS, Alone, First, Misses, Row
from predlog.reading.curves import Course, Curve
from predlog.reading.damage import Damage
from predlog.reading.diff import Difference
from predlog.reading.runs import Attempt
from predlog.reading.summary import Missing
from predlog.records.schema import Token


def dumped(value: Any) -> str:
    """Return one line of JSON in ASCII: what is not finite as null, half of a surrogate pair escaped."""
    return json.dumps(_plain(value), allow_nan=False) + "\n"


def stream(curve: Curve) -> dict[str, Any]:
    """Return a stream and codebook with its figures, and its curve as columns."""
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


def finding(one: Found) -> dict[str, Any]:
    """Return a finding with what became of it, and the ranks that reported it."""
    record = one.finding
    return {
        "code": record.code,
        "level": record.level,
        "state": one.fate,
        "step": record.step,
        "until": one.until,
        "by": one.by,
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
    """Return what is missing for one reason."""
    return {
        "reason": one.reason,
        "count": one.count,
        "gaps": one.gaps,
        "first_step": one.first_step,
        "last_step": one.last_step,
    }


def attempt(one: Attempt) -> dict[str, Any]:
    """Return one process of an attempt."""
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
    """Return where lines are damaged or missing."""
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


def whole(found: Difference, paths: Sequence[str], damaged: Sequence[int], most: int) -> dict[str, Any]:
    """Return all that is known of the difference, with the `most` labels of each way."""
    first = found.first
    runs = [
        {"path": path, "comparisons": comparisons, "damage": places}
        for path, comparisons, places in zip(paths, found.comparisons, damaged, strict=True)
    ]
    return {
        "a": runs[0],
        "b": runs[1],
        "same": not found.differs,
        "first": {kind: _first(first[kind]) if kind in first else None for kind in KINDS},
        "findings": {name: list(map(finding, ones)) for name, ones in zip("ab", found.open_findings, strict=True)},
        "settings": {name: {"a": a, "b": b} for name, (a, b) in found.settings.items()},
        "streams": [_row(row) for row in found.rows.values()],
        "right_in_a": [_missed(row, one) for row, one in found.worst("a", most)],
        "right_in_b": [_missed(row, one) for row, one in found.worst("b", most)],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "stream": row.stream,
        "codebook": row.codebook,
        "steps": row.steps,
        "records": row.records,
        "only_a": _alone(row.only_a),
        "only_b": _alone(row.only_b),
        "differing": {kind: row.differing.get(kind, 0) for kind in KINDS},
        "first": {kind: _first(row.first[kind]) if kind in row.first else None for kind in KINDS},
        "counted": row.counted,
        "accuracy": _both(row.a.accuracy, row.b.accuracy),
        "logprob": _both(row.a.logprob, row.b.logprob),
        "tokens": {
            "compared": row.score.tokens,
            "both": row.score.both,
            "only_a": row.score.only_a,
            "only_b": row.score.only_b,
            "neither": row.score.neither,
        },
    }


def _both(a: float | None, b: float | None) -> dict[str, float | None]:
    return {"a": a, "b": b, "difference": None if a is None or b is None else b - a}


def _alone(one: Alone) -> dict[str, int | None]:
    return {"steps": one.steps, "first_step": one.first_step, "last_step": one.last_step}


def _first(one: First) -> dict[str, Any]:
    return {
        "step": one.step,
        "stream": one.stream,
        "codebook": one.codebook,
        "sample": one.sample,
        "rank": one.rank,
        "position": one.position,
        "only": one.only,
        "a": _token(one.a),
        "b": _token(one.b),
    }


def _token(token: Token | None) -> dict[str, Any] | None:
    return None if token is None else {name: getattr(token, name) for name in token.__struct_fields__}


def _missed(row: Row, one: Misses) -> dict[str, Any]:
    return {
        "stream": row.stream,
        "codebook": row.codebook,
        "label": one.label,
        "label_text": one.text,
        "count": one.count,
        "step": one.step,
        "prediction": one.other.prediction,
        "prediction_text": one.other.prediction_text,
    }
