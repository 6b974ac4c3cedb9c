"""An error that predlog caught: whether it is a failure of predlog's own work, and how it is put into words."""

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

from predlog.errors import PredlogError

# Whose C code predlog's own work runs in the training thread: an error from there has no frame that shows it.
_WORKED_WITH: Final = frozenset({"predlog", "torch", "numpy", "einops"})
# Of what Python raises: nothing that predlog does in the training thread waits for others, or starts processes.
_NEVER_OWN: Final = (TimeoutError, ConnectionError, ChildProcessError, InterruptedError)
_STARRED: Final = 0x04  # of a function with *args: inspect.CO_VARARGS, whose import is slow
Kind = TypeVar("Kind", bound=Exception)


def own_failure(kind: type[Kind], *read: object) -> tuple[type[Kind], ...]:
    """Return what an `except` clause catches: `kind`, or nothing if the error at hand came from outside.

    `except own_failure(Exception) as error:` is how predlog catches in a thread that is not its own. What a signal's
    handler, a trace function or another thread raised there is the program's, and passes. `read` are foreign objects
    that were being read: what their packages raise is a failure like any other.
    """
    error = sys.exc_info()[1]
    return () if error is None or _is_from_outside(error, read) else (kind,)


def described(error: BaseException) -> str:
    """Return an error in words; never raise, even if the error's own `__str__` does."""
    try:
        return str(error) if isinstance(error, PredlogError) else f"{type(error).__name__}: {error}"
    except own_failure(Exception, error):  # a foreign error's own code
        return type(error).__name__


def located(error: BaseException) -> str:
    """Return an error in words, with the file and line that raised it if predlog did not raise it on purpose."""
    return described(error) if isinstance(error, PredlogError) else f"{described(error)} ({raised_at(error)})"


def raised_at(error: BaseException) -> str:
    """Return the file and line that raised: as the kind of a notice, it has each cause reported on its own."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error, after those of the errors that led to it; empty unless PREDLOG_TRACEBACK=1.

    An error that was replaced (`raise … from None`) led to it, too.
    """
    if os.environ.get("PREDLOG_TRACEBACK", "").strip().lower() in {"", "0", "false", "no", "off"}:
        return ""
    import traceback  # noqa: PLC0415 - it takes milliseconds, and few ask for it

    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and not any(one is known for known in chain):
        chain.append(one)
        one = one.__cause__ or one.__context__
    try:
        return "".join("".join(traceback.format_exception(one, chain=False)) for one in reversed(chain))
    except own_failure(Exception, error):  # a foreign error's own code
        return f"{located(error)}: its traceback can't be formatted"


def briefly(value: object) -> str:
    """Return a name or a number as it was passed; if it is none, its type."""
    is_short = (type(value) is str and len(value) <= 80) or (type(value) is int and abs(value) < 1 << 64)
    return repr(value) if is_short else f"<{type(value).__name__}>"


def _is_from_outside(error: BaseException, read: Iterable[object]) -> bool:
    """Return whether an error can't have come from predlog's work, or from the code that it called.

    Handlers of signals and trace functions are known by what only they are passed: a frame that they interrupt. What
    another thread raises, by `PyThreadState_SetAsyncExc`, has no frame of its own, so its class must tell.
    """
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()}
    packages = {*_WORKED_WITH, *(_package(type(one).__module__) for one in read)}
    is_foreign, before = False, list[FrameType]()
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if before and (frame.f_code in handlers or _was_passed_one_of(before, frame)):
            return True
        before.append(frame)
        packages.add(package := _package(frame.f_globals.get("__name__")))
        is_foreign |= package not in _WORKED_WITH and package not in sys.stdlib_module_names
        trace = trace.tb_next
    if is_foreign:  # code of others was running, which may raise anything
        return False
    package = _package(type(error).__module__)
    return isinstance(error, _NEVER_OWN) or package not in packages | sys.stdlib_module_names


def _was_passed_one_of(frames: Sequence[FrameType], frame: FrameType) -> bool:
    code = frame.f_code
    is_starred = bool(code.co_flags & _STARRED)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + is_starred]
    passed = [frame.f_locals.get(name) for name in names]
    if is_starred and type(passed[-1]) is tuple:
        passed += passed[-1]
    asked = [one for one in passed if type(one) is FrameType]
    # It may have just returned; a generator's frame is then without the one that it returned to.
    return any(
        _package(one.f_globals.get("__name__")) == "predlog"
        or any(one is known or one.f_back is known for known in frames)
        for one in asked
    )


def _code(handler: Any) -> CodeType | None:
    while isinstance(handler, partial):
        handler = handler.func
    call = type(handler).__call__ if callable(handler) else None
    for one in (handler, getattr(handler, "__func__", None), call):
        if isinstance(code := getattr(one, "__code__", None), CodeType):
            return code
    return None


def _package(module: object) -> str:
    name = str(module).partition(".")[0]
    # The constructor of a named tuple is code that `collections` makes, in a module of its own.
    return "collections" if name.startswith("namedtuple_") else name
