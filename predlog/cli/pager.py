"""A long text on a terminal, in the user's pager."""

import os
import subprocess
import sys
from contextlib import suppress
from shutil import get_terminal_size, which
from typing import Final

# less ends by itself where all fits, shows colours, and leaves the text on the screen; as git sets it.
_LESS: Final = "FRX"
# What a shell returns if a command can't be run, or is not there.
_NOT_RUN: Final = (126, 127)


def write(text: str) -> None:
    """Write a text to standard output: on a terminal that has fewer lines than the text, through the pager.

    The pager is `$PAGER`, or else `less`, if that is there. None is used with `NO_PAGER`, an empty `PAGER` or `cat`.
    """
    is_long = sys.stdout.isatty() and text.count("\n") >= get_terminal_size().lines
    if not is_long or not (pager := _pager()) or not _paged(text, pager):
        sys.stdout.write(text)


def _pager() -> str | None:
    if os.environ.get("NO_PAGER") or os.environ.get("TERM") == "dumb":
        return None
    chosen = os.environ.get("PAGER", which("less") and "less")
    return None if chosen in {"", "cat"} else chosen


def _paged(text: str, pager: str) -> bool:
    """Return whether the pager could be run; it may have been left before the end of the text."""
    sys.stdout.flush()
    # What the user has set is a command with options, which a shell reads, as for git and man.
    run = subprocess.Popen(pager, shell=True, stdin=subprocess.PIPE, env={"LESS": _LESS, **os.environ})  # noqa: S602
    encoding = sys.stdout.encoding or "utf-8"
    with suppress(BrokenPipeError):
        run.communicate(text.encode(encoding, "backslashreplace"))
    while True:
        try:
            return run.wait() not in _NOT_RUN
        except KeyboardInterrupt:  # the pager's, which goes on
            continue
