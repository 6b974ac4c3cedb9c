"""Events are written to one sink: its failures affect no other sink, and it gets a record of what it missed.

A sink that keeps failing is paused and tried again. If only one stream's events, or only one kind of event, fail in it,
only these are paused. What it missed is not forgotten: the attempt's first line and the findings are kept for it, and
comparisons are counted, until a gap record in the sink reports how many are missing. An event that fits no sink is
counted, and not tried again.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Any, Final

import structlog
from structlog.typing import Processor

from predlog._runtime.failure import described, raised_at
from predlog._runtime.notices import Notices
from predlog.errors import NotDurableError, RecordError
from predlog.recorder.backoff import Backoff
from predlog.recorder.gaps import Missing, MissingCounts, gap_event
from predlog.recorder.guards import name_of
from predlog.records.schema import OF_PAIRS, Event
from predlog.sinks import JSONL, Console

# Findings that are kept for a sink, one for each stream, code and group of codebooks.
_MOST_FINDINGS = 256
# Kinds of events that are paused each on its own: more streams than that share one pause.
_MOST_KINDS = 256
# The reason in a gap record whose own reason could not be written.
_UNKNOWN = "the reason could not be written"
# Sinks are structlog processors, which may use the logger: this one does nothing.
_LOGGER: Final = structlog.ReturnLogger()


class _Fault(Enum):
    """Whose fault it is that an event was not written."""

    EVENT = auto()  # it does not fit the schema, and never will
    KIND = auto()  # perhaps that of all events of the kind: nobody knows what a foreign sink can't take
    SINK = auto()  # no other event would fit either


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
        self.is_console = type(sink) is Console
        self.notebook = sink.notebook if isinstance(sink, Console) else None
        self.path = sink.path if isinstance(sink, JSONL) else None
        self._notices = notices
        self._backoff = Backoff()
        self._kinds: dict[tuple[Any, ...], Backoff] = {}
        self._seq = 0
        self._latest: Event | None = None
        self._header: Event | None = None
        self._findings: dict[tuple[Any, ...], Event] = {}
        self._missing = MissingCounts()

    def begin(self, event: Event) -> None:
        """Take run and attempt from an event: a gap may be all that there is to write of it."""
        self._latest = self._latest or event

    def expect(self, events: Sequence[Event]) -> None:
        """Tell a console which comparisons of a pair will be written next."""
        if isinstance(self._sink, Console):
            self._sink.expect(events)

    def write(self, event: Event) -> bool:
        """Write an event, and what the sink missed before; return False if the sink failed.

        A gap record is written after the first event that succeeds: a full disk may have room for the small gap only.
        """
        self._latest = event
        is_comparison = event["event"] in OF_PAIRS
        if event["event"] == "predlog.run" and event["stats"] is not None:  # the last line: nothing may come after it
            self._skip_wait()
            self._write_missed()
        fault = self._write_header() or self._try(event)
        if fault is None:
            self.written += is_comparison
            if self._findings and event["event"] == "predlog.finding":
                self._forget_older(event)
            if self._has_missed:
                self._write_gaps_and_findings(event)
            return True
        self.failed += is_comparison
        if fault is not _Fault.EVENT:
            self.miss(event, (self._backoff if fault is _Fault.SINK else self._of_kind(event)).reason)
        else:
            self._missing.add_event(event, f"{self.name} refused the event: not a valid record")
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
        if self._latest is not None and self._pause(self._latest) is None:
            self._write_missed()
        self._call_method("flush")

    def finish(self) -> None:
        """Write what the sink missed, even if it is paused, and close it."""
        self._skip_wait()
        self._write_missed()
        self._call_method("close")

    def last(self) -> tuple[int, int]:
        """Return the newest attempt in the sink's file, and its highest step near the end; (0, -1) if none is read."""
        try:
            return self._sink.last() if isinstance(self._sink, JSONL) else (0, -1)
        except OSError as error:
            self._notices.report(f"sink {self.name}", f"{self.name} failed: {described(error)}", error)
            return 0, -1

    def _skip_wait(self) -> None:
        for one in (self._backoff, *self._kinds.values()):
            one.skip_wait()

    def _write_missed(self) -> None:
        if self._latest is not None and self._write_header() is None and self._has_missed:
            self._write_gaps_and_findings(self._latest)

    @property
    def _has_missed(self) -> bool:
        return bool(self._missing) or bool(self._findings)

    def _write_header(self) -> _Fault | None:
        """Write the first line if the sink lacks it; return the fault if the sink fails: nothing may come before."""
        fault = None if self._header is None else self._try(self._header)
        if fault in {None, _Fault.EVENT}:
            self._header = None
        return fault if fault is _Fault.SINK else None

    def _write_gaps_and_findings(self, like: Event) -> None:
        """Write the gap records and the missed findings until the sink fails; one that fails alone stops no other."""
        missing = self._missing.take()
        while missing:
            fault = self._try(gap_event(like, missing[0]))
            if fault is _Fault.SINK:
                for one in missing:
                    self.add_missing(one)
                return
            one = missing.pop(0)
            if fault is _Fault.KIND:
                self.add_missing(one)
            elif fault is _Fault.EVENT and one.reason != _UNKNOWN:
                self.add_missing(replace(one, reason=_UNKNOWN))
        for topic in list(self._findings):
            # Another thread may replace it by a newer one meanwhile.
            finding = self._findings.pop(topic)
            fault = self._try(finding)
            if fault in {_Fault.KIND, _Fault.SINK}:
                self._findings.setdefault(topic, finding)
            if fault is _Fault.SINK:
                return

    def _of_kind(self, event: Event) -> Backoff:
        kind = event["event"], event.get("stream")
        if kind not in self._kinds and len(self._kinds) >= _MOST_KINDS:
            kind = event["event"], None
        return self._kinds.get(kind) or self._kinds.setdefault(kind, Backoff())

    def _pause(self, event: Event) -> _Fault | None:
        """Return whether the sink is paused, or only for events of this kind; None if it is not."""
        if not self._backoff.may_try():
            return _Fault.SINK
        return _Fault.KIND if self._kinds and not self._of_kind(event).may_try() else None

    def _try(self, event: Event) -> _Fault | None:
        """Write an event unless it is paused; return whose fault it is if it was not written."""
        if (pause := self._pause(event)) is not None:
            return pause
        event["seq"] = self._seq
        try:
            self._sink(_LOGGER, event["level"], event if self._is_ours else _copied(event))
        except structlog.DropEvent:
            pass  # it has the event; structlog's own LogCapture ends like that
        except NotDurableError as error:
            self._notices.report(f"{type(error).__name__} {self.name}", str(error), error)
        except BaseException as error:  # noqa: BLE001 - SystemExit and CancelledError would end the worker
            return self._count_failure(event, error)
        self._seq += 1
        for one in (self._backoff, *([self._of_kind(event)] if self._kinds else ())):
            if one.failures:
                self._report_recovery(one)
        return None

    def _count_failure(self, event: Event, error: BaseException) -> _Fault:
        if isinstance(error, RecordError):
            self._notices.report(f"event {self.name}", f"{self.name} refused {_named(event)}: {error}", error)
            return _Fault.EVENT
        fault = _Fault.SINK if self._is_ours and isinstance(error, OSError) else _Fault.KIND
        backoff = self._backoff if fault is _Fault.SINK else self._of_kind(event)
        rest = backoff.record_failure(f"{self.name} failed: {_kind(error)}")
        again = f"; {backoff.failures} times in a row, so it is tried again in {rest:g} s" if rest else ""
        self._notices.report(f"sink {self.name}", f"{self.name} failed: {self._in_words(error)}{again}", error)
        return fault

    def _in_words(self, error: BaseException) -> str:
        # Which line of predlog's own sinks found that a disk is full helps nobody.
        return described(error) if self._is_ours else f"{described(error)}, at {raised_at(error)}"

    def _report_recovery(self, backoff: Backoff) -> None:
        if backoff.failures > 1:
            self._notices.note(f"{self.name} again", f"{self.name} works again, after {backoff.failures} failures")
        backoff.record_success()

    def _call_method(self, method: str) -> None:
        """Call a method that a sink may have: flush or close."""
        try:
            getattr(self._sink, method, lambda: None)()
        except BaseException as error:  # noqa: BLE001 - as above
            self._notices.report(f"{method} {self.name}", f"{self.name} failed: {self._in_words(error)}", error)


def _topic(event: Event) -> tuple[Any, ...]:
    """Return what a finding is about: of several about the same, the latest is kept."""
    return event["stream"], event["code"], event["codebook"], str(event["evidence"].get("codebooks"))


def _named(event: Event) -> str:
    where = f" of step {event['step']}, stream {event['stream']!r}" if "stream" in event else ""
    return f"a {event['event']} event{where}"


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
