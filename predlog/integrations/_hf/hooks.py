"""Hooks for one forward of a model, removed after it: they pass on its arguments and its output."""

import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
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

    `autocast` is the dtype in which what follows the hidden states is computed; None if autocast is off. `decoded` is
    what an encoder-decoder model's decoder was called with. A forward that raised has no output, and `has_failed`.
    """

    arguments: Mapping[str, Any]
    output: Any
    hidden: Tensor | None
    autocast: torch.dtype | None
    decoded: Tensor | None = None
    has_failed: bool = False


class Hooks:
    """Hooks on a model, from `attach` until `remove` or until `receive` accepts a forward.

    `receive` is called with each forward of `model` when it is done, and, if `backbone` is given, also when that is
    done: then its hidden states are there, and the weights of the head are gathered as the model needs them. What the
    `decoder` of an encoder-decoder model is called with is passed on as well. A forward that raises is passed as one
    that has failed, and removes the hooks; one that Ctrl-C ended does so when the next begins.
    """

    def __init__(self, receive: Callable[[Forward], bool]) -> None:
        self._receive = receive
        self._handles: list[RemovableHandle] = []
        # What each thread's forward was called with, and its hidden states: replicas have threads of their own.
        self._arguments: dict[int, Mapping[str, Any]] = {}
        self._hidden: dict[int, tuple[Tensor | None, torch.dtype | None]] = {}
        self._decoded: dict[int, Tensor] = {}

    @property
    def are_attached(self) -> bool:
        """Whether the hooks wait for a forward."""
        return bool(self._handles)

    def attach(
        self, model: nn.Module, backbone: nn.Module | None, first: str, decoder: nn.Module | None = None
    ) -> None:
        """Attach the hooks; `first` is the name of the argument that may be passed to a model without its name."""
        self.remove()
        self._handles.append(model.register_forward_pre_hook(_Hook(partial(self._before, first)), with_kwargs=True))
        if backbone is not None:
            self._handles.append(backbone.register_forward_hook(_Hook(self._after_backbone)))
        if decoder is not None:
            self._handles.append(decoder.register_forward_pre_hook(_Hook(self._before_decoder), with_kwargs=True))
        # Also called after a forward that raises, which has no output.
        self._handles.append(model.register_forward_hook(_Hook(self._after), with_kwargs=True, always_call=True))

    # While one replica removes a hook, another may call it without the named arguments.
    def _before(
        self, first: str, _module: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any] | None = None
    ) -> None:
        if get_ident() in self._arguments:
            self.remove()  # the forward before did not end
        else:
            self._arguments[get_ident()] = {**dict(zip([first], arguments[:1], strict=False)), **(named or {})}

    def _before_decoder(
        self, _module: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any] | None = None
    ) -> None:
        ids = (named or {}).get("input_ids", arguments[0] if arguments else None)
        if get_ident() in self._arguments and isinstance(ids, Tensor) and not ids.is_floating_point():
            self._decoded[get_ident()] = ids

    def _after_backbone(self, _module: nn.Module, _arguments: object, output: Any) -> None:
        hidden = _hidden(output)
        autocast = _autocast(hidden)
        self._hidden[get_ident()] = hidden, autocast
        if self._receive(Forward(self._arguments.get(get_ident(), {}), None, hidden, autocast)):
            self.remove()

    def _after(self, _module: nn.Module, _arguments: object, *named_and_output: Any) -> None:
        arguments = self._arguments.pop(get_ident(), None)
        hidden, autocast = self._hidden.pop(get_ident(), (None, None))
        output, decoded = named_and_output[-1], self._decoded.pop(get_ident(), None)
        if output is None:
            if arguments is not None:
                self._receive(Forward(arguments, None, hidden, autocast, decoded, has_failed=True))
            self._remove_during_call()
        elif arguments is None or self._receive(Forward(arguments, output, hidden, autocast, decoded)):
            self.remove()

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
        self._arguments, self._hidden, self._decoded = {}, {}, {}


def called(model: Any, core: Any, given: Mapping[str, Any], receive: Callable[[Forward], bool]) -> Any:
    """Call a model, have its forwards received, and return its output; `core` is the model without adapters."""
    attached, backbone = Hooks(receive), getattr(core, "base_model", None)
    attached.attach(
        core, None if backbone is core else backbone, getattr(core, "main_input_name", "input_ids"), decoder(core)
    )
    try:
        return model(**given)
    finally:
        attached.remove()


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


def decoder(model: Any) -> nn.Module | None:
    """Return the decoder of an encoder-decoder model; None if it has none that is a part of it."""
    get = getattr(model, "get_decoder", None)
    if not is_encoder_decoder(model) or get is None:
        return None
    found = get()
    # Some models return themselves, or the part that has both encoder and decoder.
    is_part = isinstance(found, nn.Module) and found is not model and not hasattr(found, "encoder")
    return found if is_part else None


def is_encoder_decoder(model: Any) -> bool:
    """Return whether a model has an encoder, which reads what is passed as `input_ids`."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def inputs(model: Any, forward: Forward, labels: Tensor) -> Tensor | None:
    """Return the ids that the model read, if they have the shape of the labels; otherwise None."""
    name = "decoder_input_ids" if is_encoder_decoder(model) else "input_ids"
    for found in (forward.arguments.get(name), forward.decoded):
        if isinstance(found, Tensor) and found.shape == labels.shape:
            return found
    return None


def logits(output: Any, *, has_loss: bool) -> Any:
    """Return the logits in the output of a model; None if there are none."""
    if isinstance(output, tuple):
        return output[has_loss] if len(output) > has_loss else None  # after the loss
    return item(output, "logits")


def item(output: Any, name: str) -> Any:
    """Return a value of a model's output by its name; None if there is none."""
    return output.get(name) if hasattr(output, "get") else getattr(output, name, None)


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
