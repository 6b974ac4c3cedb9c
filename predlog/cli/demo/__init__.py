"""`predlog demo`: a small real training, or the list of mistakes that it can make."""

import argparse
import sys

from predlog.cli.demo.mistakes import listing
from predlog.cli.options import EVERY


def run(arguments: argparse.Namespace) -> int:
    """Train, or list."""
    if arguments.mistake == "list":
        sys.stdout.write(f"{listing()}\n")
        return 0
    if "every" not in arguments:
        arguments.every = EVERY // 4 if arguments.mistake else EVERY
    from predlog.cli.demo.training import train  # noqa: PLC0415 - it imports torch

    train(arguments)
    return 0
