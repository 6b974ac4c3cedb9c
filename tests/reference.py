"""What a comparison must say, written out in plain Python float64: slow, obvious, and independent of torch's kernels.

It reads lists, so it shares nothing with the code that it is held against.
"""

import math
from typing import Any


def comparison(
    logits: list[list[float]],
    labels: list[int],
    *,
    shift: int,
    ignore_index: int,
    first: int = 5,
    last: int = 5,
    inputs: list[int] | None = None,
) -> dict[str, Any]:
    """Return the fields of one sample's comparison: logits [t][v] and labels [t] as handed."""
    supervised = [p for p in range(shift, len(labels)) if labels[p] != ignore_index]
    head = supervised[:first]
    tail = [p for p in supervised[len(supervised) - last :] if p not in head] if last else []
    if len(supervised) < last:
        tail = [p for p in supervised if p not in head]
    tokens = [
        token(
            slot,
            position,
            logits[position - shift],
            labels[position],
            None if inputs is None else inputs[position - shift],
        )
        for slot, positions in (("first", head), ("last", tail))
        for position in positions
    ]
    return {
        "length": len(labels),
        "supervised": len(supervised),
        "matched": sum(prediction(logits[p - shift]) == labels[p] for p in supervised),
        "nonfinite": sum(one.pop("nonfinite") for one in tokens),
        "tokens": tokens,
        **scores([(logits[p - shift], labels[p]) for p in supervised]),
        "losses": {p: loss(logits[p - shift], labels[p]) for p in supervised},
    }


def scores(rows: list[tuple[list[float], int]]) -> dict[str, float | None]:
    """Return the mean loss and entropy of rows with their labels; None where they are not finite."""
    losses = [loss(*one) for one in rows]
    entropies = [entropy(row) for row, _ in rows]
    return {
        name: math.fsum(ones) / len(ones) if ones and all(map(math.isfinite, ones)) else None
        for name, ones in (("loss", losses), ("entropy", entropies))
    }


def loss(row: list[float], label: int) -> float:
    """Return -log p(label): infinite where the probability is 0, and NaN where it is not known."""
    peak = max(row)
    if any(map(math.isnan, row)) or math.isinf(peak) or not 0 <= label < len(row):
        return math.nan
    return peak - row[label] + math.log(math.fsum(math.exp(x - peak) for x in row))


def entropy(row: list[float]) -> float:
    """Return -Σ p log p, to which a logit of -inf adds nothing; NaN where it is not known."""
    peak = max(row)
    if any(map(math.isnan, row)) or math.isinf(peak):
        return math.nan
    total = math.fsum(math.exp(x - peak) for x in row)
    logs = [x - peak - math.log(total) for x in row if x > -math.inf]
    return -math.fsum(math.exp(one) * one for one in logs)


def prediction(row: list[float]) -> int | None:
    """Return the first index of the largest logit; None where a logit is no number."""
    return None if any(map(math.isnan, row)) else row.index(max(row))


def token(slot: str, position: int, row: list[float], label: int, read: int | None) -> dict[str, Any]:
    """Return one token's fields, and how many of its log-probabilities are not finite."""
    best = prediction(row)
    in_range = 0 <= label < len(row)
    label_logprob = logprob(row, label) if in_range else None
    prediction_logprob = None if best is None else logprob(row, best)
    lost = [in_range and label_logprob is None, prediction_logprob is None]
    return {
        "slot": slot,
        "position": position,
        "label": label,
        "prediction": best,
        "match": best is not None and best == label,
        "label_logprob": label_logprob,
        "prediction_logprob": prediction_logprob,
        "label_rank": 1 + sum(x > row[label] for x in row) if in_range and best is not None else None,
        "input": read,
        "nonfinite": sum(lost),
    }


def logprob(row: list[float], index: int) -> float | None:
    """Return the natural log of the softmax at `index`; None where it is not finite."""
    peak = max(row)
    if any(map(math.isnan, row)) or math.isinf(peak):
        return None
    value = row[index] - peak - math.log(math.fsum(math.exp(x - peak) for x in row))
    return value if math.isfinite(value) else None
