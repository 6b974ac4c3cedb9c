"""How the time of a capture grows with the length and with the number of samples."""

from collections.abc import Iterator

import torch
from torch.utils.benchmark import Measurement

from predlog.capture.capture import capture
from predlog.numbers.window import Window
from tests.benchmarks.harness import Contender, Row, duration, interleaved, ratio
from tests.benchmarks.options import Options
from tests.benchmarks.plot import Line, plotted

_VOCABULARY = 4096
_LENGTHS = (512, 2048, 8192, 32768)
_SAMPLES = (2, 8, 64)


def scaling(options: Options) -> Iterator[Row]:
    """Measure captures without the score from 2 samples of 512 tokens upwards, and plot them where asked to."""
    longer = [(_SAMPLES[0], length) for length in _LENGTHS]
    more = [(samples, _LENGTHS[0]) for samples in _SAMPLES]
    times = _times(options, [*longer, *more[1:]])
    for sizes, name in ((longer, "length"), (more, "samples")):
        first, last = f"{sizes[0]}", f"{sizes[-1]}"
        for size in map(str, sizes[1:]):
            yield ratio(
                times, size, first, name=f"scaling-{name}-{size.strip('()').replace(', ', 'x')}",
                title=f"capture of (B, T) = {size} / of {first}, V = {_VOCABULARY} bfloat16",
                at_most=options.stated(2) if size == last else None,
                note=f"{duration(times[size].median)} / {duration(times[first].median)}",
            )  # fmt: skip
    if options.plot is not None:
        lines = [_line("T = 512 to 32768, B = 2", longer, times), _line("B = 2 to 64, T = 512", more, times)]
        title = f"A capture's time, V = {_VOCABULARY} bfloat16, score off"
        options.plot.write_text(plotted(title, "tokens in the batch", "microseconds", lines), encoding="utf-8")


def _times(options: Options, sizes: list[tuple[int, int]]) -> dict[str, Measurement]:
    block = torch.randn(2**10, _VOCABULARY, dtype=torch.bfloat16, device=options.device)
    # All batches are cut from one stretch of rows that repeats, so that making it is quick.
    rows = block.repeat(max(samples * length for samples, length in sizes) // len(block), 1)
    window = Window(score=False)
    contenders: dict[str, Contender] = {}
    for size in sizes:
        logits = rows[: size[0] * size[1]].view(*size, _VOCABULARY)
        labels = torch.randint(_VOCABULARY, size, device=options.device)
        contenders[str(size)] = Contender(
            lambda logits=logits, labels=labels: capture(logits, labels, window=window)  # type: ignore[misc]
        )
    return interleaved(contenders, rounds=150)


def _line(name: str, sizes: list[tuple[int, int]], times: dict[str, Measurement]) -> Line:
    return Line(name, [(samples * length, 1e6 * times[f"{(samples, length)}"].median) for samples, length in sizes])
