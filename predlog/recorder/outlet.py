"""The way of events into one sink: it takes nothing else down with it, and is told what it lacks.

A sink that fails again and again rests, and is tried again. What it did not take is not forgotten: the attempt's first
line and findings are kept for it, and comparisons are counted, until a gap record in the sink itself says so.
"""

import os
from contextlib import suppress
from typing import Any, Final

import structlog
from structlog.typing import Processor

from predlog._runtime.notices import Notices
from predlog.errors import NotDurableError, NoThreadError, described, raised_at
from predlog.recorder.backoff import Backoff
from predlog.recorder.gaps import Missing, MissingCounts, gap_event
from predlog.recorder.guards import name_of
from predlog.recorder.worker import Worker
from predlog.records.schema import Checked, Event
from predlog.sinks import JSONL, Console

# Findings that are kept for a sink, one for each stream, code and group of codebooks.
_MOST_FINDINGS = 256
# Structlog's processors may look at the logger: it is one that does nothing.
_LOGGER: Final = structlog.ReturnLogger()


class Outlet:
    """One sink, how many comparisons it took and did not take, and what it is owed.

    One thread at a time calls `take`, `settle` and `finish`, which never raise; the others may be called from any.
    """

    def __init__(self, sink: Processor, notices: Notices) -> None:
        self.name = name_of(sink)
        self.written = 0
        self.failed = 0
        self._sink = sink
        self._is_ours = type(sink) in {JSONL, Console}
        self._notices = notices
        self._backoff = Backoff()
        self._reason = ""
        self._seq = 0
        self._latest: Event | None = None
        self._header: Event | None = None
        self._findings: dict[tuple[Any, ...], Event] = {}
        self._missing = MissingCounts()

    def write(self, event: Event) -> bool:
        """Give the sink an event, and with it what it is owed; False where it did not take it.

        A gap comes behind the first event that is taken again: there may be room for it where there is none for more.
        """
        self._latest = event
        is_comparison = event["event"] == "predlog.comparison"
        if event["event"] == "predlog.run" and event["stats"] is not None:  # the last: nothing is to come behind it
            self._backoff.skip_wait()
            self._write_missed()
        if self._backoff.may_try() and self._write_header() and self._call_sink(event):
            self.written += is_comparison
            if self._findings and event["event"] == "predlog.finding":
                self._forget_older(event)
            if self._has_missed:
                self._write_gaps_and_findings(event)
            return True
        self.failed += is_comparison
        self.miss(event, self._reason)
        return False

    def miss(self, event: Event, why: str) -> None:
        """Note that the sink does not get an event: it is told so, or gets it later."""
        self._missing.add_event(event, why)
        match event["event"]:
            case "predlog.finding" if len(self._findings) < _MOST_FINDINGS or _topic(event) in self._findings:
                self._findings[_topic(event)] = event
            case "predlog.run" if event["stats"] is None:
                self._header = event

    def _forget_older(self, finding: Event) -> None:
        """Owe nothing older about what the sink was told of now; what is newer is still to come."""
        owed = self._findings.get(_topic(finding))
        if owed is not None and owed["timestamp"] <= finding["timestamp"]:
            self._findings.pop(_topic(finding), None)

    def add_missing(self, missing: Missing) -> None:
        """Note what was lost on the way to every sink."""
        self._missing.add(missing.count, missing.reason, missing.first_step, missing.last_step)

    def settle(self) -> None:
        """Give the sink what it is owed, and make what is written durable."""
        if self._backoff.may_try():
            self._write_missed()
        self._call_method("flush")

    def finish(self) -> None:
        """Give the sink what it is owed, whether it rests or not, and close it."""
        self._backoff.skip_wait()
        self._write_missed()
        self._call_method("close")

    def last_attempt(self) -> int:
        """Give the newest attempt in the sink's file; 0 where it has none, or none that can be read."""
        try:
            return self._sink.last_attempt() if isinstance(self._sink, JSONL) else 0
        except OSError as error:
            self._notices.report(f"sink {self.name}", f"{self.name} failed: {described(error)}", error)
            return 0

    def _write_missed(self) -> None:
        if self._latest is not None and self._write_header() and self._has_missed:
            self._write_gaps_and_findings(self._latest)

    @property
    def _has_missed(self) -> bool:
        return bool(self._missing) or bool(self._findings)

    def _write_header(self) -> bool:
        if self._header is not None and self._call_sink(self._header):
            self._header = None
        return self._header is None

    def _write_gaps_and_findings(self, like: Event) -> None:
        """Give the gaps and findings that are owed, as far as the sink takes them."""
        missing = self._missing.take()
        while missing:
            if not self._call_sink(gap_event(like, missing[0])):
                for one in missing:
                    self.add_missing(one)
                return
            del missing[0]
        for topic in list(self._findings):
            # Another thread may put a newer one in its place meanwhile.
            finding = self._findings.pop(topic)
            if not self._call_sink(finding):
                self._findings.setdefault(topic, finding)
                return

    def _call_sink(self, event: Event) -> bool:
        event["seq"] = self._seq
        try:
            self._sink(_LOGGER, event["level"], event if self._is_ours else _copied(event))
        except structlog.DropEvent:
            pass  # it took the event; structlog's own LogCapture ends like that
        except NotDurableError as error:
            self._notices.report(f"sync {self.name}", str(error), error)
        except BaseException as error:  # noqa: BLE001 - SystemExit and CancelledError would end the worker
            self._count_failure(error)
            return False
        self._seq += 1
        if self._backoff.failures:
            self._report_recovery()
        return True

    def _count_failure(self, error: BaseException) -> None:
        if not self._backoff.failures:  # one reason for all that is missing until it works again
            self._reason = f"{self.name} failed: {_kind(error)}"
        rest = self._backoff.record_failure()
        again = f"; {self._backoff.failures} times in a row, so it rests for {rest:g} s" if rest else ""
        self._notices.report(f"sink {self.name}", f"{self.name} failed: {self._in_words(error)}{again}", error)

    def _in_words(self, error: BaseException) -> str:
        # Where in predlog's own sinks a disk is full helps nobody.
        return described(error) if self._is_ours else f"{described(error)}, at {raised_at(error)}"

    def _report_recovery(self) -> None:
        if self._backoff.failures > 1:
            self._notices.note(
                f"{self.name} again", f"{self.name} works again, after {self._backoff.failures} failures"
            )
        self._backoff.record_success()

    def _call_method(self, method: str) -> None:
        """Call one of the methods that a sink may have: flush, close."""
        try:
            getattr(self._sink, method, lambda: None)()
        except BaseException as error:  # noqa: BLE001 - as above
            self._notices.report(f"{method} {self.name}", f"{self.name} failed: {self._in_words(error)}", error)


def _topic(event: Event) -> tuple[Any, ...]:
    """Give what a finding is about: of several, the latest counts."""
    return event["stream"], event["code"], event["codebook"], str(event["evidence"].get("codebooks"))


def _kind(error: BaseException) -> str:
    """Name the kind of an error: what differs from time to time would make a gap record each."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return type(error).__name__


def _copied(value: Any) -> Any:
    """Copy an event: a foreign sink may change what it gets, and others get the same."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


class QueuedOutlet:
    """The way to one sink, for events of which at most `bound` wait; the newest is dropped where there are more."""

    def __init__(self, outlet: Outlet, notices: Notices, *, bound: int) -> None:
        self.outlet = outlet
        self.dropped = 0
        self._notices = notices
        self._bound = bound
        self._worker: Worker[Event] = Worker(
            self._write, outlet.settle, outlet.finish, bound=bound, name=f"predlog {outlet.name}"
        )

    def start(self) -> None:
        """Start the thread, if that is possible now; each event tries again."""
        with suppress(NoThreadError):
            self._worker.start()

    def submit(self, event: Event) -> None:
        """Hand over an event, and return at once."""
        try:
            # A copy, because each sink counts its lines in its own.
            accepted, why = self._worker.submit(Checked(event)), f"{self.outlet.name} is too slow"
        except NoThreadError as error:
            accepted, why = False, f"no thread for {self.outlet.name}"
            self._notices.report(f"thread {self.outlet.name}", f"{self.outlet.name} gets nothing: {error}", error)
        else:
            if not accepted:
                self._notices.note(
                    f"slow {self.outlet.name}",
                    f"{self.outlet.name} is slower than what comes: {self._bound} events wait for it, so the next are "
                    "dropped there, and nowhere else",
                )
        if not accepted:
            self.dropped += event["event"] == "predlog.comparison"
            self.outlet.miss(event, why)

    def flush(self, timeout: float) -> bool:
        """Wait until the sink has all that was handed over; False where `timeout` seconds passed first."""
        return self._worker.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Refuse what comes, finish what is queued; False where that took over `timeout` seconds."""
        return self._worker.close(timeout)

    def _write(self, event: Event) -> None:
        self.outlet.write(event)
