"""A bar on the terminal for whoever waits until large files have been read."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from predlog.reading import Reading

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
