"""The recorder: the gate in the training thread, and the owner of all that is behind it."""

import difflib
import os
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from structlog.typing import Processor
from torch.compiler import is_dynamo_compiling

from predlog._runtime import rank as this_process
from predlog._runtime.exit import DEADLINE, close_at_exit
from predlog._runtime.notices import Notices
from predlog._runtime.torch_state import is_traced, obstacle
from predlog.capture.capture import capture
from predlog.capture.snapshot import Capture
from predlog.capture.window import Window
from predlog.errors import NoThreadError, PairError, PredlogError, briefly, described, raised_at
from predlog.findings.judge import Judge
from predlog.findings.special_tokens import SpecialTokens
from predlog.recorder import gate, settings
from predlog.recorder.gaps import Losses
from predlog.recorder.pipeline import Pipeline
from predlog.recorder.stats import Accounts, Counts, Stats
from predlog.recorder.submission import Recorded, Refusal, Submission, plain_context
from predlog.recorder.worker import HandOff
from predlog.records.schema import Comparison, Finding
from predlog.sinks import JSONL, Console

# Of streams and of context, beyond which the oldest are forgotten.
_MOST_NAMES = 1024
_ARGUMENTS = ("stream", "layout", "shift", "inputs", "ignore_index")


class Recorder:
    """Compare logits with labels in a training loop, and record what the model predicts.

    Args:
        directory: Folder of the run; lines go to its `predictions.jsonl`. None records on the console only.
        every: Record the steps that this divides.
        samples: How many samples of a batch to show.
        first: How many supervised tokens to show from the start of a sample.
        last: How many to show from its end.
        ranks: Which processes of a distributed run record: 0 (global rank 0), "local" (the first of each
            node) or "all". Ranks other than 0 write to `predictions-rank<n>.jsonl`.
        streams: Names of the streams to record; None records all.
        decode: A tokenizer, or a callable from one id to its text, or one of these for each stream:
            {"text": tokenizer}. One alone is used for streams without codebooks. Tokenizers are copied here and now.
        special_tokens: Which ids pad, end and begin a text: a tokenizer, or {"pad": 0, "eos": 2, "bos": 1}, or one of
            these for each stream. Left out, it is what the tokenizer in `decode` says.
        codebooks: How many codebooks of a sample to show, counted from the first.
        accuracy: Count the matches over all supervised tokens of the samples shown, too.
        console: Show tables (on a terminal) or plain lines (elsewhere) on stdout.
        processors: structlog processors that see every event before it is written, in order.
        sinks: structlog processors that get every event beside the file and the console, after all processors.
        ignore: Codes of findings that are not to be looked for.
        queue: How many pairs may wait for the worker thread, and how many events for each sink beside the file, which
            have threads of their own; the next is dropped and counted.
        strict: Raise the first failure instead of saying it on stderr. For tests.
        durable_every: Seconds of writing after which lines are made safe against a power cut.
        text: Keep what tokens read; False keeps their ids only, and `decode` tells the special tokens at most.
        mode: The permissions that the file has at most, such as 0o600; None leaves them to the umask.

    Once constructed, a recorder raises nothing unless it is `strict`: what goes wrong is said in one line on
    stderr, at most once a minute for each kind. With `PREDLOG_DISABLE=1` in the environment it records
    nothing. Used as a context manager it closes itself; otherwise its thread and its file live until it is closed, at
    the latest by the end of the program.

    Raises:
        SettingError: An argument makes no sense; the message says which and why.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        every: int = 10,
        samples: int = 2,
        first: int = 5,
        last: int = 5,
        ranks: Literal[0, "local", "all"] = 0,
        streams: Collection[str] | None = None,
        codebooks: int = 8,
        decode: Any = None,
        special_tokens: Any = None,
        accuracy: bool = True,
        console: bool = True,
        processors: Sequence[Processor] = (),
        sinks: Sequence[Processor] = (),
        ignore: Collection[str] = (),
        queue: int = 256,
        strict: bool = False,
        durable_every: float = 10.0,
        text: bool = True,
        mode: int | None = None,
    ) -> None:
        self._settings = settings.Settings(
            directory=settings.folder(directory),
            every=every,
            samples=samples,
            first=first,
            last=last,
            codebooks=codebooks,
            ranks=ranks,
            streams=settings.names(streams),
            accuracy=accuracy,
            console=console,
            ignore=settings.codes(ignore),
            queue=queue,
            strict=strict,
            durable_every=durable_every,
            text=text,
            mode=mode,
        )
        self._place = Path(os.path.abspath(self._settings.directory or ""))  # noqa: PTH100 - links stay as they are
        self._every = every
        self._window = Window(samples, first, last, codebooks, accuracy)
        self._more_sinks = settings.processors("sinks", sinks)
        self._off = settings.is_disabled()
        self._closed = False
        self._told_missing = ""
        self._latest: dict[str, int] = {}
        self._context_names: dict[str, None] = {}
        self._claims: dict[tuple[str, int], object] = {}
        self._accounts = Accounts()
        self._specials = settings.special_tokens(special_tokens, decode)
        self._notices = Notices(keep=strict)
        self._losses = Losses()
        self._judge = Judge(self._settings.ignore)
        self._pipeline = Pipeline(
            settings=self._settings.shown(),
            processors=[
                *settings.decoding(decode if text else None, self._notices),
                *settings.processors("processors", processors),
            ],
            sinks=self._make_sinks,
            judge=self._judge,
            accounts=self._accounts,
            losses=self._losses,
            notices=self._notices,
        )
        self._handoff: HandOff[Submission | Refusal] = HandOff(
            self._pipeline.work, self._pipeline.settle, self._pipeline.finish, bound=queue, name="predlog",
            prepare=self._pipeline.open,
        )  # fmt: skip
        close_at_exit(self)

    @property
    def directory(self) -> Path | None:
        """The folder of the run, or None where there is none."""
        return self._settings.directory

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the pairs now: what was found and is not gone, oldest first.

        Pairs are judged in predlog's own thread: `flush` waits until all that was compared is.
        """
        return tuple(one.record for one in self._judge.open if one.record is not None)

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
        **context: object,
    ) -> Future[tuple[Comparison, ...]] | None:
        """Record what the model predicts next to what it was asked to predict, if this step is due.

        Args:
            logits: Floating point, any dtype and device: a torch tensor, a NumPy array, or anything that
                speaks DLPack. Only the rows of the tokens shown are read, and, for the accuracy, their samples. Where
                there are none, a `Projection`; where they come in chunks along time, a list of these.
            labels: Integer token ids of the same samples.
            step: The training step, a Python int. The first pair of each stream and step is recorded.
            stream: Name of the pair: "text", "audio", "eval/text".
            layout: einops patterns of logits and labels over b (sample), t (time), k (codebook) and
                v (vocabulary), such as "b t v, b t" or "(b k) t v, b t k". Left out, it is inferred from 3 and
                2 axes, or 2 and 1.
            shift: By how many positions the labels lead the logits: 0 for a pair that could go into
                `cross_entropy` as it is, 1 for the raw pair of a Hugging Face causal model.
            inputs: The token ids that the model read, laid out as the labels are; of an encoder-decoder model, what
                its decoder read. With them the alignment is known, not guessed.
            ignore_index: The label that marks positions without supervision.
            context: Small JSON values to keep beside the record: epoch=3, lr=2e-4.

        Returns:
            None where nothing was captured; else a future of the records as the sinks got them, one a sample
            and codebook, without those that a processor dropped. Waiting on it is for notebooks and tests.

        Raises:
            PredlogError: Only where `strict` was asked for.
        """
        # Asked first, and in this form, because a compiler takes the answer for granted; behind the question for the
        # step it would compile anew for steps that are due and for those that are not.
        if is_dynamo_compiling() or (type(step) is int and step % self._every):
            return None
        if is_traced():
            return None
        try:
            return self._submit(
                logits, labels, step, stream, context,
                layout=layout, shift=shift, inputs=inputs, ignore_index=ignore_index,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - a run must not die of its log
            self._refused(step, stream, error)
            return None

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was compared so far is written and durable; False after `timeout` seconds.

        Raises PredlogError where something failed and `strict` was asked for.
        """
        deadline = time.monotonic() + timeout
        done = self._handoff.flush(timeout)
        done &= self._pipeline.flush_lanes(deadline - time.monotonic())
        self._raise_if_strict()
        return done

    def close(self, timeout: float = 5.0) -> bool:
        """Write what is waiting, then close the file; False where that took over `timeout` seconds.

        A closed recorder records nothing more. Closing twice does nothing.

        Raises PredlogError where something failed and `strict` was asked for.
        """
        done = self._close(timeout)
        self._raise_if_strict()
        return done

    def stats(self) -> Stats:
        """Count comparisons: submitted = written + filtered + dropped + failed + pending, at any moment.

        Written to the run's file, or, where there is none, given to the sinks; filtered by a processor; dropped for
        want of room; failed in a processor or in the file; pending on their way. `sinks` has the same for every sink,
        by name, from the first record on, and `refused` counts the pairs that could not be captured.
        """
        return self._accounts.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:  # it is the one to be seen, not what went wrong in a strict recorder on the way out
            self._close(DEADLINE)

    def _take_every_step(self) -> None:
        """Leave it to the caller to choose steps by `every`, which the file still tells: evaluations are always due."""
        self._every = 1

    def _submit(
        self,
        logits: object,
        labels: object,
        step: object,
        stream: str,
        context: dict[str, object],
        **how: Any,
    ) -> Future[tuple[Comparison, ...]] | None:
        at = time.time()
        number = gate.whole_step(step)
        if number % self._every or not self._is_wanted(stream):
            return None
        self._raise_if_strict()
        if self._latest.get(stream) == number:
            return None
        # Of several threads with the same step, as replicas have it, one has the claim; `setdefault` is one step of the
        # interpreter. A pair that is refused gives it up.
        claim = object()
        if self._claims.setdefault((stream, number), claim) is not claim:
            return None
        try:
            if self._latest.get(stream) == number:
                return None
            return self._capture(logits, labels, number, stream, context, at, how)
        finally:
            del self._claims[stream, number]

    def _capture(
        self,
        logits: object,
        labels: object,
        number: int,
        stream: str,
        context: dict[str, object],
        at: float,
        how: dict[str, Any],
    ) -> Future[tuple[Comparison, ...]] | None:
        if (why := obstacle()) is not None:
            self._notices.say_once(f"skipped: {why}", f"step {number}, stream {briefly(stream)}: not captured: {why}")
            return None
        layout = how["layout"]
        has_codebooks = type(layout) is str and "k" in layout
        specials = self._specials.of(stream, has_codebooks=has_codebooks) or SpecialTokens()
        try:
            captured = capture(logits, labels, **how, window=self._window, specials=specials)
        except PairError as error:
            if not self._settings.strict:
                self._accounts.refused += 1
                self._handoff.submit(Refusal(error.code, str(error), error.evidence, number, stream, at))
                return None
            raise
        self._latest[stream] = number
        _bound(self._latest)
        return self._hand_over(captured, number, stream, context, at)

    def _close(self, timeout: float) -> bool:
        if not self._handoff.is_mine():
            return True  # a fork's copy: what it holds is for the parent to say
        is_first = not self._closed
        self._closed = True
        deadline = time.monotonic() + timeout
        try:
            # The worker's last act is to tell the sinks that have a thread to finish.
            done = self._handoff.close(timeout) and self._pipeline.close_lanes(deadline - time.monotonic())
        except (KeyboardInterrupt, SystemExit):
            self._say_what_is_missing("closing was interrupted: ")
            raise
        took = "" if done else f"closing took over {timeout:.1f} s: " if timeout > 0 else "closing had no time left: "
        self._say_what_is_missing(took)
        self._notices.say_how_many_were_held_back()
        if is_first and (summary := self._judge.summary()):
            self._notices.tell(summary)
        return done

    def _say_what_is_missing(self, why: str) -> None:
        """Say which sinks lack how much, where one does, unless that was said before."""
        stats = self.stats()
        sinks: Mapping[str, Counts] = stats["sinks"] or {"any sink": stats}
        missing = {name: one["submitted"] - one["written"] - one["filtered"] for name, one in sinks.items()}
        listed = ", ".join(f"{count} did not reach {name}" for name, count in missing.items() if count)
        if listed and listed != self._told_missing:
            self._told_missing = listed
            told = self._notices.say if why else self._notices.mention
            told("close", f"{why}of {stats['submitted']} comparisons {listed}")

    def _is_wanted(self, stream: str) -> bool:
        if not self._is_recording():
            return False
        if type(stream) is not str:
            raise PairError(f"stream is a {type(stream).__name__}: pass a name, such as 'text'")
        return self._settings.streams is None or stream in self._settings.streams

    def _is_recording(self) -> bool:
        """Say whether this process records at all, whatever the stream."""
        if self._off or not self._handoff.is_mine():
            return False
        if self._closed:
            self._notices.say("closed", "compare was called after close, and records nothing; configure again")
            return False
        match self._settings.ranks:
            case "all":
                return True
            case "local":
                return this_process.local_rank() == 0
            case _:
                return this_process.rank() == 0

    def _hand_over(
        self, captured: Capture, step: int, stream: str, context: dict[str, object], at: float
    ) -> Future[tuple[Comparison, ...]] | None:
        values = self._plain(context, step, stream)
        count = captured.sizes.count
        self._accounts.submitted += count
        if captured.hold is None:
            self._drop(
                captured,
                step,
                "no slot free",
                f"step {step}, stream {briefly(stream)}: the device is too far "
                "behind, or the worker: everything that may be on its way to the host is, so this pair is dropped; a "
                "larger `every` helps",
            )
            return None
        future = Recorded()
        future.set_running_or_notify_cancel()  # nobody can cancel what is on its way
        try:
            accepted = self._handoff.submit(Submission(captured, step, stream, values, at, future))
        except NoThreadError:
            self._accounts.submitted -= count
            raise
        if accepted:
            return future
        if self._closed:
            self._accounts.submitted -= count
            return None
        self._drop(
            captured,
            step,
            "queue full",
            f"step {step}, stream {briefly(stream)}: the queue of "
            f"{self._settings.queue} pairs is full, so this one is dropped; a larger `every` or a faster disk helps",
        )
        return None

    def _plain(self, context: dict[str, object], step: int, stream: str) -> dict[str, Any]:
        values, problems = plain_context(context)
        for problem in problems:
            self._notices.say(
                "context",
                f"step {step}, stream {briefly(stream)}: {problem} in the context is no plain value and stands as "
                "null; pass a number or a string",
            )
        for name in context.keys() - self._context_names.keys():
            self._context_names[name] = None
            _bound(self._context_names)
            if close := difflib.get_close_matches(name, _ARGUMENTS, n=1, cutoff=0.75):
                self._notices.say(f"name {close[0]}", f"{name}= is kept as context; was {close[0]}= meant?")
        return values

    def _drop(self, captured: Capture, step: int, reason: str, message: str) -> None:
        count = captured.sizes.count
        self._losses.add(count, reason, step, step)
        self._accounts.dropped += count
        self._notices.say(reason, message)

    def _refused(self, step: object, stream: object, error: Exception) -> None:
        if self._settings.strict:
            if isinstance(error, PredlogError):
                raise error
            raise PredlogError(described(error)) from error
        where = f"step {step}" if type(step) is int else "step ?"
        self._notices.say(
            f"refused at {raised_at(error)}", f"{where}, stream {briefly(stream)}: not recorded: {described(error)}"
        )

    def _raise_if_strict(self) -> None:
        if self._settings.strict and (failure := self._notices.take()) is not None:
            raise PredlogError(failure)

    def _make_sinks(self) -> tuple[Processor | None, Sequence[Processor]]:
        chosen = self._settings
        file = None
        if chosen.directory is not None:
            rank = this_process.rank()
            name = f"predictions-rank{rank}.jsonl" if rank else "predictions.jsonl"
            file = JSONL(self._place / name, durable_every=chosen.durable_every, mode=chosen.mode)
        is_shown = chosen.console and this_process.local_rank() == 0
        return file, [*([Console()] if is_shown else []), *self._more_sinks]


def _bound(names: dict[str, Any]) -> None:
    """Forget the names that came first, where there are too many: somebody makes a new one for each step."""
    if len(names) > 2 * _MOST_NAMES:
        for name in list(names)[:-_MOST_NAMES]:
            names.pop(name, None)
