"""`predlog explain`: what a finding means and how to fix it."""

import argparse
import os
import subprocess
import sys
from contextlib import suppress
from shutil import get_terminal_size, which
from typing import IO, Final, cast

import predlog._runtime.first_imports  # noqa: F401 - before rich is imported

# isort: split
from rich.console import Console
from rich.markdown import Markdown

from predlog.cli.text import objects
from predlog.findings.catalog import SENTENCES, page

# less ends by itself where all fits, shows colours, and leaves the text on the screen; as git sets it.
_LESS: Final = "FRX"
# What a shell returns if a command can't be run, or is not there.
_NOT_RUN: Final = (126, 127)


def run(arguments: argparse.Namespace) -> int:
    """Print the page of a code, or one line per code."""
    if arguments.json:
        codes = SENTENCES if arguments.code is None else [arguments.code]
        sys.stdout.writelines(objects.dumped(objects.code(code, has_page=len(codes) == 1)) for code in codes)
        return 0
    if arguments.code is None:
        width = max(map(len, SENTENCES))
        _write("".join(f"{code:<{width}}  {says}\n" for code, says in SENTENCES.items()))
        return 0
    text = page(arguments.code)
    if sys.stdout.isatty():
        console = Console()
        with console.capture() as drawn:
            console.print(Markdown(text))
        _write(drawn.get())
    else:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    return 0


def _write(text: str) -> None:
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
    with suppress(BrokenPipeError), cast(IO[bytes], run.stdin) as opened:
        opened.write(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))
    while True:
        try:
            return run.wait() not in _NOT_RUN
        except KeyboardInterrupt:  # the pager's, which goes on
            continue
