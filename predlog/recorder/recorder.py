"""The recorder: what a training loop calls; it owns the worker, the sinks and the counts."""

import inspect
import os
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from structlog.typing import Processor

from predlog._runtime.exit import DEADLINE, close_at_exit, named
from predlog._runtime.notices import Notices
from predlog._runtime.torch_state import is_dynamo_compiling, is_traced
from predlog.capture.shard import Shard
from predlog.errors import PairError
from predlog.findings.catalog import LOSS
from predlog.findings.judge import Judge
from predlog.findings.special_tokens import SpecialTokens
from predlog.recorder import copies, environment, overview, settings
from predlog.recorder.closing import Closing
from predlog.recorder.gaps import MissingCounts
from predlog.recorder.gate import Gate
from predlog.recorder.guards import name_of
from predlog.recorder.intake import HOW, OF_CALLBACKS, Intake
from predlog.recorder.loss_report import LossReports
from predlog.recorder.pipeline import Pipeline
from predlog.recorder.stats import Accounts, Stats
from predlog.recorder.submission import Item, Submitter
from predlog.recorder.worker import Worker
from predlog.records.schema import Comparison, Finding

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on


class Recorder:
    """Compare logits with labels in a training loop, and record what the model predicts.

    Args:
        directory: Folder of the run; lines go to its `predictions.jsonl`. None records on the console only.
        every: Record the steps that are multiples of this.
        samples: How many samples of a batch to show, or their places in it: (0, -1) are the first and the last. A place
            that a batch does not have is left out.
        follow: Ids of samples that are shown in place of others whenever a recorded batch has them, as `sample_ids=` of
            `compare` names them; up to 32 of a batch, also if `samples` are fewer.
        first: How many supervised tokens to show from the start of a sample.
        last: How many to show from its end.
        ranks: Which processes of a distributed run record: "auto" (global rank 0; of logits in parts, the ranks that
            have one copy), "local" (the first of each node), "all", or ranks, as (4, 5). Each has a file of its own.
        streams: Names of the streams to record; None records all.
        decode: A tokenizer, or a callable from one id to its text, or one of these for each stream:
            {"text": tokenizer}. One alone is used for streams without codebooks. Tokenizers are copied here and now.
        special_tokens: Which ids pad, end and begin a text, and at which generation stops: a tokenizer, or {"pad": 0,
            "eos": 2, "bos": 1, "stop": [2]}, or one of these for each stream. Left out, the tokenizer's in `decode`.
        codebooks: How many codebooks of a sample to show, counted from the first.
        score: Read all supervised rows of the samples shown: their loss, entropy and matches.
        worst: Of these, how many tokens with the lowest label probability to keep beside those shown.
        alternatives: How many of the best predictions to keep of each token shown.
        all_tokens: How many of the first supervised tokens to keep as columns; True keeps all, up to 150,000.
        console: Show what is recorded on stdout: True or "compact", or as "full" tables; without a terminal in lines.
        processors: structlog processors that see every event before it is written, in order.
        sinks: structlog processors that get every event beside the file and the console, after all processors.
        ignore: Codes of findings to ignore, or codes for each stream: {"audio": ("collapsed",)}.
        queue: How many pairs may wait for predlog's thread, and events for each sink; the next is dropped and counted.
        strict: Raise the first failure instead of reporting it on stderr. For tests.
        durable_every: Seconds between syncs to the disk while lines are written; synced lines survive a power cut.
        text: Keep the texts of tokens; False keeps their ids only, and uses `decode` for the special tokens alone.
        text_window: Characters of text to keep around the tokens shown, if there is a decoder; 0 keeps none.
        mode: An upper limit for the file's permissions, such as 0o600; with None they follow the umask.
        rank_folders: Write the file of each rank to a folder of its own, `rank=3/`, as engines partition by.

    A setting that is not passed is taken from the environment, if that has it: `every` from PREDLOG_EVERY, `directory`
    from PREDLOG_DIR. docs/reference/settings.md lists them.

    Once constructed, a recorder raises nothing unless it is `strict`: a failure is reported in one line on stderr, at
    most once per minute and kind. With `PREDLOG_DISABLE=1` in the environment it records nothing. A context manager
    closes it; otherwise its thread and its file live until it is closed, until nothing refers to it any more, or until
    the program ends. A copy of it in the same process records nothing; unpickled in another process, it records there.

    Raises:
        SettingError: An argument makes no sense; the message says which and why.
    """

    @environment.completed
    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        every: int = 10,
        samples: int | Sequence[int] = 2,
        follow: Collection[str | int] = (),
        first: int = 5,
        last: int = 5,
        ranks: Literal["auto", 0, "local", "all"] | Collection[int] = "auto",
        streams: Collection[str] | None = None,
        codebooks: int = 8,
        decode: Any = None,
        special_tokens: Any = None,
        score: bool = True,
        worst: int = 5,
        alternatives: int = 0,
        all_tokens: bool | int = False,
        console: bool | Literal["compact", "full"] = True,
        processors: Sequence[Processor] = (),
        sinks: Sequence[Processor] = (),
        ignore: Collection[str] | Mapping[str, Collection[str]] = (),
        queue: int = 256,
        strict: bool = False,
        durable_every: float = 10.0,
        text: bool = True,
        text_window: int = 400,
        mode: int | None = None,
        rank_folders: bool = False,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name in _PARAMETERS}
        self._original = uuid.uuid4().hex
        chosen = self.settings = settings.Settings.of(self._arguments)
        self._every = every
        place = Path(os.path.abspath(chosen.directory or ""))  # noqa: PTH100 - links stay as they are
        self._notices = Notices(keep=strict)
        self._accounts = Accounts()
        missing = MissingCounts()
        self._judge = Judge(chosen.ignore)
        given = settings.processors("processors", processors)
        self._pipeline = Pipeline(
            settings=chosen.shown() | {"processors": list(map(name_of, given))},
            processors=[*settings.decoding(decode if text else None, self._notices), *given],
            sinks=partial(settings.make_sinks, chosen, place, settings.processors("sinks", sinks)),
            judge=self._judge,
            accounts=self._accounts,
            missing=missing,
            notices=self._notices,
        )
        self._closing = Closing(self._pipeline, self._judge, self._accounts, self._notices)
        self._worker: Worker[Item] = Worker(
            self._pipeline.work, self._pipeline.settle, self._closing.finish, bound=queue, name="predlog",
            prepare=self._pipeline.outlets.open,
        )  # fmt: skip
        self.gate = Gate(
            every=every,
            streams=chosen.streams,
            ranks=chosen.ranks,
            is_off=environment.is_disabled(),
            is_mine=self._worker.is_mine,
            notices=self._notices,
        )
        self._losses = LossReports(
            self.gate, self._worker.submit, self._notices, is_off=LOSS in (chosen.ignore.alone or ())
        )
        self._intake = Intake(
            self.gate,
            Submitter(self._worker, self._accounts, missing, self._notices),
            self._losses,
            window=chosen.window(has_decoder=decode is not None, has_processors=bool(processors)),
            specials=settings.special_tokens(special_tokens, decode, self._notices),
            notices=self._notices,
            strict=strict,
            is_shown=bool(console or sinks) or not directory,  # findings: without any sink they go to stderr
            raise_failure=self._closing.raise_failure,
            begin_table=self._pipeline.outlets.begin_table,
        )
        self._pipeline.outlets.upstream = self._worker.flush
        self._closing.worker, self._closing.gate = self._worker, self.gate
        close_at_exit(self._closing)
        # Of what is kept until then, nothing refers to the recorder.
        weakref.finalize(self, self._closing.abandon).atexit = False

    @property
    def directory(self) -> Path | None:
        """The folder of the run, or None if there is none."""
        return self.settings.directory

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings that are open now, oldest first.

        Pairs are judged in predlog's own thread: `flush` waits until all that was compared is judged.
        """
        return tuple(one.record for one in self._judge.open if one.record is not None)

    @property
    def undecided(self) -> dict[str, dict[str, str]]:
        """Which rules can't decide, and why, by stream, of its latest pair: {"text": {"axes-swapped": "…"}}."""
        return self._judge.undecided

    def compare(
        self,
        /,
        logits: object,
        labels: object,
        step: int,
        *,
        stream: str = "text",
        layout: str | None = None,
        shift: int = 0,
        inputs: object = None,
        ignore_index: int = -100,
        loss_mask: object = None,
        position_ids: object = None,
        document_ids: object = None,
        attention_mask: object = None,
        row_index: object = None,
        row_count: int | None = None,
        reported_loss: object = None,
        sample_ids: object = None,
        shard: Shard | None = None,
        group: object = None,
        **context: object,
    ) -> Future[tuple[Comparison, ...]] | None:
        """Record what the model predicts next to what it was asked to predict, if this step is due.

        The arguments are those of `predlog.compare`, which explains them.

        Returns:
            None if nothing was captured; else a future of the records as the sinks got them, one per sample and
            codebook (`Part` records of logits in shards), without those that a processor dropped. Wait for it only in
            notebooks and tests.

        Raises:
            PredlogError: Only a recorder with `strict` raises.
        """
        # First, because a compiler takes the answer for a constant: it compiles once, whichever steps are due.
        if is_dynamo_compiling():
            return None
        if type(step) is int and step % self._every:
            if self.gate.is_waiting:
                self.gate.skip(step)
            return None
        how = {name: value for name, value in locals().items() if name in HOW}
        return self._intake.take(logits, labels, step, stream, context, self._every, how)

    def compare_due(
        self, /, logits: object, labels: object, step: int, *, stream: str = "text", **more: Any
    ) -> Future[tuple[Comparison, ...]] | None:
        """Record a pair as `compare` does, whatever `every` says: the caller has decided that its step is due.

        Callbacks use it, since an evaluation is recorded at whatever step it runs. `more` is as in `compare`.
        """
        how = {name: more.pop(name, usual) for name, usual in {**HOW, **OF_CALLBACKS}.items()}
        return self._intake.take(logits, labels, step, stream, more, 1, how)

    def report_loss(
        self, loss: object, step: int, *, stream: str = "text", items: object = None, accumulate: int | None = None
    ) -> None:
        """Report the loss of a pair that was passed to `compare` before, to have it checked.

        The arguments are those of `predlog.report_loss`, which explains them.
        """
        if is_dynamo_compiling() or (type(step) is int and step % self._every):
            return
        self.report_due_loss(loss, step, stream=stream, items=items, accumulate=accumulate)

    def expect_loss(self, stream: str) -> None:
        """Sum up the loss of the next pair of a stream, too: its loss is reported after the pair was captured."""
        self._losses.expect(stream)

    def report_due_loss(self, loss: object, step: object, *, stream: str, **how: Any) -> None:
        """Report a loss as `report_loss` does, whatever `every` says."""
        if not is_traced():
            self._losses.report(loss, step, stream, **how)

    def declare(self, options: Mapping[str, frozenset[str]]) -> None:
        """Note what a run has declared, by stream, or of all streams under "", until it is declared anew."""
        self._intake.declared = dict(options)

    def report_fault(self, error: PairError, step: int, stream: str) -> None:
        """Report what is wrong with a pair that was not passed, since the program raised before it had one."""
        if self.gate.takes(stream, step, 1):
            self._intake.refuse(error, step, stream, time.time())

    def report_failure(self, step: object, stream: object, error: Exception) -> None:
        """Report and count that a pair was not recorded; raise PredlogError instead if `strict` was asked for."""
        self._intake.fail(step, stream, error)

    def know_special_tokens(self, change: Callable[[SpecialTokens], SpecialTokens]) -> None:
        """Change what is known of special tokens, for a callback that knows the model."""
        self._intake.specials = self._intake.specials.changed(change)

    def report_once(self, kind: str, message: str, error: Exception | None = None) -> None:
        """Report what is no failure of predlog's, such as a call that can't be read; each kind once."""
        self._notices.report_once(kind, message, error)

    def expect_restart(self, report: Callable[[str], str]) -> None:
        """Have it reported once, in words around those that are passed, if the folder has an attempt with later steps.

        A callback that counts steps from 0 calls it before the first pair that is due.
        """
        self._pipeline.restarted = report

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was compared so far is written and durable; return False after `timeout` seconds.

        Raises PredlogError if something failed and `strict` was asked for.
        """
        deadline = time.monotonic() + timeout
        done = self._worker.flush(timeout)
        done &= self._pipeline.outlets.flush(deadline - time.monotonic())
        self._closing.raise_failure()
        return done

    def close(self, timeout: float = 5.0) -> bool:
        """Write what is waiting, then close the file; return False if that took over `timeout` seconds.

        A closed recorder records nothing more. Closing twice waits no longer: `timeout` counts from the first call.

        Raises PredlogError if something failed and `strict` was asked for.
        """
        return self._closing.close(timeout)

    def stats(self) -> Stats:
        """Return the counts of comparisons: submitted = written + filtered + dropped + failed + pending, at any moment.

        Written to the run's file or, without one, passed to the sinks; filtered by a processor; dropped because a queue
        was full; failed in a processor or the file; pending in a queue. `sinks` has the same for every sink by its
        name, and `refused` counts the pairs that could not be captured.
        """
        return self._accounts.stats()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:  # the user is to see this error, not one that a strict recorder raises when it closes
            self._closing.end(DEADLINE, error=None if kind is None else named(kind))

    def __deepcopy__(self, _memo: object = None) -> Any:
        return copies.copied(type(self), self._arguments, self._original)

    __copy__ = __deepcopy__
    __repr__ = overview.line
    _repr_html_ = overview.page

    def __reduce__(self) -> tuple[Any, ...]:
        return copies.reduced(type(self), self._arguments, self._original)


_PARAMETERS: Final = frozenset(inspect.signature(Recorder).parameters)
# What the callbacks pass on: each decides itself where and when a recorder records.
PASSED_ON: Final = _PARAMETERS - {"directory", "every"}
