"""What the worker does: captured pairs → events and findings → the user's processors → the sinks.

A private structlog logger calls the processors. It reads nothing from the program's structlog configuration and changes
nothing in it. A failure loses the event that it happened with, is reported, and is counted.
"""

import os
import time
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Any

import structlog
from structlog.typing import Processor

from predlog._runtime import process
from predlog._runtime.failure import located, raised_at
from predlog._runtime.notices import Notices
from predlog.errors import PairError
from predlog.findings.facts import Facts
from predlog.findings.judge import Judge
from predlog.findings.ledger import FindingEvent
from predlog.processors.decode import Decode
from predlog.recorder.attempt import Attempt
from predlog.recorder.gaps import MissingCounts
from predlog.recorder.guards import WITHHELD, ProcessorError, checked, named, without_message
from predlog.recorder.loss_report import Losses, LossReport
from predlog.recorder.outlets import Outlets
from predlog.recorder.parted import in_parts, unpacked
from predlog.recorder.stats import Accounts
from predlog.recorder.submission import Item, Refusal, Submission
from predlog.recorder.verdict import judge_pair, refusal_message
from predlog.records import codec
from predlog.records.schema import Checked, Event, Finding


class Pipeline:
    """Turn submissions into events and write them; only the worker thread calls it, and it never raises.

    The run's file is written here, first; every other sink has a thread of its own. `sinks` returns the file and the
    other sinks when the first pair arrives.
    """

    def __init__(
        self,
        *,
        settings: dict[str, Any],
        processors: Sequence[Processor],
        sinks: Callable[[], tuple[Processor | None, Sequence[Processor]]],
        judge: Judge,
        accounts: Accounts,
        missing: MissingCounts,
        notices: Notices,
    ) -> None:
        self._settings = settings
        self._processors = processors
        self._has_user_processors = any(type(one) is not Decode for one in processors)
        self.outlets = Outlets(sinks, settings["queue"], accounts, notices)
        self._judge = judge
        self._accounts = accounts
        self._missing = missing
        self._notices = notices
        self._attempt: Attempt | None = None
        self._logger: Any = None
        self._losses = Losses(judge, notices)
        # What is reported of a step if an earlier attempt in the file went further.
        self.restarted: Callable[[str], str] | None = None
        self._earlier = 0, -1
        self.ending: dict[str, str] = {}  # what the last line says of it: the exception

    def work(self, item: Item) -> None:
        """Process a submission, a refusal or a loss, and write its events to the sinks."""
        if isinstance(item, LossReport):
            self._catch_failure(item, self._losses.judge_report, item)
            self._report_findings(item)
        elif isinstance(item, Refusal):
            self._catch_failure(item, self._refuse, item)
            self._report_findings(item)
        else:
            self._record(item)

    def _record(self, submission: Submission) -> None:
        """Write all comparisons and the findings in them; resolve the future with those that were written."""
        recorded: list[Event] = []
        facts: list[Facts] = []
        counted_before = self._accounts.counted
        try:
            self._start(submission.at)
            self._report_restart()
            self._share_missing()
            loss = self._losses.reported(submission.capture, submission.step, submission.stream)
            for fields, fact in self._unpacked(submission):
                facts.append(fact)
                event = self._comparison(submission, {**fields, "reported_loss": loss})
                if event is not None:
                    recorded.append(event)
            self._catch_failure(submission, self._find, submission, facts)
            self._report_findings(submission)
        except PairError as error:
            self._refuse_late(submission, error)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the worker must go on
            uncounted = submission.capture.sizes.count - (self._accounts.counted - counted_before)
            self._accounts.failed += uncounted
            if uncounted:
                self._missing.add(uncounted, "predlog's worker failed", submission.step, submission.step)
            self._notices.report(
                "worker", f"step {submission.step}, stream {submission.stream!r}: {located(error)}", error
            )
        finally:
            self.outlets.end_pair()  # whatever has failed, none of its comparisons waits for the next pair
            self._resolve(submission, recorded)

    def _unpacked(self, submission: Submission) -> Iterable[tuple[dict[str, Any], Facts]]:
        """Return the fields and facts of a pair; report once that those of a shard are parts."""
        shard = submission.capture.sizes.shard
        if shard is not None and shard.start == 0 and not self._accounts.has_parts and self._settings["console"]:
            self._notices.note("parts", in_parts(submission.step, submission.stream, self.file_name()))
        return unpacked(submission.capture, self._settings["worst"] if self._processors else 0)

    def _refuse_late(self, submission: Submission, error: PairError) -> None:
        """Refuse a pair for numbers that no one had read before they came from the device, as `compare` would have."""
        self._accounts.submitted -= submission.capture.sizes.count  # none was passed on: all are checked first
        self._accounts.refused += 1
        step, stream = submission.step, submission.stream
        if self._settings["strict"]:
            self._notices.report("refused", f"step {step}, stream {stream!r}: {error}", error)
        self._notices.trace(f"refused at {raised_at(error)}", error)
        refusal = Refusal(error.code, str(error), error.evidence, step, stream, submission.at)
        self._catch_failure(refusal, self._refuse, refusal)
        self._report_findings(refusal)

    def _catch_failure(self, item: Item, find: Callable[..., None], *arguments: Any) -> None:
        """Look for findings: a failure there loses the finding, not the records."""
        try:
            find(*arguments)
        except BaseException as error:  # noqa: BLE001 - a user's processor may raise anything
            where = f"step {item.step}, stream {item.stream!r}"
            self._notices.report("findings", f"{where}: not checked for findings: {located(error)}", error)

    def _find(self, submission: Submission, facts: Sequence[Facts]) -> None:
        step, stream = submission.step, submission.stream
        off = judge_pair(self._judge, submission.capture, facts, step, stream, is_idle=submission.is_idle)
        if off is not None and submission.capture.sizes.length > 1:  # one label per sample, as a classifier's, fits
            self._notices.report_once("no inputs", f"step {step}, stream {stream!r}: {off}")

    def _refuse(self, refusal: Refusal) -> None:
        self._start(refusal.at)
        message = refusal_message(refusal.message, refusal.stream, "The run goes on; this pair is not recorded.")
        self._judge.refuse(refusal.step, refusal.stream, refusal.code, message, refusal.evidence)

    def _report_findings(self, item: Item) -> None:
        """Report findings that are open or gone and not yet reported; if a processor fails, they are reported again."""
        for found in self._judge.unreported:
            self._catch_failure(item, self._report_finding, found, item.at)

    def _report_finding(self, found: FindingEvent, at: float) -> None:
        event = self._event("predlog.finding", found.level, at, found.fields)
        if self._processors:
            found.record = _finding(codec.conform(without_message(event)))
        reached = self._send(event)
        if reached is not None:
            found.record = _finding(reached)
            self._deliver(reached)
            if self.outlets.file is None and not self.outlets.queued:
                text = f"{reached['code']}, step {reached['step']}: {reached['message']} More: {reached['help']}"
                self._notices.write(text)
        found.is_reported = True

    def _resolve(self, submission: Submission, recorded: Sequence[Event]) -> None:
        try:
            submission.future.set_events(recorded)
        except BaseException as error:  # noqa: BLE001 - a callback that exits would end the worker
            where = f"step {submission.step}"
            self._notices.report("callback", f"{where}: a callback of the future raised {located(error)}", error)

    def file_name(self) -> str | None:
        """Return the run's file as the user named its folder; None if there is none."""
        path = None if self.outlets.file is None else self.outlets.file.path
        return None if path is None else os.path.join(self._settings["directory"], path.name)  # noqa: PTH118

    def settle(self) -> None:
        """Make what is written durable."""
        self._share_missing()
        if self.outlets.file is not None:
            self.outlets.file.settle()

    def finish(self) -> None:
        """Write the last line of the attempt, and close the sinks, those with a thread in their own thread."""
        if self._attempt is not None:
            self._share_missing()
            stats = {**self._accounts.stats(), "loss_checked": self._judge.loss_checked(), **self.ending}
            self._send_run(self._attempt, time.time(), stats)
        if self.outlets.file is not None:
            self.outlets.file.finish()
        self.outlets.close(0.0)

    def write_without_pairs(self) -> None:
        """Write, without a thread, the first and the last line of an attempt in which no pair was offered."""
        if self.outlets.open_file():
            self._start(time.time())
            self.finish()

    def _share_missing(self) -> None:
        """Pass to every sink what is missing in all of them."""
        for missing in self._missing.take() if self._attempt is not None else ():
            for outlet in self.outlets.all:
                outlet.add_missing(missing)

    def _comparison(self, submission: Submission, fields: dict[str, Any]) -> Event | None:
        """Write a comparison; return the event if the file has it, or if there is no file."""
        step, stream = submission.step, submission.stream
        fields |= {"step": step, "stream": stream, "context": dict(submission.context)}
        kind = "predlog.comparison" if submission.capture.sizes.shard is None else "predlog.part"
        self._accounts.kinds.add(kind)
        try:
            reached = self._send(self._event(kind, "info", submission.at, fields))
        except Exception as error:  # noqa: BLE001 - a user's processor may raise anything
            self._accounts.failed += 1
            who, why = (
                error.args
                if isinstance(error, ProcessorError)
                else ("the event", f"is not a valid record after the processors: {located(error)}")
            )
            self._missing.add(1, f"{who} failed", step, step)
            self._share_missing()
            self._notices.report(who, f"step {step}, stream {stream!r}: not recorded: {who} {why}", error)
            return None
        if reached is None:
            self._accounts.filtered += 1
            return None
        is_written = self._deliver(reached)
        self._accounts.passed += 1
        return reached if is_written else None

    def _deliver(self, event: Event) -> bool:
        """Write an event to every sink; return False if the run's file failed."""
        if self._attempt is not None:
            self._attempt.number(event)
        return self.outlets.write(event)

    def _start(self, at: float) -> None:
        if self._attempt is not None:
            return
        self._earlier = max((outlet.last() for outlet in self.outlets.all), default=(0, -1))
        self._attempt = Attempt(self._settings, 1 + self._earlier[0])
        self._logger = structlog.wrap_logger(
            structlog.ReturnLogger(),
            processors=[*map(named, self._processors), self._conform],
            wrapper_class=structlog.make_filtering_bound_logger(0),
            context_class=dict,
            cache_logger_on_first_use=True,
        ).bind()
        for problem in process.unusable():
            self._notices.report_once(problem, problem)
        for outlet in self.outlets.all:
            outlet.begin(self._attempt.run_event(at, None))
        self._send_run(self._attempt, at, None)

    def _report_restart(self) -> None:
        """Report, once, that steps are counted anew in a file in which they went further."""
        restarted, self.restarted = self.restarted, None
        attempt, step = self._earlier
        if restarted is not None and step > 0:
            where = self._settings["directory"] or "its file"
            self._notices.report_once("restart", restarted(f"attempt {attempt} in {where} goes to step {step}"))

    def _send_run(self, attempt: Attempt, at: float, stats: dict[str, Any] | None) -> None:
        """Write the attempt's first line, or, with the final counts, its last."""
        event = attempt.run_event(at, stats)
        try:
            reached = self._send(event)
        except Exception as error:  # noqa: BLE001 - a user's processor may raise anything
            which = "first" if stats is None else "last"
            self._notices.report(
                "processor",
                f"the {which} line of the attempt is recorded without host and settings: {located(error)}",
                error,
            )
            reached = checked({**event, **WITHHELD}, self._notices, is_foreign=True)
        if reached is not None:
            self._deliver(reached)

    def _event(self, name: str, level: str, at: float, fields: dict[str, Any]) -> dict[str, Any]:
        assert self._attempt is not None  # noqa: S101 - for the type checker
        return self._attempt.event(name, level, at, fields)

    def _send(self, event: dict[str, Any]) -> Checked | None:
        """Pass an event through the processors, and return the result; None if one dropped it."""
        reached: Checked | None = getattr(self._logger, event["level"])(**event)
        return reached

    def _conform(
        self, _logger: Any, _name: str, event: MutableMapping[str, Any]
    ) -> tuple[tuple[Checked], dict[str, Any]]:
        """Check the event after the user's processors, and have structlog's logger return it."""
        return (checked(event, self._notices, is_foreign=self._has_user_processors),), {}


def _finding(event: Event) -> Finding | None:
    record = codec.from_event(event)
    return record if isinstance(record, Finding) else None
