"""How much memory a capture takes beyond the rows shown.

Counted is every allocation that torch makes while `capture` runs, freed or not, at the moment when most of it is held,
in rows of float32: 4 bytes a logit. What the rows shown take in their own type is taken off, as on a device, which
has to gather them; where they are read where they lie, the result is below zero. The note gives all of it.
"""

from collections.abc import Callable, Iterator

import torch

from predlog.capture.capture import capture
from predlog.numbers.window import Window
from tests.benchmarks.harness import Row, Spread
from tests.benchmarks.material import Shape
from tests.benchmarks.options import Options
from tests.benchmarks.profiling import profiled

_SHAPES = {
    "memory-float32": Shape(2, 256, 32000, torch.float32),
    "memory-wide": Shape(2, 64, 128256, torch.bfloat16),
}


def memory(options: Options) -> Iterator[Row]:
    """Measure the first capture of a shape: what a later one found already made would not be seen."""
    for name, shape in _SHAPES.items():
        logits = torch.randn(shape[:3], dtype=shape.dtype, device=options.device)
        labels = torch.randint(shape.vocabulary, shape[:2], device=options.device)
        samples, window, row = 2, Window(samples=2, score=False), 4 * shape.vocabulary

        def captured(logits: torch.Tensor = logits, labels: torch.Tensor = labels, window: Window = window) -> object:
            return capture(logits, labels, window=window)

        peak = peak_of(captured, options.device)
        shown = samples * (window.first + window.last) * shape.vocabulary * shape.dtype.itemsize
        yield Row(
            name=name, title=f"memory of a capture beyond the rows shown, {shape}, in float32 rows",
            measured=Spread.exact((peak - shown) / row), at_most=options.stated(2), unit="rows",
            note=f"{peak / row:.1f} rows in all; the rows shown are {shown / row:g}",
        )  # fmt: skip


def peak_of(run: Callable[[], object], device: torch.device) -> int:
    """Return how many bytes are held at most while `run` runs, beyond those held before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    held = peak = 0
    for event in profiled(run):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak
