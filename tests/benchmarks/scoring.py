"""The pass over all supervised rows of the samples shown, against `log_softmax` of the same rows."""

from collections.abc import Iterator

import torch
from torch import Tensor

from predlog.capture import score
from tests.benchmarks.harness import Contender, Row, duration, interleaved, ratio
from tests.benchmarks.material import SMALL, Shape
from tests.benchmarks.options import Options

_SHAPES = (
    SMALL,
    Shape(2, 512, 32000, torch.bfloat16),
    Shape(2, 256, 151936, torch.float32),
    Shape(2, 256, 151936, torch.bfloat16),
    Shape(2, 1024, 2048, torch.float32),
)


def scoring(options: Options) -> Iterator[Row]:
    """Measure loss, entropy and predictions of two samples, with the ranks and without."""
    for shape in _SHAPES:
        generator = torch.Generator().manual_seed(0)
        logits = (3 * torch.randn(*shape[:3], generator=generator)).to(shape.dtype)[:, None]
        labels = torch.randint(shape.vocabulary, (2, 1, shape.length), generator=generator)
        yield from _against_log_softmax(options, shape, logits, labels)


def _against_log_softmax(options: Options, shape: Shape, logits: Tensor, labels: Tensor) -> Iterator[Row]:
    supervised = torch.ones_like(labels, dtype=torch.bool)
    times = interleaved(
        {
            "log_softmax": Contender(lambda: torch.log_softmax(logits, -1)),
            "score": Contender(lambda: score.on_cpu([logits], labels, supervised, has_ranks=False)),
            "score with ranks": Contender(lambda: score.on_cpu([logits], labels, supervised, has_ranks=True)),
        },
        rounds=15,
    )
    for name, most in (("score", 1.0), ("score with ranks", None)):
        yield ratio(
            times, name, "log_softmax", name="-".join([*name.split(), *str(shape).split()]),
            title=f"{name} / log_softmax of the same rows, {shape}",
            at_most=None if most is None else options.stated(most), note=duration(times[name].median),
        )  # fmt: skip
