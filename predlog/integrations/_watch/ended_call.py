"""A module's call, made by predlog's, so that what its hooks have begun is ended however the call ends.

Where a mode can't be pushed around the `forward` itself, a hook pushes it. If Ctrl-C ends the forward, torch calls no
other hook, but it leaves this frame before that of anybody else.
"""

from collections.abc import Callable, Collection
from functools import wraps
from types import MethodType
from typing import Any

from torch import nn
from torch.compiler import is_dynamo_compiling
from torch.overrides import TorchFunctionMode

from predlog._runtime import torch_state
from predlog.integrations._watch.listening_forward import called_module

# Where a module keeps what ends with each of its calls: the modes that a hook may push, and what is called.
_ENDS = "_predlog_ends"
End = tuple[Collection[TorchFunctionMode], Callable[[], None]]


class _Ends(list[End]):
    """What is ended, the one attached last comes first; copies of a module have none."""

    def __reduce__(self) -> tuple[Any, ...]:
        return list, ()


def attach(module: nn.Module, modes: Collection[TorchFunctionMode], end: Callable[[], None]) -> None:
    """At the end of each call of the module remove the modes that there are then, and call `end`, if that is possible.

    The mode of another thread is not on this thread's stack.
    """
    # Custom classes may do something of their own when an attribute is set.
    attributes = module.__dict__
    if _ENDS not in attributes:
        own = torch_state.call_of(module)
        if own is None or torch_state.CALL in attributes:
            return
        attributes[_ENDS] = _Ends()
        attributes[torch_state.CALL] = MethodType(_ending(own), module)
    attributes[_ENDS].append((modes, end))


def detach(module: nn.Module, end: Callable[[], None]) -> None:
    """Undo what `attach` did."""
    attributes = module.__dict__
    ends = attributes.get(_ENDS)
    if ends is None:
        return
    ends[:] = [one for one in ends if one[1] != end]
    if not ends:
        attributes.pop(torch_state.CALL, None)
        del attributes[_ENDS]


# A compiler that has compiled a call of the module compares the code of this function, not the function.
def _ending(own: Any) -> Any:
    @wraps(own)
    def call(module: Any, /, *args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling():
            return own(module, *args, **kwargs)
        called = called_module(module, torch_state.CALL)
        ends = [*called.__dict__.get(_ENDS, ())] if called is module else []
        remove = torch_state.removing(*[modes for modes, _ in ends])
        try:
            return own(called, *args, **kwargs)
        finally:
            remove()  # at once, since a signal's handler may raise after it
            for _, end in reversed(ends):
                end()

    return call
