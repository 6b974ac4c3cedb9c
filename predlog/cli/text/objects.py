"""What the commands print with --json: plain values that every reader of JSON takes."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from predlog.findings.catalog import CAUSAL_RULE, LOSS_RULE, RULES, SENTENCES, page
from predlog.findings.ledger import Found, across_ranks
from predlog.reading.contrast import KINDS, First, Misses, Row
from predlog.reading.coverage import Coverage, Unchecked
from predlog.reading.curves import Course, Curve, Key
from predlog.reading.damage import Damage
from predlog.reading.diff import Difference
from predlog.reading.lacks import Lack
from predlog.reading.listing import Listed, state
from predlog.reading.reader import Reading
from predlog.reading.restarts import EarlierRun
from predlog.reading.run_table import Compared, keys
from predlog.reading.runs import Attempt
from predlog.reading.summary import Missing
from predlog.reading.writers import Shared
from predlog.records.schema import LATER_KEYS, Token

_FIGURES = ("loss", "accuracy", "logprob", "rank")


def dumped(value: Any) -> str:
    """Return one line of JSON in ASCII: what is not finite as null, half of a surrogate pair escaped."""
    return json.dumps(_plain(value), allow_nan=False) + "\n"


def stream(curve: Curve) -> dict[str, Any]:
    """Return a stream and codebook with its figures, and its curve as columns."""
    counts = ("steps", "first_step", "last_step", "records", "length", "supervised", "share", "counted")
    columns = ("first_step", "last_step", "share", *_FIGURES, "entropy")
    return {
        **_fields(curve, "stream", "codebook", *counts),
        **{name: _course(getattr(curve, name)) for name in _FIGURES},
        "curve": {name: [getattr(point, name) for point in curve.points] for name in columns},
    }


def run(one: Listed) -> dict[str, Any]:
    """Return a run of a folder, with its open findings."""
    about = ("code", "level", "step", "stream", "codebook", "run", "attempt", "rank", "message", "evidence", "help")
    return {
        "path": str(one.path),
        **_fields(one, "name", "stream", "step", "loss", "accuracy"),
        "state": state(one) if one.problem is None else None,
        "error": one.error,
        "latest": one.timestamp,
        "findings": [_fields(each, *about) for each in one.findings],
        "complete": one.is_complete,
        "problem": one.problem,
    }


def finding(one: Found) -> dict[str, Any]:
    """Return a finding with what became of it, and the ranks that reported it."""
    return {
        **_fields(one.finding, "code", "level"),
        "state": one.fate,
        **_fields(one.finding, "step"),
        **_fields(one, "until", "by"),
        **_fields(one.finding, "stream"),
        "codebooks": list(one.codebooks),
        **_fields(one.finding, "run", "attempt"),
        "ranks": list(one.ranks),
        **_fields(one.finding, "message", "evidence", "help"),
    }


def code(name: str, *, has_page: bool) -> dict[str, Any]:
    """Return what a code of a finding means, with its page in Markdown if that is asked for."""
    rules = {rule.code: rule for rule in (*RULES, LOSS_RULE, CAUSAL_RULE)}
    level = rules[name].level if name in rules else "error"  # of a pair that is refused
    about = {"code": name, "level": level, "says": SENTENCES[name]}
    return {**about, "page": page(name)} if has_page else about


def coverage(one: Coverage) -> dict[str, Any]:
    """Return how many samples of a stream were checked, and what is known of it."""
    return _fields(one, "stream", "samples", "inputs", "positions", "probabilities", "loss")


def unchecked(one: Unchecked) -> dict[str, Any]:
    """Return what could not be checked, why, and in which streams."""
    return {"what": one.what, "why": one.why, "streams": list(one.streams)}


def gap(one: Missing) -> dict[str, Any]:
    """Return what is missing for one reason."""
    return _fields(one, "reason", "count", "gaps", "first_step", "last_step")


def lack(one: Lack) -> dict[str, Any]:
    """Return comparisons that lack the same parts as an object."""
    return {
        "comparisons": one.many,
        "ranks": list(one.ranks),
        "ids": [] if one.lacks_rows else list(map(list, one.ids)),
        "positions": list(map(list, one.ids)) if one.lacks_rows else [],
        "first_step": one.first_step,
        "last_step": one.last_step,
    }


def attempt(one: Attempt) -> dict[str, Any]:
    """Return one process of an attempt."""
    head, end = one.start or one.end, one.end
    about = ("host", "pid", "world_size", "versions", "settings", "context")
    return {
        "run": one.run,
        "attempt": one.number,
        "rank": one.rank,
        **(_fields(head, *about) if head else dict.fromkeys(about)),
        "started": one.start and one.start.timestamp,
        "latest": one.timestamp,
        "ended": end and end.timestamp,
        **_fields(one, "first_step", "last_step", "records", "replaced"),
        "stats": end and end.stats,
    }


def left_out(one: EarlierRun) -> dict[str, Any]:
    """Return an earlier run that is left out."""
    first, last = one.steps or (None, None)
    folder = None if one.folder is None else str(one.folder)
    return {"folder": folder, "attempts": list(one.attempts), "first_step": first, "last_step": last}


def shared(one: Shared) -> dict[str, Any]:
    """Return two recorders that wrote to one file at the same time."""
    both = (one.one, one.other)
    return {
        "file": str(one.one.file),
        **_fields(one.one, "run", "rank"),
        "attempts": [writer.attempt for writer in both],
        "recorders": [writer.recorder for writer in both],
        "first_line": one.first,
        "last_line": one.last,
    }


def damages(damage: Iterable[Damage]) -> list[dict[str, Any]]:
    """Return where lines are damaged or missing."""
    return [one._replace(file=str(one.file))._asdict() for one in damage]  # type: ignore[arg-type]


def whole(found: Difference, both: Sequence[Reading], most: int) -> dict[str, Any]:
    """Return all that is known of the difference of two runs, with the `most` labels of each way."""
    a, b = (
        {
            "path": records.path,
            "comparisons": comparisons,
            "damage": records.damage.total,
            "left_out": [left_out(one) for one in records.left_out],
        }
        for records, comparisons in zip(both, found.comparisons, strict=True)
    )
    return {
        "a": a,
        "b": b,
        "same": not found.differs,
        "first": _firsts(found.first),
        "first_token": found.first_token and _first(found.first_token),
        "findings": {name: list(map(finding, ones)) for name, ones in zip("ab", found.open_findings, strict=True)},
        "settings": {name: {"a": a, "b": b} for name, (a, b) in found.settings.items()},
        "streams": [_row(row) for row in found.rows.values()],
        "right_in_a": [_missed(row, one) for row, one in found.worst("a", most)],
        "right_in_b": [_missed(row, one) for row, one in found.worst("b", most)],
    }


def run_table(runs: Sequence[Compared]) -> dict[str, Any]:
    """Return several runs, each with how it went, and where it differs from the first one."""
    return {
        "same": not any(one.difference.differs for one in runs if one.difference is not None),
        "runs": [_of_several(one, keys(runs)) for one in runs],
    }


def _of_several(one: Compared, every: Sequence[Key]) -> dict[str, Any]:
    difference = one.difference
    return {
        "path": str(one.reading.path),
        "attempt": one.reading.attempt,
        "comparisons": one.summary.comparisons,
        "damage": one.reading.damage.total,
        "left_out": list(map(left_out, one.reading.left_out)),
        "same": None if difference is None else not difference.differs,
        "first": None if difference is None else _firsts(difference.first),
        "first_token": None if difference is None or difference.first_token is None else _first(difference.first_token),
        "findings": [finding(each) for each in across_ranks(one.summary.findings) if each.is_open],
        "settings": {}
        if difference is None
        else {name: {"first": a, "here": b} for name, (a, b) in difference.settings.items()},
        "streams": [_stream_of_several(one, key) for key in every if one.curve(key) is not None],
    }


def _stream_of_several(one: Compared, key: Key) -> dict[str, Any]:
    curve, row = one.curve(key), one.row(key)
    return {
        "stream": key[0],
        "codebook": key[1],
        "steps": curve and curve.steps,
        "records": curve and curve.records,
        **{name: curve and _course(getattr(curve, name)) for name in _FIGURES},
        "common_steps": row and row.steps,
        "first": row and _firsts(row.first),
    }


def _row(row: Row) -> dict[str, Any]:
    score = row.score
    return {
        **_fields(row, "stream", "codebook", "steps", "records"),
        **{name: _fields(getattr(row, name), "steps", "first_step", "last_step") for name in ("only_a", "only_b")},
        "differing": {kind: row.differing.get(kind, 0) for kind in KINDS},
        "first": _firsts(row.first),
        "first_token": row.first_token and _first(row.first_token),
        "counted": row.counted,
        "loss": _both(row.a.loss, row.b.loss),
        "accuracy": _both(row.a.accuracy, row.b.accuracy),
        "logprob": _both(row.a.logprob, row.b.logprob),
        "tokens": {"compared": score.tokens, **_fields(score, "both", "only_a", "only_b", "neither")},
    }


def _firsts(first: Mapping[Any, First]) -> dict[str, Any]:
    return {kind: _first(first[kind]) if kind in first else None for kind in KINDS}


def _first(one: First) -> dict[str, Any]:
    where = _fields(one, "step", "stream", "codebook", "sample", "sample_id", "rank", "position", "only")
    return {**where, "a": _token(one.a), "b": _token(one.b)}


def _token(token: Token | None) -> dict[str, Any] | None:
    if token is None:
        return None
    known = _fields(token, *token.__struct_fields__)
    return {name: value for name, value in known.items() if value or name not in LATER_KEYS}


def _missed(row: Row, one: Misses) -> dict[str, Any]:
    return {
        **_fields(row, "stream", "codebook"),
        "label": one.label,
        "label_text": one.text,
        **_fields(one, "count", "step"),
        **_fields(one.other, "prediction", "prediction_text"),
    }


def _both(a: float | None, b: float | None) -> dict[str, float | None]:
    return {"a": a, "b": b, "difference": None if a is None or b is None else b - a}


def _course(course: Course | None) -> dict[str, Any] | None:
    if course is None:
        return None
    named = zip(("first", "last", "best"), course, strict=True)
    return {key: value for name, mark in named for key, value in ((name, mark.value), (f"{name}_step", mark.step))}


def _fields(one: object, *names: str) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}


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
