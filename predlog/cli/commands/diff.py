"""`predlog diff`: two runs compared at the same steps."""

import argparse
import sys

from predlog.cli.io import waiting, why_not
from predlog.cli.text import objects
from predlog.cli.text.difference import add_difference
from predlog.cli.text.paper import Paper
from predlog.errors import NoRecordsError, PredlogError
from predlog.reading.diff import Difference
from predlog.reading.reader import Reading
from predlog.reading.words import counted
from predlog.records.text import visible
from predlog.sinks.terminal.style import HEADING, RIGHT


def run(arguments: argparse.Namespace) -> int:
    """Print what differs; return 1 if anything does, else 0."""
    paths = arguments.a, arguments.b
    if paths == ("-", "-"):
        raise PredlogError("only one of the two runs can be standard input: give the other one's path")
    both = [Reading(path, warns=False) for path in paths]
    with waiting(*both):
        found = Difference(*both)
    for path, records, count in zip(paths, both, found.comparisons, strict=True):
        if not count:
            reason = "" if any(found.headers) and not records.damage else f": {why_not(records.damage)}"
            raise NoRecordsError(f"{path} holds no comparisons{reason}")
    damaged = [records.damage.total for records in both]
    if arguments.json:
        sys.stdout.write(objects.dumped(objects.whole(found, paths, damaged, arguments.tokens)))
    else:
        paper = Paper()
        _draw(paper, found, paths, damaged, arguments.tokens)
        paper.write()
    return 1 if found.differs else 0


def _draw(paper: Paper, found: Difference, paths: tuple[str, str], damaged: list[int], most: int) -> None:
    for name, path, comparisons, places in zip("AB", paths, found.comparisons, damaged, strict=True):
        note = f", {counted(places, 'damaged place')}" if places else ""
        paper.line((f"{name} is {visible(path, ' ')}: {counted(comparisons, 'comparison')}{note}", HEADING))
    if found.differs:
        add_difference(paper, found, most)
    else:
        paper.line(("A and B are the same", RIGHT))
