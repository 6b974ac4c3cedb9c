"""`predlog report`: one page of a run, or of several, that can be sent to people."""

import argparse
from pathlib import Path

from predlog.cli import say
from predlog.cli.browser import show
from predlog.cli.io import replacing, target, tell_written, waiting
from predlog.reading import paths
from predlog.reading.reader import Reading
from predlog.reading.words import counted, left_out
from predlog.report.contents import Contents
from predlog.report.page import is_page, page


def run(arguments: argparse.Namespace) -> int:
    """Make the page, put it in its place whole, and report where it is; with `--open`, show it."""
    given = _once(arguments.paths)
    readings = [Reading(path, attempt=arguments.attempt, warns=False) for path in given]
    file = target(arguments.output, readings, None if arguments.force else is_page)
    with waiting(*readings):
        runs = [
            Contents.of(records, path, name, max(arguments.most // len(given), 1))
            for records, path, name in zip(readings, given, paths.names(given), strict=True)
        ]
    made = page(_with_comparisons(runs))
    content = made.html.encode()
    with replacing(file, readings) as unfinished:
        unfinished.write(content)
    for path, records in zip(given, readings, strict=True):
        if records.left_out:
            say(f"{f'{path}: ' if len(given) > 1 else ''}{left_out(records.left_out)}")
    comparisons = made.comparisons
    tell_written(arguments, len(content), counted(comparisons, "comparison"), paths=given, comparisons=comparisons)
    if arguments.open:
        show(file)
    return 0


def _once(given: list[str]) -> list[str]:
    """Return the paths, each once: the same run twice would be two lines of which one hides the other."""
    places = [path if path == paths.STDIN else Path(path).resolve() for path in given]
    return [path for number, path in enumerate(given) if places.index(places[number]) == number]


def _with_comparisons(runs: list[Contents]) -> list[Contents]:
    """Return the runs that have a comparison; of several, report which have none."""
    full = [run for run in runs if not run.is_empty]
    if not full:
        raise runs[0].why_empty()
    for run in runs:
        if run.is_empty:
            say(f"left out: {run.why_empty()}")
    return full
