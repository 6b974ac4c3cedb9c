"""The files of runs, as long as a benchmark needs them: two samples a step, ten tokens each."""

import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from predlog import Recorder, Shard
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


def in_parts(folder: Path, *, steps: int, length: int, parts: int, vocabulary: int = 512) -> None:
    """Write so many steps of one sample, of which each of some processes has a shard, as real recorders do."""
    size = vocabulary // parts
    before = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
    for rank in range(parts):
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(parts))
        torch.manual_seed(0)
        with Recorder(folder, every=1, console=False, ranks="all", queue=steps) as recorder:
            for step in range(steps):
                labels = torch.randint(vocabulary, (1, length))
                logits = torch.randn(1, length, vocabulary)[..., rank * size : (rank + 1) * size]
                inputs = labels.roll(1, -1)
                recorder.compare(logits, labels, step, inputs=inputs, shard=Shard(rank * size, of=vocabulary))
    for name, value in before.items():
        os.environ.pop(name, None)
        os.environ.update({} if value is None else {name: value})
