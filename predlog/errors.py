"""What predlog raises, and how an error is put into words."""

import os
from typing import Any


class PredlogError(Exception):
    """Base of everything that predlog raises on purpose."""


class PairError(PredlogError):
    """Logits, labels, layout, shift or step do not make a pair that can be compared.

    `code` is the finding that says so, and `evidence` its numbers.
    """

    def __init__(self, message: str, code: str = "unreadable-pair", **evidence: Any) -> None:
        super().__init__(message)
        self.code = code
        self.evidence = evidence


class SettingError(PredlogError, ValueError):
    """A recorder was asked for with arguments that make no sense."""


class RecordError(PredlogError, ValueError):
    """A line is no undamaged predlog record, or an event cannot become one."""


class SchemaError(RecordError):
    """A line was written with a schema that is newer than this predlog, by the version named, where that is known."""

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
    """A whole line of a known schema holds a kind of event that this version does not know."""


class NoRecordsError(PredlogError, FileNotFoundError):
    """There is nothing to read at a path."""


class MissingExtraError(PredlogError, ImportError):
    """What was asked for needs a package that is not installed."""

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(f"this needs {package}, which is not installed: pip install 'predlog[{extra}]'")


class ExportError(PredlogError, OSError):
    """What was recorded can't be written where, or as, was asked."""


class NoThreadError(PredlogError, RuntimeError):
    """No thread could be started: there are too many, or the interpreter is at its end."""


class NotDurableError(PredlogError, OSError):
    """A line is written, and survives a kill of the process; that it survives a power cut can't be promised."""


def described(error: BaseException) -> str:
    """Return an error in words; never raise, whatever the error's own `__str__` does."""
    try:
        return str(error) if isinstance(error, PredlogError) else f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a foreign error's own code
        return type(error).__name__


def located(error: BaseException) -> str:
    """Return an error in words, with the file and line that raised it if predlog did not raise it on purpose."""
    return described(error) if isinstance(error, PredlogError) else f"{described(error)} ({raised_at(error)})"


def raised_at(error: BaseException) -> str:
    """Return the file and line that raised, so that each cause is reported, however often another one comes."""
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
    except Exception:  # noqa: BLE001 - a foreign error's own code
        return f"{located(error)}: its traceback can't be formatted"


def briefly(value: object) -> str:
    """Return a name as it was passed, if it is one; else what it is."""
    return repr(value) if type(value) is str and len(value) <= 80 else f"<{type(value).__name__}>"
