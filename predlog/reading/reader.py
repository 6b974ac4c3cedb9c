"""Files → typed records, in any process, while the run continues; torch is never imported."""

import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Literal

from predlog.errors import NoRecordsError, RecordError, SchemaError, SettingError, UnknownKindError
from predlog.reading import attempts, paths, restarts
from predlog.reading.attempts import Part, Source, merged
from predlog.reading.damage import Damage, Damages, Sequence
from predlog.reading.lacks import Lacks
from predlog.reading.lines import Lines, block, blocks_of_stdin
from predlog.reading.replaced import Replaced
from predlog.reading.restarts import EarlierRun, Piece
from predlog.reading.room import FULL, MOST_ATTEMPTS, Room
from predlog.reading.shards import Joined
from predlog.reading.tails import last_joined
from predlog.reading.words import attempts_named
from predlog.reading.writers import Turns, Writer
from predlog.records import html
from predlog.records.codec import from_line
from predlog.records.schema import Comparison, Finding, Record, WholeRecord
from predlog.records.schema import Part as PartOf

# Seconds. Each line is one `write`, so one without its end is whole within less, or never.
_FRESH = 1.0
# The lines with the settings, which joining needs.
_FIRST = b'{"event":"predlog.run"'
# Records that a notebook shows of a run.
_SHOWN = 3
# Which attempts are read: those of the latest run, the one of a number, or all.
Which = int | Literal["all"] | None
# A part of a file, and what tells which of its records are replaced.
_Reads = tuple[Path, Part, Replaced | None]


def read(path: str | os.PathLike[str], *, strict: bool = False, attempt: Which = None) -> "Reading":
    """Return the records of a run: iterate over them as often as you like, in constant memory.

    `path` is a file (also `.gz` and `.zst`, the latter with the extra `zstd`), the folder of a run, a glob, or `-` for
    standard input. The files of several ranks are merged by step.

    If a run was resumed, its later attempt replaces the records of earlier ones, per stream, from its first to its
    last step. An attempt that begins at or before the run's first step begins another run: only the latest run is
    read, and `left_out` of the result names the others. `attempt=2` reads only the attempt with that number;
    `attempt="all"` yields everything, attempt by attempt, and standard input as it comes, unless it has parts.

    Damaged lines are skipped, counted, and named in one warning per file when all has been read; `strict=True` raises
    RecordError at the first. A last line without its end is still being written; if the file was not written to within
    the last second, its writer was killed, and the line is named as damaged.

    Raises:
        NoRecordsError: There is nothing at `path`, or no such file in the folder; also a FileNotFoundError. While
            reading: no attempt has the number; the message names those that there are.
        SettingError: `attempt` is neither a number from 1, nor "all", nor None.
        SchemaError: While reading: a file was written with a newer schema; the message names the predlog that reads it.
        MissingExtraError: While reading: `.zst` without the package zstandard.
    """
    return Reading(path, strict=strict, attempt=attempt)


class Reading:
    """The records of a path, each time they are iterated over.

    Attributes:
        path: As it was given.
        attempt: Which attempts are read, as it was given.
        files: The files found at the path; empty for standard input.
        damage: What was damaged or missing when the files were last read: one `Damage` for each place, with its file,
            line and reason.
        writers: Which recorders have written the files, as far as these were read; `writers.shared` returns those that
            wrote at the same time.
        left_out: The earlier runs in the folders that were left out when the files were last read, oldest first.
        replaced: How many comparisons of each run, attempt and rank were skipped then, because a later attempt has
            done them again.
        lacks: Which comparisons lacked parts then, of which ranks: it has a length, and yields one `Lack` each.
        size: Bytes of all files, as they are on disk.
        told: Called with the number of bytes of each block that has been read.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, strict: bool = False, attempt: Which = None, warns: bool = True
    ) -> None:
        if attempt not in {None, "all"} and (type(attempt) is not int or attempt < 1):
            raise SettingError(f"attempt={attempt!r} must be the number of an attempt, from 1, or 'all', or None")
        self.path = path
        self.files = [] if os.fspath(path) == paths.STDIN else paths.files(path)
        self._strict = strict
        self.attempt = attempt
        self._warns = warns
        self._broken: set[tuple[Path, str]] = set()
        self._spool: tempfile._TemporaryFileWrapper[bytes] | None = None
        self._comes: Iterable[bytes] | None = None
        self._room: Room | None = None
        self.damage = Damages()
        self.left_out: list[EarlierRun] = []
        self.replaced = Counter[tuple[str | None, int, int]]()
        self.writers: list[Writer] = []
        self.lacks = Lacks()
        self.told: Callable[[int], object] = bool

    @property
    def size(self) -> int:
        """Return how many bytes there are to read."""
        return sum(file.stat().st_size for file in self.files)

    def __iter__(self) -> Iterator[WholeRecord]:
        """Yield the records from the beginning; then warn of damaged lines, unless the caller reports them."""
        joined = Joined(self.as_written())
        self.lacks = joined.lacks
        yield from joined
        for words in self.damage.words() if self._warns else ():
            warnings.warn(words, stacklevel=2)

    def as_written(self) -> Iterator[Record]:
        """Yield the records with the parts of comparisons as the processes have written them, and warn of nothing."""
        return self._merged()

    def _repr_html_(self) -> str:
        """Return what a notebook shows, as HTML: the files and the last records, found without reading the whole."""
        found, joiner, _ = last_joined(self.files, _SHOWN, self._is_shown, self._is_shown, (_FIRST,))
        every = [*(read.record for read in found), *joiner.end()]
        shown = [record for record in every if isinstance(record, Comparison | Finding)]
        latest = sorted(shown, key=attrgetter("timestamp"))[-_SHOWN:]
        return html.reading(self.path, self.files, [record._repr_html_() for record in latest])

    def _is_shown(self, record: Record) -> bool:
        return isinstance(record, Comparison | PartOf | Finding) and self.attempt in {None, "all", record.attempt}

    def _merged(self) -> Iterator[Record]:
        self.damage = Damages()
        self.left_out = []
        self.replaced = Counter()
        self.writers = []
        self._broken.clear()
        packed = [file for file in self.files if file.suffix in paths.PACKED]
        self._room = Room(sum(file.stat().st_size for file in packed)) if packed else None
        parts = self._chosen()
        sources = [
            Source(self._records(file, part, replaced, block(len(parts))), part.begins)
            for file, part, replaced in parts
        ]
        return sources[0].records if len(sources) == 1 else merged(sources, by_attempt=self.attempt == "all")

    def _chosen(self) -> list[_Reads]:
        """Return what is read by itself: of each folder the latest run, or an attempt, or all as it is in the files."""
        files = self.files or [self._stdin()]
        if self.attempt == "all":
            return [(file, part, None) for file in files for part in self._apart(file)]
        chosen: list[_Reads] = []
        known: set[int | None] = set()
        for _, folder in groupby(files, key=paths.run_folder):
            ones = [*folder]
            if all(map(attempts.has_one, ones)):
                known.add(1)
                chosen += [(file, Part(), None) for file in ones if self.attempt in {None, 1}]
                continue
            parts = {file: self._parts(file) for file in ones}
            pieces = [Piece(file, part) for file, found in parts.items() for part in found]
            known |= {part.attempt for _, part in pieces}
            if self.attempt is None:
                pieces, earlier = restarts.latest(pieces)
                self.left_out += earlier if self.files else [replace(run, folder=None) for run in earlier]
            else:
                pieces = [piece for piece in pieces if piece.part.attempt == self.attempt]
            wanted: dict[Path, list[Part]] = {file: [] for file in ones}
            for file, part in pieces:
                wanted[file].append(part)
            for file, found in parts.items():
                chosen += _read_by_itself(file, found, wanted[file])
        if known and self.attempt not in {None, *known}:
            raise NoRecordsError(f"{self.path} has no attempt {self.attempt}: it has {attempts_named(known)}")
        return chosen

    def _apart(self, file: Path) -> list[Part]:
        """Return a file as a whole or, if `cat` has made it of several in parts, the lines of each by itself."""
        is_plain = file != paths.STDIN_FILE and file.suffix not in paths.PACKED
        if is_plain and not attempts.has_one(file) and attempts.begins_with_part(file):
            found = self._parts(file)
            if len({part.rank for part in found}) > 1 and not attempts.is_costly(found, is_packed=False):
                return found
        return [Part()]

    def _parts(self, file: Path) -> list[Part]:
        """Return the attempts of a file, each with its lines."""
        lines, is_packed = Lines(file, told=self.told), file.suffix in paths.PACKED
        found = attempts.parts(lines, MOST_ATTEMPTS if is_packed else sys.maxsize)
        if lines.broken and not is_packed:  # what is packed is as broken when it is read again
            self._note_broken(file, file, 1, lines.broken)
        if is_packed and sum(1 + len(part.steps) for part in found) > MOST_ATTEMPTS:
            self._note_broken(file, file, max(part.last for part in found), FULL)
        return found

    def _stdin(self) -> Path:
        """Return standard input as a file: what a later attempt replaces is known only when all of it has come.

        If nothing is replaced, it is read as it comes, unless it has parts: those of the next rank may come last.
        """
        if self._spool is None:
            blocks = blocks_of_stdin(self.told)
            if self.attempt == "all":
                begin, is_in_parts = attempts.begin(blocks)
                blocks = chain([begin], blocks)
                if not is_in_parts:
                    self._comes = blocks
                    return paths.STDIN_FILE
            self._spool = tempfile.NamedTemporaryFile(prefix="predlog-")  # noqa: SIM115 - it lives as long as this
            self._spool.writelines(blocks)
            self._spool.flush()
        return Path(self._spool.name)

    def _records(self, file: Path, part: Part, replaced: Replaced | None, block: int) -> Iterator[Record]:
        told = self.told if self._spool is None else bool  # standard input was read as it came
        comes = self._comes if file == paths.STDIN_FILE else None
        lines, room = Lines(file, part.start, told, block, comes), self._room if file.suffix in paths.PACKED else None
        sequence = Sequence(self.damage)
        is_whole = part.attempt is None and part.only is None
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
        # Of parts, those with the first ids count the comparisons.
        is_counted = isinstance(record, Comparison) or (isinstance(record, PartOf) and record.shard.start == 0)
        if is_replaced and is_counted:
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


def _read_by_itself(file: Path, found: list[Part], mine: list[Part]) -> list[_Reads]:
    """Return what of a file is read by itself, of all parts found in it and those that are wanted."""
    if not found:
        return [(file, Part(), None)]  # nothing of it can be read: its damage is named
    if not mine:
        return []
    replaced = Replaced(mine)
    if attempts.is_costly(mine, is_packed=file.suffix in paths.PACKED):
        only = frozenset((part.attempt or 0, part.recorder) for part in mine)
        return [(file, Part(only=only if len(mine) < len(found) else None), replaced)]
    return [*((file, part, replaced) for part in mine[:-1]), (file, mine[-1], None)]
