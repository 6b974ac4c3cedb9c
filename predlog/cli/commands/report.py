"""`predlog report`: one page of a run that can be sent to people."""

import argparse

from predlog.cli import say, tell
from predlog.cli.io import replacing, target, waiting
from predlog.reading.reader import Reading
from predlog.reading.words import counted, left_out
from predlog.report.page import page


def run(arguments: argparse.Namespace) -> int:
    """Make the page, put it in its place whole, and report where it is."""
    records = Reading(arguments.path, attempt=arguments.attempt, warns=False)
    file = target(arguments.output, records)
    with waiting(records):
        made = page(records, arguments.path, arguments.most)
    content = made.html.encode()
    with replacing(file, records) as unfinished:
        unfinished.write(content)
    if records.left_out:
        say(left_out(records.left_out))
    tell(f"{arguments.output}: {counted(made.comparisons, 'comparison')}, {len(content) / 1e6:.1f} MB")
    return 0
