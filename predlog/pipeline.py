"""The worker's side: captured pairs → events and findings → the user's processors → the sinks.

A private structlog logger does the passing on. It takes nothing from the host's structlog configuration and
leaves nothing there. Whatever fails costs the event that it failed on, is said, and is counted.
"""

import os
import platform
import socket
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import asdict, astuple
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import structlog
from structlog.typing import Processor

from predlog import ranks, records
from predlog.errors import described
from predlog.facts import Facts
from predlog.guards import GuardedSink, ProcessorError, named
from predlog.judging import Judge, Standing
from predlog.losses import Losses
from predlog.notices import Notices
from predlog.processors import Decode
from predlog.records import Event, Finding
from predlog.submission import Refusal, Submission
from predlog.unpacking import unpack


class Pipeline:
    """Turn submissions into events and see them through; only the worker thread calls it, and it never raises.

    `written`, `filtered` and `failed` count comparisons: into every sink, dropped by a processor, or stopped by
    an error on the way.
    """

    def __init__(
        self,
        *,
        settings: dict[str, Any],
        processors: Sequence[Processor],
        sinks: Callable[[], Sequence[Processor]],
        judge: Judge,
        losses: Losses,
        notices: Notices,
    ) -> None:
        self.written = 0
        self.filtered = 0
        self.failed = 0
        self._settings = settings
        self._processors = processors
        self._is_theirs = any(type(one) is not Decode for one in processors)
        self._make_sinks = sinks
        self._judge = judge
        self._losses = losses
        self._notices = notices
        self._sinks: list[GuardedSink] = []
        self._logger: Any = None
        self._identity: dict[str, Any] = {}
        self._seq = 0
        self._lost = 0
        self._is_taken = True
        self._saying: Standing | None = None
        self._sink_failures = 0
        self._reached: records.Checked | None = None

    def work(self, item: Submission | Refusal) -> None:
        """See a submission or a refusal through to the sinks."""
        if isinstance(item, Refusal):
            self._guarded(item, self._refuse, item)
            self._tell(item)
        else:
            self._record_all(item)

    def _record_all(self, submission: Submission) -> None:
        """Emit every comparison and what is found in them; resolve the future with those that reached the sinks."""
        recorded: list[Event] = []
        facts: list[Facts] = []
        counted_before = self._counted
        try:
            self._start(submission.at)
            lost_before = self._lost
            for fields, beyond in unpack(submission.capture):
                facts.append(beyond)
                event = self._comparison(submission, fields)
                if event is not None:
                    recorded.append(event)
            self._is_taken = self._lost == lost_before  # as long as the file takes nothing, there is nothing to tell it
            self._guarded(submission, self._find, submission, facts)
            self._tell(submission)
            if self._is_taken:
                self.report_losses()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the worker must live
            uncounted = submission.capture.sizes.count - (self._counted - counted_before)
            self.failed += uncounted
            if uncounted:
                self._losses.add(uncounted, "predlog's worker failed", submission.step, submission.step)
            self._notices.say("worker", f"step {submission.step}, stream {submission.stream!r}: {described(error)}")
        finally:
            self._resolve(submission, recorded)

    def _guarded(self, item: Submission | Refusal, find: Callable[..., None], *arguments: Any) -> None:
        """Look for findings: a failure there costs the finding, not the records."""
        try:
            find(*arguments)
        except BaseException as error:  # noqa: BLE001 - a user's processor may raise anything
            self._notices.say("findings", f"step {item.step}, stream {item.stream!r}: no finding: {described(error)}")

    def _find(self, submission: Submission, facts: Sequence[Facts]) -> None:
        is_trained = submission.capture.sizes.is_trained
        self._judge.judge(submission.step, submission.stream, facts, is_trained=is_trained)

    def _refuse(self, refusal: Refusal) -> None:
        self._start(refusal.at)
        end = "" if refusal.message.endswith(("?", ".")) else "."
        message = f"{refusal.stream}: {refusal.message}{end} The run goes on; this pair is not recorded."
        self._judge.refuse(refusal.step, refusal.stream, refusal.code, message, refusal.evidence)

    def _tell(self, item: Submission | Refusal) -> None:
        """Tell what was found or is gone, and has not been told; what a processor or the file refused comes again."""
        for found in self._judge.unsaid:
            if self._is_taken or not found.is_lost:
                self._guarded(item, self._say, found, item.at)

    def _say(self, found: Standing, at: float) -> None:
        event = self._event("predlog.finding", found.level, at, found.fields)
        found.record = _finding(records.conform(event))
        found.is_lost, self._saying = False, found
        reached = self._send(event)
        if reached is not None:
            found.record = _finding(reached)
            if not self._sinks:
                self._notices.tell(f"{found.code}, step {found.step}: {found.message} More: {found.fields['help']}")
        found.is_said = True

    @property
    def _counted(self) -> int:
        return self.written + self.filtered + self.failed

    def _resolve(self, submission: Submission, recorded: Sequence[Event]) -> None:
        try:
            submission.future.set_events(recorded)
        except BaseException as error:  # noqa: BLE001 - a callback that exits would end the worker
            self._notices.say("callback", f"step {submission.step}: a callback of the future raised {described(error)}")

    def settle(self) -> None:
        """Make what is written durable."""
        for sink in self._sinks:
            sink.call("flush")

    def finish(self) -> None:
        """Tell the file what it lacks and close the sinks."""
        self.report_losses()
        for sink in self._sinks:
            sink.call("close")

    def report_losses(self) -> None:
        """Emit a gap for what was lost since the last one."""
        if self._logger is None:
            return
        for loss in self._losses.take():
            try:
                fields = asdict(loss) | {"context": {}}
                self._emit("predlog.gap", "warning", datetime.now(UTC).timestamp(), fields)
            except Exception as error:  # noqa: BLE001 - a user's processor may raise anything
                self._losses.add(*astuple(loss))
                self._notices.say("processor", f"a gap could not be reported: {described(error)}")

    def _comparison(self, submission: Submission, fields: dict[str, Any]) -> Event | None:
        """Send a comparison to the sinks, and give the event that reached them, if it did."""
        step, stream = submission.step, submission.stream
        fields |= {"step": step, "stream": stream, "context": dict(submission.context)}
        failures = self._sink_failures
        try:
            reached = self._emit("predlog.comparison", "info", submission.at, fields)
        except Exception as error:  # noqa: BLE001 - a user's processor may raise anything
            self.failed += 1
            who, why = error.args if isinstance(error, ProcessorError) else ("the event", described(error))
            self._losses.add(1, f"{who} failed", step, step)
            self._notices.say(who, f"step {step}, stream {stream!r}: not recorded: {who} {why}")
            return None
        if reached is None:
            self.filtered += 1
        elif self._sink_failures > failures:
            self.failed += 1
        else:
            self.written += 1
        return reached

    def _start(self, at: float) -> None:
        if self._logger is not None:
            return
        # Made here and not sooner: only now does the process group, and with it the rank, stand.
        self._sinks = [GuardedSink(sink, self._sink_failed, self._event_lost) for sink in self._make_sinks()]
        directory = self._settings["directory"]
        self._identity = {
            "schema": records.SCHEMA,
            "run": os.path.basename(os.path.abspath(directory)) if directory else None,  # noqa: PTH100, PTH119
            "attempt": 1 + max((sink.last_attempt() for sink in self._sinks), default=0),
            "rank": ranks.rank(),
        }
        self._logger = structlog.wrap_logger(
            structlog.ReturnLogger(),
            processors=[*map(named, self._processors), self._conform, *self._sinks],
            wrapper_class=structlog.make_filtering_bound_logger(0),
            context_class=dict,
            cache_logger_on_first_use=True,
        ).bind()
        try:
            self._emit("predlog.run", "info", at, self._run())
        except Exception as error:  # noqa: BLE001 - a user's processor may raise anything
            self._notices.say("processor", f"the first line of the attempt was not recorded: {described(error)}")

    def _run(self) -> dict[str, Any]:
        versions = {name: version(name) for name in ("predlog", "torch")}
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "world_size": ranks.world_size(),
            "versions": {**versions, "python": platform.python_version()},
            "settings": dict(self._settings),
            "context": {},
        }

    def _emit(self, name: str, level: str, at: float, fields: dict[str, Any]) -> Event | None:
        """Send one event down the chain, and give what reached the sinks; None where a processor dropped it."""
        return self._send(self._event(name, level, at, fields))

    def _event(self, name: str, level: str, at: float, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            "event": name,
            "level": level,
            "timestamp": _timestamp(at),
            **self._identity,
            "seq": self._seq,
            **fields,
        }

    def _send(self, event: dict[str, Any]) -> Event | None:
        self._reached = None
        getattr(self._logger, event["level"])(**event)
        return self._reached

    def _conform(self, _logger: Any, _name: str, event: MutableMapping[str, Any]) -> Event:
        """Check what the user's processors made of the event, before any sink sees it."""
        conformed = records.Checked(records.conform(event))
        if self._is_theirs:
            records.from_event(conformed)
        self._seq += 1
        self._reached = conformed
        return conformed

    def _event_lost(self, event: Event, why: str) -> None:
        self._lost += 1
        if event["event"] == "predlog.comparison":
            self._losses.add(1, why, event["step"], event["step"])
        elif event["event"] == "predlog.finding" and self._saying is not None:
            self._saying.is_lost = True
        elif event["event"] == "predlog.gap":
            self._losses.add(event["count"], event["reason"], event["first_step"], event["last_step"])

    def _sink_failed(self, name: str, error: BaseException) -> None:
        self._sink_failures += 1
        self._notices.say(f"sink {name}", f"{name} failed: {described(error)}")


@lru_cache(maxsize=1)  # all of a pair's events have the same
def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _finding(event: Event) -> Finding | None:
    record = records.from_event(event)
    return record if isinstance(record, Finding) else None
