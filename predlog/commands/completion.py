"""`predlog completion`: a script that completes the command in a shell."""

import argparse
import sys

from predlog import options
from predlog.errors import MissingExtraError


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    try:
        import shtab  # noqa: PLC0415 - it may not be installed
    except ModuleNotFoundError:
        raise MissingExtraError("cli", "shtab") from None
    sys.stdout.write(f"{shtab.complete(options.parser(), arguments.shell)}\n")
    return 0
