"""How much memory a capture takes beside the logits that it is handed.

Counted is every allocation that torch makes while `capture` runs, freed or not, at the moment when most of it is held,
in rows of float32: 4 bytes a logit. Nothing is taken off on the CPU: rows that are read where they lie need no memory,
and the labels and statistics that are kept, a few kilobytes, are counted. Off the CPU the rows shown are gathered, and
are taken off, in their own type.
"""

from collections.abc import Callable, Iterator

import torch

from predlog.capture import capture
from predlog.window import Window
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
        window, row = Window(accuracy=False), 4 * shape.vocabulary

        def captured(logits: torch.Tensor = logits, labels: torch.Tensor = labels, window: Window = window) -> object:
            return capture(logits, labels, window=window)

        peak = peak_of(captured, options.device)
        if options.device.type != "cpu":
            shown = window.samples * (window.first + window.last)
            peak -= shown * shape.vocabulary * shape.dtype.itemsize
        yield Row(
            name=name, title=f"memory that a capture takes beside the logits, {shape}, in float32 rows",
            measured=Spread.exact(peak / row), at_most=2, unit="rows",
            note=f"{peak} bytes at the peak, what is kept included",
        )  # fmt: skip


def peak_of(run: Callable[[], object], device: torch.device) -> int:
    """Give how many bytes are held at most while `run` runs, beyond those held before it."""
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
