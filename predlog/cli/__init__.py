"""The `predlog` command, its subcommands, and the demo; and the lines that a command prints beside its output."""

import sys
from contextlib import suppress
from typing import TextIO

from predlog.records.text import encodable, visible


def say(text: str) -> None:
    """Write a line to stderr, if there is one that can be written to: the exit status says enough."""
    with suppress(OSError, ValueError):
        _write(sys.stderr, f"predlog: {text}")


def tell(text: str) -> None:
    """Write a line to stdout."""
    _write(sys.stdout, text)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        stream.write(f"{encodable(visible(text, ' '), stream.encoding or 'utf-8')}\n")
