"""What predlog raises, and how an error is put into words."""

import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

# What predlog depends on, with its lowest versions as in pyproject.toml: the first for everything, the others for
# recording alone.
READING: Final = {"orjson": "3.10", "msgspec": "0.19", "rich": "13.7"}
RECORDING: Final = {"torch": "2.4", "structlog": "24.1", "einops": "0.8"}
# Whose C code predlog's own work runs in the training thread: an error from there has no frame that shows it.
_WORKED_WITH: Final = frozenset({"predlog", "torch", "numpy", "einops"})
# Of what Python raises: nothing that predlog does in the training thread waits for others, or starts processes.
_NEVER_OWN: Final = (TimeoutError, ConnectionError, ChildProcessError, InterruptedError)
_STARRED: Final = 0x04  # of a function with *args: inspect.CO_VARARGS, whose import is slow
Kind = TypeVar("Kind", bound=Exception)


class PredlogError(Exception):
    """Base of everything that predlog raises on purpose."""


class PairError(PredlogError):
    """Logits, labels, layout, shift or step do not make a pair that can be compared.

    `code` is the code of the finding that reports it, and `evidence` its numbers.
    """

    def __init__(self, message: str, code: str = "unreadable-pair", **evidence: Any) -> None:
        super().__init__(message)
        self.code = code
        self.evidence = evidence


class NothingToCompareError(PairError):
    """Labels are no token ids, and are not meant to be: those of a regression, or probabilities."""


class SettingError(PredlogError, ValueError):
    """An argument of a recorder makes no sense."""


class RecordError(PredlogError, ValueError):
    """A line is damaged or is no predlog record, or an event cannot become one."""


class SchemaError(RecordError):
    """A line was written with a schema that is newer than this predlog; its version is named if it is known."""

    def __init__(self, written: int, known: int, version: str | None, where: str = "") -> None:
        by, wanted = (f" by predlog {version}", f"predlog>={version}") if version else ("", "predlog")
        super().__init__(
            f"{where}written with schema {written}{by}, and this predlog reads up to {known}:"
            f" pip install --upgrade '{wanted}' to read it"
        )
        self.written = written
        self.known = known
        self.version = version


class UnknownKindError(RecordError):
    """An undamaged line of a known schema has a kind of event that this version does not know."""


class NoRecordsError(PredlogError, FileNotFoundError):
    """There is nothing to read at a path."""


class MissingExtraError(PredlogError, ImportError):
    """A feature needs a package that is not installed."""

    def __init__(self, extra: str, package: str) -> None:
        # Where only the reading side is installed, the extra would also install torch.
        wanted = f"predlog[{extra}]" if _is_installed("torch") else _requirement(package)
        super().__init__(f"this needs {package}, which is not installed: pip install '{wanted}'")


class MissingPackageError(PredlogError, ImportError):
    """A package that predlog depends on is not installed, because predlog was installed without its dependencies."""

    def __init__(self, package: str) -> None:
        purpose, needed = ("reading", READING) if package in READING else ("recording", READING | RECORDING)
        missing = [one for one in needed if one == package or not _is_installed(one)]
        listed = ", ".join(missing[:-1]) + " and " + missing[-1] if missing[1:] else missing[0]
        are = "are" if missing[1:] else "is"
        wanted = " ".join(f"'{one}>={needed[one]}'" for one in missing)
        super().__init__(f"{purpose} needs {listed}, which {are} not installed: pip install {wanted}")


class OldPackageError(PredlogError, ImportError):
    """A package is installed in a version that predlog can't be used with."""

    def __init__(self, package: str, lowest: str, found: str) -> None:
        super().__init__(
            f"this needs {package} {lowest} or newer, and {found} is installed: pip install '{package}>={lowest}'"
        )


class ExportError(PredlogError, OSError):
    """Records can't be written to the file, or in the format, that was asked for."""


class NoThreadError(PredlogError, RuntimeError):
    """No thread could be started: there are too many, or the interpreter is ending."""


class NotDurableError(PredlogError, OSError):
    """A line is written and survives a kill of the process, but perhaps not a power cut."""


class TruncatedError(NotDurableError):
    """A line is written, but somebody has cut off what was written before it."""


def _requirement(package: str) -> str:
    """Return a package with its lowest version, as the metadata of the installed predlog has it."""
    metadata = import_module("importlib.metadata")  # of no use but here, and slow
    with suppress(metadata.PackageNotFoundError):
        for text in metadata.requires("predlog") or ():
            if match := re.match(rf"({re.escape(package)}>=[\w.]+)", text, re.IGNORECASE):
                return match[1]
    return package


def _is_installed(package: str) -> bool:
    return sys.modules.get(package) is not None or find_spec(package) is not None


@contextmanager
def required(extra: str | None = None) -> Iterator[None]:
    """Raise an error that says what to install if an import inside fails because a package is missing.

    Raises:
        MissingPackageError: predlog depends on the package.
        MissingExtraError: The package belongs to `extra`; without `extra`, the import's own error is raised.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        if package in READING | RECORDING and not _is_installed(package):
            raise MissingPackageError(package) from None
        if extra is None:
            raise
        raise MissingExtraError(extra, package) from None


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
    """Return a name as it was passed; if it is none, its type."""
    return repr(value) if type(value) is str and len(value) <= 80 else f"<{type(value).__name__}>"


# --- whose an error is --------------------------------------------------------------------------------------------
def own_failure(kind: type[Kind], *read: object) -> tuple[type[Kind], ...]:
    """Return what an `except` clause catches: `kind`, or nothing if the error at hand came from outside.

    `except own_failure(Exception) as error:` is how predlog catches in a thread that is not its own. What a signal's
    handler, a trace function or another thread raised there is the program's, and passes. `read` are foreign objects
    that were being read: what their packages raise is a failure like any other.
    """
    error = sys.exc_info()[1]
    return () if error is None or _is_from_outside(error, read) else (kind,)


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
