"""`predlog diff`: two runs compared at the same steps, or several, each with the first."""

import argparse
import sys

from predlog.cli.io import refuse_twice_stdin, waiting, why_not
from predlog.cli.text import objects
from predlog.cli.text.difference import add_difference
from predlog.cli.text.findings import add_left_out
from predlog.cli.text.paper import Paper
from predlog.cli.text.run_table import add_run_table, attempt_named, name
from predlog.errors import NoRecordsError, PredlogError
from predlog.reading.diff import Difference
from predlog.reading.reader import Reading, Which
from predlog.reading.run_table import compared
from predlog.reading.words import counted, left_out, seen
from predlog.sinks.terminal.style import HEADING, RIGHT, WARNING


def run(arguments: argparse.Namespace) -> int:
    """Print what differs; return 1 if anything does, else 0."""
    given = arguments.a, arguments.b, *arguments.more
    refuse_twice_stdin(given)
    runs = [
        Reading(path, attempt=attempt, warns=False)
        for path, attempt in zip(given, _attempts(arguments.attempt, len(given)), strict=True)
    ]
    return _two(arguments, runs) if len(runs) == 2 else _several(arguments, runs)


def _two(arguments: argparse.Namespace, both: list[Reading]) -> int:
    with waiting(*both):
        found = Difference(*both)
    for records, count, headers in zip(both, found.comparisons, found.headers, strict=True):
        if not count:
            raise _nothing(records, is_begun=bool(headers))
    if arguments.json:
        sys.stdout.write(objects.dumped(objects.whole(found, both, arguments.tokens)))
    else:
        paper = Paper()
        _draw(paper, found, both, arguments.tokens)
        paper.write()
    return 1 if found.differs else 0


def _several(arguments: argparse.Namespace, runs: list[Reading]) -> int:
    """Print a table of more than two runs, each compared with the first."""
    with waiting(*runs):
        found = compared(runs)
    for one in found:
        if not one.summary.comparisons:
            raise _nothing(one.reading, is_begun=bool(one.summary.runs))
    if arguments.json:
        sys.stdout.write(objects.dumped(objects.run_table(found)))
    else:
        paper = Paper()
        for one in found:
            if places := one.reading.damage.total:
                paper.paragraph(f"{name(one)}: {counted(places, 'damaged place')}", WARNING)
            add_left_out(paper, one.reading.left_out, f"in {name(one)}, ")
        add_run_table(paper, found)
        paper.write()
    return 1 if any(one.difference.differs for one in found if one.difference is not None) else 0


def _nothing(records: Reading, *, is_begun: bool) -> NoRecordsError:
    reason = "" if is_begun and not records.damage else f": {why_not(records.damage)}"
    earlier = f"; {left_out(records.left_out)}" if records.left_out else ""
    return NoRecordsError(f"{records.path} holds no comparisons{reason}{earlier}")


def _attempts(given: list[Which] | None, runs: int) -> list[Which]:
    """Return the attempt of each run: one that was given alone is that of all."""
    if given is None:
        return [None] * runs
    if len(given) not in {1, runs}:
        raise PredlogError(f"--attempt was given {len(given)} times for {runs} runs: give it once, or once for each")
    return given * runs if len(given) == 1 else given


def _draw(paper: Paper, found: Difference, both: list[Reading], most: int) -> None:
    for letter, records, comparisons in zip("AB", both, found.comparisons, strict=True):
        places = records.damage.total
        note = f", {counted(places, 'damaged place')}" if places else ""
        which = attempt_named(records.attempt)
        paper.line((f"{letter} is {seen(records.path)}{which}: {counted(comparisons, 'comparison')}{note}", HEADING))
        add_left_out(paper, records.left_out, f"in {letter}, ")
    if found.differs:
        add_difference(paper, found, most)
    else:
        paper.line(("A and B are the same", RIGHT))
