"""What a command has to say beside its output, or of the file that it made: a line that nothing in it can steer."""

import os
import sys
from pathlib import Path
from typing import TextIO

from predlog.errors import PredlogError
from predlog.reading.reader import Reading
from predlog.records.text import encodable, visible


def say(text: str) -> None:
    """Say it on stderr, if there is one."""
    _write(sys.stderr, f"predlog: {text}")


def tell(text: str) -> None:
    """Say it on stdout."""
    _write(sys.stdout, text)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        stream.write(f"{encodable(visible(text, ' '), stream.encoding or 'utf-8')}\n")


def target(output: str, records: Reading) -> Path:
    """Give the file to write; asked before anything is read, so that nobody waits for an error.

    A whole file takes the place of what stands there: of a pipe or a device that would be its end, and of a file that
    is read the run's.

    Raises:
        PredlogError: There is no such folder, or something stands there that is not to be replaced.
    """
    file = Path(output)
    if file.is_dir():
        raise PredlogError(f"{file} is a folder: name a file in it")
    if not file.parent.is_dir():
        raise PredlogError(f"{file.parent} is no folder: make it first")
    if file.exists():
        if not file.is_file():
            raise PredlogError(f"{file} is a pipe or a device: write to a file, and pass that on")
        if any(os.path.samestat(file.stat(), source) for source in _sources(records)):
            raise PredlogError(f"{file} is read, and would be overwritten: write to another file")
    return file


def _sources(records: Reading) -> list[os.stat_result]:
    try:
        return [source.stat() for source in records.files] or [os.fstat(0)]
    except OSError:
        return []  # what can't be read is told by whoever reads it
