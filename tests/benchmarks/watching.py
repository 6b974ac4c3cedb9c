"""A step of a watched model that is not due against the same step that nobody watches."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import predlog
from predlog import Recorder
from tests.benchmarks.harness import Row, Spread, duration, interleaved, ratio, repeated
from tests.benchmarks.options import Options
from tests.benchmarks.profiling import operations
from tests.benchmarks.training import Size, Transformer

_SMALL = Size(vocabulary=1000, width=128, depth=2, heads=4, samples=4, length=64)
_STEPS = 20


class _Model(nn.Module):
    """Makes its own loss."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = Transformer(_SMALL).to(device)

    def forward(self, ids: Tensor) -> Tensor:
        return cross_entropy(self.inner(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


def watching(options: Options) -> Iterator[Row]:
    """Measure a forward and backward of a small model, and count the operations that are added."""
    alone, watched = _Model(options.device), _Model(options.device)
    ids = torch.randint(_SMALL.vocabulary, (_SMALL.samples, _SMALL.length + 1), device=options.device)

    def step(model: nn.Module) -> None:
        model(ids).backward()

    with Recorder(every=2**40, console=False) as recorder, predlog.watch(watched, recorder=recorder, step=1):
        contenders = {
            "alone": repeated(partial(step, alone), _STEPS),
            "watched": repeated(partial(step, watched), _STEPS),
        }
        times = interleaved(contenders, rounds=30)
        added = operations(partial(step, watched)) - operations(partial(step, alone))
    yield ratio(
        times, "watched", "alone", name="watching", title="predlog.watch, a small model's step that is not due / alone",
        at_most=1.02, note=duration(times["alone"].median),
    )  # fmt: skip
    yield Row(
        name="watching-operations", title="predlog.watch, torch operations on a step that is not due",
        measured=Spread.exact(added), at_most=0,
    )  # fmt: skip
