"""The file of a run that learns, as long as a benchmark needs it: two samples a step, ten tokens each."""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from predlog.records.codec import to_line
from tests import events

_VOCABULARY = 32_000


def logged(file: Path, comparisons: int) -> None:
    """Write so many comparisons of 2.7 kB each."""
    with file.open("wb") as opened:
        opened.writelines(map(to_line, _run(comparisons)))


def _run(comparisons: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(0)
    yield events.run()
    for number in range(comparisons):
        yield events.comparison(
            seq=number + 1, step=number // 2, sample=number % 2,
            tokens=[_token(draw, place, number / comparisons) for place in range(10)],
        )  # fmt: skip


def _token(draw: random.Random, place: int, learnt: float) -> dict[str, Any]:
    label = int(_VOCABULARY * draw.random() ** 3)
    prediction = label if draw.random() < learnt else int(_VOCABULARY * draw.random() ** 3)
    logprob = math.log(draw.betavariate(1 + 4 * learnt, 4) + 1e-6)
    return events.token(
        63 + place if place < 5 else 502 + place, label, prediction, slot="first" if place < 5 else "last",
        label_logprob=round(logprob, 6), prediction_logprob=round(max(logprob, -0.9), 6),
        label_rank=1 if label == prediction else draw.randrange(2, 900), input=label - 1,
        label_text=f" token{label}", prediction_text=f" token{prediction}", input_text=f" token{label - 1}",
    )  # fmt: skip
