"""On a CUDA device nothing waits, nothing breaks a graph, and the records are the CPU's."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from predlog import Comparison, Projection, Recorder
from predlog.capture.capture import capture
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window
from tests import events

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason=f"torch {torch.__version__} finds no CUDA device"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
]

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn]


@pytest.fixture
def busy() -> Iterator[Any]:
    """Return a function that keeps the device busy for about so many milliseconds."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(1_000_000)
    start.record()
    torch.cuda._sleep(10_000_000)
    end.record()
    end.synchronize()
    cycles = 10_000_000 / start.elapsed_time(end)
    yield lambda milliseconds: torch.cuda._sleep(int(milliseconds * cycles))
    torch.cuda.synchronize()


@pytest.fixture
def no_synchronization() -> Iterator[None]:
    """Let torch raise where anything in this thread waits for the device."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def assert_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    for token, expected in zip(one["tokens"], other["tokens"], strict=True):
        assert {name: pytest.approx(value, abs=4e-6) for name, value in expected.items()} == token
    assert {**one, "tokens": None} == {**other, "tokens": None}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(8))
def test_records_equal_the_cpus(dtype: torch.dtype, seed: int) -> None:
    """The same values give the same records on both devices, field for field, with inputs, masks, ties and NaN."""
    generator = torch.Generator().manual_seed(seed)
    samples, length, vocabulary = 3, 1 + 17 * seed, [1, 2, 50, 1000, 32000][seed % 5]
    logits = torch.randn(samples, length, vocabulary, generator=generator) * 4
    if seed % 2:
        logits = logits.round()
    if seed % 3 == 0:
        logits[:, ::5, ::7] = float("nan")
    logits = logits.to(dtype)
    labels = torch.randint(vocabulary, (samples, length), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.4] = -100
    labels[0, 0] = vocabulary + 3
    inputs = torch.randint(vocabulary, labels.shape, generator=generator)
    how: dict[str, Any] = {"shift": min(seed % 3, length - 1), "window": Window(first=seed or 1, last=5)}
    here = list(unpack(capture(logits, labels, inputs=inputs, **how)))
    there = list(unpack(capture(logits.cuda(), labels.cuda(), inputs=inputs.cuda(), **how)))
    assert len(here) == len(there) == 2
    for (fields, facts), (other, other_facts) in zip(here, there, strict=True):
        assert_alike(fields, other)
        for name in facts.__slots__:
            if name != "tokens":
                assert getattr(facts, name) == getattr(other_facts, name), name


@pytest.mark.usefixtures("no_synchronization")
def test_a_thousand_steps_wait_for_nothing(tmp_path: Path) -> None:
    """No logging step synchronises; what is not written was counted as dropped."""
    logits, labels = (one.cuda() for one in events.pair())
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(1000):
            recorder.compare(logits, labels, step, shift=1, inputs=labels)
    stats = recorder.stats()
    assert stats["submitted"] == 2000 == stats["written"] + stats["dropped"]
    assert stats["written"] > 500


@pytest.mark.usefixtures("no_synchronization")
def test_compare_returns_while_the_device_is_busy(busy: Any) -> None:
    """The values that the logits will have are recorded, though `compare` returned long before they had them."""
    logits, labels = (one.cuda() for one in events.pair())
    expected = logits * 2
    with Recorder(every=1, console=False) as recorder:
        known = recorder.compare(expected, labels, 0)
        busy(300)
        late = logits * 2
        start = time.perf_counter()
        future = recorder.compare(late, labels, 1)
        took = time.perf_counter() - start
        assert future is not None
        assert not future.done()
        late.zero_()  # as a fused loss does
        del late
        assert took < 0.15
        assert known is not None
        assert _tokens(future.result(30)) == _tokens(known.result(30))


@pytest.mark.usefixtures("no_synchronization")
def test_a_projection_waits_for_nothing_and_gives_the_cpus_records() -> None:
    """Rows that nobody made are projected without waiting, under autocast as well, and are those of the CPU."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randint(-2, 3, (2, 40, 16), generator=generator).float()  # whose products are exact in any type
    weight = torch.randint(-2, 3, (1000, 16), generator=generator).float()
    labels = torch.randint(1000, (2, 40), generator=generator)
    far = [tensor.to("cuda") for tensor in (hidden, weight, labels)]
    for dtype in (None, torch.bfloat16):
        with Recorder(every=1, console=False, score=False, strict=True) as recorder:
            futures = []
            for step, (read, head, asked) in enumerate(((hidden, weight, labels), far)):
                with torch.autocast(read.device.type, dtype, enabled=dtype is not None):
                    futures.append(recorder.compare(Projection(read, head, softcap=5.0), asked, step))
            near, device = (future.result(30) for future in futures if future is not None)
        for one, other in zip(near, device, strict=True):
            for token, expected in zip(other.tokens, one.tokens, strict=True):
                assert (token.prediction, token.label_rank) == (expected.prediction, expected.label_rank)
                assert token.label_logprob == pytest.approx(expected.label_logprob, abs=1e-5)


def _tokens(records: tuple[Comparison, ...]) -> list[Any]:
    return [record.tokens for record in records]


def test_a_side_stream_is_as_good(busy: Any) -> None:
    """What is captured on a stream of the user's is read after what that stream had to do before."""
    logits, labels = (one.cuda() for one in events.pair())
    torch.cuda.synchronize()
    with Recorder(every=1, console=False) as recorder:
        expected = recorder.compare(logits * 2, labels, 0)
        streams = [torch.cuda.Stream() for _ in range(4)]
        futures = []
        for step, stream in enumerate(streams * 5, 1):
            with torch.cuda.stream(stream):
                busy(5)
                futures.append(recorder.compare(logits * 2, labels, step))
        assert expected is not None
        for future in futures:
            assert future is not None
            assert _tokens(future.result(30)) == _tokens(expected.result(30))


def test_a_graph_that_is_being_captured_is_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """Inside of `torch.cuda.graph` nothing is captured, which is reported once; the graph replays as without."""
    logits, labels = (one.cuda() for one in events.pair())
    out = torch.zeros_like(logits)
    graph = torch.cuda.CUDAGraph()
    with Recorder(every=1, console=False) as recorder:
        assert recorder.compare(logits, labels, 0) is not None
        recorder.flush(30)
        with torch.cuda.graph(graph):
            out.copy_(logits * 3)
            assert recorder.compare(out, labels, 1) is None
            assert recorder.compare(out, labels, 2) is None
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(out, logits * 3)
        assert recorder.compare(out, labels, 3) is not None
    assert events.said(capfd).count("a CUDA graph is being captured") == 1


def test_the_worker_disturbs_no_graph_capture(busy: Any) -> None:
    """While another thread captures a graph in the strictest mode, the worker reads, counts and writes."""
    logits, labels = (one.cuda() for one in events.pair())
    done = threading.Event()

    def tell(_logger: Any, _name: str, event: Any) -> Any:
        done.set()
        return event

    with Recorder(every=1, console=False, sinks=[tell]) as recorder:
        recorder.compare(logits, labels, 0)  # memory is taken before the capture begins
        recorder.flush(30)
        for attempt in range(20):
            busy(20)
            future = recorder.compare(logits, labels, 1 + attempt)
            assert future is not None
            done.clear()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="global"):
                out = logits * 2
                future.result(30)
                assert done.is_set()
            graph.replay()
            torch.cuda.synchronize()
            assert torch.equal(out, logits * 2)


@pytest.mark.parametrize("samples", [2, 32])
def test_device_memory_grows_by_the_rows_shown_alone(samples: int) -> None:
    """Beyond 20 rows, of bfloat16, of float32 twice and of booleans, a capture takes next to nothing."""
    logits = torch.randn(samples, 256, 32000, device="cuda", dtype=torch.bfloat16)
    labels = torch.randint(32000, (samples, 256), device="cuda")
    window = Window(score=False)
    capture(logits, labels, window=window)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    held = capture(logits, labels, window=window)
    rows = 20 * 32000 * (2 + 4 + 4 + 1)
    assert torch.cuda.max_memory_allocated() - before <= rows + (1 << 20)
    assert torch.cuda.memory_allocated() == before
    assert held.numbers is not None
    held.numbers()


def test_the_file_is_the_cpus(tmp_path: Path) -> None:
    """Over steps, streams and codebooks, the lines hold what the CPU's hold."""

    def told(device: str) -> list[dict[str, Any]]:
        with Recorder(tmp_path / device, every=1, console=False, strict=True) as recorder:
            for step in range(50):
                text, codes = _pairs(step)
                recorder.compare(text[0].to(device), text[1].to(device), step, shift=1, inputs=text[1].to(device))
                recorder.compare(
                    codes[0].to(device), codes[1].to(device), step, stream="audio", layout="b t k v, b t k"
                )
                recorder.flush(30)
        lines = (tmp_path / device / "predictions.jsonl").read_text().splitlines()
        passing = {"timestamp", "crc", "run", "recorder", "settings"}
        return [{name: value for name, value in json.loads(line).items() if name not in passing} for line in lines]

    here, there = told("cpu"), told("cuda")
    assert len(here) == len(there)
    for one, other in zip(here[1:], there[1:], strict=True):
        if one["event"] == "predlog.comparison":
            assert_alike(one, other)


def _pairs(step: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(step)
    codes = torch.randn(2, 30, 8, 64, generator=generator), torch.randint(64, (2, 30, 8), generator=generator)
    return events.pair(step), codes
