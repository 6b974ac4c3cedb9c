"""`predlog diff`: two runs compared at the same steps."""

import argparse
import sys

from predlog.cli.io import waiting, why_not
from predlog.cli.text import objects
from predlog.cli.text.difference import add_difference
from predlog.cli.text.findings import add_left_out
from predlog.cli.text.paper import Paper
from predlog.errors import NoRecordsError, PredlogError
from predlog.reading.diff import Difference
from predlog.reading.reader import Reading, Which
from predlog.reading.words import counted, left_out, seen
from predlog.sinks.terminal.style import HEADING, RIGHT


def run(arguments: argparse.Namespace) -> int:
    """Print what differs; return 1 if anything does, else 0."""
    paths = arguments.a, arguments.b
    if paths == ("-", "-"):
        raise PredlogError("only one of the two runs can be standard input: give the other one's path")
    both = [
        Reading(path, attempt=attempt, warns=False)
        for path, attempt in zip(paths, _attempts(arguments.attempt, len(paths)), strict=True)
    ]
    with waiting(*both):
        found = Difference(*both)
    for path, records, count in zip(paths, both, found.comparisons, strict=True):
        if not count:
            reason = "" if any(found.headers) and not records.damage else f": {why_not(records.damage)}"
            earlier = f"; {left_out(records.left_out)}" if records.left_out else ""
            raise NoRecordsError(f"{path} holds no comparisons{reason}{earlier}")
    if arguments.json:
        sys.stdout.write(objects.dumped(objects.whole(found, both, arguments.tokens)))
    else:
        paper = Paper()
        _draw(paper, found, both, arguments.tokens)
        paper.write()
    return 1 if found.differs else 0


def _attempts(given: list[Which] | None, runs: int) -> list[Which]:
    """Return the attempt of each run: one that was given alone is that of all."""
    if given is None:
        return [None] * runs
    if len(given) not in {1, runs}:
        raise PredlogError(f"--attempt was given {len(given)} times for {runs} runs: give it once, or once for each")
    return given * runs if len(given) == 1 else given


def _draw(paper: Paper, found: Difference, both: list[Reading], most: int) -> None:
    for name, records, comparisons in zip("AB", both, found.comparisons, strict=True):
        places = records.damage.total
        note = f", {counted(places, 'damaged place')}" if places else ""
        which = "" if records.attempt is None else f", {_named(records.attempt)}"
        paper.line((f"{name} is {seen(records.path)}{which}: {counted(comparisons, 'comparison')}{note}", HEADING))
        add_left_out(paper, records.left_out, f"in {name}, ")
    if found.differs:
        add_difference(paper, found, most)
    else:
        paper.line(("A and B are the same", RIGHT))


def _named(attempt: Which) -> str:
    return "all attempts" if attempt == "all" else f"attempt {attempt}"
