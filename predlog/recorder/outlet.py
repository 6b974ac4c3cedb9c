"""Events are written to one sink: its failures affect no other sink, and it gets a record of what it missed.

A sink that keeps failing is paused and tried again. What it missed is not forgotten: the attempt's first line and the
findings are kept for it, and comparisons are counted, until a gap record in the sink reports how many are missing.
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
# Sinks are structlog processors, which may use the logger: this one does nothing.
_LOGGER: Final = structlog.ReturnLogger()


class Outlet:
    """One sink, how many comparisons were written to it and how many failed, and what it missed.

    One thread at a time calls `write`, `settle` and `finish`, which never raise; any thread may call the others.
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
        """Write an event, and what the sink missed before; return False if the sink failed.

        A gap record is written after the first event that succeeds: a full disk may have room for the small gap only.
        """
        self._latest = event
        is_comparison = event["event"] == "predlog.comparison"
        if event["event"] == "predlog.run" and event["stats"] is not None:  # the last line: nothing may come after it
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
        """Remember that the sink did not get an event: it gets a gap record, or the event later."""
        self._missing.add_event(event, why)
        match event["event"]:
            case "predlog.finding" if len(self._findings) < _MOST_FINDINGS or _topic(event) in self._findings:
                self._findings[_topic(event)] = event
            case "predlog.run" if event["stats"] is None:
                self._header = event

    def _forget_older(self, finding: Event) -> None:
        """Forget the missed finding that is older than one that was written; a newer one is still to be written."""
        missed = self._findings.get(_topic(finding))
        if missed is not None and missed["timestamp"] <= finding["timestamp"]:
            self._findings.pop(_topic(finding), None)

    def add_missing(self, missing: Missing) -> None:
        """Count what is missing in every sink."""
        self._missing.add(missing.count, missing.reason, missing.first_step, missing.last_step)

    def settle(self) -> None:
        """Write what the sink missed, and make what is written durable."""
        if self._backoff.may_try():
            self._write_missed()
        self._call_method("flush")

    def finish(self) -> None:
        """Write what the sink missed, even if it is paused, and close it."""
        self._backoff.skip_wait()
        self._write_missed()
        self._call_method("close")

    def last_attempt(self) -> int:
        """Return the newest attempt in the sink's file; 0 if there is none, or none that can be read."""
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
        """Write the gap records and the missed findings until the sink fails."""
        missing = self._missing.take()
        while missing:
            if not self._call_sink(gap_event(like, missing[0])):
                for one in missing:
                    self.add_missing(one)
                return
            del missing[0]
        for topic in list(self._findings):
            # Another thread may replace it by a newer one meanwhile.
            finding = self._findings.pop(topic)
            if not self._call_sink(finding):
                self._findings.setdefault(topic, finding)
                return

    def _call_sink(self, event: Event) -> bool:
        event["seq"] = self._seq
        try:
            self._sink(_LOGGER, event["level"], event if self._is_ours else _copied(event))
        except structlog.DropEvent:
            pass  # it has the event; structlog's own LogCapture ends like that
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
        if not self._backoff.failures:  # one reason for all events that are missing until it works again
            self._reason = f"{self.name} failed: {_kind(error)}"
        rest = self._backoff.record_failure()
        again = f"; {self._backoff.failures} times in a row, so it is tried again in {rest:g} s" if rest else ""
        self._notices.report(f"sink {self.name}", f"{self.name} failed: {self._in_words(error)}{again}", error)

    def _in_words(self, error: BaseException) -> str:
        # Which line of predlog's own sinks found that a disk is full helps nobody.
        return described(error) if self._is_ours else f"{described(error)}, at {raised_at(error)}"

    def _report_recovery(self) -> None:
        if self._backoff.failures > 1:
            self._notices.note(
                f"{self.name} again", f"{self.name} works again, after {self._backoff.failures} failures"
            )
        self._backoff.record_success()

    def _call_method(self, method: str) -> None:
        """Call a method that a sink may have: flush or close."""
        try:
            getattr(self._sink, method, lambda: None)()
        except BaseException as error:  # noqa: BLE001 - as above
            self._notices.report(f"{method} {self.name}", f"{self.name} failed: {self._in_words(error)}", error)


def _topic(event: Event) -> tuple[Any, ...]:
    """Return what a finding is about: of several about the same, the latest is kept."""
    return event["stream"], event["code"], event["codebook"], str(event["evidence"].get("codebooks"))


def _kind(error: BaseException) -> str:
    """Return the kind of an error, without details: each reason of its own would make a gap record of its own."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return type(error).__name__


def _copied(value: Any) -> Any:
    """Return a copy of an event: a foreign sink may change it, and other sinks get the same event."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


class QueuedOutlet:
    """A sink with a thread and a queue of at most `bound` events; if the queue is full, the newest event is dropped."""

    def __init__(self, outlet: Outlet, notices: Notices, *, bound: int) -> None:
        self.outlet = outlet
        self.dropped = 0
        self._notices = notices
        self._bound = bound
        self._worker: Worker[Event] = Worker(
            self._write, outlet.settle, outlet.finish, bound=bound, name=f"predlog {outlet.name}"
        )

    def start(self) -> None:
        """Start the thread, if that is possible now; otherwise each event tries again."""
        with suppress(NoThreadError):
            self._worker.start()

    def submit(self, event: Event) -> None:
        """Queue an event, and return at once."""
        try:
            # A copy, because each sink numbers its own lines.
            accepted, why = self._worker.submit(Checked(event)), f"{self.outlet.name} is too slow"
        except NoThreadError as error:
            accepted, why = False, f"no thread for {self.outlet.name}"
            self._notices.report(f"thread {self.outlet.name}", f"{self.outlet.name} gets nothing: {error}", error)
        else:
            if not accepted:
                self._notices.note(
                    f"slow {self.outlet.name}",
                    f"{self.outlet.name} is too slow: {self._bound} events wait for it, so the next are dropped there,"
                    " and nowhere else; a larger `every` helps",
                )
        if not accepted:
            self.dropped += event["event"] == "predlog.comparison"
            self.outlet.miss(event, why)

    def flush(self, timeout: float) -> bool:
        """Wait until the sink has all that was queued; return False if that takes over `timeout` seconds."""
        return self._worker.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Refuse new events, write what is queued; return False if that takes over `timeout` seconds."""
        return self._worker.close(timeout)

    def _write(self, event: Event) -> None:
        self.outlet.write(event)
