"""A folder → the runs in it and below it, each in a few figures, from the heads and tails of their files alone."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Literal

from predlog.errors import NoRecordsError, PredlogError
from predlog.findings.ledger import Ledger, across_ranks
from predlog.reading import paths
from predlog.reading.curves import CurveBuilder
from predlog.reading.ends import Ends, ends
from predlog.reading.reader import Reading
from predlog.reading.run_table import complete
from predlog.reading.runs import INTERRUPTED
from predlog.reading.shards import STEPS, Joiner
from predlog.reading.summary import Summary
from predlog.reading.writers import Identity, held
from predlog.records.codec import moment
from predlog.records.schema import Comparison, Finding, Part, Record

# Seconds since the last change of a file that is still being written.
_FRESH = 60.0


@dataclass(frozen=True, slots=True)
class Listed:
    """One run in a folder, as the heads and tails of its files show it; all its ranks are one.

    Attributes:
        path: The run's folder.
        name: The same, relative to the folder that was listed; "." for that folder itself.
        stream: The stream that `step`, `loss` and `accuracy` are of: the first one that is no evaluation, if there is
            one. Of several codebooks they are the means.
        step: Its last step.
        loss: Its loss as `predlog summary` has it: the mean of the last 10 records, in nats.
        accuracy: Its accuracy at the last step, from 0 to 1.
        findings: The findings that are open at the end, errors first.
        is_complete: Whether all lines were read, so that no finding was missed.
        is_packed: Whether that is because a file is packed, and too long to be unpacked for this.
        is_running: Whether a process of this host is writing to a file, or a file was changed within the last minute.
        is_ended: Whether the last attempt was closed, on all ranks.
        error: The name of the exception that ended it, if one did.
        timestamp: When the last record was made, as it is in the file; None without a record.
        at: The same in seconds since 1970; without a record, when a file was changed last.
        problem: Why nothing, or less than that, could be read; None if nothing is wrong.

    `step`, `loss` and `accuracy` are None if they are not known.
    """

    path: Path
    name: str
    stream: str | None = None
    step: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    findings: tuple[Finding, ...] = ()
    is_complete: bool = True
    is_packed: bool = False
    is_running: bool = False
    is_ended: bool = False
    error: str | None = None
    timestamp: str | None = None
    at: float = 0.0
    problem: str | None = None


def state(one: Listed) -> Literal["running", "ended", "interrupted", "failed", "stopped", "packed"]:
    """Return whether a run is running, or how it came to its end; "packed" if that was not looked at."""
    if one.is_packed:
        return "packed"
    if one.is_running:
        return "running"
    if not one.is_ended:
        return "stopped"
    return "ended" if one.error is None else "interrupted" if one.error == INTERRUPTED else "failed"


def listed(folder: Path, told: Callable[[Listed], object] = bool) -> list[Listed]:
    """Return the runs in a folder and in all folders below it, newest first; a folder may be a run itself.

    Of each file at most 1.25 MiB are read, of a run of many ranks a little more in all; only lines longer than that
    cost more. A packed file has to be unpacked from its beginning, so a long one is not read. Hidden folders are left
    out. A link to a folder is followed if that is a run. What can't be read is listed, too, and its `problem` tells
    why. `told` is called with each run as soon as it is known.

    Raises:
        NoRecordsError: There is no such folder.
    """
    if not folder.is_dir():
        raise NoRecordsError(f"{folder} {'is no folder' if folder.exists() else 'does not exist'}")
    writing = held()
    found = []
    for run in _runs(folder):
        one = run if isinstance(run, Listed) else _listed(run, _name(run, folder), writing)
        told(one)
        found.append(one)
    return sorted(found, key=lambda one: (-one.at, one.name))


def is_written(files: Iterable[Path]) -> bool:
    """Return whether a process of this host is writing to one of the files, or one was changed in the last minute.

    Raises:
        OSError: One can't be looked at.
    """
    writing = held()
    return any(_is_written(file.stat(), writing) for file in files if file.suffix not in paths.PACKED)


def _name(run: Path, folder: Path) -> str:
    return str(run.relative_to(folder))


def _runs(top: Path) -> Iterator[Path | Listed]:
    """Yield the folders that hold records, and, as a run with a problem, those that can't be looked into."""
    folders = [top]
    while folders:
        folder = folders.pop()
        below: list[Path] = []
        is_run = False
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if paths.is_of_rank(entry.name) and _holds_records(Path(entry)):
                            is_run = True
                        else:
                            below.append(folder / entry.name)
                    elif paths.is_records(entry.name):
                        is_run = True
                    elif entry.is_symlink() and entry.is_dir() and _is_run_elsewhere(Path(entry), top):
                        yield folder / entry.name
        except OSError as error:
            yield Listed(folder, _name(folder, top), is_complete=False, problem=error.strerror or str(error))
        if is_run:
            yield folder
        folders += sorted(below, reverse=True)


def _is_run_elsewhere(link: Path, top: Path) -> bool:
    """Return whether a link leads to a run that is not listed anyway."""
    try:
        is_run = _holds_records(link) or any(
            paths.is_of_rank(one.name) and _holds_records(one) for one in link.iterdir() if one.is_dir()
        )
        return is_run and not link.resolve().is_relative_to(top.resolve())
    except OSError:
        return False


def _holds_records(folder: Path) -> bool:
    return any(paths.is_records(one.name) for one in folder.iterdir())


def _listed(run: Path, name: str, writing: frozenset[Identity]) -> Listed:
    changed = 0.0
    found: list[Ends] = []
    is_written = False
    try:
        files = paths.files(run)
        for file in files:
            status = file.stat()
            changed = max(changed, status.st_mtime)
            is_written |= file.suffix not in paths.PACKED and _is_written(status, writing)
            found.append(ends(file, len(files)))
    except (OSError, PredlogError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Listed(run, name, is_complete=False, is_running=is_written, at=changed, problem=said)
    is_ended = all(one.is_ended for one in found)
    timestamp = max((one.timestamp for one in found if one.timestamp is not None), default=None)
    last = moment(timestamp) if timestamp is not None else None
    last_ones = [one.last for one in found]
    is_complete = all(one.is_complete for one in found)
    has_parts = any(isinstance(part, Part) for ones in last_ones for part in ones[-1:])
    if has_parts:
        last_ones = [_whole([one.first for one in found], last_ones)]
    stream, step, loss, accuracy = _figures(last_ones)
    return Listed(
        run,
        name,
        stream,
        step,
        loss,
        accuracy,
        # What only whole rows show is in no file; where these are short, all of them are read.
        findings=_found(run) if has_parts and is_complete else _open(found),
        is_complete=is_complete,
        is_packed=any(one.is_packed for one in found),
        is_running=is_written and not is_ended,
        is_ended=is_ended,
        error=next((one.error for one in found if one.error is not None), None),
        timestamp=timestamp,
        at=changed if last is None else last.timestamp(),
        problem=next((one.problem for one in found if one.problem), None),
    )


def _is_written(status: os.stat_result, writing: frozenset[Identity]) -> bool:
    # The clock of another node may be behind or ahead.
    return (status.st_dev, status.st_ino) in writing or abs(time.time() - status.st_mtime) < _FRESH


def _whole(first: Iterable[Record | None], last: Iterable[list[Comparison | Part]]) -> list[Comparison | Part]:
    """Return the last comparisons of a run whose processes have written parts: those that are whole."""
    joiner = Joiner(STEPS)
    parts = sorted((one for ones in last for one in ones), key=attrgetter("step"))
    records: list[Record] = [*(one for one in first if one is not None), *parts]
    every = [one for record in records for one in joiner.add(record)]
    comparisons = [one for one in (*every, *joiner.end()) if isinstance(one, Comparison)]
    return [one for one in comparisons if not (one.missing_ids or one.missing_rows)]


def _found(run: Path) -> tuple[Finding, ...]:
    """Return the open findings of a whole run."""
    records = Reading(run, warns=False)
    summary = Summary.of(records)
    complete(summary, records)
    return tuple(one.finding for one in across_ranks(summary.findings) if one.is_open)


def _figures(last: Iterable[Sequence[Comparison | Part]]) -> tuple[str | None, int | None, float | None, float | None]:
    """Return stream, step, loss and accuracy, as a summary has them, of the stream that the first file shows."""
    every = [one for ones in last for one in ones if isinstance(one, Comparison)]
    if not every:
        return None, None, None, None
    stream = every[0].stream
    builder = CurveBuilder(stream, None)
    for one in sorted((one for one in every if one.stream == stream), key=attrgetter("step")):
        builder.add(one)
    curve = builder.curve()
    loss, accuracy = (None if course is None else course.last.value for course in (curve.loss, curve.accuracy))
    return stream, curve.last_step, loss, accuracy


def _open(found: Iterable[Ends]) -> tuple[Finding, ...]:
    ledger = Ledger()
    recorded: dict[tuple[str | None, int, str], int] = {}
    beside: dict[tuple[str | None, int, int], int] = {}
    for one in found:
        for finding in one.findings:
            ledger.add(finding)
        recorded |= one.recorded
        beside |= one.beside
    return tuple(one.finding for one in across_ranks(ledger.found(recorded, beside)) if one.is_open)
