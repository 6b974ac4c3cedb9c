"""A long run whose every step is recorded drops nothing, and needs no more memory at its end than at its start."""

import io
import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console as RichConsole
from torch import Tensor

from predlog import Recorder
from predlog.sinks import Console
from tests.faults.experiment import Figure, Size, equals, told
from tests.faults.forked import context
from tests.faults.lines import each
from tests.faults.resident import resident_bytes, slope, trim

_KIB = 1024
_MOST_GROWTH = 5 * 1024  # KiB
_STREAMS = {"text": "b t v, b t", "eval/text": "b v t, b t", "audio": "b t k v, b t k", "codes": "(b k) t v, b t k"}
_VOCABULARIES, _LENGTHS, _BATCHES, _CODEBOOKS = (64, 1000, 4096), (8, 33, 64), (1, 2, 5), (2, 8)
_NOISE = 5 * 8 * 64 * 4096


class _Discarded(io.TextIOBase):
    """A terminal that keeps nothing."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)


class _Shape(NamedTuple):
    stream: str
    b: int
    t: int
    v: int
    k: int


@dataclass
class _Counted:
    pairs: int = 0
    comparisons: int = 0
    not_captured: int = 0


@dataclass(frozen=True, slots=True)
class _Answer:
    counted: "_Counted"
    rate: float
    samples: list[tuple[float, float]]
    held: float
    closed: bool
    stats: dict[str, Any]


def run(size: Size) -> Iterator[Figure]:
    """Compare for ten minutes, the next pair as soon as the one before is written, and look at the memory each second.

    Shapes and streams change with every pair; a table of each is drawn for a terminal that keeps nothing.
    """
    seconds = size.of(600.0, 15.0)
    with tempfile.TemporaryDirectory() as directory:
        answer = _soaked(directory, seconds)
        # One after the other, for ten minutes of them are more than should be held.
        kinds = Counter(line and line["event"] for line in each(Path(directory, "predictions.jsonl")))
    made = answer.counted
    yield told("pairs", made.pairs)
    yield told("pairs a second, each as soon as the one before is written", answer.rate)
    yield equals("pairs not captured", made.not_captured, 0)
    yield equals("comparisons dropped", answer.stats["dropped"], 0)
    yield equals("comparisons made, less those in the file", made.comparisons - kinds["predlog.comparison"], 0)
    yield equals("claimed as written, less those made", answer.stats["written"] - made.comparisons, 0)
    yield equals("gap records, damaged lines, a recorder that did not close",
                 kinds["predlog.gap"] + kinds[None] + (not answer.closed), 0)  # fmt: skip
    yield _growth(answer.samples)
    yield told("growth with what the C library holds free", answer.held, "KiB")


def _growth(samples: list[tuple[float, float]]) -> Figure:
    times, sizes = [at / 60 for at, _ in samples], [kib for _, kib in samples]
    steepness, error = slope(times, sizes)
    grown = sizes[-1] - sizes[0]
    return Figure(
        "growth of the memory in use, by the line of least squares", steepness, "≤ 2 err.",
        holds=steepness - 2 * error <= 0 or grown < _MOST_GROWTH, unit="KiB/min",
        note=f"± {error:,.0f}, {grown:,.0f} KiB from {sizes[0]:,.0f} in all, and < {_MOST_GROWTH:,} will do",
    )  # fmt: skip


def _soaked(directory: str, seconds: float) -> _Answer:
    forks = context()
    here, there = forks.Pipe(duplex=False)
    child = forks.Process(target=_compare, args=(directory, seconds, there), daemon=True)
    child.start()
    there.close()
    answer: _Answer = here.recv()
    child.join()
    assert child.exitcode == 0
    return answer


def _compare(directory: str, seconds: float, answer: Connection) -> None:
    torch.set_num_threads(2)
    torch.manual_seed(5)
    dice, noise = random.Random(5), torch.randn(_NOISE)
    shapes = [
        _Shape(stream, *sizes)
        for stream, layout in _STREAMS.items()
        for sizes in itertools.product(_BATCHES, _LENGTHS, _VOCABULARIES, _CODEBOOKS if "k" in layout else (1,))
    ]
    drawn = RichConsole(file=_Discarded(), force_terminal=True, width=120)  # type: ignore[arg-type]
    recorder = Recorder(
        directory, every=1, console=False, sinks=[Console(drawn)],
        decode={"text": str, "eval/text": str, "audio": str},
    )  # fmt: skip
    counted = _Counted()

    def compare(which: _Shape) -> None:
        logits, labels = _pair(which, noise)
        step, layout = counted.pairs, _STREAMS[which.stream]
        future = recorder.compare(logits, labels, step, stream=which.stream, layout=layout, epoch=step // 100)
        counted.pairs += 1
        if future is None:
            counted.not_captured += 1
        else:
            counted.comparisons += min(which.b, 2) * which.k
            future.exception()  # waits as result() does, and makes no records

    # Warm: every buffer has been needed once, whatever the shape.
    for which in shapes:
        compare(which)
    start, before = time.monotonic(), counted.pairs
    samples: list[tuple[float, float]] = []
    untrimmed: list[float] = []
    while (took := time.monotonic() - start) < seconds:
        # Here, where no tensor is alive that is the training's own.
        if took >= len(samples):
            untrimmed.append(resident_bytes() / _KIB)
            # What the C library keeps for later, among it the holes that freed tensors leave, is nobody's.
            trim()
            samples.append((took, resident_bytes() / _KIB))
        compare(dice.choice(shapes))
    closed = recorder.close(60)
    answer.send(
        _Answer(
            counted,
            (counted.pairs - before) / took,
            samples,
            untrimmed[-1] - untrimmed[0],
            closed,
            dict(recorder.stats()),
        )
    )


def _pair(shape: _Shape, noise: Tensor) -> tuple[Tensor, Tensor]:
    _, b, t, v, k = shape
    # Copied, as a model's output is made anew at every step; drawn anew, it would be all that this run does.
    values = noise[: b * t * k * v].clone()
    logits, labels = {
        "text": ((b, t, v), (b, t)),
        "eval/text": ((b, v, t), (b, t)),
        "audio": ((b, t, k, v), (b, t, k)),
        "codes": ((b * k, t, v), (b, t, k)),
    }[shape.stream]
    return values.view(logits), torch.randint(v, labels)
