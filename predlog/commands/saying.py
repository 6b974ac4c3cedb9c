"""What a command has to say beside its output, or of the file that it made: a line that nothing in it can steer."""

import sys
from typing import TextIO

from predlog.sinks.visible import encodable, visible


def say(text: str) -> None:
    """Say it on stderr, if there is one."""
    _write(sys.stderr, f"predlog: {text}")


def tell(text: str) -> None:
    """Say it on stdout."""
    _write(sys.stdout, text)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        stream.write(f"{encodable(visible(text, ' '), stream.encoding or 'utf-8')}\n")
