"""A callback for Hugging Face's Trainer and its subclasses, such as TRL's: `Trainer(callbacks=[PredictionCallback()])`.

A callback never gets the model's output. So on due steps, and only then, hooks are attached to the model; they are
removed after the first micro-batch. By how many positions the labels lead the logits is read from the model's own loss.
If a head is fused with the loss and makes no logits, the rows shown are projected from the hidden states.
"""

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from structlog.typing import Processor

from predlog._runtime import torch_state
from predlog._runtime.failure import own_failure
from predlog._runtime.notices import Notices
from predlog.errors import MissingExtraError, OldPackageError, PairError, PredlogError
from predlog.integrations._hf import generation, hooks, model_loss, own_recorder
from predlog.integrations._hf import probe as probe_batch
from predlog.integrations._hf.declared import declared
from predlog.integrations._hf.forward_pair import NOTHING_TO_DO, ForwardPair, NoPair, PairReader
from predlog.integrations._hf.hooks import Forward, Hooks
from predlog.integrations._hf.preflight import Preflight, preflight
from predlog.integrations._hf.split_rows import split_rows
from predlog.integrations._hf.trainer import PredictionMixin, Training
from predlog.integrations.callback import CopiedCallback, DueSteps, harmless
from predlog.integrations.probe import Probe
from predlog.recorder.environment import completed
from predlog.recorder.recorder import PASSED_ON, Recorder

# As in pyproject.toml.
LOWEST = "4.46"
try:
    from packaging.version import Version
    from transformers import Trainer, TrainerCallback, __version__
except ImportError as error:
    raise MissingExtraError("hf", "transformers") from error
# Older ones do not give callbacks the tokenizer under the name that is read here.
if Version(__version__).release < Version(LOWEST).release:
    raise OldPackageError("transformers", LOWEST, __version__)
__all__ = ["PredictionCallback", "PredictionMixin", "Preflight", "preflight"]
_NO_GRADIENTS = (
    f"the model gets the labels only in forwards without gradients, from which nothing is learned: {NOTHING_TO_DO}"
)


@harmless
class PredictionCallback(CopiedCallback, TrainerCallback):
    """Record what a model predicts in a `Trainer`, streams `train` and `eval`.

    A step's number is the number of updates made before it, as in `state.global_step` when it begins. Of each step
    that is due, the first micro-batch is recorded, and of each evaluation during training the first batch. Each
    `train()` is an attempt of its own in the run's file, also one that continues from a checkpoint.

    Args:
        directory: Folder of the run; None takes the trainer's `output_dir`.
        every: Record the steps that are multiples of this; None takes `logging_steps`.
        shift: By how many positions the labels lead the logits; None reads it from the model's own loss.
        layout: einops patterns, as `compare` takes them.
        ignore_index: The label that marks positions without supervision.
        recorder: A recorder of your own, whose `every` applies, too, and which you close; without it, one is made when
            the training begins and closed when it ends.
        sample_ids: Name of the argument of the model's forward, or with `PredictionMixin` the key of the batch, that
            has one id per sample; None keeps none.
        probe, probe_every: A batch as the model takes it, labels included, and how often it is looked at in evaluation
            mode: stream `probe`. The training goes on as without it, to the last bit.
        samples, follow, first, last, codebooks, ranks, streams: What is shown, and who records, as in `Recorder`.
        decode, special_tokens, text, text_window: How ids become text, and which are special, as in `Recorder`; with
            `decode="trainer"` it is the trainer's tokenizer.
        score, worst, alternatives, all_tokens: What to keep of all supervised tokens, as in `Recorder`.
        console, processors, sinks: Where records go beside the file, as in `Recorder`.
        ignore, queue, strict, durable_every, mode, rank_folders: As in `Recorder`.

    Raises:
        SettingError: An argument makes no sense; the message says which and why.
    """

    @completed
    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        every: int | None = None,
        shift: int | None = None,
        layout: str | None = None,
        ignore_index: int = -100,
        recorder: Recorder | None = None,
        sample_ids: str | None = None,
        probe: Any = None,
        probe_every: int = 100,
        samples: int | Sequence[int] = 2,
        follow: Collection[str | int] = (),
        first: int = 5,
        last: int = 5,
        ranks: Literal["auto", 0, "local", "all"] | Collection[int] = "auto",
        streams: Collection[str] | None = None,
        codebooks: int = 8,
        decode: Any = "trainer",
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
        passed = locals()  # spelt out for editors; those of the recorder are passed on as they are
        self._make = partial(Recorder, **{name: passed[name] for name in PASSED_ON - {"decode"}})
        # Checked now, not when the training begins; a recorder that is dropped at once has no thread and no file.
        checked = self._make(
            directory=directory, every=1 if every is None else every, decode=None if decode == "trainer" else decode
        )
        checked.gate.is_closed = True  # else it would report at the exit of one process of several that it had no pair
        self._directory = directory
        self._every = every
        self._shift = shift
        self._layout = layout
        self._ignore_index = ignore_index
        self._given = recorder
        self._decode = decode
        self._sample_ids = sample_ids
        self._probe = Probe(probe, probe_every, sample_ids)
        self.__dict__.update(self._untrained())
        self._begin()

    # What belongs to one training.
    _of_training: ClassVar[dict[str, Callable[[], Any]]] = {
        "_recorder": lambda: None, "_due": lambda: DueSteps(1), "_notices": Notices, "_hooks": lambda: None,
        "_model": lambda: None, "_called": lambda: None, "_stream": lambda: "train", "_state": lambda: None,
        "_reader": lambda: None, "_reason": str, "_evaluated": lambda: -1, "_outer": list, "_training": Training,
        "_accumulate": lambda: 1, "_awaits_loss": bool,
    }  # fmt: skip
    _training: Training
    _reader: PairReader | None
    _reason: str
    _stream: str

    def _begin(self) -> None:
        self._hooks = Hooks(self._receive)
        self._recorder = self._given

    # --- what the trainer calls -----------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Start an attempt."""
        self._hooks.remove()  # left from a training that was interrupted
        if self._training.is_around():
            self._begin_inner()
        else:
            self._training.ended()
        self._training = Training(Trainer, weakref.WeakMethod(self.on_interruption))
        self._notices, self._state = Notices(), state
        self._due = DueSteps(self._every or max(int(state.logging_steps), 1))
        if self._given is None:
            self._end()
            directory = args.output_dir if self._directory is None else self._directory
            make = partial(self._make, directory=directory, every=self._due.every)
            self._recorder = own_recorder.made(
                make, self._decode, known.get("processing_class"), self._report_once, self.report_failure
            )
        self._model, compiled = hooks.core(known["model"]), hooks.compiled_model(Trainer)
        self._called = self._model if compiled is None else compiled
        if self._given is None:
            generation.name_stop(self._recorder, self._model)
        if self._recorder is not None:
            self._recorder.declare(declared(args, self._training.trainer()))
        self._reader = self._new_reader(self._sample_ids)
        self._reader.split = split_rows(self._training.trainer(), known.get("train_dataloader"))
        self._probe.begin()
        self._evaluated, self._accumulate = -1, args.gradient_accumulation_steps
        if args.eval_on_start:
            self._arm("eval")

    def on_step_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Wait for the first micro-batch of a step that is due."""
        self._hooks.remove()  # left from an evaluation that did not take place
        if self._probe.is_due(state.global_step, self._recorder):
            to = self._new_reader(), self._recorder, state.global_step, self._report_once
            probe_batch.look(known["model"], self._probe, *to, _epoch(state))
        if self._due.is_due(state.global_step):
            self._state = state
            self._arm("train")

    def on_substep_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Stop waiting: the next micro-batch is not the first."""
        self._disarm()

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Stop waiting, or wait for an evaluation that begins."""
        self._disarm()
        if control.should_evaluate:
            self._arm("eval")

    def on_epoch_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Wait for an evaluation that begins."""
        if control.should_evaluate:
            self._arm("eval")

    def on_prediction_step(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Record the second batch of an evaluation that was not announced."""
        if self._evaluated != state.global_step:
            self._evaluated = state.global_step
            if not self._hooks.are_attached:
                self._arm("eval")

    def on_evaluate(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Stop waiting."""
        self._disarm()

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **known: Any) -> None:
        """Stop waiting: it was no evaluation."""
        self._disarm()

    def on_train_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """End the attempt."""
        self._disarm()
        self._training.ended()
        self._model = self._called = self._reader = None
        if self._given is None:
            self._end()
        self._end_inner()

    def on_interruption(self) -> None:
        """Close the recorder of a training that raised; the user is to see its error, not one from closing."""
        self._hooks.remove_after_error()
        self._model = self._called = self._reader = None
        if self._given is None and self._recorder is not None:
            self._recorder.__exit__(Exception, Exception(), None)
        self._end_inner()

    # --- what the mixin calls -------------------------------------------------------------------------------------

    def on_batch(self, inputs: Any) -> None:
        """Keep the labels of a batch for the next forward: the model may not get them."""
        self._awaits_loss = False
        if self._hooks.are_attached and self._reader is not None and self._recorder is not None:
            self._reader.keep(inputs)
            self._reader.ids = inputs.get(self._sample_ids)
            if self._reader.labels is not None and model_loss.is_known(self._training.trainer()):
                self._recorder.expect_loss(self._stream)

    def on_loss(self, loss: Any, items: Any) -> None:
        """Report the trainer's loss of the batch, if its pair was recorded and the model has computed none."""
        if not self._awaits_loss or self._recorder is None:
            return
        self._awaits_loss = False
        found = model_loss.of_trainer(self._training.trainer(), loss, items, self._report_once)
        if found:
            self._recorder.report_due_loss(
                step=self._state.global_step, stream=self._stream, accumulate=self._parts, **found
            )

    # --- what the hooks call --------------------------------------------------------------------------------------

    def _receive(self, forward: Forward) -> bool:
        """Record a forward, and return whether it was the one waited for; never raise."""
        try:
            return self._record(forward)
        except PredlogError:
            if forward.has_failed:
                return True  # the user is to see what the forward raised
            raise  # of a strict recorder
        except own_failure(Exception) as error:  # a run must not die of its log
            if self._recorder is not None and not forward.has_failed:
                self._recorder.report_failure(self._state.global_step, self._stream, error)
            return True

    def _record(self, forward: Forward) -> bool:
        if self._reader is None or self._recorder is None:
            return True
        if self._stream == "train" and not torch.is_grad_enabled():
            self._reason = self._reason or _NO_GRADIENTS
            return False  # the forward of a reference model, or of a policy before it is trained
        pair = self._reader.read(forward)
        if pair is NoPair.NO_LABELS and forward.output is not None:
            self._reason = self._training.why_no_labels(self._reader.given_labels(forward))
        if isinstance(pair, PairError):
            self._recorder.report_fault(pair, self._state.global_step, self._stream)
        if not isinstance(pair, ForwardPair):
            return pair is not NoPair.NOT_YET and pair is not NoPair.NO_LABELS
        # The `every` of a recorder of the user's own applies, too; otherwise evaluations are recorded at any step.
        is_due = self._given is None or self._state.global_step % self._given.gate.every == 0
        if is_due:
            self._recorder.compare_due(
                pair.logits, pair.labels, self._state.global_step, stream=self._stream, accumulate=self._parts,
                autocast=forward.autocast, **pair.more, **_epoch(self._state),
            )  # fmt: skip
            self._awaits_loss = not pair.has_loss
        return True

    @property
    def _parts(self) -> int:
        """How many micro-batches make a step."""
        return self._accumulate if self._stream == "train" else 1

    # --- on and off -----------------------------------------------------------------------------------------------

    def _arm(self, stream: str) -> None:
        recorder, reader = self._recorder, self._reader
        if reader is None or recorder is None or not recorder.gate.is_wanted(stream, is_part=reader.may_be_part):
            return
        self._stream, self._reason = stream, ""
        reader.begin()
        called = self._called if stream == "train" else self._model
        if torch_state.is_compiled_in_place(called):
            self._report_once(
                f"the model was compiled by its `compile()`, so its outputs are not available: {NOTHING_TO_DO}"
            )
            return
        backbone = getattr(self._model, "base_model", None)
        is_seen = backbone is not self._model and called is self._model
        self._hooks.attach(
            called, backbone if is_seen else None, getattr(self._model, "main_input_name", "input_ids"),
            hooks.decoder(self._model) if called is self._model else None,
        )  # fmt: skip

    def _disarm(self) -> None:
        if self._hooks.are_attached and self._reason:
            self._report_once(self._reason)
        self._hooks.remove()
        if self._reader is not None:
            self._reader.forget()

    def _end(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None

    def _new_reader(self, sample_ids: str | None = None) -> PairReader:
        return PairReader(self._model, self._shift, self._layout, self._ignore_index, self._report_once, sample_ids)

    def _report_once(self, message: str, kind: str = "") -> None:
        if self._recorder is None or self._recorder.gate.is_recording():  # the other ranks see the same
            self._notices.report_once(kind or message, message)


def _epoch(state: Any) -> dict[str, float]:
    return {} if state.epoch is None else {"epoch": round(state.epoch, 6)}
