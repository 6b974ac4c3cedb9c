"""Steps that jump, and steps that never move: what is due is recorded once per multiple of `every`, and a line says so.

The rule: `watch` and the callbacks record the first step at or past each multiple of `every` that was crossed;
`compare` records multiples alone, and after a hundred calls of which none was due one line names those that are.
"""

import random
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

import predlog
from predlog import Recorder
from tests import events
from tests.faults.experiment import Figure, Size, equals

_WIDEST = 7


class _Model(nn.Module):
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def run(size: Size) -> Iterator[Figure]:
    """Walk at random with each `every`; then call `compare` with steps that are never due."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for losses as small as these, several wait for one another
    try:
        yield from _measured(size)
    finally:
        torch.set_num_threads(threads)


def _measured(size: Size) -> Iterator[Figure]:
    walks, steps, chance = size.of(300, 4), 150, random.Random(1)
    logits, labels = events.pair(samples=1, length=6, vocabulary=9)
    pair, wrong, due = (logits.requires_grad_(), labels), 0, 0
    for _ in range(walks):
        every, pace = chance.randrange(2, 12), chance.randrange(1, _WIDEST)
        jumps = (chance.randrange(pace + 1) for _ in range(steps))
        walk = [*accumulate(jumps, initial=chance.randrange(20))]
        found, wanted = _watched(pair, walk, every), _wanted(walk, every)
        due += len(wanted)
        wrong += len(set(found) ^ set(wanted)) + len(found) - len(set(found))
    what = f"{walks} walks of {steps} steps"
    yield equals(f"{what}: steps due and not recorded, or recorded and not due", wrong, 0, f"of {due:,}")
    silent, doubled, recorded = 0, 0, 0
    for every in (cases := range(2, size.of(200, 12))):
        lines, count = _never_due(pair, every, chance)
        silent, doubled, recorded = silent + (not lines), doubled + (len(lines) > 1), recorded + count
    yield equals(f"{len(cases)} loops whose steps are never due: of which no line tells", silent, 0)
    yield equals(f"{len(cases)} loops whose steps are never due: of which more than one line tells", doubled, 0)
    yield equals(f"{len(cases)} loops whose steps are never due: pairs recorded", recorded, 0)
    yield equals("a step that never moves: lines on stderr", len(_standing(pair)), 1)


def _wanted(walk: list[int], every: int) -> list[int]:
    """Return the steps that are multiples, and those that have passed one since the step before; each once."""
    passed = [after for before, after in pairwise(walk) if after // every > before // every]
    return [*dict.fromkeys([*(one for one in walk if one % every == 0), *passed])]


def _recorder(every: int, kept: list[int]) -> Recorder:
    def keep(_logger: Any, _name: str, event: Any) -> Any:
        if event["event"] == "predlog.comparison":
            kept.append(event["step"])
        return event

    return Recorder(every=every, samples=1, score=False, console=False, sinks=[keep], queue=4096)


def _watched(pair: tuple[Tensor, Tensor], walk: list[int], every: int) -> list[int]:
    model, kept, steps = _Model(), list[int](), iter(walk)
    with (
        redirect_stderr(StringIO()),
        _recorder(every, kept) as recorder,
        predlog.watch(model, step=lambda: next(steps), recorder=recorder),
    ):
        for _ in walk:
            model(*pair)
    return kept


def _never_due(pair: tuple[Tensor, Tensor], every: int, chance: random.Random) -> tuple[list[str], int]:
    kept: list[int] = []
    with redirect_stderr(StringIO()) as said, _recorder(every, kept) as recorder:
        for number in range(300):
            recorder.compare(*pair, number * every + chance.randrange(1, every))
    return [line for line in said.getvalue().splitlines() if "records nothing" in line], len(kept)


def _standing(pair: tuple[Tensor, Tensor]) -> list[str]:
    model, kept = _Model(), list[int]()
    with (
        redirect_stderr(StringIO()) as said,
        _recorder(10, kept) as recorder,
        predlog.watch(model, step=lambda: 0, recorder=recorder),
    ):
        for _ in range(150):
            model(*pair)
    return [line for line in said.getvalue().splitlines() if "step()" in line]
