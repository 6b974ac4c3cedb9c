"""An address → the folder of a run inside the folder that is served, or nothing."""

import os
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from predlog.errors import NoRecordsError
from predlog.reading import paths

# Bytes of a path, more than any file system takes.
_LONGEST = 4096


def address(name: str) -> str:
    """Return the address of a run's page, relative to the list's, given its name in the list."""
    return "run/" if name == "." else f"run/{quote(os.fsencode(name))}/"


def home(root: Path, folder: Path) -> str:
    """Return the address of the list, relative to that of a run's page."""
    return "../" * (1 + len(folder.relative_to(root).parts))


def found(root: Path, written: bytes) -> Path | None:
    """Return the folder of a run, given what its address has after `run/`, percent-encoded.

    None if it is not there, is not below `root`, or one of its files leads out of it.
    """
    parts = [unquote_to_bytes(part) for part in written.split(b"/")] if written else []
    if len(written) > _LONGEST or not all(map(_is_name, parts)):
        return None
    folder = root.joinpath(*map(os.fsdecode, parts))
    return folder if is_inside(root, folder) and files(root, folder) else None


def files(root: Path, folder: Path) -> list[Path]:
    """Return the files of a run; none if any of them leads out of `root`."""
    try:
        every = paths.files(folder) if folder.is_dir() else []
    except (NoRecordsError, OSError):
        return []
    return every if all(is_inside(root, file) for file in every) else []


def is_inside(root: Path, place: Path) -> bool:
    """Return whether a path, with all its links followed, is below `root`, or is that folder itself."""
    try:
        return place.resolve(strict=True).is_relative_to(root.resolve(strict=True))
    except (OSError, RuntimeError, ValueError):  # not there, a circle of links, a NUL
        return False


def _is_name(part: bytes) -> bool:
    """Return whether a part of a path is the name of a folder, and no step to another one."""
    return part not in {b"", b".", b".."} and b"/" not in part and b"\0" not in part
