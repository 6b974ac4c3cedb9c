"""What predlog raises."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

# What predlog depends on, with its lowest versions as in pyproject.toml: the first for everything, the others for
# recording alone.
READING: Final = {"orjson": "3.10", "msgspec": "0.19", "rich": "13.7"}
RECORDING: Final = {"torch": "2.4", "structlog": "24.1", "einops": "0.8"}


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


class NoSuchSampleError(NothingToCompareError):
    """A batch has none of the samples that are to be shown, as the last one of an epoch may have fewer."""


class NothingHereError(PairError):
    """This process has no part of a pair of which others have parts: there is nothing to record, and nothing wrong."""


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
        whole = f"pip install 'predlog[{extra}]', or in a clone of predlog pip install '.[{extra}]'"
        how = whole if _is_installed("torch") else f"pip install '{_requirement(package)}'"
        super().__init__(f"this needs {package}, which is not installed: {how}")


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
