"""Interrupt calls of `compare` at random moments, by a signal or from another thread, and tell what is left."""

import ctypes
import itertools
import queue
import random
import signal
import threading
import time
from collections.abc import Callable

import torch

from predlog.recorder.recorder import Recorder
from tests import events
from tests.faults.telling import asked, tell
from tests.interruption import Preempted

PAIR = events.pair(samples=2, length=12, vocabulary=16)
# Seconds until the signal; a call takes some tenths of a millisecond.
_SOONEST, _LATEST = 5e-5, 1e-3
# What torch raises, too: only that a handler raised it tells it apart.
KINDS: dict[str, type[Exception]] = {
    "a handler's own class": Preempted, "a handler's RuntimeError": RuntimeError, "another thread": Preempted,
}  # fmt: skip


def by_signal(kind: type[Exception]) -> Callable[[], None]:
    """Return what has a signal come soon."""
    chance = random.Random(1)

    def handle(number: int, _frame: object) -> None:
        raise kind(f"signal {number}")

    signal.signal(signal.SIGALRM, handle)

    def soon() -> None:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(_SOONEST, _LATEST))

    return soon


def by_thread(kind: type[Exception]) -> Callable[[], None]:
    """Return what has another thread raise soon."""
    here, asked_for, chance = threading.get_ident(), queue.SimpleQueue[None](), random.Random(1)

    def preempt() -> None:
        while True:
            asked_for.get()
            time.sleep(chance.uniform(_SOONEST, _LATEST))
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(here), ctypes.py_object(kind))

    threading.Thread(target=preempt, daemon=True).start()
    return lambda: asked_for.put(None)


def state() -> tuple[object, ...]:
    """Return what a capture changes in torch while it runs."""
    made = torch.ones(1, requires_grad=True) * 2
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), made.requires_grad


def main(directory: str, case: str, many: int) -> None:
    """Interrupt so many calls; an exception that has not arrived after a hundred more calls is lost."""
    kind = KINDS[case]
    interrupt = (by_thread if case == "another thread" else by_signal)(kind)
    steps, recorder = itertools.count(), Recorder(directory, every=1, console=False)
    recorder.compare(*PAIR, next(steps))
    passed, changed, before = 0, 0, state()
    for _ in range(many):
        try:
            interrupt()
            for _ in range(100):
                recorder.compare(*PAIR, next(steps))
        except kind:
            passed += 1
            changed += state() != before
    flushed = recorder.flush(20)
    tell(
        "done", passed=passed, changed=changed, flushed=flushed, waiting=recorder._worker.pending,
        claims=len(recorder.gate._claims), stats=recorder.stats(), in_time=recorder.close(20),
    )  # fmt: skip


if __name__ == "__main__":
    main(**asked())
