"""By how much predlog slows a real training loop down: blocks of steps without it and with it, in turn."""

import itertools
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from predlog import Recorder, sinks
from tests.benchmarks.harness import Contender, Row, Spread, duration, interleaved, repeated
from tests.benchmarks.material import terminal
from tests.benchmarks.options import Options
from tests.benchmarks.training import Size, Training

# Percent that a loop may be slower; none is stated for every tenth step.
_TARGETS: Mapping[int, float | None] = {1: 1.0, 10: None, 50: 0.1}
# A block holds one step that is due for the rarest of them.
_BLOCK = max(_TARGETS)


def slowdown(options: Options) -> Iterator[Row]:
    """Measure at every = 1, 10 and 50, with a file and a terminal, a model of 135 million parameters."""
    yield from slowed(options.device, Size(), rounds=10)


def slowed(device: torch.device, size: Size, *, rounds: int) -> Iterator[Row]:
    """Measure a model of that size."""
    training = Training(device, size)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as open_recorders:
        recorders = {
            every: open_recorders.enter_context(_recorder(Path(directory, str(every)), every)) for every in _TARGETS
        }
        contenders = {"without": _block(training, None)}
        contenders |= {f"every={every}": _block(training, recorder) for every, recorder in recorders.items()}
        times = interleaved(contenders, rounds=rounds)
        stats = {every: recorder.stats() for every, recorder in recorders.items()}
    for every, target in _TARGETS.items():
        name = f"every={every}"
        shares = zip(times[name].times, times["without"].times, strict=True)
        submitted = (rounds + 1) * _BLOCK // every * 2
        assert stats[every]["submitted"] == submitted, stats[every]
        yield Row(
            name=f"slowdown-{every}", title=f"slowdown of a training loop, every={every}",
            measured=Spread.of(100 * (slower / plain - 1) for slower, plain in shares), at_most=target, unit="%",
            note=f"{duration(times['without'].median)} a step; {stats[every]['dropped']} of {submitted} dropped",
            seconds={each: Spread.of(times[each].times) for each in ("without", name)},
        )  # fmt: skip


def _recorder(directory: Path, every: int) -> Recorder:
    return Recorder(directory, every=every, decode=str, console=False, sinks=[sinks.Console(terminal())])


def _block(training: Training, recorder: Recorder | None) -> Contender:
    numbers = itertools.count()
    return repeated(lambda: training.step(next(numbers), recorder), _BLOCK)
