"""The parser of the `predlog` command line: all its subcommands, and what an unknown option is answered."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

from predlog.cli.arguments import Parser, Version, filled, formatter, listed
from predlog.cli.options import SUBCOMMANDS


def parsed(line: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; report an unknown one with the usage of its subcommand, and the option that is close."""
    whole = parser()
    typed = sys.argv[1:] if line is None else line
    if not typed:
        whole.print_help(sys.stderr)
        whole.exit(2)  # for a script that has lost its arguments
    _check_command(whole, next((one for one in typed if not one.startswith("-")), None))
    found, unknown = whole.parse_known_args(line)
    if unknown:
        command: argparse.ArgumentParser = found.command
        known = [option for action in command._actions for option in action.option_strings]  # noqa: SLF001 - as shtab does
        names = {option.lstrip("-"): option for option in known}
        slips = [one.partition("=")[0].lstrip("-") for one in unknown if one.startswith("--")]
        close = [names[name] for slip in slips for name in import_module("difflib").get_close_matches(slip, names, 1)]
        meant = f", did you mean {' '.join(close)}?" if close else f"; see `{command.prog} --help`"
        command.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
    return found


def _check_command(whole: argparse.ArgumentParser, name: str | None) -> None:
    """Report a name that is no subcommand, and the one that is close; argparse would list all of them in one line."""
    names = [choice for action in whole._actions for choice in action.choices or ()]  # noqa: SLF001 - as above
    if name is not None and name not in names:
        close = import_module("difflib").get_close_matches(name, names, 1)
        meant = f", did you mean {close[0]!r}?" if close else "; see `predlog --help`"
        whole.error(f"argument COMMAND: invalid choice: {name!r}{meant}")


def parser() -> argparse.ArgumentParser:
    """Return the parser; what it parses has a `module`, whose `run` takes the arguments and returns the exit status."""
    whole = Parser(
        prog="predlog",
        description="See what a token model predicts next to what it was asked to predict.",
        epilog=listed(
            ("predlog demo", "train a small model with predlog on"),
            ("predlog list", "the runs in runs/, the newest first"),
            ("predlog tail -f runs/exp1", "watch a run from another terminal or node"),
            ("predlog summary runs/exp1", "how it went"),
            ("predlog check runs/exp1 && ./deploy", "stop if something is wrong"),
            ("predlog report runs/exp1 -o report.html", "a page to send to a colleague"),
            ("predlog serve runs", "the pages of all runs in a browser, while they go on"),
        ),
        formatter_class=formatter,
    )
    whole.add_argument("--version", action=Version, nargs=0, help="show program's version number and exit")
    commands = whole.add_subparsers(required=True, metavar="COMMAND", prog="predlog")
    for add_options in SUBCOMMANDS:
        add_options(partial(_command, commands))
    return whole


def _command(commands: Any, name: str, says: str, more: str, *examples: tuple[str, str]) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=says,
        description=filled(more),
        epilog=listed(*examples) if examples else None,
        formatter_class=formatter,
    )
    module = "predlog.cli.demo" if name == "demo" else f"predlog.cli.commands.{name}"
    command.set_defaults(module=module, command=command)
    return command
