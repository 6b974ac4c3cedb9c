"""A capture and a whole step with one thread and with two."""

from collections.abc import Iterator
from functools import partial

import torch

from predlog.capture.capture import capture
from predlog.numbers.window import Window
from tests.benchmarks.harness import Contender, Row, duration, interleaved, ratio, repeated
from tests.benchmarks.material import SMALL, pairs
from tests.benchmarks.options import Options
from tests.benchmarks.whole import WholeStep


def threads(options: Options) -> Iterator[Row]:
    """Measure both without and with the accuracy; torch is left with the number of threads that it had."""
    try:
        for score in (False, True):
            yield from _one_and_two(options, score=score)
    finally:
        torch.set_num_threads(options.threads)


def _one_and_two(options: Options, *, score: bool) -> Iterator[Row]:
    turns, window = pairs(SMALL, options.device), Window(score=score)

    def captured() -> object:
        logits, labels = next(turns)
        return capture(logits, labels, window=window)

    with WholeStep.of(turns, score=score) as whole:
        contenders: dict[str, Contender] = {}
        for many in (1, 2):
            contenders |= {
                f"switch to {many}": Contender(partial(torch.set_num_threads, many)),
                f"capture, {many}": repeated(captured, 20),
                f"step, {many}": whole.in_a_loop(20),
            }
        times = interleaved(contenders, rounds=20)
    state = "on" if score else "off"
    for what in ("capture", "step"):
        one, two = f"{what}, 1", f"{what}, 2"
        yield ratio(
            times, one, two, name=f"threads-{what}-{state}",
            title=f"{what} with one thread / with two, {SMALL}, accuracy {state}",
            note=f"{duration(times[one].median)} / {duration(times[two].median)}",
        )  # fmt: skip
