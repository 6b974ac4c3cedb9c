"""`predlog completion`: a script that completes the command in a shell."""

import argparse
import sys
from collections.abc import Iterator

from predlog.cli import options
from predlog.errors import required

# The names of the arguments that are paths.
_FILES, _FOLDERS = {"PATH", "A", "B", "MORE", "FILE"}, {"DIRECTORY", "FOLDER"}


def run(arguments: argparse.Namespace) -> int:
    """Print the script, in which paths are completed, too: a shell that has it completes nothing else by itself."""
    with required("cli"):
        import shtab  # noqa: PLC0415 - it may not be installed
    parser = options.parser()
    for action in _actions(parser):
        name = action.metavar or action.dest.upper()
        if name in _FILES | _FOLDERS:
            vars(action)["complete"] = shtab.FILE if name in _FILES else shtab.DIRECTORY
    sys.stdout.write(f"{shtab.complete(parser, arguments.shell)}\n")
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of all subcommands."""
    for action in parser._actions:  # noqa: SLF001 - as shtab does; argparse has no other way to ask
        yield action
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                yield from _actions(command)
