"""What surrounds a call of `compare`: what it must not become a part of, and what it can't be captured in."""

from contextlib import ExitStack

import torch
from torch._C import (
    DisableTorchFunction,
    _DisableAutocast,
    _DisableTorchDispatch,
    _functorch,
    _get_dispatch_mode,
    _TorchDispatchModeKey,
)

_MAKERS = {
    _TorchDispatchModeKey.PROXY: "make_fx is tracing",
    _TorchDispatchModeKey.FAKE: "tensors are fake",
    _TorchDispatchModeKey.FUNCTIONAL: "functionalization is at work",
}


def is_traced() -> bool:
    """Say whether the caller is being compiled or traced: there are no values then, and every call would be kept."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def obstacle() -> str | None:
    """Say why nothing can be captured here and now; None where nothing is in the way. Asks torch alone, no device."""
    if _functorch.peek_interpreter_stack() is not None:
        return "a torch.func transform is at work"
    for key, what in _MAKERS.items():
        if _get_dispatch_mode(key) is not None:
            return what
    if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        return "a CUDA graph is being captured"
    return None


def alone() -> ExitStack:
    """Give a context in which torch is as it is by default: no gradients, no autocast, none of the caller's modes.

    A mode that counts, saves or changes operations sees none of predlog's: selective checkpointing would keep them.
    """
    stack = ExitStack()
    for guard in (DisableTorchFunction, _DisableTorchDispatch, _DisableAutocast, torch.inference_mode):
        stack.enter_context(guard())
    return stack
