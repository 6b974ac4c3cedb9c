"""`predlog report`: one page of a run that can be sent to people."""

import argparse
import os
import tempfile
from pathlib import Path

from predlog.cli.io import target, tell, waiting
from predlog.reading.reader import Reading
from predlog.reading.words import counted
from predlog.report.page import page


def run(arguments: argparse.Namespace) -> int:
    """Make the page, put it in its place whole, and say where it is."""
    records = Reading(arguments.path, all_attempts=arguments.all_attempts, warns=False)
    file = target(arguments.output, records)
    with waiting(records):
        made = page(records, arguments.path, arguments.most)
    size = _written(file, made.html)
    tell(f"{arguments.output}: {counted(made.comparisons, 'comparison')}, {size / 1e6:.1f} MB")
    return 0


def _written(place: Path, text: str) -> int:
    """Write a file so that whoever has the old one open, or looks at it meanwhile, never sees half of the new one."""
    content = text.encode()
    with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".predlog-report-", delete=False) as file:
        try:
            file.write(content)
            file.close()
            Path(file.name).chmod(0o666 & ~_umask())
            Path(file.name).replace(place)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return len(content)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
