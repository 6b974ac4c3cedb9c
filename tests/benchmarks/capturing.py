"""A capture alone, against the pasted helper's argmax and tolist, and of a shard against that of all logits."""

from collections.abc import Iterator

from predlog import Shard
from predlog.capture.capture import capture
from predlog.numbers.window import Window
from tests.benchmarks.baselines import argmax_of_everything
from tests.benchmarks.harness import Contender, Row, duration, interleaved, ratio, repeated
from tests.benchmarks.material import LARGE, SMALL, WIDE, Shape, pairs
from tests.benchmarks.options import Options

# Processes that share the vocabulary, and what the capture of one may take of that of all logits, without the score and
# with it.
_SHARDS, _MOST = 8, (1.0, 0.25)


def capturing(options: Options) -> Iterator[Row]:
    """Measure captures of three batches; each finds rows that no cache has seen lately."""
    yield _against_argmax(options, SMALL, "capture-float32", at_least=30, rounds=25)
    yield _against_argmax(options, LARGE, "capture-bfloat16", at_least=400, rounds=7)
    yield _against_argmax(options, WIDE, "capture-wide", at_least=150, rounds=7)
    for shape in (SMALL, WIDE):
        for score in (False, True):
            yield _of_shard(options, shape, score=score)


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


def _of_shard(options: Options, shape: Shape, *, score: bool) -> Row:
    whole = pairs(shape, options.device)
    local = pairs(shape._replace(vocabulary=shape.vocabulary // _SHARDS), options.device)
    window, shard = Window(score=score), Shard(0, of=shape.vocabulary)

    def of_whole() -> object:
        logits, labels = next(whole)
        return capture(logits, labels, window=window)

    def of_shard() -> object:
        logits, labels = next(local)
        return capture(logits, labels, window=window, shard=shard)

    many = 3 if score else 30
    times = interleaved({"shard": repeated(of_shard, many), "whole": repeated(of_whole, many)}, rounds=9)
    took = " / ".join(duration(times[name].median) for name in ("shard", "whole"))
    return ratio(
        times, "shard", "whole", name=f"capture-shard-{shape.vocabulary}-{'score' if score else 'off'}",
        title=f"capture of 1/{_SHARDS} of the vocabulary / of all, {shape}, score {'on' if score else 'off'}",
        at_most=options.stated(_MOST[score]), note=took,
    )  # fmt: skip
