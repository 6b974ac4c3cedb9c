"""Files → typed records, in any process, while the run goes on; torch is never imported."""

import heapq
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path

from predlog import hypertext, places
from predlog.attempts import Part, parts
from predlog.damage import Damage, Damages, Sequence
from predlog.ending import last
from predlog.errors import RecordError, SchemaError, UnknownKindError
from predlog.lines import Lines, tail
from predlog.records import Comparison, Finding, Record, from_line

# Seconds. A line is one `write`, so one without its end is whole within less, or never.
_FRESH = 1.0
# Records that a notebook shows of a run.
_SHOWN = 3


def read(path: str | os.PathLike[str], *, strict: bool = False, all_attempts: bool = False) -> "Reading":
    """Give every record of a run: something to iterate over, as often as you like, in constant memory.

    `path` is a file (also `.gz` and `.zst`, the latter with the extra `zstd`), the folder of a run, a glob, or `-` for
    standard input. The files of several ranks are merged by step. Where a run was started again, a later attempt
    replaces what earlier ones have between its first and its last step; `all_attempts=True` gives everything, attempt
    by attempt, and standard input as it comes.

    Damaged lines are passed over, counted, and named in one warning a file when all has been read; `strict=True` raises
    RecordError at the first. A last line without its end is not there yet; in a file that was not written to within the
    last second it was torn by a kill, and is named.

    Raises:
        NoRecordsError: There is nothing at `path`, or no such file in the folder; also a FileNotFoundError.
        SchemaError: While reading: a file was written with a newer schema; says which predlog reads it.
        MissingExtraError: While reading: `.zst` without the package zstandard.
    """
    return Reading(path, strict=strict, all_attempts=all_attempts)


class Reading:
    """The records of a path, each time they are iterated over.

    Attributes:
        path: As it was given.
        files: The files that it stands for; empty for standard input.
        damage: What was damaged or missing when the files were last read, as `Damage`s of file, line and reason.
        size: Bytes of all files, as they are on disk.
        told: Called with the number of bytes of each block that has been read.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, strict: bool = False, all_attempts: bool = False, warns: bool = True
    ) -> None:
        self.path = path
        self.files = [] if os.fspath(path) == places.STDIN else places.files(path)
        self._strict = strict
        self._all_attempts = all_attempts
        self._warns = warns
        self._spool: tempfile._TemporaryFileWrapper[bytes] | None = None
        self.damage = Damages()
        self.told: Callable[[int], object] = bool

    @property
    def size(self) -> int:
        """How many bytes there are to read."""
        return sum(file.stat().st_size for file in self.files)

    def __iter__(self) -> Iterator[Record]:
        """Read from the beginning, and warn at the end of what was passed over, unless the caller says it."""
        yield from self._merged()
        for words in self.damage.words() if self._warns else ():
            warnings.warn(words, stacklevel=2)

    def _repr_html_(self) -> str:
        """Show in a notebook what it reads, and the last of it, without reading the whole."""
        shown = [read for file in self.files for read in last(file, _SHOWN, _is_shown)[0]]
        latest = sorted(shown, key=lambda read: read.record.timestamp)[-_SHOWN:]
        return hypertext.reading(
            self.path,
            self.files,
            [read.record._repr_html_() for read in latest if isinstance(read.record, Comparison | Finding)],
        )

    def _merged(self) -> Iterator[Record]:
        self.damage = Damages()
        files = self.files or [self._stdin()]
        sources = [self._records(file, part) for file in files for part in self._parts(file)]
        if len(sources) == 1:
            return sources[0]
        return map(itemgetter(1), heapq.merge(*map(_placed, sources), key=itemgetter(0)))

    def _parts(self, file: Path) -> list[Part]:
        if self._all_attempts or _last_attempt(file) == 1:
            return [Part()]
        return parts(Lines(file)) or [Part()]

    def _stdin(self) -> Path:
        """Give standard input as a file: what a later attempt replaces is known when all of it has come."""
        if self._all_attempts:
            return places.STDIN_FILE
        if self._spool is None:
            self._spool = tempfile.NamedTemporaryFile(prefix="predlog-")  # noqa: SIM115 - it lives as long as this
            shutil.copyfileobj(sys.stdin.buffer, self._spool)
            self._spool.flush()
        return Path(self._spool.name)

    def _records(self, file: Path, part: Part) -> Iterator[Record]:
        lines = Lines(file, part.start, self.told)
        sequence = Sequence(self.damage)
        number, expected = part.line - 1, 0
        for number, line in enumerate(islice(lines, part.lines), part.line):
            try:
                record = from_line(line)
            except SchemaError as error:
                raise SchemaError(error.written, error.known, error.version, f"{file} line {number}: ") from None
            except RecordError as error:
                if line:
                    sequence.explained += 1
                    if not isinstance(error, UnknownKindError):
                        self._damaged(file, number, str(error))
                continue
            if record.seq != expected or record.attempt != sequence.attempt:
                sequence.jump(record, expected, file, number)
            expected = record.seq + 1
            if part.attempt is None or part.has(record):
                yield record
        if part.lines is None:
            self._ended(file, lines, number + 1)

    def _ended(self, file: Path, lines: Lines, number: int) -> None:
        if lines.broken:
            self._damaged(file, number, lines.broken)
        elif lines.rest and _is_old(file):
            self.damage.note(Damage(file, number, "it has no end: a kill has torn it"))

    def _damaged(self, file: Path, number: int, reason: str) -> None:
        if self._strict:
            raise RecordError(f"{file} line {number}: {reason}")
        self.damage.note(Damage(file, number, reason))


def _placed(records: Iterator[Record]) -> Iterator[tuple[tuple[int, int], Record]]:
    """Say where each record stands among those of other ranks: an attempt's by the highest step that it has reached."""
    attempt, step = 0, -1
    for record in records:
        if record.attempt != attempt:
            attempt, step = record.attempt, -1
        if isinstance(record, Comparison | Finding):
            step = max(step, record.step)
        yield (attempt, step), record


def _last_attempt(file: Path) -> int | None:
    """Give the attempt of the last whole line, if it can be had without reading all: attempts stand in their order."""
    if file.suffix in places.PACKED:
        return None
    for line in reversed(tail(file)):
        try:
            return from_line(line).attempt
        except RecordError:
            continue
    return None


def _is_old(file: Path) -> bool:
    return time.time() - file.stat().st_mtime > _FRESH


def _is_shown(record: Record) -> bool:
    return isinstance(record, Comparison | Finding)
