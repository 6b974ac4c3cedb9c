"""Which files live processes of this host are writing to, as the kernel lists them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROCESSES: Final = Path("/proc")
# Recorders open their file to append to it. Readers do not, so `predlog tail -f` keeps no run alive.
_APPENDS: Final = os.O_APPEND

Identity = tuple[int, int]


def held(ending: str = ".jsonl") -> frozenset[Identity]:
    """Return device and inode of each file that a process has open to append to it, and whose name ends in `ending`.

    Processes of other users, and of other hosts, can't be looked at. Where there is no `/proc`, the set is empty.
    """
    return frozenset(_held(ending))


def _held(ending: str) -> Iterator[Identity]:
    with suppress(OSError):
        for process in _PROCESSES.iterdir():
            if process.name.isdecimal():
                yield from _of_process(process, ending)


def _of_process(process: Path, ending: str) -> Iterator[Identity]:
    with suppress(OSError):  # another user's, or it has just ended
        for opened in (process / "fd").iterdir():
            with suppress(OSError, ValueError, IndexError):
                if str(opened.readlink()).endswith(ending) and _flags(process / "fdinfo" / opened.name) & _APPENDS:
                    status = opened.stat()
                    yield status.st_dev, status.st_ino


def _flags(about: Path) -> int:
    """Return the flags that a file was opened with: the line `flags:` of what the kernel knows of a descriptor."""
    return int(about.read_bytes().partition(b"flags:")[2].split()[0], 8)
