"""A file → what its first and its last lines tell of a run, however long it is."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from predlog.findings.progress import HELD_OUT, is_named
from predlog.reading import attempts
from predlog.reading.curves import SMOOTHED
from predlog.reading.lines import Lines
from predlog.reading.paths import PACKED, opened
from predlog.reading.replaced import Replaced
from predlog.reading.restarts import Piece, latest
from predlog.reading.runs import ended_by
from predlog.reading.tail import reads
from predlog.reading.writers import Writer, newest_beside
from predlog.records.backwards import read_at
from predlog.records.bounds import LONGEST
from predlog.records.schema import Comparison, Finding, Part, Record, Run

# Bytes that are read of a run's files at their beginnings and at their ends, and the least of one file.
HEAD, TAIL, LEAST = 1 << 18, 1 << 20, 1 << 14
# So many lines show the last means; where they are longer, more is read.
_LINES = 32
# Bytes of a packed file, and of what it unpacks to: it can only be read from its beginning.
_PACKED, _UNPACKED = 1 << 19, 1 << 23
# Comparisons at the beginning among which the stream that is trained is searched.
_MOST_FIRST = 32
_COMPARISON: Final = b'{"event":"predlog.comparison"', b'{"event":"predlog.part"'
_NOTABLE: Final = (b'{"event":"predlog.finding"', b'{"event":"predlog.run"')

Key = tuple[int, str | None]


@dataclass(slots=True)
class Ends:
    """What the first and the last lines of one file tell.

    Attributes:
        last: The last comparisons of one stream, or parts of such, oldest first: as many whole steps as have 10 records
            together.
        first: The first line of the newest attempt that was read.
        findings: All findings, in their order, without those that a later attempt has replaced.
        recorded: The newest attempt that has recorded a stream, by run, rank and stream, if there are several.
        beside: As `newest_beside` has it.
        is_complete: Whether these are all lines.
        is_packed: Whether none was read, because the file is packed, and long.
        is_ended: Whether the newest attempt was closed.
        error: The name of the exception that ended it, if one did.
        timestamp: When the last record was made.
        problem: Why nothing is known.
    """

    last: list[Comparison | Part] = field(default_factory=list)
    first: Run | None = None
    findings: list[Finding] = field(default_factory=list)
    recorded: dict[tuple[str | None, int, str], int] = field(default_factory=dict)
    beside: dict[tuple[str | None, int, int], int] = field(default_factory=dict)
    is_complete: bool = True
    is_packed: bool = False
    is_ended: bool = False
    error: str | None = None
    timestamp: str | None = None
    problem: str | None = None


def ends(file: Path, files: int = 1) -> Ends:
    """Read the first and the last lines of a file, which is one of so many of a run.

    Raises:
        OSError: It can't be read.
        SchemaError: It was written with a newer schema.
        MissingExtraError: It is a `.zst`, and the package zstandard is not installed.
    """
    if file.suffix in PACKED:
        lines = _unpacked(file)
        if lines is None:
            return Ends(is_complete=False, is_packed=True)
        is_complete, is_empty = True, not lines
    else:
        lines, is_complete, is_empty = _lines(file, files)
    found = _Found(file, lines)
    newest = next(found.backwards(), None)
    if newest is None:
        problem = None if is_empty else "none of its lines is a record"
        return Ends(is_complete=is_complete, problem=problem)
    return Ends(
        found.last(),
        found.first(),
        found.findings,
        found.recorded,
        found.beside,
        is_complete,
        is_ended=found.is_ended(newest),
        error=found.error(newest),
        timestamp=newest.timestamp,
    )


def _lines(file: Path, files: int) -> tuple[list[bytes], bool, bool]:
    """Return the whole lines at both ends of a file, whether these are all, and whether the file is empty."""
    head, tail, least = max(HEAD // files, LEAST), max(TAIL // files, LEAST), max(_LINES // files, 2)
    with os.fdopen(opened(file), "rb", buffering=0) as looked_at:
        number = looked_at.fileno()
        size = os.fstat(number).st_size
        first = read_at(number, head, 0)
        while True:
            start = max(size - tail, len(first))
            last = read_at(number, max(size - start, 0), start)
            if start == len(first):
                return (first + last).split(b"\n")[:-1], True, not size
            if tail >= LONGEST or last.count(b"\n") > least:
                return [*first.split(b"\n")[:-1], *last.split(b"\n")[1:-1]], False, False
            tail *= 4


def _unpacked(file: Path) -> list[bytes] | None:
    """Return all lines of a packed file; None if they are too many."""
    if file.stat().st_size > _PACKED:
        return None
    found, left = [], _UNPACKED
    for line in Lines(file):
        found.append(line)
        left -= len(line) + 1
        if left < 0:
            return None
    return found


class _Found:
    """Records among some lines, decoded only as they are needed: most lines are comparisons, and few of these are."""

    def __init__(self, file: Path, lines: Sequence[bytes]) -> None:
        self._lines = lines
        notable = [*_records(line for line in lines if line.startswith(_NOTABLE))]
        self._starts = [one for one in notable if isinstance(one, Run)]
        self.recorded: dict[tuple[str | None, int, str], int] = {}
        self.beside: dict[tuple[str | None, int, int], int] = {}
        self._valid: set[Key] | None = None
        self._is_replaced: Callable[[Record], bool] = lambda _: False
        outer = (next(_records(lines), None), next(self.backwards(), None))
        if len({_key(one) for one in (*notable, *outer) if one is not None}) > 1:
            self._compare_attempts(file, {one.run for one in notable})
        self.findings = [one for one in notable if isinstance(one, Finding) and not self._is_replaced(one)]

    def _compare_attempts(self, file: Path, runs: Iterable[str | None]) -> None:
        """Find out what of several attempts is still valid, as `predlog.read` does of a whole file."""
        pieces, _ = latest([Piece(file, part) for part in attempts.parts(self._lines)])
        parts = [piece.part for piece in pieces]
        self._valid = valid = {(part.attempt or 0, part.recorder) for part in parts}
        replaced = Replaced(parts)
        self._is_replaced = lambda record: _key(record) not in valid or replaced(record)
        writers = []
        for part in parts:
            for run in runs:
                first, last = part.span or (part.line, part.last)
                writers.append(Writer(file, run, part.rank, part.attempt or 0, part.recorder, first, last))
                for stream in part.steps:
                    key = run, part.rank, stream
                    self.recorded[key] = max(self.recorded.get(key, 0), part.attempt or 0)
        self.beside = newest_beside(writers)

    def backwards(self, beginning: bytes | tuple[bytes, ...] = b"") -> Iterator[Record]:
        """Yield the records whose lines begin with something, the last one first."""
        return _records(line for line in reversed(self._lines) if line.startswith(beginning))

    def is_ended(self, newest: Record) -> bool:
        """Return whether all recorders that may be writing have closed the file."""
        ended = {_key(one) for one in self._starts if one.stats is not None}
        known = [newest, *(one for one in self._starts if self._valid is None or _key(one) in self._valid)]
        number = max(one.attempt for one in known)
        last = next(self.backwards(_COMPARISON), newest)
        return {_key(last), *(_key(one) for one in known if one.attempt == number)} <= ended

    def error(self, newest: Record) -> str | None:
        """Return the name of the exception that ended the newest attempt, if one did."""
        ends = [one for one in self._starts if one.stats is not None and one.attempt == newest.attempt]
        return next((found for one in ends if (found := ended_by(one)) is not None), None)

    def first(self) -> Run | None:
        """Return the first line of the newest attempt."""
        return max((one for one in self._starts if one.stats is None), key=lambda one: one.attempt, default=None)

    def last(self) -> list[Comparison | Part]:
        """Return the last comparisons of the stream that is trained, or, if there are none, of the last one."""
        trained = self._trained()
        newest = next((one.stream for one in self._comparisons(reversed(self._lines))), None)
        found = self._last_of(trained) if trained is not None else []
        return found or ([] if newest is None else self._last_of(newest))

    def _trained(self) -> str | None:
        """Return the first stream that is no evaluation; if there is none at the beginning, the first one."""
        first = None
        for one in islice(self._comparisons(self._lines), _MOST_FIRST):
            if not is_named(one.stream, HELD_OUT):
                return one.stream
            first = one.stream if first is None else first
        return first

    def _comparisons(self, lines: Iterable[bytes]) -> Iterator[Comparison | Part]:
        for record in _records(line for line in lines if line.startswith(_COMPARISON)):
            if isinstance(record, Comparison | Part) and not self._is_replaced(record):
                yield record

    def _last_of(self, stream: str) -> list[Comparison | Part]:
        found: list[Comparison | Part] = []
        scored = 0
        for one in self._comparisons(reversed(self._lines)):
            # An earlier attempt may have come further: what counts is where the newest one is.
            is_past = bool(found) and one.attempt < found[-1].attempt and one.step >= found[-1].step
            if one.stream == stream and not is_past:
                is_enough = scored >= SMOOTHED or len(found) >= 4 * SMOOTHED
                if is_enough and one.step != found[-1].step:
                    break
                found.append(one)
                scored += one.loss is not None if isinstance(one, Comparison) else one.rows is not None
        return found[::-1]


def _records(lines: Iterable[bytes]) -> Iterator[Record]:
    return (read.record for read in reads(lines))


def _key(record: Record) -> Key:
    return record.attempt, record.recorder
