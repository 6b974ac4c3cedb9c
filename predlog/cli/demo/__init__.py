"""`predlog demo`: a small real training, or the list of mistakes that it can make."""

import argparse
import warnings

from predlog.cli.demo.mistakes import listing
from predlog.cli.text.paper import Paper


def run(arguments: argparse.Namespace) -> int:
    """Train, or list."""
    if arguments.mistake == "list":
        paper = Paper()
        for line in listing().splitlines():
            paper.paragraph(line)
        paper.write()
        return 0
    # Torch warns of it as it is imported; the extra `report` brings NumPy, and the training uses none.
    warnings.filterwarnings("ignore", "Failed to initialize NumPy")
    from predlog.cli.demo.training import train  # noqa: PLC0415 - it imports torch

    train(arguments)
    return 0
