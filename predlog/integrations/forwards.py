"""Hooks that see one forward of a model and are gone behind it: what it was called with, and what it gave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True, slots=True)
class Forward:
    """One forward: its arguments by name, what it gave (None where it is still under way), and its hidden states.

    `autocast` is the type in which what follows the hidden states is computed; None where autocast is off.
    """

    arguments: Mapping[str, Any]
    output: Any
    hidden: Tensor | None
    autocast: torch.dtype | None


class Hooks:
    """Hooks on a model, from `put` until `off` or until `see` has seen a forward that it is content with.

    `see` is told of each forward of `model` when it is done, and, where `backbone` is given, also when that is: then
    its hidden states are there and the weights of the head lie as the model needs them. A forward that raises is not
    told of, and takes the hooks off as well.
    """

    def __init__(self, see: Callable[[Forward], bool]) -> None:
        self._see = see
        self._handles: list[RemovableHandle] = []
        self._arguments: Mapping[str, Any] = {}
        self._hidden: Tensor | None = None
        self._autocast: torch.dtype | None = None

    @property
    def are_on(self) -> bool:
        """Whether they wait for a forward."""
        return bool(self._handles)

    def put(self, model: nn.Module, backbone: nn.Module | None, first: str) -> None:
        """Put the hooks on; `first` names the argument that a model may be given without its name."""

        def before(_module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            self._arguments = {**dict(zip([first], arguments[:1], strict=False)), **named}

        def behind_backbone(_module: nn.Module, _arguments: object, output: Any) -> None:
            self._hidden = _hidden(output)
            self._autocast = _autocast(self._hidden)
            if self._see(Forward(self._arguments, None, self._hidden, self._autocast)):
                self.off()

        def behind(_module: nn.Module, _arguments: object, _named: object, output: Any) -> None:
            forward = Forward(self._arguments, output, self._hidden, self._autocast)
            self._arguments, self._hidden, self._autocast = {}, None, None
            if output is None or self._see(forward):
                self.off()

        self.off()
        self._handles.append(model.register_forward_pre_hook(before, with_kwargs=True))
        if backbone is not None:
            self._handles.append(backbone.register_forward_hook(behind_backbone))
        # Also behind one that raises, when there is no output.
        self._handles.append(model.register_forward_hook(behind, with_kwargs=True, always_call=True))

    def off(self) -> None:
        """Take them off; nothing of a forward is kept."""
        while self._handles:
            self._handles.pop().remove()
        self._arguments, self._hidden, self._autocast = {}, None, None


def _hidden(output: Any) -> Tensor | None:
    hidden = output[0] if isinstance(output, tuple) and output else getattr(output, "last_hidden_state", None)
    return hidden if isinstance(hidden, Tensor) else None


def _autocast(hidden: Tensor | None) -> torch.dtype | None:
    if hidden is None or not torch.is_autocast_enabled(hidden.device.type):
        return None
    return torch.get_autocast_dtype(hidden.device.type)
