"""What happens to a pair in the training thread: is it due, captured, refused or lost, and what the worker gets."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from predlog._runtime.failure import briefly, described, own_failure
from predlog._runtime.notices import Notices
from predlog._runtime.torch_state import is_traced, obstacle
from predlog.capture import holders
from predlog.capture.capture import capture
from predlog.errors import NoSuchSampleError, NothingHereError, PairError, PredlogError
from predlog.findings.special_tokens import PerStream, SpecialTokens
from predlog.numbers.window import Window
from predlog.recorder.gate import Gate, whole_step
from predlog.recorder.loss_report import LossReports
from predlog.recorder.submission import Submitter
from predlog.recorder.verdict import specials_of
from predlog.records.schema import Comparison

# How the parts of a pair belong together, and what else is known of it, unless the caller says otherwise.
HOW: Final[dict[str, Any]] = {
    "layout": None, "shift": 0, "inputs": None, "ignore_index": -100, "loss_mask": None, "position_ids": None,
    "document_ids": None, "attention_mask": None, "row_index": None, "row_count": None, "reported_loss": None,
    "sample_ids": None, "shard": None, "group": None,
}  # fmt: skip
# What callbacks know: how the loss came about, options of the run, and the type in which the model projects.
OF_CALLBACKS: Final[dict[str, Any]] = {"items": None, "accumulate": None, "declared": frozenset(), "autocast": None}


class Intake:
    """Take the pairs that are offered to a recorder.

    Args:
        gate: Decides what is recorded.
        submitter: Passes captured pairs, and those that are refused, to the worker.
        losses: Decides whose rows are all summed up.
        window: Which part of a pair is shown.
        specials: The special tokens of each stream.
        notices: Where it is reported that a pair is not captured.
        strict: Raise what goes wrong.
        is_shown: Whether a sink shows the findings about refused pairs.
        raise_failure: Raises what went wrong in the worker, if it is to be raised.
        begin_table: Called before the worker gets a pair, in the thread that compares it.
    """

    def __init__(
        self,
        gate: Gate,
        submitter: Submitter,
        losses: LossReports,
        *,
        window: Window,
        specials: PerStream[SpecialTokens],
        notices: Notices,
        strict: bool,
        is_shown: bool,
        raise_failure: Callable[[], None],
        begin_table: Callable[[], None],
    ) -> None:
        self._gate = gate
        self._submitter = submitter
        self._losses = losses
        self._window = window
        self.specials = specials
        self._notices = notices
        self._strict = strict
        self._is_shown = is_shown
        self._raise_failure = raise_failure
        self._begin_table = begin_table
        # What the run has declared, by stream, or of all streams under "".
        self.declared: Mapping[str, frozenset[str]] = {}

    def take(
        self, logits: object, labels: object, step: object, stream: str, context: Mapping[str, object], every: int,
        how: Mapping[str, Any],
    ) -> Future[tuple[Comparison, ...]] | None:  # fmt: skip
        """Capture a pair if its step is due at `every`, and return the future of its records.

        `how` has the values of `HOW`. Raises PredlogError if something fails in a strict recorder.
        """
        if is_traced():
            return None
        try:
            at, number = time.time(), whole_step(step)
            is_part = holders.is_part(logits, how["shard"], how["group"], how["row_index"])
            if not self._gate.takes(stream, number, every, is_part=is_part):
                return None
            self._raise_failure()
            record = partial(self._capture, logits, labels, number, stream, context, at, how)
            return self._gate.once(stream, number, record)
        except own_failure(Exception, logits, labels, step) as error:  # a run must not die of its log
            self.fail(step, stream, error)
            return None

    def fail(self, step: object, stream: object, error: Exception) -> None:
        """Report and count that a pair was not recorded; raise PredlogError instead in a strict recorder."""
        if self._strict:
            if isinstance(error, PredlogError):
                raise error
            raise PredlogError(described(error)) from error
        self._submitter.fail(error, step, stream)

    def refuse(self, error: PairError, step: int, stream: str, at: float) -> None:
        """Have the finding reported that says what is wrong with a pair."""
        self._begin_table()
        self._submitter.refuse(error, step, stream, at, is_shown=self._is_shown)

    def _capture(
        self, logits: object, labels: object, step: int, stream: str, context: Mapping[str, object], at: float,
        how: Mapping[str, Any],
    ) -> Future[tuple[Comparison, ...]] | None:  # fmt: skip
        if (why := obstacle()) is not None:
            self._notices.report_once(f"skipped: {why}", f"step {step}, stream {briefly(stream)}: not captured: {why}")
            return None
        specials = specials_of(self.specials, stream, how["layout"])
        how = dict(how)
        group = how.pop("group")
        try:
            ranks = None
            if holders.is_part(logits, how["shard"], group, how["row_index"]):
                copy = holders.copy_here(logits, labels, how["layout"], group, how["row_index"])
                if not self._gate.admits(copy and copy.is_first, f"step {step}, stream {briefly(stream)}"):
                    return None
                ranks = (copy and copy.ranks) or None
            has_totals = self._losses.is_summed_up(stream, has_loss=how["reported_loss"] is not None)
            options = [how.get("declared", ()), *(self.declared.get(one, ()) for one in ("", stream))]
            captured = capture(
                logits, labels, **{**how, "declared": frozenset().union(*options)}, window=self._window,
                specials=specials, ranks=ranks, has_totals=has_totals, has_axes=self._gate.is_early(stream),
            )  # fmt: skip
        except NothingHereError:
            return None
        except PairError as error:
            if self._strict and not isinstance(error, NoSuchSampleError):
                raise
            self.refuse(error, step, stream, at)
            return None
        self._gate.recorded(stream, step)
        self._begin_table()
        return self._submitter.submit(captured, step, stream, context, at)
