"""Forks meet predlog's threads at rest, and children find free locks."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from predlog import Comparison, Recorder, read
from predlog._runtime import fork as forking
from predlog._runtime.fork import ForkSafeLock
from predlog.sinks import JSONL
from tests import events, fresh


def in_a_fork(work: Any) -> int:
    """Return what a forked child ends with: 0 where `work` gave something true."""
    child = os.fork()
    if not child:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_fork_waits_for_what_is_under_way() -> None:
    """Whatever a thread has locked while it works is free in the child, because the fork comes when it is done."""
    safe, foreign = ForkSafeLock(), threading.Lock()
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with safe.lock, foreign:
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    timer = threading.Timer(0.05, leave.set)
    timer.start()
    assert in_a_fork(lambda: foreign.acquire(blocking=False)) == 0
    thread.join()
    with safe.lock:
        pass


def test_a_fork_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A sink that hangs delays a fork by a moment; the child may use what the hanging thread had locked of ours."""
    safe = ForkSafeLock()
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with safe.lock:
            inside.set()
            leave.wait(30)

    def child() -> bool:
        with safe.lock:
            return True

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    before = time.monotonic()
    assert in_a_fork(child) == 0
    assert time.monotonic() - before < 5
    leave.set()
    thread.join()


def test_forks_of_several_threads_at_once() -> None:
    """Each fork gives back what it has taken, and nothing else."""
    # In a process of its own, because packages that other tests import refuse such forks.
    done = fresh.run("from tests._runtime.test_fork import fork_in_threads\nfork_in_threads()")
    assert done.returncode == 0, done.stderr


def fork_in_threads() -> None:
    safe = ForkSafeLock()
    results: list[int] = []

    def fork() -> None:
        results.extend(in_a_fork(lambda: safe.hold(0)) for _ in range(10))

    threads = [threading.Thread(target=fork) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 40
    assert safe.hold(0)


def test_a_processor_may_fork(tmp_path: Path) -> None:
    """A fork from the worker itself waits for nobody; the worker goes on, and the child of it writes nothing."""
    codes = []

    def forking(_logger: Any, _name: str, event: EventDict) -> EventDict:
        codes.append(in_a_fork(lambda: True))
        return event

    with Recorder(tmp_path, every=1, samples=1, console=False, processors=[forking]) as recorder:
        for step in range(3):
            recorder.compare(*events.pair(), step)
    assert codes == [0] * 5
    assert [one.step for one in read(tmp_path) if isinstance(one, Comparison)] == [0, 1, 2]


def test_a_sink_in_a_chain_works_in_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child may write through a sink that a thread of its parent was writing through."""
    sink = JSONL(tmp_path / "predictions.jsonl")
    inside, leave = threading.Event(), threading.Event()
    parent, write = os.getpid(), os.write

    def slow(file: int, data: bytes) -> int:
        if os.getpid() == parent:
            inside.set()
            leave.wait(30)
        return write(file, data)

    monkeypatch.setattr(os, "write", slow)
    thread = threading.Thread(target=sink, args=(None, "info", events.comparison(step=1)))
    thread.start()
    assert inside.wait(10)
    assert in_a_fork(lambda: sink(None, "info", events.comparison(step=2))) == 0
    leave.set()
    thread.join()
    assert [one.step for one in read(sink.path) if isinstance(one, Comparison)] == [2, 1]


def test_an_interrupted_fork_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler that raises while a fork waits leaves no lock behind: predlog's threads go on."""
    first, second = ForkSafeLock(), ForkSafeLock(inner=True)
    hold = ForkSafeLock.hold

    def interrupted(safe: ForkSafeLock, timeout: float) -> bool:
        is_held = hold(safe, timeout)
        if safe is second:
            raise TimeoutError("an alarm of the user's")
        return is_held

    monkeypatch.setattr(ForkSafeLock, "hold", interrupted)
    with suppress(TimeoutError):
        forking._before()
    forking._in_parent()
    free: list[bool] = []
    thread = threading.Thread(target=lambda: free.extend(hold(safe, 0) for safe in (first, second)))
    thread.start()
    thread.join()
    assert free == [True, True]


def test_a_fork_takes_inner_locks_last() -> None:
    """A thread that has one lock and waits for an inner one gets it, and is done before the fork."""
    inner, outer = ForkSafeLock(inner=True), ForkSafeLock()
    inside, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with outer.lock:
            inside.set()
            assert go_on.wait(10)
            with inner.lock:
                pass

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    timer = threading.Timer(0.05, go_on.set)
    timer.start()
    assert in_a_fork(lambda: outer.hold(0) and inner.hold(0)) == 0
    thread.join()
    assert not outer._is_stuck
