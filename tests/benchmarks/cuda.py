"""What only a CUDA device can show: that nothing waits for it, and how little a logging step asks of it."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from predlog import Recorder
from tests.benchmarks.harness import Row, Spread
from tests.benchmarks.options import Options

# How long the device is kept busy while the host is watched.
_BUSY_MS = 200
_AT_LEAST_MS = 100
_TIMES = 60


def cuda(options: Options) -> Iterator[Row]:
    """Watch a thousand logging steps, the host's time, the kernels, and a graph captured meanwhile."""
    yield synchronising(options.device)
    for score, with_inputs in ((False, False), (True, False), (True, True)):
        yield host_time(options.device, score=score, with_inputs=with_inputs)
        yield from kernels(options.device, score=score, with_inputs=with_inputs)
    yield graphs(options.device)


def synchronising(device: torch.device, steps: int = 1000) -> Row:
    """Log a thousand steps while torch raises at whatever waits for the device."""
    logits, labels = _pair(device, (2, 64, 512))
    with tempfile.TemporaryDirectory() as directory, Recorder(directory, every=1, console=False) as recorder:
        with _refusing_to_wait():
            for step in range(steps):
                recorder.compare(logits, labels, step, shift=1)
        assert recorder.flush(60)
        stats = recorder.stats()
    return Row(
        name="cuda-synchronising",
        title=f"comparisons of {steps} steps neither written nor counted as dropped, where waiting raises",
        measured=Spread.exact(2 * steps - stats["written"] - stats["dropped"]),
        at_most=0,
        note=f"{stats['written']} written, {stats['dropped']} dropped",
    )


def host_time(device: torch.device, *, score: bool, with_inputs: bool) -> Row:
    """Time a logging `compare` on the host while the device is busy with what came before."""
    logits, labels = _pair(device, (4, 2048, 32000))
    inputs, cycles = labels if with_inputs else None, _cycles_of(_BUSY_MS)
    times = []
    with tempfile.TemporaryDirectory() as directory, _recorder(directory, score=score) as recorder:
        for step in range(_TIMES + 3):
            begin, end = _busy(cycles)
            start = time.perf_counter()
            future = recorder.compare(logits, labels, step, shift=1, inputs=inputs)
            times.append(time.perf_counter() - start)
            assert not end.query(), "the device was done before the host"
            assert future is not None, "nothing was captured"
            future.result(60)
            assert begin.elapsed_time(end) >= _AT_LEAST_MS
    how = _how(score=score, with_inputs=with_inputs)
    return Row(
        name=f"cuda-host-{how}".replace(", ", "-").replace(" ", "-"),
        title=f"host time of a logging step, over {_AT_LEAST_MS} ms of work pending, (4, 2048, 32000) bfloat16, {how}",
        measured=Spread.of(1e6 * each for each in times[3:]),
        at_most=150,
        unit="µs",
        seconds={"compare": Spread.of(times[3:])},
    )


def kernels(device: torch.device, *, score: bool, with_inputs: bool, steps: int = 10) -> Iterator[Row]:
    """Count what a logging step starts on the device."""
    logits, labels = _pair(device, (4, 2048, 32000))
    inputs = labels if with_inputs else None
    with _recorder(None, score=score) as recorder:
        for step in range(steps + 1):
            if step == 1:
                # The first step makes what is kept.
                profiled = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
                profiled.start()
            recorder.compare(logits, labels, step, shift=1, inputs=inputs)
            assert recorder.flush(60)
        torch.cuda.synchronize(device)
        profiled.stop()
        assert recorder.stats()["written"] == 2 * (steps + 1), recorder.stats()
    names = [
        event.name
        for event in profiled.events() or ()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    ]
    copies = sum(name.startswith("Memcpy") for name in names)
    fills = sum(name.startswith("Memset") for name in names)
    how = _how(score=score, with_inputs=with_inputs)
    for what, count in (("kernels", len(names) - copies - fills), ("memcpys", copies), ("memsets", fills)):
        yield Row(
            name=f"cuda-{what}-{how}".replace(", ", "-").replace(" ", "-"),
            title=f"{what} a capture, {how}",
            measured=Spread.exact(count / steps),
        )


def graphs(device: torch.device, times: int = 20) -> Row:
    """Capture a graph in another thread while predlog's thread is busy; whatever breaks it counts as a failure."""
    failures: list[str] = []
    logits, labels = _pair(device, (2, 64, 512))
    cycles = _cycles_of(_BUSY_MS)
    with tempfile.TemporaryDirectory() as directory, _recorder(directory, score=True) as recorder:
        # What is used for the first time is loaded, and that may wait for the device.
        _capture_graph(device, lambda: False, failures)
        for step in range(times):
            _busy(cycles)
            future = recorder.compare(logits, labels, step, shift=1)
            assert future is not None, "nothing was captured"
            thread = threading.Thread(target=_capture_graph, args=(device, future.done, failures))
            thread.start()
            thread.join()
            future.result(60)
    return Row(
        name="cuda-graphs",
        title=f"graphs of {times} that failed to be captured while predlog's thread was busy",
        measured=Spread.exact(len(failures)),
        at_most=0,
        note=failures[0] if failures else "",
    )


def _capture_graph(device: torch.device, is_done: Callable[[], bool], failures: list[str]) -> None:
    # `torch.cuda.graph` would wait for the device first, and with it for what keeps predlog's thread busy.
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.stream(torch.cuda.Stream(device)):
            numbers = torch.zeros(1000, device=device)
            graph.capture_begin()
            doubled = 2 * (numbers + 1)
            graph.capture_end()
            assert not is_done(), "predlog's thread was done before the graph"
            graph.replay()
            # Read in the same stream: the default one is still busy.
            assert doubled.sum().item() == 2000, "the graph gives wrong numbers"
    except (RuntimeError, AssertionError) as error:
        failures.append(str(error).partition("\n")[0])


@contextmanager
def _refusing_to_wait() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _recorder(directory: str | None, *, score: bool) -> Recorder:
    return Recorder(directory, every=1, score=score, console=False)


def _how(*, score: bool, with_inputs: bool) -> str:
    return f"score {'on' if score else 'off'}{', with inputs' if with_inputs else ''}"


def _pair(device: torch.device, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    logits = torch.randn(shape, dtype=torch.bfloat16, device=device)
    return logits, torch.randint(shape[-1], shape[:2], device=device)


def _busy(cycles: int) -> tuple[torch.cuda.Event, torch.cuda.Event]:
    """Keep the device busy for so many cycles; give the events before and after."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    torch.cuda._sleep(cycles)
    end.record()
    return begin, end


def _cycles_of(milliseconds: float) -> int:
    """Return for how many cycles the device has to sleep to be busy that long."""
    tried = 50_000_000
    for _ in range(3):  # the first time it is loaded, and the clock has yet to rise
        begin, end = _busy(tried)
        end.synchronize()
    return int(tried * milliseconds / begin.elapsed_time(end))
