"""What the training thread passes to the worker: a captured pair with its context, or why there is none."""

import difflib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from predlog._runtime.failure import briefly, located, raised_at
from predlog._runtime.notices import Notices
from predlog.errors import NothingToCompareError, NoThreadError, PairError
from predlog.numbers.snapshot import Snapshot
from predlog.recorder.context import MOST_VALUES, plain_context
from predlog.recorder.gaps import MissingCounts
from predlog.recorder.gate import forget_oldest
from predlog.recorder.loss_report import LossReport
from predlog.recorder.stats import Accounts
from predlog.recorder.verdict import remarks
from predlog.recorder.worker import Ticket, Worker
from predlog.records import codec
from predlog.records.schema import Comparison, Event, Part

_ARGUMENTS = (
    "stream", "layout", "shift", "inputs", "ignore_index", "loss_mask", "position_ids", "document_ids",
    "attention_mask", "row_index", "row_count", "reported_loss", "sample_ids", "shard", "group",
)  # fmt: skip
# Names that are new in one call and are compared with the arguments' names: each takes tens of microseconds.
_MOST_NEW = 8
# Values of the context that say whether anything can be learnt.
_RATES = ("lr", "learning_rate")


@dataclass(frozen=True, slots=True)
class Submission:
    """A captured pair for the worker, and the future of its records."""

    capture: Snapshot
    step: int
    stream: str
    context: dict[str, Any]
    at: float
    future: "Recorded"

    @property
    def is_idle(self) -> bool:
        """Whether the context says that the learning rate is 0."""
        return any(self.context.get(name) == 0 for name in _RATES)


class Recorded(Future[tuple[Comparison, ...]]):
    """A standard future of the records that reached the sinks; they are typed only when `result` is called.

    Of logits in shards these are the parts that this process has written.
    """

    def result(self, timeout: float | None = None) -> tuple[Comparison, ...]:
        """Wait for the records, and return them."""
        events: Any = super().result(timeout)
        records = [record for record in map(codec.from_event, events) if isinstance(record, Comparison | Part)]
        return cast(tuple[Comparison, ...], tuple(records))  # of a shard they are parts, which few programs have

    def set_events(self, events: Sequence[Event]) -> None:
        """Resolve with what reached the sinks."""
        super().set_result(cast(Any, events))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Recorded":
        return self  # a model that keeps it can be copied

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process never learns what one that is pending comes to: nothing.
        return _recorded, (list(super().result(0)) if self.done() else [],)


def _recorded(events: Sequence[Event]) -> Recorded:
    made = Recorded()
    made.set_events(events)
    return made


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pair that could not be captured, and the finding that reports why."""

    code: str
    message: str
    evidence: dict[str, Any]
    step: int
    stream: str
    at: float


Item = Submission | Refusal | LossReport


class Submitter:
    """Pass captured pairs to the worker without waiting for it, and count those that are dropped."""

    def __init__(self, worker: Worker[Item], accounts: Accounts, missing: MissingCounts, notices: Notices) -> None:
        self._worker = worker
        self._accounts = accounts
        self._missing = missing
        self._notices = notices
        self._names: dict[str, None] = {}

    def submit(
        self, captured: Snapshot, step: int, stream: str, context: Mapping[str, object], at: float
    ) -> Future[tuple[Comparison, ...]] | None:
        """Queue a captured pair, and return the future of its records; None if there is no room for it."""
        values = self._plain(context, step, stream)
        count = captured.sizes.count
        where = f"step {step}, stream {briefly(stream)}"
        for kind, remark in remarks(captured.sizes):
            self._notices.report_once(kind, f"{where}: {remark}")
        if captured.numbers is None:
            self._drop(
                count,
                step,
                "no slot free",
                f"{where}: all slots for copies to the host are in use, because the device or the worker is too slow,"
                " so this pair is dropped; a larger `every` helps",
            )
            return None
        future = Recorded()
        future.set_running_or_notify_cancel()  # a pair that is captured can't be cancelled
        ticket: Ticket[Item] = Ticket(Submission(captured, step, stream, values, at, future))
        self._accounts.submitted += count
        try:
            if self._worker.put(ticket):
                return future
        except BaseException:  # no thread can be started, or a signal's handler raises
            if self._worker.withdraw(ticket):
                self._accounts.submitted -= count
            raise
        self._accounts.submitted -= count
        if not self._worker.is_closed:
            self._drop(
                count,
                step,
                "queue full",
                f"{where}: the queue of {self._worker.bound} pairs is full, so this one is dropped; a larger `every` or"
                " a faster disk helps",
            )
        return None

    def refuse(self, error: PairError, step: int, stream: str, at: float, *, is_shown: bool = True) -> None:
        """Queue that a pair could not be captured, for the finding that reports why.

        If no console shows the finding, a line on stderr does, once for each cause. Labels that are no ids, and are
        not meant to be, are no fault: they are reported in one line, and make no finding.
        """
        self._accounts.refused += 1
        is_fault = not isinstance(error, NothingToCompareError)
        if not (is_shown and is_fault):
            kind = f"refused: {error.code if is_fault else 'nothing to compare'}"
            self._notices.report_once(kind, f"step {step}, stream {briefly(stream)}: not recorded: {error}")
        if not is_fault:
            return
        self._notices.trace(f"refused at {raised_at(error)}", error)
        self._worker.submit(Refusal(error.code, str(error), error.evidence, step, stream, at))

    def fail(self, error: Exception, step: object, stream: object) -> None:
        """Count and report that a pair is lost because something failed, such as memory, and not because of the pair.

        If its step and stream are known, the sinks get a finding, and a gap of one, since nobody knows of how many.
        """
        self._accounts.refused += 1
        where = f"step {step}" if type(step) is int else "step ?"
        self._notices.report(
            f"refused at {raised_at(error)}",
            f"{where}, stream {briefly(stream)}: not recorded: {located(error)}",
            error,
        )
        # A PairError about the step or the stream is a mistake in the call: no pair is lost.
        if type(step) is not int or not 0 <= step < 2**63 or type(stream) is not str or isinstance(error, PairError):
            return
        kind = type(error).__name__
        self._missing.add(1, f"capture failed: {kind}", step, step)
        refusal = Refusal("capture-failed", located(error), {"error": kind}, step, stream, time.time())
        with suppress(NoThreadError):  # the gap waits until there is a thread
            self._worker.submit(refusal)

    def _plain(self, context: Mapping[str, object], step: int, stream: str) -> dict[str, Any]:
        def report(problem: str, error: Exception) -> None:
            self._notices.report(
                "context",
                f"step {step}, stream {briefly(stream)}: {problem} in the context is no plain value and is "
                "recorded as null; pass a number or a string",
                error,
            )

        def report_cut() -> None:
            self._notices.report(
                "long context",
                f"step {step}, stream {briefly(stream)}: the context has over {MOST_VALUES} values: the rest is not"
                " recorded; pass a few numbers or strings",
            )

        values = plain_context(context, report, report_cut)
        for name in list(values.keys() - self._names.keys())[:_MOST_NEW]:
            self._names[name] = None
            forget_oldest(self._names)
            if close := difflib.get_close_matches(name, _ARGUMENTS, n=1, cutoff=0.75):
                self._notices.report(f"name {close[0]}", f"{name}= is kept as context; was {close[0]}= meant?")
        return values

    def _drop(self, count: int, step: int, reason: str, message: str) -> None:
        self._missing.add(count, reason, step, step)
        self._accounts.submitted += count
        self._accounts.dropped += count
        self._notices.report(reason, message)
