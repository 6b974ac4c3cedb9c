"""What a command has to say beside its output: a line on stderr that nothing in it can steer."""

import sys

from predlog.sinks.visible import encodable, visible


def say(text: str) -> None:
    """Say it."""
    sys.stderr.write(f"predlog: {encodable(visible(text, ' '), sys.stderr.encoding or 'utf-8')}\n")
