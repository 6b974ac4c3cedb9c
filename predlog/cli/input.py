"""A path → the summary of what can be read there, or the error that nothing can."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from predlog.errors import NoRecordsError
from predlog.reading.damage import Damages
from predlog.reading.reader import Reading
from predlog.reading.summary import Summary


def look(path: str, *, all_attempts: bool = False) -> tuple[Summary, Damages]:
    """Give the summary of a path's records, and what is damaged.

    Raises:
        NoRecordsError: Not one record can be read.
    """
    records = Reading(path, all_attempts=all_attempts, warns=False)
    with waiting(records):
        summary = Summary.of(records)
    summary.replace(records.replaced)
    if summary.is_empty:
        raise NoRecordsError(f"{path} holds no records: {why_not(records.damage)}")
    return summary, records.damage


def why_not(damage: Damages) -> str:
    """Say why nothing could be read."""
    if not damage:
        return "it is empty; is it a predictions.jsonl, and has the run begun?"
    return f"{damage[0].file}, line {damage[0].line}: {damage[0].reason}; is it a predictions.jsonl?"


# Bytes, which are read in a second or two.
_LARGE = 100_000_000


@contextmanager
def waiting(*readings: Reading) -> Iterator[None]:
    """Show on stderr how much of all files has been read, where these are large and stderr is a terminal.

    The bar goes when all is done, so that nothing but the answer is left on the screen.
    """
    size = sum(reading.size for reading in readings)
    if size < _LARGE or sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from rich import console, progress  # noqa: PLC0415 - few wait

    columns = (
        progress.TextColumn("reading"), progress.BarColumn(None), progress.DownloadColumn(),
        progress.TransferSpeedColumn(), progress.TimeRemainingColumn(),
    )  # fmt: skip
    with progress.Progress(*columns, console=console.Console(stderr=True), transient=True, expand=True) as bar:
        task = bar.add_task("reading", total=size)
        for reading in readings:
            reading.told = lambda read: bar.advance(task, read)
        yield
