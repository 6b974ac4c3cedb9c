"""Hugging Face's Trainer and those that are made of it, such as TRL's: `Trainer(callbacks=[PredictionCallback()])`.

A callback never sees what the model gives. So on due steps, and on no other, hooks are put on the model; they see the
first micro-batch and go. How the labels lead the logits is what the model's own loss says. Where a head is fused with
the loss and there are no logits, the rows shown are projected from the hidden states.
"""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from predlog._runtime import torch_state
from predlog._runtime.notices import Notices
from predlog.capture.projection import Projection
from predlog.errors import MissingExtraError, described
from predlog.integrations._hf import hooks as models
from predlog.integrations._hf import label_shift
from predlog.integrations._hf.head import head_of
from predlog.integrations._hf.hooks import Forward, Hooks
from predlog.recorder.recorder import Recorder

try:
    from transformers import Trainer, TrainerCallback
except ImportError as error:
    raise MissingExtraError("hf", "transformers") from error
_NOTHING_TO_DO = "predlog.compare does it wherever you have the pair"
_NO_LABELS = (
    "the model is not given its labels, as with label smoothing, compute_loss_func or a compute_loss of your own: train"
    " with a class of PredictionMixin and your trainer, in this order: class MyTrainer(PredictionMixin, YourTrainer)"
)
_NO_GRADIENTS = f"the model is given its labels where nothing is learned from them, without gradients: {_NOTHING_TO_DO}"


class PredictionCallback(TrainerCallback):
    """Record what a model predicts in a `Trainer`, streams `train` and `eval`.

    A step is the number of updates that were made before it, as `state.global_step` has it when it begins; what is
    recorded of it is its first micro-batch. Of each evaluation during training its first batch is recorded. Each
    `train()` is an attempt of its own in the run's file, also one that goes on from a checkpoint.

    Args:
        directory: Folder of the run; None takes the trainer's `output_dir`.
        every: Record the steps that this divides; None takes `logging_steps`.
        shift: By how many positions the labels lead the logits; None goes by the model's own loss.
        layout: einops patterns, as `compare` takes them.
        ignore_index: The label that marks positions without supervision.
        recorder: A recorder of your own, whose `every` counts as well, and which you close; without it, one is made
            when the training begins and closed when it ends.
        arguments: All else that a `Recorder` takes. Left out, `decode` is the trainer's tokenizer.

    Raises:
        TypeError: An argument is none that a `Recorder` takes.
        SettingError: An argument makes no sense; the message says which and why.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        every: int | None = None,
        shift: int | None = None,
        layout: str | None = None,
        ignore_index: int = -100,
        recorder: Recorder | None = None,
        **arguments: Any,
    ) -> None:
        # Refused now, and not when the training begins; a recorder that records nothing has no thread and no file.
        Recorder(directory, **{"every": 1 if every is None else every, **arguments}).close()
        self._directory = directory
        self._every = every
        self._shift = shift
        self._layout = layout
        self._ignore_index = ignore_index
        self._given = recorder
        self._arguments = arguments
        self._recorder = recorder
        self._due = 1
        self._notices = Notices()
        self._hooks = Hooks(self._see)
        self._model: Any = None
        self._called: Any = None
        self._stream = "train"
        self._state: Any = None
        self._labels: Tensor | None = None
        self._missed = ""
        self._is_early = False
        self._evaluated = -1

    # --- what the trainer calls -----------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Begin an attempt."""
        self._hooks.off()  # where the training before was interrupted, they are still there
        self._state, self._due = state, self._every or max(int(state.logging_steps), 1)
        if self._given is None:
            self._end()
            decode = self._arguments.get("decode", models.tokenizer(known.get("processing_class")))
            directory = args.output_dir if self._directory is None else self._directory
            self._recorder = Recorder(directory, every=self._due, **{**self._arguments, "decode": decode})
            # The gate is here: an evaluation is recorded at whatever step it stands.
            self._recorder._take_every_step()  # noqa: SLF001
        self._model, compiled = models.core(known["model"]), _compiled()
        self._called = self._model if compiled is None else compiled
        self._is_early, self._evaluated = False, -1
        if args.eval_on_start:
            self._arm("eval")

    def on_step_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Wait for the first micro-batch of a step that is due."""
        self._hooks.off()  # an evaluation that was announced may have been called off
        if state.global_step % self._due == 0:
            self._state = state
            self._arm("train")

    def on_substep_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Wait no longer: another micro-batch is not the first."""
        self._disarm()

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Wait no longer, or for an evaluation that begins."""
        self._disarm()
        if control.should_evaluate:
            self._arm("eval")

    def on_epoch_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Wait for an evaluation that begins."""
        if control.should_evaluate:
            self._arm("eval")

    def on_prediction_step(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Take the second batch of an evaluation that nobody announced."""
        if self._evaluated != state.global_step:
            self._evaluated = state.global_step
            if not self._hooks.are_on:
                self._arm("eval")

    def on_evaluate(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Wait no longer."""
        self._disarm()

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **known: Any) -> None:
        """Wait no longer: it was no evaluation."""
        self._disarm()

    def on_train_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """End the attempt."""
        self._disarm()
        self._model = self._called = self._labels = None
        if self._given is None:
            self._end()

    # --- what the mixin calls -------------------------------------------------------------------------------------

    def expect(self, labels: Tensor | None) -> None:
        """Take the labels of the forward that comes: the model is not given them."""
        if self._hooks.are_on:
            self._labels = labels

    # --- what the hooks call --------------------------------------------------------------------------------------

    def _see(self, forward: Forward) -> bool:
        """Record a forward, and say whether it was the one waited for; never raises."""
        try:
            return self._record(forward)
        except Exception as error:  # noqa: BLE001 - a run must not die of its log
            self._notices.say("callback", f"step {self._state.global_step}: not recorded: {described(error)}")
            return True

    def _record(self, forward: Forward) -> bool:
        given, is_done = forward.arguments, forward.output is not None
        if self._stream == "train" and not torch.is_grad_enabled():
            self._missed = self._missed or _NO_GRADIENTS
            return False  # a reference's, or a policy's before it is trained
        labels = given.get("shift_labels")
        is_shifted = labels is not None
        if not is_shifted:
            labels = given.get("labels")
        has_loss = labels is not None
        labels = labels if has_loss else self._labels
        if not isinstance(labels, Tensor):
            self._missed = _NO_LABELS if is_done else self._missed
            return False
        if not is_done and not (self._is_early or given.get("fused_lm_head")):
            return False  # there may be logits yet
        logits = models.logits(forward.output, has_loss=has_loss) if is_done else None
        if logits is None or models.is_overwritten():
            logits = self._projected(forward.hidden)
        shift = 0 if is_shifted else 1 if given.get("fused_lm_head") else label_shift.shift(self._model)
        if self._shift is not None:
            if has_loss and shift not in {None, self._shift}:
                self._once(
                    f"shift={self._shift} was passed, and the loss of {type(self._model).__name__} shifts by {shift}: "
                    "what is recorded is not what that loss sees, so no finding about it can be trusted"
                )
            shift = self._shift
        if shift is None:
            self._once(f"how the loss of {type(self._model).__name__} shifts its labels isn't known: pass shift=")
        if logits is not None and shift is not None and self._recorder is not None:
            epoch = {} if self._state.epoch is None else {"epoch": round(self._state.epoch, 6)}
            with _autocast(forward):
                self._recorder.compare(
                    logits, labels, self._state.global_step,
                    stream=self._stream, shift=shift, layout=self._layout, ignore_index=self._ignore_index,
                    inputs=models.inputs(self._model, given, labels), **epoch,
                )  # fmt: skip
        return True

    def _projected(self, hidden: Tensor | None) -> Projection | None:
        """Give what stands in for logits that nobody made; None, and a line that says why, where there is nothing."""
        head = head_of(self._model)
        if isinstance(head, str) or hidden is None:
            why = head if isinstance(head, str) else "its hidden states are not to be seen"
            self._once(f"{type(self._model).__name__} gives no logits, and {why}: {_NOTHING_TO_DO}")
            return None
        if models.is_spread(head.linear.weight) and not self._is_early:
            self._is_early = True  # next time while the model is under way, when its weights are here
            return None
        if head.unknown:
            self._once(
                f"{type(self._model).__name__} gives no logits, and what it does to them isn't known "
                f"({head.unknown}): predictions and ranks are those of its head, and probabilities are left out"
            )
        return head.project(hidden)

    # --- on and off -----------------------------------------------------------------------------------------------

    def _arm(self, stream: str) -> None:
        recorder = self._recorder
        if self._model is None or recorder is None or not recorder._is_wanted(stream):  # noqa: SLF001 - the recorder's gate, asked beforehand
            return
        self._stream, self._labels, self._missed = stream, None, ""
        called = self._called if stream == "train" else self._model
        if torch_state.is_compiled_in_place(called):
            self._once(f"the model was compiled by its `compile()`, and lets nobody see its outputs: {_NOTHING_TO_DO}")
            return
        backbone = getattr(self._model, "base_model", None)
        is_seen = backbone is not self._model and called is self._model
        self._hooks.put(called, backbone if is_seen else None, getattr(self._model, "main_input_name", "input_ids"))

    def _disarm(self) -> None:
        if self._hooks.are_on and self._missed:
            self._once(self._missed)
        self._hooks.off()
        self._labels = None

    def _end(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None

    def _once(self, message: str) -> None:
        self._notices.say_once(message, message)


class PredictionMixin:
    """Tell the callback of the labels, for a trainer that does not give them to its model.

    That is what label smoothing and `compute_loss_func` do: `class MyTrainer(PredictionMixin, Trainer): ...`.
    """

    callback_handler: Any

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
        """Give the trainer's own loss."""
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, PredictionCallback):
                callback.expect(inputs.get("labels"))
        return super().compute_loss(model, inputs, *arguments, **named)  # type: ignore[misc]


def _autocast(forward: Forward) -> AbstractContextManager[Any]:
    """Give the context in which the model projects its hidden states, which may be left by now."""
    if forward.hidden is None or forward.autocast is None:
        return nullcontext()
    return torch.autocast(forward.hidden.device.type, forward.autocast)


def _compiled() -> Any:
    """Give the compiled model that the trainer calls, which it tells no callback; None where it calls another.

    Of what is inside a compiled model hooks see nothing, but around it they do.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the trainer is among those who called
    while frame is not None:
        trainer = frame.f_locals.get("self")
        if isinstance(trainer, Trainer):
            called = trainer.model_wrapped
            return called if torch_state.is_compiled_around(called) else None
        frame = frame.f_back
    return None
