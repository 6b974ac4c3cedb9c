"""How a recorder ends: its thread and its sinks, and what is reported last; also where nobody refers to it any more."""

import shlex
import time
from pathlib import Path
from typing import Final

from predlog._runtime import process
from predlog._runtime.exit import DEADLINE, keep_until_exit, uncaught
from predlog._runtime.failure import located, own_failure
from predlog._runtime.notices import Notices
from predlog.errors import PredlogError
from predlog.findings.catalog import LOSS, OF_LOGITS, OF_PART
from predlog.findings.judge import Judge
from predlog.findings.needs import JOINS
from predlog.recorder.gate import Gate
from predlog.recorder.pipeline import Pipeline
from predlog.recorder.stats import Accounts, describe_missing
from predlog.recorder.submission import Item
from predlog.recorder.worker import Worker

_UNCHECKED: Final = "the loss was not checked (see predlog explain loss-differs-from-pair)"


class Closing:
    """Close what a recorder has opened, without a reference to the recorder.

    The worker refers to it, so that it exists until the worker has ended: a program that ends waits for it.
    """

    worker: Worker[Item]
    gate: Gate

    def __init__(self, pipeline: Pipeline, judge: Judge, accounts: Accounts, notices: Notices) -> None:
        self._pipeline = pipeline
        self._judge = judge
        self._accounts = accounts
        self._notices = notices
        self._reported_missing = ""
        self._is_abandoned = False

    def close(self, timeout: float) -> bool:
        """Close, and return whether that was done in time; raise PredlogError if something failed in a strict one."""
        done = self.end(timeout)
        self.raise_failure()
        return done

    def end(self, timeout: float, *, error: str | None = None) -> bool:
        """Close, and return whether that was done in time; `error` is the exception that ends the run, if one does."""
        if not self.worker.is_mine():
            return True  # a fork's copy: the parent reports what it holds
        if (ended_by := error or uncaught()) is not None:
            self._pipeline.ending["error"] = ended_by
        is_first = not self.gate.is_closed
        if is_first:
            self._report_no_offers()
        self.gate.is_closed = True
        deadline = self.worker.closing_since() + timeout  # what a call before has waited is not waited again
        try:
            # At its end the worker tells the sinks that have a thread to finish.
            done = self.worker.close(deadline - time.monotonic()) and self._pipeline.outlets.close(deadline)
        except (KeyboardInterrupt, SystemExit):
            self._report_missing("closing was interrupted: ")
            raise
        took = "" if done else f"closing took over {timeout:.1f} s: " if timeout > 0 else "closing had no time left: "
        self._report(took, with_summary=is_first)
        return done

    def abandon(self) -> None:
        """Close without waiting: the recorder is gone. What is reported last, the worker reports at its end.

        Called when objects are freed, in any thread and between any two statements, so it takes no lock.
        """
        if self.gate.is_closed or not self.worker.is_mine():
            return
        if not self.gate.has_offers and process.world_size() > 1:
            keep_until_exit(self)  # nothing is open; that this rank had no pair is reported and written at the exit
            return
        self.gate.is_closed = self._is_abandoned = True
        self.worker.close(0.0)

    def finish(self) -> None:
        """Write the last line; the worker calls it at its end."""
        self._pipeline.finish()
        if self._is_abandoned:
            done = self._pipeline.outlets.close(time.monotonic() + DEADLINE)
            self._report("" if done else f"closing took over {DEADLINE:.1f} s: ", with_summary=True)
            if (failure := self._notices.take()) is not None:  # there is no caller to raise it to
                Notices().report("closed", failure)

    def raise_failure(self) -> None:
        """Raise what failed; only a strict recorder keeps that."""
        if (failure := self._notices.take()) is not None:
            raise PredlogError(failure)

    def _report_no_offers(self) -> None:
        """Report, also in the file, that this rank of several was to record and was offered no pair."""
        if self.gate.has_offers or (size := process.world_size()) < 2 or not self.gate.is_recording():
            return
        rank = process.rank()
        self._notices.write(
            f"no pair was offered on this rank ({rank} of {size}), so it has recorded nothing: in pipeline parallelism"
            " the last stage alone has logits; ranks='all', or the numbers of its ranks, records where they are"
        )
        try:
            self._pipeline.write_without_pairs()
        except own_failure(Exception) as error:  # the disk, or a processor of the user's
            self._notices.report("worker", f"no file was written on this rank: {located(error)}", error)

    def _report(self, took: str, *, with_summary: bool) -> None:
        if took or not with_summary:
            self._report_missing(took)
        self._notices.report_held_back()
        if with_summary and (line := self._last_line()):
            self._notices.write(line)

    def _last_line(self) -> str:
        """Return what was recorded, what is missing and what was found; nothing if no one watches and all is well."""
        stats, outlets = self._accounts.stats(), self._pipeline.outlets
        found, missing = self._judge.summary(), describe_missing(stats)
        is_watched = any(one.outlet.is_console for one in outlets.queued)
        if missing == self._reported_missing:
            missing = ""
        self._reported_missing = missing or self._reported_missing
        if not (is_watched or found or missing):
            return ""
        file = self._pipeline.file_name()
        counted = self._accounts.named(stats["written"])
        command = "check" if self._accounts.has_parts else "report"  # what needs whole rows is judged by a reader
        parts = [
            f"{counted} in {file}" if file else f"{counted}, and no file: no directory was passed",
            f"of {self._accounts.named(stats['submitted'])} {missing}" if missing else "",
            found or ("no open findings by ids alone" if self._accounts.has_parts else "no open findings"),
            self._not_judged() if self._accounts.has_parts else "",
            _UNCHECKED if self._is_loss_missed(found) else "",
            f"next: predlog {command} {shlex.quote(str(Path(file).parent))}" if file else "",
        ]
        return "; ".join(filter(None, parts))

    def _not_judged(self) -> str:
        """Return which rules are for the one who joins the parts; the command that does is named after that."""
        every = self._judge.undecided.values()
        codes = dict.fromkeys(code for rules in every for code, why in rules.items() if JOINS in why)
        if len(codes) > len(OF_LOGITS) + 1:  # and the loss
            return f"not judged here: all rules but {', '.join(sorted(OF_PART))}"
        return f"not judged here: {', '.join(codes)}" if codes else ""

    def _is_loss_missed(self, found: str | None) -> bool:
        """Return whether all looks well, and nobody knows what the loss sees, in whatever stream."""
        streams = {} if found or self._accounts.has_parts else self._judge.undecided
        return bool(streams) and all(LOSS in undecided for undecided in streams.values())

    def _report_missing(self, why: str) -> None:
        """Report which sinks lack how much, if one does, unless that was reported before."""
        stats = self._accounts.stats()
        listed = describe_missing(stats)
        if listed and listed != self._reported_missing:
            self._reported_missing = listed
            report = self._notices.report if why else self._notices.note
            report("close", f"{why}of {self._accounts.named(stats['submitted'])} {listed}")
