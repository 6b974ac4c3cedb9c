"""Which attempts a file contains, and what of each a later one has done again."""

import heapq
import os
import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple

from predlog.errors import RecordError
from predlog.reading.paths import PACKED, opened
from predlog.records.backwards import read_at
from predlog.records.codec import from_line, is_whole
from predlog.records.schema import Comparison, Finding, Gap, Record, Run
from predlog.records.schema import Part as OfShard

# Every line has these keys in this order, and no text in a line contains an unescaped quotation mark.
_HEAD = re.compile(
    rb'(?:"recorder":"((?:[^"\\]|\\.)*)",)?"attempt":(\d+),"rank":(\d+),"seq":\d+'
    rb'(?:,"step":(\d+),"stream":"((?:[^"\\]|\\.)*)")?'
)
# Bytes within which a sample of a file may begin in the middle of that.
_CUT = 256
_TIMESTAMP = re.compile(rb'"timestamp":"((?:[^"\\]|\\.)*)"')
_OF_PAIRS = b'{"event":"predlog.comparison"', b'{"event":"predlog.part"'
_FINDING = b'{"event":"predlog.finding"'
_PAIR = re.compile(rb'^{"event":"predlog\.(comparison|part)"', re.MULTILINE)
# How many times the lines of a file may be read, to have each attempt by itself.
_MOST_READ = 16
# Bytes at a file's end, and the number and size of samples of it, that show whether it has one attempt.
_END, _SAMPLES, _SAMPLE = 1 << 18, 32, 1 << 14
# Bytes at its begin within which its first pair is looked for.
_BEGIN = 1 << 20


@dataclass(slots=True)
class Part:
    """The range of a file's lines that contains those of one attempt; all lines, if attempts are not distinguished.

    What one recorder has written is one attempt; without `recorder`, as in older files, all that has one number.
    `last` is the line of its last record, `span` those of its first and last comparison, `reported` those of its first
    and last finding. Damage in the first `own`
    lines is reported by this part alone. `begins` is the step of the first comparison, and `steps` has the first and
    last step of each stream; `found` has the first step of the findings of each. `began` and `latest` are the
    timestamps of its first and last line, and `every` is the setting, where they are known. If several parts are read
    as one, `only` has their attempts and recorders.
    """

    attempt: int | None = None
    recorder: str | None = None
    rank: int = 0
    start: int = 0
    line: int = 1
    lines: int | None = None
    own: int | None = None
    last: int = 0
    span: tuple[int, int] | None = None
    reported: tuple[int, int] | None = None
    begins: int = -1
    steps: dict[str, tuple[int, int]] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    began: str = ""
    latest: str = ""
    every: int | None = None
    only: frozenset[tuple[int, str | None]] | None = None

    @property
    def firsts(self) -> dict[str, int]:
        """Return the first step of each stream that has a comparison or a finding."""
        compared = {stream: min(first, self.found.get(stream, first)) for stream, (first, _) in self.steps.items()}
        return {**self.found, **compared}

    @property
    def within(self) -> tuple[int, int]:
        """Return the lines of its first and last comparison; without any, of its findings, or else its first line."""
        return self.span or self.reported or (self.line, self.line)

    def covers(self, record: Record) -> bool:
        """Return whether a record's steps are between the first and the last that this attempt has of a stream."""
        match record:
            case Comparison() | OfShard() | Finding():
                first, last = self.steps.get(record.stream, (0, -1))
                return first <= record.step <= last
            case Gap():
                return any(
                    first <= record.first_step and record.last_step <= last for first, last in self.steps.values()
                )
        return False

    def holds(self, record: Record) -> bool:
        """Return whether a record is of this attempt, and of this recorder."""
        if self.only is not None:
            return (record.attempt, record.recorder) in self.only
        return self.attempt is None or (record.attempt == self.attempt and record.recorder == self.recorder)

    def is_replaced_by(self, later: "Part") -> bool:
        """Return whether another part is a later start of the same, and not of a recorder that wrote at the same time.

        Two recorders that both found no attempt in the file have the same number.
        """
        if self.recorder is None or later.recorder is None or self.rank != later.rank:
            return later.attempt != self.attempt
        own, other = self.span or (self.last, self.last), later.span or (later.line, later.line)
        return own[1] < other[0] or (later.attempt != self.attempt and other[1] < own[0])

    def owns(self, line: int) -> bool:
        """Return whether damage in a line, counted from 1, is reported by this part."""
        return self.own is None or line < self.line + self.own


def parts(lines: Iterable[bytes], most: int = sys.maxsize) -> list[Part]:
    """Return a file's attempts, oldest first, each with its range of lines; of at most so many, and streams in them."""
    found: dict[tuple[int, str | None], Part] = {}
    streams: dict[bytes, str] = {}
    recorders: dict[bytes, str | None] = {}
    heads: dict[tuple[int, str | None], bytes] = {}
    offset = kept = 0
    for number, line in enumerate(lines, 1):
        head = _HEAD.search(line)
        if head and is_whole(line) and (attempt := _number(head[2])) is not None:
            recorder = None if head[1] is None else _recorder(line, head[1], recorders)
            part = found.get((attempt, recorder))
            if part is None:
                part = found[attempt, recorder] = Part(attempt, recorder, _number(head[3]) or 0, offset, number)
                _begin(part, line)
                kept += 1
            if head[4] is not None and (step := _number(head[4])) is not None:
                if line.startswith(_OF_PAIRS):
                    kept += _extend(part, _stream(line, head[5], streams), step)
                    part.span = _wider(part.span, number, number)
                elif line.startswith(_FINDING):
                    kept += _find(part, _stream(line, head[5], streams), step)
                    part.reported = _wider(part.reported, number, number)
            part.last, heads[attempt, recorder] = number, line[:_CUT]
        offset += len(line) + 1
        if kept > most:
            break
    for key, line in heads.items():
        written = _TIMESTAMP.search(line)
        found[key].latest = written[1].decode("ascii", "replace") if written else ""
    return _joined(found)


def is_costly(found: list[Part], *, is_packed: bool) -> bool:
    """Return whether reading each part by itself takes far more than reading the file once, as its lines alternate.

    What is packed is unpacked from its beginning for each.
    """
    whole = max(part.last for part in found)
    lines = sum((part.lines or whole - part.line) + part.line * is_packed for part in found)
    return lines > _MOST_READ * whole


def has_one(file: Path) -> bool:
    """Return whether a file contains only a first attempt, as nearly all do, without reading all of it.

    Attempts follow one another, so the file's end shows it; of two that write at once, samples of the file do.
    """
    if file.suffix in PACKED:
        return False
    with os.fdopen(opened(file), "rb", buffering=0) as looked_at:
        size = os.fstat(looked_at.fileno()).st_size
        places = {(max(size - _END, 0), _END), *((size * number // _SAMPLES, _SAMPLE) for number in range(_SAMPLES))}
        if size <= _SAMPLES * _SAMPLE:
            places = {(0, size)}
        heads = {
            head.group(1, 2)
            for start, length in places
            for head in _HEAD.finditer(read_at(looked_at.fileno(), length, start))
            if not start or head.start() > _CUT
        }
    return len(heads) == 1 and heads.pop()[1] == b"1"


def begin(blocks: Iterable[bytes]) -> tuple[bytes, bool]:
    """Return the first blocks of a file, up to its first pair, and whether this is written as a part."""
    first, found = b"", None
    for block in blocks:
        first += block
        if (found := _PAIR.search(first)) or len(first) >= _BEGIN:
            break
    return first, found is not None and found[1] == b"part"


def begins_with_part(file: Path) -> bool:
    """Return whether the first pair in a file is written as a part."""
    with os.fdopen(opened(file), "rb", buffering=0) as looked_at:
        return begin(iter(partial(looked_at.read, _SAMPLE), b""))[1]


def _number(digits: bytes) -> int | None:
    """Return a number; None for one with more digits than Python takes, as its line is damaged."""
    try:
        return int(digits)
    except ValueError:
        return None


def _extend(part: Part, stream: str, step: int) -> bool:
    """Note that a part has a step of a stream, and return whether the stream is new in it."""
    if not part.steps:
        part.begins = step
    known = part.steps.get(stream)
    part.steps[stream] = _wider(known, step, step)
    return known is None


def _begin(part: Part, line: bytes) -> None:
    """Note what the first line of a part says of it."""
    record = _read(line)
    part.began = "" if record is None else record.timestamp
    every = record.settings.get("every") if isinstance(record, Run) else None
    part.every = every if type(every) is int else None


def _find(part: Part, stream: str, step: int) -> bool:
    """Note that a part has a finding of a stream at a step, and return whether it is the first of the stream."""
    is_new = stream not in part.found
    part.found[stream] = min(part.found.get(stream, step), step)
    return is_new


def _wider(known: tuple[int, int] | None, first: int, last: int) -> tuple[int, int]:
    return (first, last) if known is None else (min(known[0], first), max(known[1], last))


def _stream(line: bytes, written: bytes, known: dict[bytes, str]) -> str:
    """Return a stream's name as records have it, from its escaped form in a line."""
    if written not in known and isinstance(record := _read(line), Comparison | OfShard | Finding):
        known[written] = record.stream
    return known.get(written, "")


def _recorder(line: bytes, written: bytes, known: dict[bytes, str | None]) -> str | None:
    """Return a recorder's name as records have it, from its escaped form in a line."""
    if written not in known and (record := _read(line)) is not None:
        known[written] = record.recorder
    return known.get(written)


def _read(line: bytes) -> Record | None:
    try:
        return from_line(line)
    except RecordError:
        return None  # reported when the lines are read


def _joined(found: dict[tuple[int, str | None], Part]) -> list[Part]:
    """Return the parts, each extended to where the next begins, so that no damaged line between them is missed."""
    if found:
        first = min(found.values(), key=attrgetter("line"))
        first.start, first.line = 0, 1
    beginnings = sorted(part.line for part in found.values())
    ordered = sorted(found.values(), key=attrgetter("attempt", "line"))
    for part in ordered:
        following = bisect_right(beginnings, part.line)
        if following < len(beginnings):
            part.own = beginnings[following] - part.line
            part.lines = max(part.last, beginnings[following] - 1) - part.line + 1
    return ordered


_Place = tuple[int, int, int]


class Source(NamedTuple):
    """Records of one file or attempt; `begins` is the step of its first comparison, if it is known."""

    records: Iterator[Record]
    begins: int = -1


def merged(sources: Iterable[Source], *, by_attempt: bool) -> Iterator[Record]:
    """Return all records by step; with `by_attempt` attempt by attempt, each by step.

    A record is placed at the highest step that its source has reached. Within it, streams that count their own steps,
    such as one of an evaluation, are ordered by these.
    """
    placed = [_placed(source, by_attempt=by_attempt) for source in sources]
    return map(itemgetter(1), heapq.merge(*placed, key=itemgetter(0)))


def _placed(source: Source, *, by_attempt: bool) -> Iterator[tuple[_Place, Record]]:
    attempt, reached, below = 0, source.begins, -1
    for record in source.records:
        if record.attempt != attempt:
            attempt, reached, below = record.attempt, source.begins, -1
        if isinstance(record, Comparison | OfShard | Finding):
            if record.step > reached:
                reached, below = record.step, -1
            elif record.step < reached:
                below = max(below, record.step)
        yield ((attempt, reached, below) if by_attempt else (reached, below, attempt)), record
