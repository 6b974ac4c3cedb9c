"""What a command reads, and the file that it writes."""

import argparse
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from predlog._runtime.failure import described
from predlog.cli import say, tell
from predlog.cli.bar import Bar
from predlog.cli.text.objects import dumped
from predlog.errors import ExportError, NoRecordsError, PredlogError
from predlog.reading.damage import Damages
from predlog.reading.paths import STDIN
from predlog.reading.reader import Reading, Which
from predlog.reading.run_table import complete
from predlog.reading.summary import Summary
from predlog.records.schema import Record


def look(path: str, *, attempt: Which = None, since: float | None = None) -> tuple[Summary, Damages]:
    """Return the summary of a path's records, and what is damaged; the command has been reading `since` then.

    Raises:
        NoRecordsError: Not one record can be read, or there is no such attempt.
    """
    records = Reading(path, attempt=attempt, warns=False)
    with waiting(records, since=since):
        summary = Summary.of(records)
    complete(summary, records)
    if summary.is_empty:
        raise NoRecordsError(f"{path} holds no records: {why_not(records.damage)}")
    return summary, records.damage


def look_at_each(
    paths: Sequence[str],
    show: Callable[[str, Summary, Damages], int],
    failed: Callable[[str, str], object],
    *,
    attempt: Which = None,
) -> int:
    """Call `show` with each path, its summary and its damage, and return the worst status.

    Of several paths, one that can't be read is reported, also to `failed`, and is status 2; the others are shown.
    """
    refuse_twice_stdin(paths)
    worst, since = 0, time.monotonic()
    for path in paths:
        try:
            summary, damage = look(path, attempt=attempt, since=since)
        except (PredlogError, OSError) as error:
            if len(paths) == 1:
                raise
            failed(path, described(error))
            sys.stdout.flush()
            say(described(error))
            worst = 2
            continue
        worst = max(worst, show(path, summary, damage))
    return worst


def refuse_twice_stdin(paths: Sequence[str]) -> None:
    """Raise PredlogError if standard input is to be read as more than one run."""
    if paths.count(STDIN) > 1:
        raise PredlogError("only one of the runs can be standard input: give the paths of the others")


def why_not(damage: Damages) -> str:
    """Return why nothing could be read."""
    if not damage:
        return "it is empty; is it a predictions.jsonl, and has the run begun?"
    return f"{damage[0].file}, line {damage[0].line}: {damage[0].reason}; is it a predictions.jsonl?"


@contextmanager
def waiting(*readings: Reading, since: float | None = None) -> Iterator[None]:
    """Show on stderr how much of all files has been read, as `Bar` does."""
    is_known = all(reading.files for reading in readings)
    with Bar(sum(reading.size for reading in readings) if is_known else None, since=since) as bar:
        for reading in readings:
            reading.told = bar.told
        yield


def target(
    output: str | os.PathLike[str], read: Sequence[Iterable[Record]], is_ours: Callable[[Path], bool] | None = None
) -> Path:
    """Return the file to write; asked before anything is read, so that nobody waits for an error.

    A whole file takes the place of what is there: of a pipe or a device that would be its end, and of a file that is
    read the run's. `is_ours` tells whether predlog has made the file that is there; without it, any file is replaced
    that is not read.

    Raises:
        ExportError: There is no such folder, or something is there that is not to be replaced.
    """
    file = Path(output)
    if file.is_dir():
        raise ExportError(f"{file} is a folder: name a file in it")
    if not file.parent.is_dir():
        raise ExportError(f"{file.parent} is no folder: create it first")
    if file.exists():
        if not file.is_file():
            raise ExportError(f"{file} is a pipe or a device: write to a file, and pass that on")
        is_read = is_known = False
        with suppress(OSError):  # what can't be read is reported by whoever reads it
            is_read = any(os.path.samestat(file.stat(), source) for source in _sources(read))
        if is_read:
            raise ExportError(f"{file} is being read, and would be overwritten: write to another file")
        with suppress(OSError):
            is_known = is_ours is None or not file.stat().st_size or is_ours(file)
        if not is_known:
            raise ExportError(
                f"{file} exists, and predlog did not make it: write to another file with -o, or replace it with --force"
            )
    return file


def _sources(read: Sequence[Iterable[Record]]) -> list[os.stat_result]:
    readings = [records for records in read if isinstance(records, Reading)]
    return [found for records in readings for found in [file.stat() for file in records.files] or [os.fstat(0)]]


def _as_private(file: Path, read: Sequence[Iterable[Record]]) -> int:
    """Return the permissions that all files read, and the one that is replaced, leave to a new file."""
    try:
        known = [*_sources(read), *([file.stat()] if file.exists() else [])]
    except OSError:
        return 0o600
    mode = 0o666
    for source in known:
        # Another group than the new file will have is others to it.
        is_ours = not hasattr(os, "getegid") or source.st_gid == os.getegid()
        of_group = source.st_mode if is_ours else source.st_mode << 3
        if stat.S_ISREG(source.st_mode):  # the mode of a pipe says nothing
            mode &= 0o600 | of_group & 0o060 | source.st_mode & 0o006
    return mode


@contextmanager
def replacing(file: Path, read: Sequence[Iterable[Record]]) -> Iterator[BinaryIO]:
    """Open a new file beside `file`, which takes its place when the block ends; an error leaves what was there.

    So whoever has the old file open, or looks at it meanwhile, never sees half of the new one. The new one has the
    permissions that the umask leaves, but nobody may read it who can't read all files that the records `read` come
    from, and the one that it replaces.
    """
    unfinished = file.with_name(f".predlog-unfinished-{token_hex(8)}")
    try:
        opener = partial(os.open, mode=_as_private(file, read))
        with open(unfinished, "xb", opener=opener) as opened:
            yield opened
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def tell_written(arguments: argparse.Namespace, size: int, what: str, **known: Any) -> None:
    """Report a file of so many bytes that was written: what is in it in words, or, with `--json`, what is known."""
    if arguments.json:
        sys.stdout.write(dumped({"output": arguments.output, "bytes": size, **known}))
    else:
        megabytes = f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
        tell(f"{arguments.output}: {what}, {megabytes}")
