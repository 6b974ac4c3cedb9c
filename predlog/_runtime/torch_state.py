"""What surrounds a call of `compare`: what it must not become a part of, and what it can't be captured in."""

import sys
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import nn
from torch.compiler import is_dynamo_compiling as is_dynamo_compiling  # noqa: PLC0414 - the recorder's home of torch

# None of these is public, and none is worth a run: a torch that lacks one is taken to have nothing of the kind.
_functorch: Any = getattr(torch._C, "_functorch", None)  # noqa: SLF001
_get_dispatch_mode: Any = getattr(torch._C, "_get_dispatch_mode", lambda _key: None)  # noqa: SLF001
_keys: Any = getattr(torch._C, "_TorchDispatchModeKey", None)  # noqa: SLF001
_graph_task: Any = getattr(torch._C, "_current_graph_task_id", lambda: -1)  # noqa: SLF001
_GUARDS: Any = [
    *(
        getattr(torch._C, name, nullcontext)  # noqa: SLF001
        for name in ("DisableTorchFunction", "_DisableTorchDispatch", "_DisableAutocast")
    ),
    torch.inference_mode,
]
_MAKERS = {
    getattr(_keys, name): what
    for name, what in (
        ("PROXY", "make_fx is tracing"),
        ("FAKE", "tensors are fake"),
        ("FUNCTIONAL", "functionalization is at work"),
    )
    if hasattr(_keys, name)
}


def is_traced() -> bool:
    """Say whether the caller is being compiled or traced: there are no values then, and every call would be kept."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def obstacle() -> str | None:
    """Say why nothing can be captured here and now; None where nothing is in the way. Asks torch alone, no device."""
    if _functorch is not None and _functorch.peek_interpreter_stack() is not None:
        return "a torch.func transform is at work"
    for key, what in _MAKERS.items():
        if _get_dispatch_mode(key) is not None:
            return what
    if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        return "a CUDA graph is being captured"
    return None


def is_in_backward() -> bool:
    """Say whether this thread runs a backward, where activations that were thrown away are computed again."""
    return bool(_graph_task() != -1)


def alone() -> ExitStack:
    """Give a context in which torch is as it is by default: no gradients, no autocast, none of the caller's modes.

    A mode that counts, saves or changes operations sees none of predlog's: selective checkpointing would keep them.
    """
    stack = ExitStack()
    for guard in _GUARDS:
        stack.enter_context(guard())
    return stack


def has_compiled_parts(module: nn.Module) -> bool:
    """Say whether a module or one inside of it is compiled."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    kind = getattr(dynamo, "OptimizedModule", ())
    return any(
        isinstance(one, kind) or getattr(one, "_compiled_call_impl", None) is not None for one in module.modules()
    )


def count() -> int:
    """Count the graphs that were compiled so far in this process."""
    counters = getattr(sys.modules.get("torch._dynamo.utils"), "counters", None)
    return 0 if counters is None else counters["stats"]["unique_graphs"]
