"""The pasted helper's whole logging step, its log lines included, against predlog's, with the file and the tables.

"in a loop" is what a training loop pays: the time of several logging steps and a flush, divided by their number, each
step with logits that no cache has seen lately. "alone" is the way of one step from the call to the last sink, after a
helper's step has emptied the caches of our code, too.
"""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.benchmarks.baselines import pasted_helper
from tests.benchmarks.harness import Contender, Row, duration, interleaved, ratio
from tests.benchmarks.material import LARGE, SMALL, Shape, pairs
from tests.benchmarks.options import Options
from tests.benchmarks.whole import WholeStep


def steps(options: Options) -> Iterator[Row]:
    """Measure whole steps without and with the score."""
    yield from _against_helper(options, SMALL, "random", score=False, at_least=25)
    yield from _against_helper(options, SMALL, "random", score=True)
    yield from _against_helper(options, SMALL, "half masked", score=True)
    yield from _against_helper(options, LARGE, "random", score=False, at_least=150)
    yield from _against_helper(options, LARGE, "random", score=True)


def _against_helper(
    options: Options, shape: Shape, kind: str, *, score: bool, at_least: float | None = None
) -> Iterator[Row]:
    # So few steps that on a device, too, all of them may be on their way at once.
    rounds, many = (15, 30) if shape.dtype == torch.float32 else (5, 10)
    turns, numbers = pairs(shape, options.device, kind), itertools.count()
    with (
        tempfile.TemporaryDirectory() as directory,
        pasted_helper(Path(directory)) as log,
        WholeStep.of(turns, score=score) as ours,
    ):
        helper = Contender(lambda: log(*next(turns), next(numbers)))
        # The helper stands before each of the two, so that both find the caches as a training step leaves them.
        times = interleaved(
            {"helper": helper, "alone": ours.alone(), "helper again": helper, "in a loop": ours.in_a_loop(many)},
            rounds=rounds,
        )
    name = "-".join(["step", str(shape).split()[-1], "score" if score else "off", *kind.split()])
    title = f"helper's step / predlog's, {shape}, score {'on' if score else 'off'}, labels {kind}"
    yield ratio(
        times, "helper again", "in a loop", name=name, title=f"{title}, in a loop",
        at_least=None if at_least is None else options.stated(at_least), note=duration(times["in a loop"].median),
    )  # fmt: skip
    yield ratio(
        times, "helper", "alone", name=f"{name}-alone", title=f"{title}, alone", note=duration(times["alone"].median)
    )
