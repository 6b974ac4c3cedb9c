"""What the parser of a command line is made of: choices, numbers, help with examples, and errors that are safe."""

import argparse
import shutil
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Any, Literal, NoReturn

from predlog.records.text import harmless

ALL = -1


class Choices:
    """What a module lists; the module is imported when the list is needed.

    It is an argument's `type` as well as its `choices`: argparse asks the type first, and would itself answer a slip
    with the whole list. `listed` is the command that prints that.
    """

    def __init__(self, module: str, name: str, *more: str, listed: str) -> None:
        self._home = module, name
        self._more = more
        self._listed = listed

    def __call__(self, text: str) -> str:
        """Return a choice; of any other text, report which choice is close, and where all are listed."""
        if text in self:
            return text
        close = import_module("difflib").get_close_matches(text, [*self], 1)
        meant = f", did you mean {close[0]!r}?" if close else ";"
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r}{meant} `{self._listed}` lists them all")

    def __iter__(self) -> Iterator[str]:
        module, name = self._home
        yield from (*getattr(import_module(module), name), *self._more)


class Version(argparse.Action):
    """Print the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it, and exit."""
        sys.stdout.write(f"predlog {import_module('predlog').__version__}\n")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """A parser whose errors are safe to print: a shell puts the names of files in place of a star."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with 2."""
        super().error(harmless(message))


def formatter(prog: str) -> argparse.HelpFormatter:
    """Return a formatter, in colour if the extra `cli` is installed."""
    try:
        import rich_argparse  # noqa: PLC0415 - it may not be installed
    except ImportError:
        return argparse.RawDescriptionHelpFormatter(prog)

    class Formatter(rich_argparse.RawDescriptionRichHelpFormatter):
        def add_usage(self, *arguments: Any, **options: Any) -> None:
            import_module("predlog._runtime.first_imports")  # rich is imported when something is printed
            super().add_usage(*arguments, **options)

    return Formatter(prog)


def listed(*commands: tuple[str, str]) -> str:
    """Return the end of a help text: commands, and what each is for, below it where there is no room beside them."""
    width, room = max(len(command) for command, _ in commands), shutil.get_terminal_size().columns - 2
    if all(width + len(says) + 4 <= room for _, says in commands):
        return "examples:\n" + "\n".join(f"  {command:<{width}}  {says}" for command, says in commands)
    told = [f"  {command}\n{textwrap.indent(filled(says, 6), ' ' * 6)}" for command, says in commands]
    return "examples:\n" + "\n".join(told)


def filled(text: str, indent: int = 0, most: int = 98) -> str:
    """Return a text in lines that fit the terminal after so many blanks."""
    return textwrap.fill(text, max(min(shutil.get_terminal_size().columns - 2, most) - indent, 20))


def lines(text: str) -> int:
    """Return a number of lines, `ALL` for the word."""
    return ALL if text == "all" else number(text, more=", or `all`")


def attempt(text: str) -> int | Literal["all"]:
    """Return the number of an attempt, or the word for all."""
    return "all" if text == "all" else number(text, 1, more=", or `all`")


def number(text: str, least: int = 0, more: str = "") -> int:
    """Return a number that is at least this one."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, {least} or more{more}")
    return int(text)


positive = partial(number, least=1)


def port(text: str) -> int:
    """Return the number of a port."""
    if (found := number(text)) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: the highest is 65535")
    return found


def steps(text: str) -> tuple[int | None, int | None]:
    """Return the first and the last step of A:B, A:, :B or A; None where it is left out."""
    start, colon, end = text.partition(":")
    if not colon:
        end = start
    if not start + end or any(part and not part.isdecimal() for part in (start, end)):
        raise argparse.ArgumentTypeError(f"{text!r} must be A:B, A:, :B or one step")
    if start and end and int(start) > int(end):
        raise argparse.ArgumentTypeError(f"{text!r}: {start} is above {end}")
    return int(start) if start else None, int(end) if end else None
