"""Files → typed records, in any process, while the run continues; torch is never imported."""

import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path

from predlog.errors import RecordError, SchemaError, UnknownKindError
from predlog.reading import attempts, paths
from predlog.reading.attempts import Part, Source, merged
from predlog.reading.damage import Damage, Damages, Sequence
from predlog.reading.lines import Lines, block, blocks_of_stdin
from predlog.reading.replaced import Replaced
from predlog.reading.room import FULL, MOST_ATTEMPTS, Room
from predlog.reading.shards import Joined
from predlog.reading.tail import last
from predlog.reading.writers import Turns, Writer
from predlog.records import html
from predlog.records.codec import from_line
from predlog.records.schema import Comparison, Finding, Record

# Seconds. Each line is one `write`, so one without its end is whole within less, or never.
_FRESH = 1.0
# Records that a notebook shows of a run.
_SHOWN = 3


def read(path: str | os.PathLike[str], *, strict: bool = False, all_attempts: bool = False) -> "Reading":
    """Return the records of a run: iterate over them as often as you like, in constant memory.

    `path` is a file (also `.gz` and `.zst`, the latter with the extra `zstd`), the folder of a run, a glob, or `-` for
    standard input. The files of several ranks are merged by step. If a run was started again, a later attempt
    replaces the records of earlier ones, per stream, from its first to its last step; `all_attempts=True` yields
    everything, attempt by attempt, and standard input as it comes.

    Damaged lines are skipped, counted, and named in one warning per file when all has been read; `strict=True` raises
    RecordError at the first. A last line without its end is still being written; if the file was not written to within
    the last second, its writer was killed, and the line is named as damaged.

    Raises:
        NoRecordsError: There is nothing at `path`, or no such file in the folder; also a FileNotFoundError.
        SchemaError: While reading: a file was written with a newer schema; the message names the predlog that reads it.
        MissingExtraError: While reading: `.zst` without the package zstandard.
    """
    return Reading(path, strict=strict, all_attempts=all_attempts)


class Reading:
    """The records of a path, each time they are iterated over.

    Attributes:
        path: As it was given.
        files: The files found at the path; empty for standard input.
        damage: What was damaged or missing when the files were last read, as `Damage`s of file, line and reason.
        writers: Which recorders have written the files, as far as these were read; `writers.shared` returns those that
            wrote at the same time.
        replaced: How many comparisons of each run, attempt and rank were skipped then, because a later attempt has
            done them again.
        size: Bytes of all files, as they are on disk.
        told: Called with the number of bytes of each block that has been read.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, strict: bool = False, all_attempts: bool = False, warns: bool = True
    ) -> None:
        self.path = path
        self.files = [] if os.fspath(path) == paths.STDIN else paths.files(path)
        self._strict = strict
        self._all_attempts = all_attempts
        self._warns = warns
        self._broken: set[tuple[Path, str]] = set()
        self._spool: tempfile._TemporaryFileWrapper[bytes] | None = None
        self._room: Room | None = None
        self.damage = Damages()
        self.replaced = Counter[tuple[str | None, int, int]]()
        self.writers: list[Writer] = []
        self.told: Callable[[int], object] = bool

    @property
    def size(self) -> int:
        """Return how many bytes there are to read."""
        return sum(file.stat().st_size for file in self.files)

    def __iter__(self) -> Iterator[Record]:
        """Yield the records from the beginning; then warn of damaged lines, unless the caller reports them."""
        yield from Joined(self._merged())
        for words in self.damage.words() if self._warns else ():
            warnings.warn(words, stacklevel=2)

    def _repr_html_(self) -> str:
        """Return what a notebook shows, as HTML: the files and the last records, found without reading the whole."""
        every = [
            read.record
            for file in self.files
            for read in last(file, _SHOWN, lambda record: isinstance(record, Comparison | Finding))[0]
        ]
        shown = [record for record in every if isinstance(record, Comparison | Finding)]
        latest = sorted(shown, key=attrgetter("timestamp"))[-_SHOWN:]
        return html.reading(self.path, self.files, [record._repr_html_() for record in latest])

    def _merged(self) -> Iterator[Record]:
        self.damage = Damages()
        self.replaced = Counter()
        self.writers = []
        self._broken.clear()
        packed = [file for file in self.files if file.suffix in paths.PACKED]
        self._room = Room(sum(file.stat().st_size for file in packed)) if packed else None
        parts = [(file, *part) for file in self.files or [self._stdin()] for part in self._parts(file)]
        sources = [
            Source(self._records(file, part, replaced, block(len(parts))), part.begins)
            for file, part, replaced in parts
        ]
        return sources[0].records if len(sources) == 1 else merged(sources, by_attempt=self._all_attempts)

    def _parts(self, file: Path) -> list[tuple[Part, Replaced | None]]:
        """Return what of a file is read by itself, each with what tells which of its records are replaced."""
        if self._all_attempts or attempts.has_one(file):
            return [(Part(), None)]
        lines, is_packed = Lines(file), file.suffix in paths.PACKED
        found = attempts.parts(lines, MOST_ATTEMPTS if is_packed else sys.maxsize)
        if lines.broken and not is_packed:  # what is packed is as broken when it is read again
            self._note_broken(file, file, 1, lines.broken)
        if is_packed and sum(1 + len(part.steps) for part in found) > MOST_ATTEMPTS:
            self._note_broken(file, file, max(part.last for part in found), FULL)
        if not found:
            return [(Part(), None)]
        replaced = Replaced(found)
        if attempts.is_costly(found, is_packed=is_packed):
            return [(Part(), replaced)]
        return [*((part, replaced) for part in found[:-1]), (found[-1], None)]

    def _stdin(self) -> Path:
        """Return standard input as a file: what a later attempt replaces is known only when all of it has come."""
        if self._all_attempts:
            return paths.STDIN_FILE
        if self._spool is None:
            self._spool = tempfile.NamedTemporaryFile(prefix="predlog-")  # noqa: SIM115 - it lives as long as this
            self._spool.writelines(blocks_of_stdin())
            self._spool.flush()
        return Path(self._spool.name)

    def _records(self, file: Path, part: Part, replaced: Replaced | None, block: int) -> Iterator[Record]:
        lines, room = Lines(file, part.start, self.told, block), self._room if file.suffix in paths.PACKED else None
        sequence = Sequence(self.damage)
        is_whole = part.attempt is None
        name = file if self.files else Path(paths.STDIN)
        turns = Turns(name)
        number, expected = part.line - 1, 0
        for number, line in enumerate(lines if part.lines is None else islice(lines, part.lines), part.line):
            if not line:
                continue
            try:
                record = from_line(line)
            except RecordError as error:
                sequence.explained += 1
                self._note_line(error, part, name, number)
                continue
            if room is not None and not room.takes(record, len(line)):
                lines.broken = FULL
                break
            if is_whole or part.holds(record):
                if record.seq != expected or record.attempt != sequence.attempt or record.recorder != sequence.recorder:
                    expected = sequence.jump(record, expected, name, number)
                    turns.turn(record, number)
                else:
                    expected += 1
                if replaced is None or self._is_valid(replaced, record):
                    yield record
        self.writers += turns.writers(number, part.span)
        if part.lines is None or lines.broken:
            self._check_end(file, name, lines, number + 1)

    def _is_valid(self, replaced: Replaced, record: Record) -> bool:
        """Return whether a record is still valid, not replaced by a later attempt; count the comparisons that are."""
        is_replaced = replaced(record)
        if is_replaced and isinstance(record, Comparison):
            self.replaced[record.run, record.attempt, record.rank] += 1
        return not is_replaced

    def _check_end(self, file: Path, name: Path, lines: Lines, number: int) -> None:
        if lines.broken:
            self._note_broken(file, name, number, lines.broken)
        elif lines.rest and (not self.files or time.time() - file.stat().st_mtime > _FRESH):
            self.damage.note(Damage(name, number, "it is incomplete: its writer was killed"))

    def _note_line(self, error: RecordError, part: Part, name: Path, number: int) -> None:
        """Note a line that gives no record, unless another part does; raise SchemaError if its schema is newer."""
        if isinstance(error, SchemaError):
            raise SchemaError(error.written, error.known, error.version, f"{name} line {number}: ") from None
        if part.owns(number) and not isinstance(error, UnknownKindError):
            self._note_damage(name, number, str(error))

    def _note_broken(self, file: Path, name: Path, number: int, reason: str) -> None:
        if (file, reason) not in self._broken:  # of several attempts, the first that meets it reports it
            self._broken.add((file, reason))
            self._note_damage(name, number, reason)

    def _note_damage(self, name: Path, number: int, reason: str) -> None:
        if self._strict:
            raise RecordError(f"{name} line {number}: {reason}")
        self.damage.note(Damage(name, number, reason))
