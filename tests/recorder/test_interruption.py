"""What a signal's handler or another thread raises is the program's: it passes through `compare` and leaves nothing."""

import ctypes
import functools
import gc
import itertools
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, MethodType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import predlog
from predlog import Comparison, Projection, Recorder, Rows
from predlog.capture import cpu
from predlog.capture.ring import Ring
from predlog.integrations._watch.listener import Listener
from predlog.numbers import snapshot
from predlog.recorder.worker import Worker
from tests import events, fresh
from tests.interruption import NUMBER, Preempted, handled, interruptions

# Python's own Thread.start prints that its new thread died if it is interrupted between two of its lines.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in thread started by")
PAIR = events.pair(samples=2, length=12, vocabulary=16)
_LOGPROBS = PAIR[0].log_softmax(-1).amax(-1)
# What is compared, and how many points lie between two that are tried.
CALLS: dict[str, tuple[Callable[[Recorder, int], object], int]] = {
    "a pair": (lambda recorder, step: recorder.compare(*PAIR, step), 1),
    "arrays": (lambda recorder, step: recorder.compare(PAIR[0].numpy(), PAIR[1].numpy(), step), 7),
    "a layout, inputs and a context": (
        lambda recorder, step: recorder.compare(
            *PAIR, step, layout="b t v, b t", shift=1, inputs=PAIR[1], lr=1e-3, nested={"names": ["a", "b"]}
        ),
        7,
    ),
    "chunks": (lambda recorder, step: recorder.compare(list(PAIR[0].split(5, 1)), PAIR[1], step), 11),
    "a projection": (
        lambda recorder, step: recorder.compare(Projection(PAIR[0], torch.ones(16, 16)), PAIR[1], step),
        11,
    ),
    "rows": (
        lambda recorder, step: recorder.compare(
            Rows(PAIR[0].argmax(-1), _LOGPROBS, torch.full_like(_LOGPROBS, float("nan"))), PAIR[1], step
        ),
        11,
    ),
    "what is refused": (lambda recorder, step: recorder.compare(PAIR[0], PAIR[1][:, 1:], step), 11),
}


def state() -> tuple[object, ...]:
    """Return what a capture changes in torch while it runs."""
    return (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch._C._is_torch_function_enabled(),
        str(torch._C._dispatch_tls_local_exclude_set()), str(torch._C._dispatch_tls_local_include_set()),
    )  # fmt: skip


@pytest.mark.parametrize("what", CALLS)
def test_it_passes_wherever_it_comes(tmp_path: Path, what: str) -> None:
    """At every point of a call the exception arrives as it was raised; torch is as before, and nothing is pending.

    It is of a class that torch raises, too: that of its handler tells it apart.
    """
    compare, stride = CALLS[what]
    with Recorder(tmp_path, every=1, console=False) as recorder:
        compare(recorder, 0)
        recorder.flush()
        before, last = state(), 0
        with handled(RuntimeError):
            for point, error in interruptions(functools.partial(compare, recorder), stride):
                last = point
                assert repr(error) == f"RuntimeError('signal {int(NUMBER)}')", point
                assert state() == before, point
        assert last > 60
        assert recorder.flush()
        stats = recorder.stats()
        assert stats["pending"] == 0
        assert stats["submitted"] == stats["written"]
        assert recorder._worker.pending == 0
        # Nothing is left that would have a later pair refused, or the end wait.
        assert not recorder.gate._claims
        assert not recorder._worker._entering
        assert recorder.compare(*PAIR, 10**6) is not None


def test_on_the_way_from_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture that is copied to the host costs no slot of its ring and leaves no mode on, wherever it comes."""
    monkeypatch.setattr("predlog.capture.capture._NEAR", frozenset())
    ring = Ring(8, is_pinned=False)
    monkeypatch.setattr("predlog.capture.device.ring_of", lambda _device: ring)
    with Recorder(tmp_path, every=1, console=False) as recorder:
        before = state()
        recorder.compare(*PAIR, 10**6)  # the first one imports, and Python ignores what is raised in callbacks of that
        # Of other sizes each time, so that slots allocate memory in the midst of it.
        pairs = [events.pair(samples=1, length=4 << one, vocabulary=16) for one in range(4)]
        with handled(RuntimeError):
            for point, error in interruptions(lambda point: recorder.compare(*pairs[point % 4], point), 3):
                assert isinstance(error, RuntimeError), point
                del error
                assert state() == before, point
        assert recorder.flush()
        assert recorder.stats()["pending"] == 0
        gc.collect()
        assert len(ring._free) == len(set(map(id, ring._free))) == 8


def test_a_full_queue_counts_what_it_drops(tmp_path: Path) -> None:
    """A call that is interrupted while it drops its pair counts it in all accounts, or in none."""
    release = threading.Event()

    def waiting(_logger: Any, _name: str, event: Any) -> Any:
        assert release.wait(60)
        return event

    with Recorder(tmp_path, every=1, console=False, queue=1, processors=[waiting]) as recorder:
        for step in range(2):
            recorder.compare(*PAIR, step)
        with handled():
            for _, error in interruptions(lambda point: recorder.compare(*PAIR, 2 + point), 3):
                assert isinstance(error, Preempted)
        release.set()
        assert recorder.flush(30)
        stats = recorder.stats()
        assert stats["pending"] == 0
        assert stats["submitted"] == 2 + stats["dropped"]
        assert recorder.close(30)
    gaps = [one for one in predlog.read(tmp_path) if isinstance(one, predlog.Gap)]
    assert sum(one.count for one in gaps) == stats["dropped"] > 2


def test_the_first_call_may_be_interrupted(tmp_path: Path) -> None:
    """Wherever the call that opens the sinks and starts the thread is interrupted, the next one works."""

    def first(number: int) -> Recorder:
        return Recorder(tmp_path / str(number), every=1, console=False, sinks=[lambda _logger, _name, event: event])

    recorders = [first(0)]
    with handled():
        for point, error in interruptions(lambda _point: recorders[-1].compare(*PAIR, 0), 20):
            assert isinstance(error, Preempted)
            with recorders[-1] as recorder:
                recorder.compare(*PAIR, 1)
                assert recorder.flush(30)
                stats = recorder.stats()
                assert stats["pending"] == 0
                assert 2 <= stats["sinks"]["JSONL"]["written"] == stats["sinks"]["<lambda>"]["written"]
            recorders.append(first(point))
        assert recorders[-1].close()


class Handlers:
    """Handlers of every form, each of which raises what torch raises, too."""

    def method(self, number: int, _frame: object) -> None:
        raise RuntimeError("preempted")

    def __call__(self, *_passed: object) -> None:
        raise RuntimeError("preempted")

    @staticmethod
    def forgetful(number: int, frame: Any) -> None:
        while frame is not None:
            frame = frame.f_back
        raise RuntimeError("preempted")

    @staticmethod
    def named(name: str, number: int, frame: object) -> None:
        raise RuntimeError(name)

    @staticmethod
    def deep(number: int, frame: object) -> None:
        torch.zeros(2) @ torch.zeros(3)


HANDLERS: dict[str, Any] = {
    "a method": Handlers().method,
    "an object": Handlers(),
    "a partial function": functools.partial(Handlers.named, "scheduler"),
    "one that follows the frames": Handlers.forgetful,
    "one whose call of torch fails": Handlers.deep,
    "the one of DataLoader": "loader",
}


@pytest.mark.parametrize("form", HANDLERS)
def test_handlers_of_any_form(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the handler is made of, and whatever raises inside of it, it is found in the traceback."""
    handler = HANDLERS[form]
    if handler == "loader":
        # As `torch.utils.data` has it: it raises "DataLoader worker (pid …) is killed by signal: Killed."
        def handler(signum: int, frame: object) -> None:
            raise RuntimeError("DataLoader worker is killed")

    with Recorder(tmp_path, every=1, console=False) as recorder:
        recorder.compare(*PAIR, 0)
        before = signal.signal(NUMBER, handler)
        try:
            for point, error in interruptions(lambda point: recorder.compare(*PAIR, point), 25):
                assert isinstance(error, RuntimeError), point
        finally:
            signal.signal(NUMBER, before)


@pytest.mark.parametrize("event", ["call", "line", "return"])
def test_leaving_a_debugger(tmp_path: Path, event: str) -> None:
    """What a trace function raises, as `quit` in pdb does in the middle of predlog's code, ends the program."""
    chance = itertools.count()

    def trace(frame: FrameType, what: str, _arg: object) -> Any:
        if what == event and "predlog" in frame.f_globals["__name__"] and next(chance) == 5:
            raise ValueError("quit")
        return trace

    with Recorder(tmp_path, every=1, console=False) as recorder:
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            with pytest.raises(ValueError, match="quit"):
                recorder.compare(*PAIR, 0)
        finally:
            sys.settrace(before)


class Producer:
    """A foreign array whose reading raises."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __dlpack__(self, **_how: object) -> Any:
        raise self.error("of the pair's own")

    def __dlpack_device__(self) -> Any:
        return self.__dlpack__()


@pytest.mark.parametrize("error", [Preempted, RuntimeError, TimeoutError, ConnectionError])
def test_what_the_pair_raises_is_no_interruption(tmp_path: Path, error: type[Exception]) -> None:
    """An array may raise anything, such as a remote one that times out: the pair is refused, and the run goes on."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        assert recorder.compare(Producer(error), PAIR[1], 0) is None
        assert recorder.stats()["refused"] == 1


def raise_in(thread: int, error: type[BaseException]) -> None:
    """Have another thread raise an exception, as notebooks and job runners do to stop one."""
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error)) == 1


@pytest.mark.parametrize("error", [Preempted, TimeoutError])
def test_what_another_thread_raises_passes(tmp_path: Path, error: type[Exception]) -> None:
    """It has no frame of its own; a class that predlog's work can't raise passes, and nothing stays pending."""
    here = threading.get_ident()
    # Not semaphores: these are Python code, which an exception may leave locked.
    ask, asked = queue.SimpleQueue[bool](), queue.SimpleQueue[None]()
    passed = 0

    def preempt() -> None:
        while ask.get():
            asked.put(None)
            raise_in(here, error)

    other = threading.Thread(target=preempt)
    other.start()
    with Recorder(tmp_path, every=1, console=False) as recorder:
        steps, before = itertools.count(), state()
        while passed < 100:
            try:
                ask.put(True)
                asked.get()
                while True:  # until it comes
                    recorder.compare(*PAIR, next(steps))
            except error:
                passed += 1
                assert state() == before
        ask.put(False)
        other.join()
        assert recorder.flush(30)
        stats = recorder.stats()
        assert stats["pending"] == 0
        assert recorder._worker.pending == 0
        assert stats["submitted"] == stats["written"] + stats["dropped"]


def test_a_named_tuple_is_not_code_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another thread raises passes while a named tuple is made, whose constructor says it is of another module."""
    known = {"__name__": snapshot.Statistics.__new__.__globals__["__name__"], "error": Preempted()}
    exec("def constructor(**_values): raise error", known)
    monkeypatch.setattr(cpu, "Statistics", known["constructor"])
    with Recorder(tmp_path, every=1, console=False) as recorder:
        with pytest.raises(Preempted):
            recorder.compare(*PAIR, 0)
        assert recorder.stats()["refused"] == 0


class Model(nn.Module):
    """A small model that makes its own loss."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(16, 8), nn.Linear(8, 16)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(self.head(self.embedding(ids)).flatten(0, 1), ids.flatten())


@pytest.mark.parametrize("is_own", [False, True])
def test_watching_passes_it_on(tmp_path: Path, is_own: bool) -> None:
    """In a watched forward too, and no mode is left: from the hook before it, from the loss, from the hook after it.

    If the handler raises where torch itself has taken a mode off its stack for a moment, torch puts it back when the
    error is dropped. The next call removes it.
    """
    model, ids = Model(), PAIR[1].clamp(0)
    if is_own:  # as Accelerate sets one
        model.forward = MethodType(Model.forward, model)  # type: ignore[method-assign]
    steps = itertools.count()
    with (
        Recorder(tmp_path, every=1, console=False) as recorder,
        predlog.watch(model, recorder=recorder, step=steps.__next__),
    ):
        model(ids)
        before = state()
        depth = torch._C._len_torch_function_stack()
        with handled(RuntimeError):
            for point, error in interruptions(lambda _point: model(ids), 5):
                put_back = torch._C._len_torch_function_stack() - depth
                assert put_back in {0, 1}, point
                if put_back:
                    assert isinstance(torch._C._get_function_stack_at(depth), Listener), point
                assert repr(error) == f"RuntimeError('signal {int(NUMBER)}')", point
                assert state() == before
        model(ids)
        assert torch._C._len_torch_function_stack() == depth
        assert recorder.flush()
        assert recorder.stats()["pending"] == 0


def test_a_withdrawn_item_is_not_worked_on() -> None:
    """Of an interrupted caller and the worker, one has the item, and the queue has as much room as before."""
    done: list[int] = []
    worker: Worker[int] = Worker(done.append, lambda: None, lambda: None, bound=2, name="worker")
    with handled():
        for _, error in interruptions(worker.submit):
            assert isinstance(error, Preempted)
            assert worker.flush(10)
            assert worker.pending == 0
    assert worker.flush(10)
    assert [worker.submit(10**6 + number) for number in range(2)] == [True, True]
    assert worker.close(10)


def test_numpy_reads_are_no_interruption(tmp_path: Path) -> None:
    """An error of NumPy's own, of a class of its own, is a failure of predlog's work."""

    class Array(np.ndarray):
        def copy(self, *_how: Any) -> Any:
            raise np.exceptions.AxisError("no axis") if hasattr(np, "exceptions") else ValueError("no axis")

    reversed_ = np.zeros((1, 3, 4), np.float32)[:, ::-1].view(Array)
    with Recorder(tmp_path, every=1, console=False) as recorder:
        assert recorder.compare(reversed_, np.zeros((1, 3), int), 0) is None
        assert recorder.stats()["refused"] == 1


def test_a_signal_at_the_end_of_the_program(tmp_path: Path) -> None:
    """While recorders are closed at exit, a handler's exception is Python's to print, and all are closed first."""
    code = """
import os, signal, sys, torch, predlog
def handle(number, frame):
    raise RuntimeError("preempted at the end")
signal.signal(signal.SIGUSR1, handle)
class Sink:
    def __call__(self, logger, name, event):
        return event
    def flush(self):
        os.kill(os.getpid(), signal.SIGUSR1)
    def close(self):
        os.kill(os.getpid(), signal.SIGUSR1)
pair = torch.randn(1, 8, 16), torch.randint(16, (1, 8))
recorders = [predlog.Recorder(f"{sys.argv[1]}/{number}", every=1, console=False, sinks=[Sink()]) for number in (0, 1)]
for step in range(20):
    for recorder in recorders:
        recorder.compare(*pair, step)
"""
    done = fresh.run(code, tmp_path)
    assert "RuntimeError: preempted at the end" in done.stderr
    assert "predlog: RuntimeError" not in done.stderr
    for number in (0, 1):
        records = list(predlog.read(tmp_path / str(number)))
        assert sum(isinstance(one, Comparison) for one in records) == 20
        last = records[-1]
        assert isinstance(last, predlog.Run)
        assert last.stats is not None
