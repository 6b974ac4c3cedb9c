"""Submit far more than a slow sink or processor takes, and tell what that cost the thread that submits."""

import os
import statistics
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from predlog.recorder.recorder import Recorder
from predlog.recorder.worker import Worker
from predlog.records.schema import Event
from tests import events
from tests.faults.stopwatch import Stopwatch
from tests.faults.telling import asked, tell

PAIR = events.pair(samples=1, length=12, vocabulary=16)
WARM_UP = 500
# Asked for 100; the producer's pace differs a little from what it was before.
TIMES = 125
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Slow:
    """A sink or a processor that takes its time for each comparison, and counts them."""

    seconds: float = 0.0
    comparisons: int = 0
    spent: float = 0.0

    __name__ = "slow"

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        start = time.monotonic()
        if event["event"] == "predlog.comparison":
            time.sleep(self.seconds)
            self.comparisons += 1
            self.spent += time.monotonic() - start
        return event


class Timed:
    """How long `compare` and, within it, the hand-over took the main thread."""

    def __init__(self, most: int) -> None:
        names = ("compare", "compare, own time", "accepted", "refused", "submit", "submit, own time")
        self.watches = {name: Stopwatch(most) for name in names}
        self._handed = Worker.put
        Worker.put = self._submit(threading.get_ident())  # type: ignore[method-assign]

    def compare(self, recorder: Recorder, step: int) -> None:
        own, start = time.thread_time_ns(), time.perf_counter_ns()
        recorder.compare(*PAIR, step)
        end = time.perf_counter_ns()
        self.watches["compare"].add(end - start)
        self.watches["compare, own time"].add(time.thread_time_ns() - own)

    def _submit(self, owner: int) -> Any:
        handed, watches = self._handed, self.watches

        def submit(worker: Worker[Any], item: Any) -> bool:
            own, start = time.thread_time_ns(), time.perf_counter_ns()
            accepted = handed(worker, item)
            end = time.perf_counter_ns()
            if threading.get_ident() == owner:  # a sink's thread has a room of its own, perhaps
                watches["submit"].add(end - start)
                watches["submit, own time"].add(time.thread_time_ns() - own)
                watches["accepted" if accepted else "refused"].add(end - start)
            return accepted

        return submit


def main(directory: str, calls: int, queue: int, slow: Literal["sink", "processor"]) -> None:
    """Warm up and find the producer's period, slow down, submit, close, and tell."""
    thing, passed = Slow(), Slow()
    recorder = Recorder(
        directory, every=1, samples=1, score=False, console=False, queue=queue,
        processors=[thing] if slow == "processor" else [passed], sinks=[thing] if slow == "sink" else [],
    )  # fmt: skip
    period = _warm_up(recorder)
    # What the file is to keep up with is given three times the time.
    pace = 3 * period
    thing.seconds = TIMES * pace
    thing.comparisons, thing.spent = 0, 0.0
    timed = Timed(calls)
    resident, start = _resident(), time.monotonic()
    most_pending, most_pending_of_it, most_resident, most_unseen = 0, 0, resident, 0
    processed = thing if slow == "processor" else passed
    dropped_before = recorder.stats()["dropped"]
    processed_before = processed.comparisons
    for step in range(WARM_UP, WARM_UP + calls):
        timed.compare(recorder, step)
        stats = recorder.stats()
        most_pending = max(most_pending, stats["pending"])
        most_pending_of_it = max(most_pending_of_it, _pending_of(thing, stats) - stats["pending"])
        accepted = step + 1 - WARM_UP - (stats["dropped"] - dropped_before)
        most_unseen = max(most_unseen, accepted - (processed.comparisons - processed_before))
        if step % 20 == 0:
            most_resident = max(most_resident, _resident())
        _keep_to(start + (step + 1 - WARM_UP) * pace)
    took = time.monotonic() - start
    ratio = thing.spent / max(thing.comparisons, 1) / (took / calls)
    in_time = recorder.close(240)
    tell(
        "done", stats=recorder.stats(), calls=WARM_UP + calls, most_pending=most_pending,
        most_pending_of_it=most_pending_of_it, most_unseen=most_unseen,
        growth=(most_resident - resident) / 2**20, ratio=ratio, period=took / calls, in_time=in_time,
        got=thing.comparisons + (WARM_UP if slow == "sink" else 0),
        quantiles={name: (one.quantile(0.5), one.quantile(0.99)) for name, one in timed.watches.items()},
        counts={name: one.count for name, one in timed.watches.items()},
    )  # fmt: skip


def _warm_up(recorder: Recorder) -> float:
    spans = []
    for step in range(WARM_UP):
        start = time.monotonic()
        recorder.compare(*PAIR, step)
        recorder.stats()
        spans.append(time.monotonic() - start)
        if step % 32 == 0:
            recorder.flush()
    recorder.flush()
    return statistics.median(spans)


def _pending_of(thing: Slow, stats: Mapping[str, Any]) -> int:
    return int(stats.get("sinks", {}).get(thing.__name__, {"pending": 0})["pending"])


def _keep_to(due: float) -> None:
    if (early := due - time.monotonic()) > 0:
        time.sleep(early)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


if __name__ == "__main__":
    main(**asked())
