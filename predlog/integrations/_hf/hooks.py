"""Hooks for one forward of a model, removed after it: they pass on its arguments and its output."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from threading import get_ident
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from predlog._runtime import torch_state


@dataclass(frozen=True, slots=True)
class Forward:
    """One forward: its arguments by name, its output (None while it is running), and its hidden states.

    `autocast` is the dtype in which what follows the hidden states is computed; None if autocast is off.
    """

    arguments: Mapping[str, Any]
    output: Any
    hidden: Tensor | None
    autocast: torch.dtype | None


class Hooks:
    """Hooks on a model, from `attach` until `remove` or until `receive` accepts a forward.

    `receive` is called with each forward of `model` when it is done, and, if `backbone` is given, also when that is
    done: then its hidden states are there, and the weights of the head are gathered as the model needs them. A forward
    that raises is not passed, and removes the hooks as well; one that Ctrl-C ended does so when the next begins.
    """

    def __init__(self, receive: Callable[[Forward], bool]) -> None:
        self._receive = receive
        self._handles: list[RemovableHandle] = []
        # What each thread's forward was called with, and its hidden states: replicas have threads of their own.
        self._arguments: dict[int, Mapping[str, Any]] = {}
        self._hidden: dict[int, tuple[Tensor | None, torch.dtype | None]] = {}

    @property
    def are_attached(self) -> bool:
        """Whether the hooks wait for a forward."""
        return bool(self._handles)

    def attach(self, model: nn.Module, backbone: nn.Module | None, first: str) -> None:
        """Attach the hooks; `first` is the name of the argument that may be passed to a model without its name."""

        # While one replica removes a hook, another may call it without the named arguments.
        def before(_module: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any] | None = None) -> None:
            if get_ident() in self._arguments:
                self.remove()  # the forward before did not end
            else:
                self._arguments[get_ident()] = {**dict(zip([first], arguments[:1], strict=False)), **(named or {})}

        def after_backbone(_module: nn.Module, _arguments: object, output: Any) -> None:
            hidden = _hidden(output)
            autocast = _autocast(hidden)
            self._hidden[get_ident()] = hidden, autocast
            if self._receive(Forward(self._arguments.get(get_ident(), {}), None, hidden, autocast)):
                self.remove()

        def after(_module: nn.Module, _arguments: object, *named_and_output: Any) -> None:
            arguments = self._arguments.pop(get_ident(), None)
            hidden, autocast = self._hidden.pop(get_ident(), (None, None))
            output = named_and_output[-1]
            if output is None:
                self._remove_during_call()
            elif arguments is None or self._receive(Forward(arguments, output, hidden, autocast)):
                self.remove()

        self.remove()
        self._handles.append(model.register_forward_pre_hook(_Hook(before), with_kwargs=True))
        if backbone is not None:
            self._handles.append(backbone.register_forward_hook(_Hook(after_backbone)))
        # Also called after a forward that raises, which has no output.
        self._handles.append(model.register_forward_hook(_Hook(after), with_kwargs=True, always_call=True))

    def remove(self) -> None:
        """Remove the hooks; nothing of a forward is kept."""
        self._remove_all_but(0)

    def remove_after_error(self) -> None:
        """Remove the hooks; one that is left to the next forward stays until then."""
        if len(self._handles) > 1:
            self.remove()

    def _remove_during_call(self) -> None:
        """Remove the hooks while torch calls the hooks of a forward that raised.

        If other hooks follow ours, it is removed with the next forward: torch would otherwise raise an error of its own
        in place of the forward's.
        """
        last = next(reversed(self._handles), None)
        is_last = last is None or next(reversed(last.hooks_dict_ref() or {}), None) == last.id
        self._remove_all_but(0 if is_last else 1)

    def _remove_all_but(self, left: int) -> None:
        end = len(self._handles) - left
        gone, self._handles = self._handles[:end], self._handles[end:]
        for handle in gone:
            with suppress(KeyError):  # another thread has removed it
                handle.remove()
        self._arguments, self._hidden = {}, {}


class _Hook:
    """A hook that is left out when its module is copied or pickled, so that neither fails and no copy is recorded."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *given: Any) -> None:
        self._call(*given)

    def __reduce__(self) -> tuple[Any, ...]:
        # It is replaced by a function that does nothing, takes any arguments, and exists without predlog.
        return getattr, (nullcontext(), "__exit__")


def _hidden(output: Any) -> Tensor | None:
    hidden = output[0] if isinstance(output, tuple) and output else getattr(output, "last_hidden_state", None)
    return hidden if isinstance(hidden, Tensor) else None


def _autocast(hidden: Tensor | None) -> torch.dtype | None:
    if hidden is None or not torch.is_autocast_enabled(hidden.device.type):
        return None
    return torch.get_autocast_dtype(hidden.device.type)


def core(model: Any) -> Any:
    """Return the model that PEFT has wrapped, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def inputs(model: Any, given: Any, labels: Tensor) -> Tensor | None:
    """Return the ids that the model read, if they have the shape of the labels; otherwise None."""
    is_decoded = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    inputs = given.get("decoder_input_ids" if is_decoded else "input_ids")
    return inputs if isinstance(inputs, Tensor) and inputs.shape == labels.shape else None


def logits(output: Any, *, has_loss: bool) -> Any:
    """Return the logits in the output of a model; None if there are none."""
    if isinstance(output, tuple):
        return output[has_loss] if len(output) > has_loss else None  # after the loss
    return output.get("logits") if hasattr(output, "get") else getattr(output, "logits", None)


def is_loss_replaced() -> bool:
    """Return whether torch's loss was replaced: Liger's overwrites the logits with its gradients."""
    return functional.cross_entropy.__module__ != functional.__name__


def is_sharded(weight: Tensor) -> bool:
    """Return whether each process has only a part of a weight, as with FSDP2."""
    return type(weight).__name__ == "DTensor"


def tokenizer(processing: Any) -> Any:
    """Return the tokenizer in a trainer's `processing_class`; None if there is none."""
    for one in (processing, getattr(processing, "tokenizer", None)):
        if hasattr(one, "decode") and hasattr(one, "convert_ids_to_tokens"):
            return one
    return None


def as_projected(forward: Forward) -> AbstractContextManager[Any]:
    """Return the autocast context in which the model projects its hidden states; the model's own may have ended."""
    if forward.hidden is None or forward.autocast is None:
        return nullcontext()
    return torch.autocast(forward.hidden.device.type, forward.autocast)


def compiled_model(trainer_class: type) -> Any:
    """Return the compiled model that the trainer calls, which it passes to no callback; None if it calls another.

    Hooks inside of a compiled model are not called; hooks on the compiled model itself are.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the trainer is one of the callers
    while frame is not None:
        trainer = frame.f_locals.get("self")
        if isinstance(trainer, trainer_class):
            called: Any = trainer.model_wrapped  # type: ignore[attr-defined] # of a Trainer
            return called if torch_state.is_compiled_around(called) else None
        frame = frame.f_back
    return None
