"""Call compare from where it may interrupt itself, or from two threads at once, and tell how often that recorded."""

import gc
import itertools
import random
import signal
import sys
import threading
from collections import Counter
from typing import Any

from predlog.recorder.recorder import Recorder
from predlog.records.schema import Event
from tests import events
from tests.faults.telling import asked, tell

PAIR = events.pair(samples=2, length=12, vocabulary=16)
# Seconds from one signal to the next; a call takes some tenths of a millisecond.
_SOONEST, _LATEST = 2e-4, 2e-3
# Calls after which the worker is waited for, so that the queue is never full.
_BREATH = 25


class Ledger:
    """The calls that were made and those that recorded, kept by appends alone, which nothing can interrupt."""

    def __init__(self, recorder: Recorder | None = None) -> None:
        self.recorder = recorder
        self.calls: list[tuple[str, int]] = []
        self.recorded: list[tuple[str, int]] = []

    def compare(self, step: int, stream: str) -> None:
        """Make one call."""
        assert self.recorder is not None
        self.calls.append((stream, step))
        if self.recorder.compare(*PAIR, step, stream=stream) is not None:
            self.recorded.append((stream, step))

    def breathe(self, step: int) -> None:
        """Wait for the worker now and then."""
        assert self.recorder is not None
        if step % _BREATH == 0:
            self.recorder.flush(10)
            self.recorder.stats()


def from_a_signal_handler(ledger: Ledger, many: int) -> None:
    """Let signals come while the main thread calls compare, too."""
    chance, steps = random.Random(1), itertools.count()

    def handle(*_: Any) -> None:
        ledger.compare(step := next(steps), "signal")
        if step + 1 < many:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(_SOONEST, _LATEST))
        else:
            has_all_come.set()

    has_all_come = threading.Event()
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, _SOONEST)
    for step in itertools.count():
        ledger.compare(step, "text")
        ledger.breathe(step)
        if has_all_come.is_set() and step >= many:
            return


class Speaking:
    """Garbage that only the collector finds, and that calls compare when it does."""

    def __init__(self, ledger: Ledger, step: int) -> None:
        self.itself = self
        self._ledger = ledger
        self._step = step

    def __del__(self) -> None:
        self._ledger.compare(self._step, "collected")


def from_garbage_collection(ledger: Ledger, many: int) -> None:
    """Collect often, in whichever thread it comes to pass."""
    gc.set_threshold(20)
    for step in range(many):
        Speaking(ledger, step)
        ledger.compare(step, "text")
        ledger.breathe(step)
    gc.collect()


def from_a_processor(ledger: Ledger, many: int) -> None:
    """Submit; the processor `Echo` does so, too."""
    for step in range(many):
        ledger.compare(step, "text")
        ledger.breathe(step)
    ledger.breathe(0)  # what is compared after close is refused


class Echo:
    """A processor that compares at each step of one stream in another, in predlog's own thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        if event["event"] == "predlog.comparison" and event["stream"] == "text" and event["sample"] == 0:
            self._ledger.compare(event["step"], "echo")
        return event


def from_two_threads(ledger: Ledger, many: int) -> None:
    """Let two threads call at once, each its own steps of one stream."""
    _in_two_threads(ledger, [range(0, 2 * many, 2), range(1, 2 * many, 2)])


def from_two_threads_the_same_step(ledger: Ledger, many: int) -> None:
    """Let two threads call at once with the same step and stream."""
    _in_two_threads(ledger, [range(many), range(many)])


def _in_two_threads(ledger: Ledger, both: list[range]) -> None:
    together = threading.Barrier(len(both))

    def submit(steps: range) -> None:
        for number, step in enumerate(steps):
            together.wait()
            ledger.compare(step, "text")
            if number % _BREATH == 0:
                ledger.breathe(0)

    threads = [threading.Thread(target=submit, args=[steps]) for steps in both]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that they take turns within a call
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)


CASES = {
    "signal handler": from_a_signal_handler,
    "garbage collection": from_garbage_collection,
    "processor": from_a_processor,
    "two threads": from_two_threads,
    "two threads, the same step": from_two_threads_the_same_step,
}


def main(directory: str, case: str, many: int) -> None:
    """Do one of the cases, close, and tell."""
    ledger = Ledger()
    ledger.recorder = Recorder(
        directory, every=1, score=False, console=False, processors=[Echo(ledger)] if case == "processor" else []
    )
    CASES[case](ledger, many)
    in_time = ledger.recorder.close(20)
    tell(
        "done", stats=ledger.recorder.stats(), in_time=in_time, recorded=len(ledger.recorded),
        calls=Counter(stream for stream, _ in ledger.calls), distinct=len(set(ledger.calls)),
        doubled=len(ledger.recorded) - len(set(ledger.recorded)),
    )  # fmt: skip


if __name__ == "__main__":
    main(**asked())
