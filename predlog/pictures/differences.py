"""What differs between two runs → plain values for JSON."""

from collections.abc import Sequence
from typing import Any

from predlog.comparing import Alone, First, Row
from predlog.contrasting import KINDS
from predlog.differing import Difference
from predlog.pictures.objects import finding
from predlog.records import Token
from predlog.scoring import Misses


def whole(found: Difference, paths: Sequence[str], damaged: Sequence[int], most: int) -> dict[str, Any]:
    """Give all that is known of the difference, with the `most` labels of each way."""
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
        "findings": {name: list(map(finding, ones)) for name, ones in zip("ab", found.standing, strict=True)},
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
