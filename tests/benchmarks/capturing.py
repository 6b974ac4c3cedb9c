"""The pasted helper's argmax and tolist against a capture alone, without the score."""

from collections.abc import Iterator

from predlog.capture.capture import capture
from predlog.numbers.window import Window
from tests.benchmarks.baselines import argmax_of_everything
from tests.benchmarks.harness import Contender, Row, duration, interleaved, ratio, repeated
from tests.benchmarks.material import LARGE, SMALL, WIDE, Shape, pairs
from tests.benchmarks.options import Options


def capturing(options: Options) -> Iterator[Row]:
    """Measure captures of three batches; each finds rows that no cache has seen lately."""
    yield _against_argmax(options, SMALL, "capture-float32", at_least=30, rounds=25)
    yield _against_argmax(options, LARGE, "capture-bfloat16", at_least=400, rounds=7)
    yield _against_argmax(options, WIDE, "capture-wide", at_least=150, rounds=7)


def _against_argmax(options: Options, shape: Shape, name: str, *, at_least: float, rounds: int) -> Row:
    turns, window = pairs(shape, options.device), Window(score=False)

    def captured() -> object:
        logits, labels = next(turns)
        return capture(logits, labels, window=window)

    times = interleaved(
        {
            "argmax + tolist": Contender(lambda: argmax_of_everything(next(turns)[0])),
            "capture": repeated(captured, 30),
        },
        rounds=rounds,
    )
    return ratio(
        times, "argmax + tolist", "capture", name=name, title=f"helper's argmax + tolist / capture, {shape}",
        at_least=options.stated(at_least), note=duration(times["capture"].median),
    )  # fmt: skip
