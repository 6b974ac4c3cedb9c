"""A module's own `forward`, called by predlog's, so that a mode is pushed and removed in one frame.

A mode that a hook pushes is still there when Ctrl-C ends the forward: torch then calls no other hook. A mode of the
user's that is left meanwhile would remove that one in place of itself, and stay.
"""

import sys
from collections.abc import Callable, Mapping
from functools import wraps
from types import FunctionType, MethodType
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.compiler import is_dynamo_compiling
from torch.overrides import TorchFunctionMode

from predlog._runtime import torch_state

# Where a module keeps what is asked, at each of its calls, for the modes that listen to it.
_LISTENERS = "_predlog_listeners"
_OURS = "_predlog_listens"


# torch 2.4 would compile a model around the module anew at each watch, for the numbers of the hooks.
_IS_POSSIBLE = torch.__version__ >= "2.6"
Listening = Callable[[tuple[Any, ...], Mapping[str, Any]], "TorchFunctionMode | None"]


class _Listeners(list[Listening]):
    """What is asked for modes, the one attached last comes last; copies of a module have none."""

    def __reduce__(self) -> tuple[Any, ...]:
        return list, ()


def attach(module: nn.Module, listening: Listening) -> bool:
    """Ask `listening` for a mode at each call of the module; return False if that is not possible.

    It is not if the module's `forward` is not that of its class, nor with torch before 2.6.
    """
    if not _IS_POSSIBLE:
        return False
    # Custom classes may do something of their own when an attribute is set.
    attributes = module.__dict__
    if not _is_ours(attributes.get("forward")):
        own = next(kind.__dict__["forward"] for kind in type(module).__mro__ if "forward" in kind.__dict__)
        if "forward" in attributes or not isinstance(own, FunctionType):
            return False
        attributes[_LISTENERS] = _Listeners()
        attributes["forward"] = MethodType(_listening(own), module)
    attributes[_LISTENERS].append(listening)
    return True


def detach(module: nn.Module, listening: Listening) -> None:
    """Undo what `attach` did; a `forward` that somebody has put around ours stays, and ours then changes nothing."""
    attributes = module.__dict__
    listeners = attributes.get(_LISTENERS, [])
    while listening in listeners:
        listeners.remove(listening)
    if not listeners and _is_ours(attributes.get("forward")):
        del attributes["forward"], attributes[_LISTENERS]


# A compiler that has compiled a call of the module compares the code of this function, not the function.
def _listening(own: Any) -> Any:
    @wraps(own)
    def forward(module: Any, /, *args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling():
            return own(module, *args, **kwargs)
        called = called_module(module, "forward")
        asked = tuple(called.__dict__.get(_LISTENERS, ())) if called is module else ()
        modes = [mode for listening in asked if (mode := listening(args, kwargs)) is not None]
        if not modes:
            return own(called, *args, **kwargs)
        push, remove = torch_state.pushing(modes)
        try:
            push()
            return own(module, *args, **kwargs)
        finally:
            remove()

    # A bound method is pickled by this name; unpickled, it is that of the class.
    forward.__name__ = "forward"
    forward.__dict__[_OURS] = True
    return forward


def _is_ours(method: object) -> TypeGuard[MethodType]:
    return isinstance(method, MethodType) and hasattr(method.__func__, _OURS)


def called_module(module: nn.Module, name: str) -> nn.Module:
    """Return the module that is called: a replica or a shallow copy has the method of the module it was made of."""
    frame = sys._getframe(2)  # noqa: SLF001 - torch's own call of the method
    # The locals of other frames are left alone: asking for them keeps them until the frame ends.
    caller = frame.f_locals.get("self") if frame.f_globals.get("__name__") == nn.Module.__module__ else module
    if caller is module or not isinstance(caller, nn.Module):
        return module
    method = caller.__dict__.get(name)
    return caller if isinstance(method, MethodType) and method.__self__ is module else module
