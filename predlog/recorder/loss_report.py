"""Losses that a trainer reports: whose pairs are summed up for them, and how they reach the worker afterwards."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from predlog._runtime.failure import briefly, located, own_failure, raised_at
from predlog._runtime.notices import Notices
from predlog._runtime.torch_state import obstacle
from predlog.capture import scalar
from predlog.findings.judge import Judge
from predlog.findings.reported_loss import Reported, Totals
from predlog.numbers.snapshot import Snapshot
from predlog.recorder.gate import Gate, forget_oldest, whole_step

# Of each stream the first pairs with a loss are summed up, and every so many afterwards.
_FIRST: Final = 3
_EVERY: Final = 100
# Losses in a row that belong to no pair, after which that is reported.
_PATIENCE: Final = 3


@dataclass(frozen=True, slots=True)
class LossReport:
    """A loss that was reported after its pair was captured."""

    reported: Callable[[], Reported]
    step: int
    stream: str
    at: float


class LossReports:
    """Decide which pairs are summed up, which reads all of their rows, and pass on losses that are reported later."""

    def __init__(self, gate: Gate, submit: Callable[[LossReport], object], notices: Notices, *, is_off: bool) -> None:
        self._gate = gate
        self._submit = submit
        self._notices = notices
        self._is_off = is_off
        self._pairs: dict[str, int] = {}
        # How many losses in a row belonged to no pair, by stream.
        self._missed: dict[str, int] = {}

    def expect(self, stream: str) -> None:
        """Sum up the next pair of a stream: its loss is reported after the pair was captured."""
        self._pairs.setdefault(stream, 0)
        forget_oldest(self._pairs)

    def is_summed_up(self, stream: str, *, has_loss: bool) -> bool:
        """Return whether the pair of a stream that is captured now is summed up; `has_loss` is whether it has one."""
        if self._is_off or not (has_loss or stream in self._pairs):
            return False
        number = self._pairs.get(stream, 0)
        self._pairs[stream] = number + 1
        forget_oldest(self._pairs)
        return number < _FIRST or number % _EVERY == 0

    def report(self, loss: object, step: object, stream: str, items: object = None, accumulate: Any = None) -> None:
        """Pass the loss of a pair that was captured to the worker, and have the next pairs of the stream summed up."""
        try:
            number = whole_step(step)
            is_part = self._gate.latest(stream) is not None  # then this rank records, whatever "auto" means
            if self._is_off or not self._gate.is_wanted(stream, is_part=is_part) or obstacle() is not None:
                return
            self.expect(stream)
            if not self._gate.is_recorded(stream, number):
                self._miss(number, stream)
            elif found := scalar.reported(loss, items, accumulate):
                self._missed.pop(stream, None)
                self._submit(LossReport(found, number, stream, time.time()))
        except own_failure(Exception, loss) as error:  # a run must not die of its log
            problem = f"step {briefly(step)}, stream {briefly(stream)}: the loss is not checked: {located(error)}"
            self._notices.report_once(f"loss: {raised_at(error)}", problem, error)

    def _miss(self, step: int, stream: str) -> None:
        """Count a loss that belongs to no pair, as of one that was refused; after a few in a row report what to do."""
        self._missed[stream] = missed = self._missed.get(stream, 0) + 1
        forget_oldest(self._missed)
        if missed == _PATIENCE:
            latest = self._gate.latest(stream)
            last = "no pair of it is recorded" if latest is None else f"its latest pair is that of step {latest}"
            where = f"step {step}, stream {briefly(stream)}"
            self._notices.report_once(
                f"no pair for the loss of {stream}",
                f"{where}: the loss is not checked, because {last}: call report_loss after compare and before the next"
                " one, with the same step and stream",
            )


class Losses:
    """Hold the losses that are reported against the sums of their pairs, whichever comes first; the worker calls it."""

    def __init__(self, judge: Judge, notices: Notices) -> None:
        self._judge = judge
        self._notices = notices
        # The latest pair of each stream that was summed up and whose loss was not reported with it.
        self._waiting: dict[str, tuple[int, Callable[[], Totals]]] = {}

    def reported(self, captured: Snapshot, step: int, stream: str) -> float | None:
        """Return the loss that was reported with a pair, if it is finite, after it was judged; never raise."""
        totals, reported = captured.totals, captured.reported
        if reported is None:
            if totals is not None:
                self._waiting[stream] = step, totals
                forget_oldest(self._waiting)
            return None
        try:
            loss = reported()
            if totals is not None:
                self._hold(step, stream, totals(), loss)
        except own_failure(Exception) as error:  # the pair is recorded without it
            problem = f"step {step}, stream {stream!r}: the loss is not checked: {located(error)}"
            self._notices.report("loss", problem, error)
            return None
        return loss.loss if math.isfinite(loss.loss) else None

    def judge_report(self, report: LossReport) -> None:
        """Judge a loss that was reported after its pair, if that was summed up."""
        step, totals = self._waiting.get(report.stream, (None, None))
        if totals is not None and step == report.step:
            del self._waiting[report.stream]
            self._hold(report.step, report.stream, totals(), report.reported())

    def _hold(self, step: int, stream: str, totals: Totals, loss: Reported) -> None:
        why_off = self._judge.judge_loss(step, stream, totals, loss)
        if why_off is not None:
            self._notices.report_once(f"loss of {stream}", f"step {step}, stream {stream!r}: {why_off}")
