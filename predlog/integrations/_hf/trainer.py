"""The Trainer that calls a callback: it is passed to no callback, but is one of its callers.

`f_locals` of a frame keeps what its variables hold until the frame ends. So only a trainer's own frames are asked.
"""

import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from torch import Tensor

from predlog.integrations.callback import CopiedCallback

_STEPS = ("compute_loss", "training_step", "prediction_step")
_KEPT_LABELS = (
    "the model does not get the labels, as with label smoothing, compute_loss_func or a compute_loss of your own: train"
    " with a class of PredictionMixin and your trainer, in this order: class MyTrainer(PredictionMixin, YourTrainer)"
)
_MIXED_TOO_LATE = (
    "the model does not get the labels, and the compute_loss of PredictionMixin is not called: name PredictionMixin"
    " before your trainer's class, or call super().compute_loss in yours"
)
_MAYBE_TAKEN = (
    "the model gets no labels, and the batch holds none: if a compute_loss of your own takes them out, train with a"
    " class of PredictionMixin and your trainer, in this order: class MyTrainer(PredictionMixin, YourTrainer); if there"
    " are none, call predlog.compare where you have the pair"
)
_NO_LABELS = (
    "the batches have no 'labels', so there is nothing to compare; if the pair is elsewhere, call predlog.compare"
    " where you have it"
)


class Training:
    """A `train` of a trainer that is running: a method is called when it is left, however, unless `ended` was before.

    An exception keeps the frame of `train` until the exception is dealt with.
    """

    def __init__(self, kind: type | None = None, call: "weakref.WeakMethod[Any] | None" = None) -> None:
        self.trainer: Callable[[], Any] = lambda: None
        self._frame = 0
        self._end: weakref.finalize[Any, Any] | None = None
        if kind is None or call is None:
            return
        for frame in _callers():
            if frame.f_code.co_name == "train" and issubclass(type(trainer := frame.f_locals.get("self")), kind):
                mark = _Mark()
                # What is no variable of the function is kept with its frame, and freed with it.
                frame.f_locals["_predlog_training"] = mark
                self._end = weakref.finalize(mark, _call, call)
                self._end.atexit = False
                self._frame, self.trainer = id(frame), weakref.ref(trainer)
                return

    def ended(self) -> None:
        """Call nothing any more."""
        if self._end is not None:
            self._end.detach()

    def is_around(self) -> bool:
        """Return whether the caller is called by another `train`, which this one has called."""
        if self._end is None or not self._end.alive:
            return False
        # The same `train` may begin again, as with a smaller batch after it ran out of memory.
        found = [id(frame) for frame in _callers() if frame.f_code.co_name == "train"]
        return self._frame in found[1:]

    def why_no_labels(self, given: object) -> str:
        """Return why the model was given no tensor of labels, and what to do; called in the trainer's step."""
        if given is not None:
            return f"labels are a {type(given).__name__}, no tensor, as for boxes of objects: nothing to compare"
        trainer = self.trainer()
        smooths = getattr(getattr(trainer, "args", None), "label_smoothing_factor", 0)
        is_kept = smooths or getattr(trainer, "compute_loss_func", None) is not None or _has_labels(trainer)
        if not is_kept:
            return _MAYBE_TAKEN if _has_own_loss(trainer) else _NO_LABELS
        return _MIXED_TOO_LATE if issubclass(type(trainer), PredictionMixin) else _KEPT_LABELS


def _call(method: "weakref.WeakMethod[Any]") -> None:
    if (found := method()) is not None:
        found()


class _Mark:
    """Freed with the frame that holds it."""


def _callers() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the trainer is one of the callers
    while frame is not None:
        yield frame
        frame = frame.f_back


def _has_labels(trainer: Any) -> bool:
    """Return whether the trainer's step that calls this has labels."""
    for frame in _callers():
        if frame.f_code.co_name in _STEPS and (found := frame.f_locals).get("self") is trainer:
            batch = found.get("inputs")
            if isinstance(found.get("labels"), Tensor) or (isinstance(batch, Mapping) and "labels" in batch):
                return True
    return False


def _has_own_loss(trainer: Any) -> bool:
    """Return whether the loss is computed by neither a library's trainer nor the mixin, which sees the whole batch."""
    kind = next((one for one in type(trainer).__mro__ if "compute_loss" in one.__dict__), None)
    return kind is not None and kind.__module__.partition(".")[0] not in {"transformers", "trl", "predlog"}


class PredictionMixin:
    """Pass the labels and the loss to the callback, for a trainer that does not pass its labels to the model.

    Label smoothing and `compute_loss_func` have that effect: `class MyTrainer(PredictionMixin, Trainer): ...`.
    """

    callback_handler: Any

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
        """Return the trainer's own loss."""
        for callback in self._predlog_callbacks():
            callback.on_batch(inputs)
        found = super().compute_loss(model, inputs, *arguments, **named)  # type: ignore[misc]
        items = named.get("num_items_in_batch", arguments[1] if len(arguments) > 1 else None)
        for callback in self._predlog_callbacks():
            callback.on_loss(found[0] if isinstance(found, tuple) else found, items)
        return found

    def _predlog_callbacks(self) -> list[Any]:
        # The Trainer's and Lightning's are told apart by what they take.
        found = self.callback_handler.callbacks
        return [one for one in found if isinstance(one, CopiedCallback) and hasattr(one, "on_loss")]
