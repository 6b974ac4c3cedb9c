"""The state of torch around a call of `compare`, and the only module that uses torch's private names.

Each private name is looked up when it is first needed. If the installed torch does not have it, that is reported once
per process, with what is lost, and predlog works on without it.
"""

import pkgutil
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext, suppress
from functools import cache, partial
from itertools import chain, filterfalse, repeat, starmap, tee
from operator import contains, itemgetter, methodcaller
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from predlog._runtime.notices import Notices

# With its build (`2.9.1+cu128`), which the installed package's metadata leaves out.
TORCH_VERSION = str(torch.__version__)

# For recorders, which import nothing of torch's. It must be the same object: a compiler knows it by that.
is_dynamo_compiling = torch.compiler.is_dynamo_compiling

_FUNCTORCH_STACK = "torch._C._functorch.peek_interpreter_stack"
_GET_MODE = "torch._C._get_dispatch_mode"
_PROXY, _FAKE, _FUNCTIONAL = (f"torch._C._TorchDispatchModeKey.{key}" for key in ("PROXY", "FAKE", "FUNCTIONAL"))
_GRAPH_TASK = "torch._C._current_graph_task_id"
_NO_FUNCTIONS, _NO_DISPATCH, _NO_AUTOCAST = (
    f"torch._C.{name}" for name in ("DisableTorchFunction", "_DisableTorchDispatch", "_DisableAutocast")
)
_INFERENCE = "torch._C._InferenceMode"
_STACK = tuple(f"torch._C._{act}_torch_function_stack" for act in ("len", "pop", "push_on"))
_OPTIMIZED_MODULE = "torch._dynamo.eval_frame.OptimizedModule"
_COUNTERS = "torch._dynamo.utils.counters"
_ROOT_MESH = "torch.distributed.device_mesh.DeviceMesh._get_root_mesh"
_COMPILED_CALL = "torch.nn.Module._compiled_call_impl"
_ORIGINAL = "torch._dynamo.eval_frame.OptimizedModule._orig_mod"
# The method in which torch calls a module's hooks and its forward.
CALL = "_call_impl"
_CALL = f"torch.nn.Module.{CALL}"

# The private names of torch's that predlog uses, and what is lost without each of them.
PRIVATE_NAMES = {
    _FUNCTORCH_STACK: "a pair inside a torch.func transform is not skipped but refused, or recorded wrongly",
    _GET_MODE: "a pair under make_fx, fake tensors or functionalization is not skipped",
    _PROXY: "a pair under make_fx is not skipped, and its operations appear in the graph",
    _FAKE: "a pair of fake tensors is not skipped but refused",
    _FUNCTIONAL: "a pair under functionalization is not skipped but refused",
    _GRAPH_TASK: "a forward that checkpointing runs again in the backward may be recorded by predlog.watch as a step",
    _NO_FUNCTIONS: "your torch function modes and tensor subclasses see predlog's operations",
    _NO_DISPATCH: "your torch dispatch modes, selective checkpointing among them, see predlog's operations",
    _NO_AUTOCAST: "under autocast, log-probabilities may be less exact",
    _INFERENCE: "capturing a pair takes longer, and may end without gradients if a signal's handler raises in it",
    **dict.fromkeys(
        _STACK, "if a torch function mode is left on inside a watched call, predlog.watch removes that one, not its own"
    ),
    _OPTIMIZED_MODULE: "predlog.watch does not see compiled modules, and may have them compiled again",
    _COUNTERS: "predlog.watch does not see compiled functions, and may have them compiled again",
    _CALL: "with torch before 2.6, or a module with a `forward` of its own, a torch function mode of yours may stay on"
    " if Ctrl-C ends a watched call",
    _ROOT_MESH: "of pipeline stages and replicas, only the one with rank 0 records logits that are sharded over a part"
    " of a mesh, unless `ranks=` names others",
    _COMPILED_CALL: "modules compiled in place, by their `compile()`, are not recognized",
    _ORIGINAL: "models of which only regions are compiled are not recognized, and the Trainer's callback misses them",
}
# What older torches have in place of a private name.
OLDER_NAMES = {
    _ROOT_MESH: tuple(
        f"torch.distributed.device_mesh._mesh_resources.get_{which}_mesh"
        for which in ("root", "parent")  # the second is that of torch 2.4, and None for what is no part
    ),
}
_TRACERS = {
    _PROXY: "make_fx is tracing",
    _FAKE: "tensors are fake",
    _FUNCTIONAL: "functionalization is at work",
}
_GUARDS = (_NO_FUNCTIONS, _NO_DISPATCH, _NO_AUTOCAST)
_ENTER, _LEAVE = methodcaller("__enter__"), methodcaller("__exit__", None, None, None)
_notices = Notices()


@cache
def _find(name: str, otherwise: Any = None) -> Any:
    """Return what a private name of torch's names; `otherwise`, and one report, if this torch does not have it."""
    for one in (name, *OLDER_NAMES.get(name, ())):
        with suppress(AttributeError, ImportError):
            return pkgutil.resolve_name(one)
    _report_missing(name)
    return otherwise


def _report_missing(name: str) -> None:
    _notices.report_once(name, f"torch {torch.__version__} has no {name}: {PRIVATE_NAMES[name]}")


def _of_dynamo(name: str) -> Any:
    """Return what a private name of the compiler's names; None also as long as nobody has loaded the compiler."""
    return _find(name) if name.rpartition(".")[0] in sys.modules else None


def _nothing(*_arguments: object) -> None:
    """Answer in place of what a torch does not have."""


def is_traced() -> bool:
    """Return whether the caller is compiled or traced: there are no values then, and every call would be kept."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def obstacle() -> str | None:
    """Return why nothing can be captured here and now; None if nothing is in the way. Asks torch alone, no device."""
    if _find(_FUNCTORCH_STACK, _nothing)() is not None:
        return "a torch.func transform is at work"
    mode_of = _find(_GET_MODE, _nothing)
    for name, what in _TRACERS.items():
        if (key := _find(name)) is not None and mode_of(key) is not None:
            return what
    if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        return "a CUDA graph is being captured"
    return None


def is_in_backward() -> bool:
    """Return whether this thread runs a backward, where activations that were thrown away are computed again."""
    task = _find(_GRAPH_TASK)
    return task is not None and bool(task() != -1)


def alone() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return what makes torch as it is by default, and what undoes that: no gradients, no autocast, no modes.

    A mode that counts, saves or changes operations sees none of predlog's: selective checkpointing would keep them.
    Both are used as `_scope` explains.
    """
    inference = _find(_INFERENCE)
    makers = [partial(_find(name, nullcontext)) for name in _GUARDS]
    return _scope([*makers, partial(torch.no_grad) if inference is None else partial(inference, True)])


def without_inference() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return what ends inference mode for a while, and what undoes that; both are used as `_scope` explains."""
    return _scope([partial(_find(_INFERENCE, torch.inference_mode), False)])


def _scope(makers: Sequence["partial[Any]"]) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return what makes context managers and enters them, in order, and what leaves them.

    Both are called in one frame, the first as the first thing in a `try`, the second in its `finally`. Each is one call
    of C code, and a signal's handler runs only after such a call. So however the caller is interrupted, torch is as it
    was before; a context manager could be interrupted where it has entered and nobody leaves it yet.
    """
    # Each guard is made and entered before the next is made: making one may be what changes torch.
    made, same = tee(map(partial.__call__, makers))
    entered: list[tuple[Any, Any]] = []
    newest_first = map(itemgetter(0), chain.from_iterable(map(reversed, (entered,))))
    enter = partial(entered.extend, zip(made, map(_ENTER, same), strict=True))
    return enter, partial(deque, map(_LEAVE, newest_first), 0)


def pushing(modes: Sequence[TorchFunctionMode]) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return what pushes modes on torch's stack, and what takes them off it; both are used as `_scope` explains."""
    push = _find(_STACK[-1])
    if push is None:
        return partial(_enter_all, modes), removing(modes)
    return partial(deque, map(push, modes), 0), removing(modes)


def removing(*groups: Collection[TorchFunctionMode]) -> Callable[[], object]:
    """Return what takes modes off torch's stack, once, wherever on it they are; a group may still change until then.

    It is one call of C code: no signal's handler runs while modes of others are off the stack.
    """
    length, pop, push = (_find(name) for name in _STACK)
    if length is None or pop is None or push is None:
        return partial(_leave_all, groups)
    times = chain.from_iterable(map(partial(repeat, ()), starmap(length, ((),))))
    others: Iterator[Any] = chain.from_iterable(map(reversed, map(list, (starmap(pop, times),))))
    for modes in groups:
        others = filterfalse(partial(contains, modes), others)
    return partial(deque, map(push, others), 0)


def _enter_all(modes: Sequence[TorchFunctionMode]) -> None:
    for mode in modes:
        mode.__enter__()


def _leave_all(groups: Sequence[Collection[TorchFunctionMode]]) -> None:
    for mode in chain.from_iterable(groups):
        with suppress(RuntimeError):  # the stack is empty
            mode.__exit__(None, None, None)


def call_of(module: nn.Module) -> Any:
    """Return the method of a module's class that calls its hooks and its forward; None if this torch has none."""
    return None if _find(_CALL) is None else getattr(type(module), CALL)


def has_compiled_parts(module: nn.Module) -> bool:
    """Return whether a module or one inside of it is compiled."""
    kind = _of_dynamo(_OPTIMIZED_MODULE) or ()
    return any(isinstance(one, kind) or is_compiled_in_place(one) for one in module.modules())


def is_compiled_in_place(module: object) -> bool:
    """Return whether a module's own `compile()` was called: hooks see nothing of its calls."""
    _find(_COMPILED_CALL)
    return getattr(module, "_compiled_call_impl", None) is not None


def is_compiled_around(module: object) -> bool:
    """Return whether a module holds the one that it was compiled from: hooks see its calls, and nothing inside."""
    if hasattr(module, "_orig_mod"):
        return True
    if not isinstance(module, _of_dynamo(_OPTIMIZED_MODULE) or ()):
        return False
    _report_missing(_ORIGINAL)
    return True


def uncompiled(module: Any) -> Any:
    """Return the module that a compiled one was made from; any other as it is."""
    return getattr(module, "_orig_mod", module)


def root_mesh(mesh: Any) -> Any:
    """Return the mesh that a mesh of devices is a part of; itself, if it is no part."""
    root = _find(_ROOT_MESH, _nothing)(mesh)
    return mesh if root is None else root


def count_graphs() -> int:
    """Return how many graphs were compiled so far in this process."""
    counters = _of_dynamo(_COUNTERS)
    return 0 if counters is None else counters["stats"]["unique_graphs"]
