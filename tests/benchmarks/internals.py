"""What inputs, counts and rules cost: the only benchmarks that look inside predlog."""

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.benchmark import Measurement

from predlog.capture import device
from predlog.capture.capture import capture
from predlog.capture.pair import Pair
from predlog.capture.positions import NOTHING_KNOWN, Positions
from predlog.findings.judge import Judge
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.snapshot import Sizes, Snapshot
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window
from tests.benchmarks.harness import Contender, Row, Spread, duration, interleaved, ratio
from tests.benchmarks.material import Shape, pairs
from tests.benchmarks.options import Options
from tests.dispatched import Dispatched

_SHAPE = Shape(2, 1024, 32000, torch.float32)
_SPECIAL = SpecialTokens(pad=(0,), eos=(2,), bos=(1,), every=frozenset({0, 1, 2}))


def inputs_and_counts(options: Options) -> Iterator[Row]:
    """Set captures with inputs and special tokens against some without, and what the worker then unpacks and counts."""
    turns = pairs(_SHAPE, options.device)
    for score in (False, True):
        window, state = Window(score=score), "on" if score else "off"
        times = _with_and_without(turns, window)
        yield ratio(
            times, "with", "without", name=f"counts-{state}",
            title=f"capture with inputs / without, {_SHAPE}, score {state}", at_most=options.stated(1.3),
            note=f"{duration(times['with'].median)}; {_operations(window)} operations on meta, "
            f"with {_operations(window, with_inputs=True)}",
        )  # fmt: skip
        yield ratio(
            times, "with all", "with", name=f"positions-{state}",
            title=f"capture with loss mask, positions and attention mask / without, {_SHAPE}, score {state}",
            at_most=options.stated(1.3),
            note=f"{duration(times['with all'].median)}; {_operations(window, with_inputs=True, with_positions=True)}"
            f" operations on meta, without {_operations(window, with_inputs=True)}",
        )  # fmt: skip
        yield ratio(
            times, "worker, with", "worker, without", name=f"counts-{state}-worker",
            title=f"unpacking and counting in the worker, with inputs / without, score {state}",
            note=duration(times["worker, with"].median),
        )  # fmt: skip


def _with_and_without(turns: Iterator[tuple[Tensor, Tensor]], window: Window) -> dict[str, Measurement]:
    captures: dict[str, Snapshot] = {}

    def without() -> None:
        logits, labels = next(turns)
        captures["without"] = capture(logits, labels, shift=1, window=window)

    def with_them() -> None:
        logits, labels = next(turns)
        captures["with"] = capture(logits, labels, shift=1, inputs=labels, window=window, specials=_SPECIAL)

    def with_all() -> None:
        logits, labels = next(turns)
        captures["with all"] = capture(
            logits, labels, shift=1, inputs=labels, window=window, specials=_SPECIAL, **_positions(labels.device)  # type: ignore[arg-type]
        )  # fmt: skip

    # Each capture comes after an unpacking, so that both find the caches alike.
    contenders = {
        "without": Contender(without),
        "worker, without": Contender(lambda: list(unpack(captures["without"]))),
        "with": Contender(with_them),
        "worker, with": Contender(lambda: list(unpack(captures["with"]))),
        "with all": Contender(with_all),
        "worker, with all": Contender(lambda: list(unpack(captures["with all"]))),
    }
    return interleaved(contenders, rounds=100)


@lru_cache
def _positions(device: torch.device) -> dict[str, Tensor]:
    """Return a loss mask, the positions of four documents per row, and an attention mask."""
    length = _SHAPE.length
    mask = torch.ones(_SHAPE.samples, length, device=device)
    mask[:, : length // 8] = 0
    places = torch.arange(length // 4, device=device).repeat(4).expand(_SHAPE.samples, length)
    return {"loss_mask": mask, "position_ids": places, "attention_mask": torch.ones_like(places)}


def _operations(window: Window, *, with_inputs: bool = False, with_positions: bool = False) -> int:
    """Count the operations that make something, as any device but the CPU gets them."""
    logits = torch.empty(2, 1, 1024, 32000, device="meta")
    labels = torch.empty(2, 1, 1024, dtype=torch.int64, device="meta")
    positions = Positions(weights=labels, places=labels, attended=labels) if with_positions else NOTHING_KNOWN
    pair = Pair(logits, labels, labels if with_inputs else None, has_codebooks=False, positions=positions)
    sizes = Sizes(2, 1, 1024, 32000, 1, -100, SpecialTokens(), has_codebooks=False, is_trained=True)
    with torch.no_grad(), Dispatched() as dispatched:
        device.pack(pair, device.packing(pair, sizes, window), sizes, window)
    return len(dispatched.operations)


def rules(_options: Options) -> Iterator[Row]:
    """Time the judging of a healthy training, a record at a time."""
    for samples in (1, 2):
        captured = []
        for _ in range(40):
            ids = torch.randint(3, 400, (samples, 64))
            held = capture(torch.randn(samples, 64, 400), ids, shift=1, inputs=ids, window=Window(), specials=_SPECIAL)
            captured.append([facts for _, facts in unpack(held)])
        judge, steps, turns = Judge(), itertools.count(), itertools.cycle(captured)

        def judged(judge: Judge = judge, steps: Any = steps, turns: Any = turns) -> None:
            for _ in range(20):
                step, record = next(steps), next(turns)
                for one in record:
                    one.fingerprint = (step, one.sample)  # a sample that came again unchanged would be a fault
                judge.judge(step, "text", record, is_trained=True)

        times = interleaved({"judged": Contender(judged, 20 * samples)}, rounds=100)["judged"].times
        yield Row(
            name=f"rules-{samples}",
            title=f"all rules, a record, {samples} a step",
            measured=Spread.of(1e6 * each for each in times),
            at_most=60,
            unit="µs",
            seconds={"judged": Spread.of(times)},
        )
