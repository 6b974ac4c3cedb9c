"""A callback for Lightning that takes the pair from what a step returns, from its batch, or from attributes."""

import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from structlog.typing import Processor

from predlog._runtime import process
from predlog._runtime.failure import located, own_failure, raised_at
from predlog._runtime.notices import Notices
from predlog.capture.projection import Projection
from predlog.errors import MissingExtraError, PredlogError, SettingError
from predlog.integrations import step_output
from predlog.integrations._lightning import fit
from predlog.integrations.callback import CopiedCallback, DueSteps, harmless
from predlog.integrations.known_positions import NAMES, begins_with_padding, fitting, scalar
from predlog.integrations.probe import STREAM, Probe
from predlog.recorder.environment import completed
from predlog.recorder.recorder import PASSED_ON, Recorder

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise MissingExtraError("lightning", "lightning") from error
# Used if the trainer's `log_every_n_steps` is 0: the trainer logs nothing, but a user of this callback wants records.
_EVERY = 10
_WAYS = (
    "Return a dict with 'loss', 'logits' and 'labels' from it, or keep both as attributes and name them:"
    " PredictionCallback(logits='last_logits', labels='last_labels')"
)
_TOO_LATE = (
    "after training_step the optimizer has changed the weight of a Projection. Pass it to predlog.compare within the"
    " step"
)


@harmless
class PredictionCallback(CopiedCallback, Callback):
    """Record what the model predicts while `Trainer.fit` trains and validates it: streams `train` and `eval`.

    The pair is looked for in what `training_step` and `validation_step` return, a dict or a Hugging Face ModelOutput;
    then, except for the logits, in the batch, if that is a mapping; then among the module's attributes. If it is not
    found, one line on stderr reports it and what to do, and the training goes on.

    The first micro-batch of each optimizer step that `every` divides is recorded, at the number of optimizer steps made
    before it; so is the first batch of each validation run, at the number made so far. Of several validation loaders,
    the further ones are `eval/1`, `eval/2`.

    Args:
        directory: Folder of the run; left out, it is that of the trainer's first logger, or `default_root_dir` if there
            is none. A `fast_dev_run` writes no file.
        every: Record the optimizer steps that are multiples of this; None takes the trainer's `log_every_n_steps`.
        shift: By how many positions the labels lead the logits, as in `compare`: 0 for a pair that could go into
            `cross_entropy` as it is, 1 for what Hugging Face causal models take and return.
        layout: As in `compare`.
        ignore_index: As in `compare`.
        logits: Their key in what a step returns, or the path of the attribute that has them.
        labels: Their key, or the path of the attribute.
        inputs: The same for the token ids that the model read; None records none. With an encoder-decoder model,
            "input_ids" means "decoder_input_ids".
        loss_mask, position_ids, document_ids, attention_mask: The same for what `compare` takes by these names, as far
            as it is laid out as the labels; None leaves one out. With an encoder-decoder model they are the decoder's.
        loss: The same for the loss, which is checked against the pair; None leaves it unchecked.
        recorder: Record with this one, at the steps that its own `every` divides, and leave it open.
        sample_ids: The same for one id per sample; None keeps none.
        probe, probe_every: A batch that `validation_step` is called with every so many steps, in evaluation mode:
            stream `probe`. The training goes on as without it, to the last bit.
        samples, follow, first, last, codebooks: Which samples, how many tokens from the start and from the end of a
            sample, and how many codebooks to show.
        ranks, streams: Which processes and which streams record, as in `Recorder`.
        decode, special_tokens, text, text_window: How ids become text, and which are special, as in `Recorder`.
        score, worst, alternatives, all_tokens: What to keep of all supervised tokens, as in `Recorder`.
        console, processors, sinks: Where records go beside the file, as in `Recorder`.
        ignore, queue, strict, durable_every, mode, rank_folders: As in `Recorder`.

    The recorder is made when the training starts, and closed when it ends, even by an exception.

    Raises:
        SettingError: An argument makes no sense; those of the recorder are checked when the training starts.
    """

    @completed
    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        every: int | None = None,
        shift: int = 0,
        layout: str | None = None,
        ignore_index: int = -100,
        logits: str = "logits",
        labels: str = "labels",
        inputs: str | None = "input_ids",
        loss_mask: str | None = "loss_mask",
        position_ids: str | None = "position_ids",
        document_ids: str | None = "document_ids",
        attention_mask: str | None = "attention_mask",
        loss: str | None = "loss",
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
        passed = locals()  # spelt out for editors; those of the recorder are passed on as they are
        super().__init__()
        self._make = partial(Recorder, **{name: passed[name] for name in PASSED_ON})
        if recorder is not None and (directory is not None or every is not None or _is_changed(self._make)):
            raise SettingError("recorder= has its own directory, every and so on: pass it, or these, not both")
        self._given = recorder
        self._directory = directory
        self._every = every
        self._how: dict[str, Any] = {"shift": shift, "layout": layout, "ignore_index": ignore_index}
        self._named = {
            "logits": logits, "labels": labels, "inputs": inputs, "loss_mask": loss_mask, "position_ids": position_ids,
            "document_ids": document_ids, "attention_mask": attention_mask, "loss": loss, "sample_ids": sample_ids,
            "row_index": "row_index", "shift_labels": "shift_labels" if labels == "labels" else None,
        }  # fmt: skip
        self._probe = Probe(probe, probe_every, sample_ids)
        self.__dict__.update(self._untrained())
        self._begin()

    # What belongs to one training.
    _of_training: ClassVar[dict[str, Callable[[], Any]]] = {
        "recorder": lambda: None, "_due": lambda: DueSteps(1), "_names": step_output.Names, "_step": int,
        "_notices": Notices, "_batches": int, "_began": int, "_outer": list,
    }  # fmt: skip
    recorder: Recorder | None
    _began: int
    _names: step_output.Names
    _step: int

    def _begin(self) -> None:
        self.recorder = self._given

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the recorder."""
        if self._given is None and self.recorder is not None and not self.recorder.gate.is_closed:
            self._begin_inner()  # a fit within a fit
        self._notices, self._batches = Notices(), 0
        self._names = step_output.Names(**self._named)
        if fit.is_encoder_decoder(pl_module):
            usual = {"inputs": "input_ids", "attention_mask": "attention_mask", "position_ids": "position_ids"}
            of_encoder = {argument for argument, name in usual.items() if self._named[argument] == name}
            self._names.names |= {argument: f"decoder_{usual[argument]}" for argument in of_encoder}
            if any(begins_with_padding(getattr(one, "config", None)) for one in pl_module.modules()):
                self._names.names["attention_mask"] = None
        if self._given is None:
            logged: int = trainer.log_every_n_steps  # type: ignore[attr-defined] # Lightning sets it from elsewhere
            every = (logged or _EVERY) if self._every is None else self._every
            directory = self._folder(trainer, pl_module) if self._directory is None else self._directory
            self.recorder = self._make(directory=directory, every=every)
        self._probe.begin()
        if self.recorder is not None:
            self._due = DueSteps(self.recorder.gate.every)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the recorder."""
        if trainer.global_step == self._began and self._batches > trainer.accumulate_grad_batches:
            self._report_still()
        if self._given is None and self.recorder is not None:
            self.recorder.close()
        self._end_inner()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the recorder; the user is to see this exception, not one from closing."""
        if self._given is None and self.recorder is not None:
            self.recorder.__exit__(type(exception), exception, exception.__traceback__)
        self._end_inner()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember the step: when the batch ends, the trainer may count the next."""
        self._began = self._began if self._batches else trainer.global_step
        self._batches += 1
        self._step = trainer.global_step
        if self._probe.is_due(self._step, self.recorder):
            self._look_at_probe(trainer, pl_module)
        if self._due.is_due(self._step):
            self._names.mark(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the batch, if its step is due and it is the first batch of the step."""
        if self._due.is_due(self._step):
            self._record("train", outputs, batch, trainer, pl_module)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Remember the step."""
        if batch_idx == 0 and fit.is_fitting(trainer):
            self._step = trainer.global_step
            self._names.mark(pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Record the first batch of each loader, if a training is running."""
        if batch_idx == 0 and fit.is_fitting(trainer):
            self._record(f"eval/{dataloader_idx}" if dataloader_idx else "eval", outputs, batch, trainer, pl_module)

    def _look_at_probe(self, trainer: Trainer, module: LightningModule) -> None:
        try:
            with fit.evaluated(trainer, module, self._probe, LightningModule, self._report_once) as call:
                if call is not None:
                    self._names.mark(module)
                    self._record(STREAM, *call(), trainer, module)
        except PredlogError:
            raise  # of a strict recorder
        except own_failure(Exception, module) as error:  # a run must not die of its log
            what = f"the probe is not recorded, because it raised {located(error)}; the training goes on"
            self._report_once(f"probe: {raised_at(error)}", what)

    def _record(self, stream: str, returned: Any, batch: Any, trainer: Trainer, module: LightningModule) -> None:
        if self.recorder is not None:
            try:
                self._record_with(self.recorder, stream, returned, batch, trainer, module)
            except PredlogError:
                raise  # of a strict recorder
            except own_failure(Exception, batch, returned) as error:  # a run must not die of its log
                self.recorder.report_failure(self._step, stream, error)

    def _record_with(
        self, recorder: Recorder, stream: str, returned: Any, batch: Any, trainer: Trainer, module: LightningModule
    ) -> None:
        logits = self._names.find("logits", (returned,), module)
        labels, shift = self._names.labels((returned, batch), module)
        if logits is None or labels is None:
            pair = {"logits": logits, "labels": labels}
            missing = [str(self._named[argument]) for argument, value in pair.items() if value is None]
            self._report_missing(stream, missing, returned, batch, module)
        elif stream == "train" and isinstance(logits, Projection):
            self._report_once("projection", f"{stream!r} is not recorded: {_TOO_LATE}")
        else:
            more = {**self._how, **shift, **self._reported(stream, returned, trainer, module)}
            more["sample_ids"] = self._find_ids(returned, batch, module)
            if self._how["layout"] is None and step_output.is_of_samples(logits, labels, batch):
                logits, labels = logits[:, None], labels[:, None]
                more["inputs"] = self._find_inputs(stream, returned, batch, labels, module)
            else:
                more["inputs"] = inputs = self._find_inputs(stream, returned, batch, labels, module)
                found = {name: self._names.find(name, (returned, batch), module) for name in NAMES}
                more |= fitting(labels, found, layout=self._how["layout"], inputs=inputs)
                if "row_index" in more and self._directory is None and trainer.loggers:
                    self._report_once("rows", fit.OF_LOGGERS)
            # It is due: the steps may jump. A validation run is recorded at any step, but a recorder of the user's own
            # has its own `every`.
            if self._given is None or stream in {"train", STREAM} or self._step % self._given.gate.every == 0:
                recorder.compare_due(logits, labels, self._step, stream=stream, epoch=trainer.current_epoch, **more)

    def _reported(self, stream: str, returned: object, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        """Return the loss of the step, which Lightning has divided by the number of micro-batches."""
        found = self._names.find("loss", (returned,), module)
        if found is None and self._named["loss"] == "loss":
            found = returned  # a step may return its loss alone
        parts: int | None = trainer.accumulate_grad_batches if stream == "train" else 1
        if stream == "train" and not module.automatic_optimization:
            parts = None  # the step may divide it by itself, by any number
        return {"reported_loss": scalar(found), "accumulate": parts}

    def _find_inputs(
        self, stream: str, returned: object, batch: object, labels: object, module: LightningModule
    ) -> Any:
        if (name := self._names.names["inputs"]) is None:
            return None
        given = step_output.item(batch, name)
        fits = step_output.shape(given) == step_output.shape(labels)
        value = self._names.find("inputs", (returned, {name: given if fits else None}), module)
        if value is None and given is not None:
            self._report_once(
                "inputs",
                f"{stream!r} is recorded without inputs: the batch's {name!r} {step_output.shape(given)} are not laid"
                f" out as the labels {step_output.shape(labels)}. Return {name!r} from the step, laid out as the"
                " labels, or pass inputs=None",
            )
        return value

    def _find_ids(self, returned: object, batch: object, module: LightningModule) -> Any:
        ids = self._names.find("sample_ids", (returned, batch), module)
        if ids is None and (name := self._named["sample_ids"]) is not None:
            self._report_once("ids", f"samples have no ids: {name!r} is neither returned nor in the batch")
        return ids

    def _report_missing(
        self, stream: str, missing: list[str], returned: object, batch: object, module: LightningModule
    ) -> None:
        step = "training_step" if stream == "train" else "validation_step"
        why = step_output.why_missing(missing, step, returned, batch, module)
        self._report_once("missing", f"{stream!r} is not recorded, since {why}. {_WAYS}")

    def _report_still(self) -> None:
        self._report_once(
            "still",
            f"global_step stayed {self._began} for all {self._batches} batches, so only the first was due: Lightning"
            " counts the steps of self.optimizers() alone: step those, or call predlog.compare with a step of your own",
        )

    def _folder(self, trainer: Trainer, module: LightningModule) -> Path | None:
        if getattr(trainer, "fast_dev_run", False):
            return None
        if (found := fit.folder(trainer, module, self._make.keywords["ranks"])) is None:
            self._report_once("folder", "no file is written: the trainer's folder is not a local path; pass directory=")
        return found

    def _report_once(self, kind: str, message: str) -> None:
        if process.rank() == 0:
            self._notices.report_once(kind, f"PredictionCallback, step {self._step}: {message}")


def _is_changed(make: "partial[Recorder]") -> bool:
    """Return whether an argument of the recorder was passed, and not left at its default."""
    parameters = inspect.signature(Recorder).parameters
    return any(
        value is not (usual := parameters[name].default) and not (type(value) is type(usual) and value == usual)
        for name, value in make.keywords.items()
    )
