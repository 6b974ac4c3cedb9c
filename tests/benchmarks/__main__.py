"""Print every ratio that the README states, and exit with 1 where one misses its target."""

import io
import itertools
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from rich.console import Console as RichConsole
from rich.table import Table

import predlog
from predlog import Recorder, counting, sinks
from predlog.capture import capture, select
from predlog.judging import Judge
from predlog.layout import Pair
from predlog.packing import Window, unpack
from predlog.sinks.table import TokenTable
from predlog.specials import SpecialTokens
from tests import events
from tests.benchmarks.harness import Ratio, interleaved, ratio
from tests.dispatched import Dispatched


def main() -> int:
    """Run all benchmarks."""
    torch.set_num_threads(1)
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} thread, "
        + ", ".join(f"{name} {version(name)}" for name in ("structlog", "orjson", "rich"))
    )
    print("medians of interleaved rounds; in brackets the ratio of the quartiles")
    print("first block: the pasted helper's argmax of everything + tolist / predlog's whole logging step\n")
    results = []
    for benchmark in (whole_steps, inputs_and_counts, rules, gate, table, importing):
        for result in benchmark():
            print(result, flush=True)
            results.append(result)
    return 0 if all(result.holds for result in results) else 1


def whole_steps() -> Iterator[Ratio]:
    """Set the pasted helper's argmax and tolist against whole logging steps, capture to written file and drawn table.

    "in a loop" is what a training loop pays: the time of several logging steps and a flush, divided by their number,
    each step with logits that no cache has seen lately. "alone" is the way of one step from the call to the last sink,
    after a helper's step has emptied the caches of our code, too.
    """
    small = (2, 512, 32000), torch.float32
    large = (4, 2048, 32000), torch.bfloat16
    yield from _whole_steps(*small, "random", accuracy=False, in_a_loop=15.0)
    yield from _whole_steps(*small, "random", accuracy=True, in_a_loop=5.0)
    yield from _whole_steps(*small, "half masked", accuracy=True, in_a_loop=5.0)
    yield from _whole_steps(*small, "half right", accuracy=True)
    yield from _whole_steps(*small, "all right", accuracy=True)
    yield from _whole_steps(*large, "random", accuracy=False, in_a_loop=150.0)
    yield from _whole_steps(*large, "random", accuracy=True)
    yield from _whole_steps(*large, "half right", accuracy=True)


def _labels(logits: torch.Tensor, kind: str) -> torch.Tensor:
    labels = torch.randint(logits.shape[-1], logits.shape[:2])
    if kind == "half masked":
        labels[:, : logits.shape[1] // 2] = -100
    if kind == "half right":
        return torch.where(torch.rand(labels.shape) < 0.5, logits.argmax(-1), labels)
    return logits.argmax(-1) if kind == "all right" else labels


def _whole_steps(
    shape: tuple[int, int, int], dtype: torch.dtype, kind: str, *, accuracy: bool, in_a_loop: float | None = None
) -> Iterator[Ratio]:
    rounds, many = (15, 40) if dtype == torch.float32 else (5, 10)
    pairs = [(logits, _labels(logits, kind)) for logits in (torch.randn(shape).to(dtype) for _ in range(4))]
    turns, steps = itertools.cycle(pairs), itertools.count()
    with tempfile.TemporaryDirectory() as directory:
        screen = RichConsole(file=io.StringIO(), force_terminal=True, width=80, color_system="truecolor")
        recorder = Recorder(
            directory, every=1, accuracy=accuracy, decode=str, console=False, sinks=[sinks.Console(screen)]
        )

        def helper() -> object:
            return next(turns)[0].argmax(-1).tolist()

        def alone() -> object:
            future = recorder.compare(*next(turns), next(steps))
            assert future is not None
            return future.result()

        def in_loop() -> None:
            for _ in range(many):
                recorder.compare(*next(turns), next(steps))
            assert recorder.flush(60)

        # The helper stands before each of the two, so that both find the caches as a training step leaves them.
        times = interleaved(
            {"helper": helper, "alone": alone, "helper again": helper, "in a loop": in_loop}, rounds=rounds
        )
        assert recorder.stats()["written"] == 2 * next(steps)
        recorder.close()
    name = f"{shape} {str(dtype).removeprefix('torch.')}, accuracy {'on' if accuracy else 'off'}, labels {kind}"
    loop = times["in a loop"].divided(many)
    yield ratio(f"{name}, in a loop", times["helper"], loop, at_least=in_a_loop, note=f"{1e3 * loop.median:.2f} ms")
    alone_note = f"{1e3 * times['alone'].median:.2f} ms"
    yield ratio(f"{name}, alone", times["helper"], times["alone"], note=alone_note)


def inputs_and_counts() -> Iterator[Ratio]:
    """Set a capture with inputs, special tokens and all counts against one without any of them."""
    pairs = [(torch.randn(2, 1024, 32000), torch.randint(32000, (2, 1024))) for _ in range(4)]
    turns = itertools.cycle(pairs)
    special = SpecialTokens(pad=(0,), eos=(2,), bos=(1,), every=frozenset({0, 1, 2}))

    def without(window: Window) -> object:
        counted, counting.of_labels = counting.of_labels, lambda *_pair: ({}, {})
        try:
            logits, labels = next(turns)
            return capture(logits, labels, shift=1, window=window)
        finally:
            counting.of_labels = counted

    def with_them(window: Window) -> object:
        logits, labels = next(turns)
        return capture(logits, labels, shift=1, inputs=labels, window=window, specials=special)

    for accuracy in (False, True):
        window = Window(accuracy=accuracy)
        contenders: dict[str, Callable[[], object]] = {
            "without": partial(without, window),
            "with": partial(with_them, window),
        }
        times = interleaved(contenders, rounds=150)
        operations = f"{_operations(window)} operations on meta, with {_operations(window, special)}"
        yield ratio(
            f"capture with inputs and counts / without, (2, 1024, 32000), accuracy {'on' if accuracy else 'off'}",
            times["with"], times["without"], at_most=1.3, note=f"{1e3 * times['with'].median:.2f} ms; {operations}",
        )  # fmt: skip


def _operations(window: Window, special: SpecialTokens | None = None) -> int:
    """Count the operations that make something, as any device but the CPU gets them."""
    logits = torch.empty(2, 1, 1024, 32000, device="meta")
    labels = torch.empty(2, 1, 1024, dtype=torch.int64, device="meta")
    pair = Pair(logits, labels, None if special is None else labels, has_codebooks=False)
    with torch.no_grad(), Dispatched() as dispatched:
        select(pair, shift=1, ignore_index=-100, window=window, specials=special or SpecialTokens())
    return len(dispatched.operations)


def rules() -> Iterator[Ratio]:
    """Time the judging of a healthy training, a record at a time."""
    special = SpecialTokens(pad=(0,), eos=(2,), bos=(1,), every=frozenset({0, 1, 2}))
    for samples in (1, 2):
        captured = []
        for _ in range(40):
            ids = torch.randint(3, 400, (samples, 64))
            held = capture(torch.randn(samples, 64, 400), ids, shift=1, inputs=ids, window=Window(), specials=special)
            captured.append([facts for _, facts in unpack(held)])
        judge, steps, turns = Judge(), itertools.count(), itertools.cycle(captured)

        def judged(judge: Judge = judge, steps: Any = steps, turns: Any = turns) -> object:
            return judge.judge(next(steps), "text", next(turns), is_trained=True)

        timing = interleaved({"judged": judged}, rounds=100, repeat=20)["judged"].divided(samples)
        many = "one sample" if samples == 1 else f"{samples} samples"
        yield Ratio(
            f"all rules, microseconds a record, {many} a step", 1e6 * timing.median, 1e6 * timing.lower,
            1e6 * timing.upper, at_most=50.0,
        )  # fmt: skip


def gate() -> Iterator[Ratio]:
    """Set a step that is not due against an empty function with the same signature."""
    logits, labels = events.pair()
    recorder = Recorder(every=1000, console=False)

    def empty(
        logits: object, labels: object, step: int, *, stream: str = "text", layout: str | None = None, shift: int = 0,
        inputs: object = None, ignore_index: int = -100, **context: object,
    ) -> None:  # fmt: skip
        return None

    def calls(function: Callable[..., object]) -> Callable[[], object]:
        def run() -> None:
            for _ in range(1000):
                function(logits, labels, 7, shift=1)

        return run

    predlog.configure(every=1000, console=False)
    contenders = {"empty": empty, "Recorder.compare": recorder.compare, "predlog.compare": predlog.compare}
    times = interleaved({name: calls(function) for name, function in contenders.items()}, rounds=200)
    predlog.close()
    for name in ("Recorder.compare", "predlog.compare"):
        note = f"{1e6 * times[name].median:.0f} ns"
        yield ratio(
            f"{name}, a step that is not due / an empty function", times[name], times["empty"], at_most=1.6, note=note
        )


def table() -> Iterator[Ratio]:
    """Set a `rich.table.Table` with the same content against our renderable."""
    logits, labels = events.pair(length=200, vocabulary=500)
    ((fields, _), *_) = unpack(capture(logits, labels, window=Window()))
    event = events.comparison(**fields)
    for token in event["tokens"]:
        token.update(label_text=f" tok{token['label']}", prediction_text=f" tok{token['prediction']}")
    console = RichConsole(file=io.StringIO(), force_terminal=True, width=80, color_system="truecolor")

    def with_rich() -> None:
        drawn = Table(title="step 120 · text · sample 0 · 388 of 512 supervised · 41.2% right")
        for _ in range(11):
            drawn.add_column()
        tokens = event["tokens"]
        rows: dict[str, list[str]] = {
            "position": [str(token["position"]) for token in tokens],
            "label": [token["label_text"] for token in tokens],
            "prediction": [token["prediction_text"] for token in tokens],
            "p(label)": [f"{2.718 ** token['label_logprob']:.3f}" for token in tokens],
            "rank": [str(token["label_rank"]) for token in tokens],
        }
        for name, cells in rows.items():
            drawn.add_row(name, *cells)
        console.print(drawn)

    times = interleaved(
        {"rich": with_rich, "ours": lambda: console.print(TokenTable(event), end="", crop=False)}, rounds=60
    )
    note = f"{1e3 * times['ours'].median:.3f} ms"
    yield ratio(
        "rich.table.Table / our table, the same content", times["rich"], times["ours"], at_least=20.0, note=note
    )


def importing() -> Iterator[Ratio]:
    """Measure what `import predlog` adds to `import torch`, in fresh processes."""
    code = (
        "import time; a = time.perf_counter(); import torch; b = time.perf_counter(); import predlog; "
        "print(b - a, time.perf_counter() - b)"
    )
    times = [
        [
            float(number)
            for number in subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.split()
        ]
        for _ in range(7)
    ]
    torchs, ours = (statistics.median(column) for column in zip(*times, strict=True))
    shares = sorted(own / of for of, own in times)
    yield Ratio(
        "import predlog after import torch / import torch", ours / torchs, shares[1], shares[-2],
        at_most=0.03, note=f"{1e3 * ours:.2f} ms",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
