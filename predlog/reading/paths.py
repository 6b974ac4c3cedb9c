"""A path → the files with records at it."""

import errno
import glob
import os
import stat
from collections.abc import Iterable
from fnmatch import fnmatch, fnmatchcase
from pathlib import Path
from typing import Final

from predlog.errors import NoRecordsError
from predlog.records.codec import BINARY

STDIN = "-"
STDIN_FILE = Path("/dev/stdin")
PACKED = (".gz", ".zst")
# Without this, opening a pipe waits until somebody writes to it; Windows has no such pipes.
_AT_ONCE: Final[int] = getattr(os, "O_NONBLOCK", 0)
_NAMES = [f"predictions*.jsonl{suffix}" for suffix in ("", *PACKED)]
# Folders of a run that have the file of one rank each.
_OF_RANK = "rank=[0-9]*"


def files(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files at a path: itself, a folder's `predictions*.jsonl` (also `.gz` and `.zst`), or those of a glob.

    Those of a folder may be in folders of their ranks, `rank=3/`. A file that exists packed and unpacked counts once,
    unpacked. Files come in the order of their ranks.

    Raises:
        NoRecordsError: There is nothing at `path`, or no such file in the folder; or it is a pipe or a device.
    """
    place = Path(path)
    if is_stream(place):  # it has no end to look at, and can't be read twice
        raise NoRecordsError(f"{place} is no file: pipe it in and read {STDIN}")
    if place.is_dir():
        if found := _in_folder(place):
            return found
        below = sorted({file.parent for name in _NAMES for file in place.glob(f"*/{name}")})
        hint = f"; there are some in {below[0]}" if below else ": is it the folder of a run?"
        raise NoRecordsError(f"{place} holds no predictions*.jsonl{hint}")
    if place.exists():
        return [place]
    if not glob.has_magic(os.fspath(path)):
        raise NoRecordsError(f"{place} does not exist")
    matches = [Path(match) for match in glob.glob(os.fspath(path), recursive=True)]  # noqa: PTH207 - it may be absolute
    here = [match for match in matches if not is_stream(match)]
    found = [file for match in here for file in (_in_folder(match) if match.is_dir() else [match])]
    if not found:
        raise NoRecordsError(f"no file matches {place}")
    return _once(found)


def names(given: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the shortest end of each path that tells it from the others: `a` and `b` for `runs/a` and `runs/b`.

    The name of a file that predlog gives is left out where the folders differ. A path that comes twice has one name.
    """
    whole = [Path("standard input") if os.fspath(path) == STDIN else Path(os.path.abspath(path)) for path in given]  # noqa: PTH100 - links keep their names
    folders = [run_folder(path) if fnmatch(path.name, "predictions*.jsonl*") else path for path in whole]
    every = folders if len({*folders}) == len({*whole}) else whole
    return [_end(path, {*every} - {path}) for path in every]


def _end(path: Path, others: set[Path]) -> str:
    for length in range(1, len(path.parts) + 1):
        end = path.parts[-length:]
        if not any(other.parts[-length:] == end for other in others):
            return os.path.join(*end)  # noqa: PTH118 - not a path of its own
    return str(path)


def is_records(name: str) -> bool:
    """Return whether a file of this name in a folder is one with records."""
    return any(fnmatchcase(name, pattern) for pattern in _NAMES)


def is_stream(place: Path) -> bool:
    """Return whether what exists at a path is neither a file nor a folder."""
    try:
        mode = place.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def opened(file: Path) -> int:
    """Open a file to read it, and return its descriptor.

    A pipe or a device that has taken its place since it was looked for is not waited for: that raises OSError.
    """
    found = os.open(file, os.O_RDONLY | BINARY | _AT_ONCE)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(errno.EINVAL, "a pipe, a device or a folder has taken the place of the file", os.fspath(file))
    return found


def _in_folder(folder: Path) -> list[Path]:
    """Return the files of a folder, without pipes and devices, which might never end, and folders of such a name."""
    found = (file for name in _NAMES for place in ("", f"{_OF_RANK}/") for file in folder.glob(f"{place}{name}"))
    return _once(file for file in found if not is_stream(file) and not file.is_dir())


def _once(found: Iterable[Path]) -> list[Path]:
    """Return files in order, each once: unpacked, or, if there are only packed ones, one of these."""
    once = {_unpacked(file): file for file in sorted(found, key=_packing, reverse=True)}
    return sorted(once.values(), key=_in_order)


def _unpacked(file: Path) -> Path:
    return file.with_suffix("") if file.suffix in PACKED else file


def _packing(file: Path) -> int:
    return PACKED.index(file.suffix) if file.suffix in PACKED else -1


def _in_order(file: Path) -> tuple[str, int, str]:
    """Return a sorting key that puts rank 10 after rank 9."""
    _, _, rank = file.name.partition("-rank")
    number = rank.partition(".")[0]
    return str(run_folder(file)), int(number) if number.isdecimal() else -1, file.name


def run_folder(file: Path) -> Path:
    """Return the folder of the run that a file is of: not that of its rank."""
    return file.parent.parent if is_of_rank(file.parent.name) else file.parent


def is_of_rank(name: str) -> bool:
    """Return whether a folder of this name in that of a run is the one of a rank."""
    return fnmatchcase(name, _OF_RANK)
