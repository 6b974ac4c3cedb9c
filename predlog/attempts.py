"""Which attempts a file holds, and what of each a later one has done again."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from predlog.places import PACKED
from predlog.records import Comparison, Finding, Gap, Record, from_line, is_whole

# In this order they stand in every line, and no text in a line holds a bare quotation mark.
_HEAD = re.compile(rb'"attempt":(\d+),"rank":\d+,"seq":\d+(?:,"step":(\d+),"stream":"((?:[^"\\]|\\.)*)")?')
_COMPARISON = b'{"event":"predlog.comparison"'
# Bytes at a file's end, and so many samples of it, tell whether it has one attempt.
_END, _SAMPLES, _SAMPLE = 1 << 18, 32, 1 << 14


@dataclass(slots=True)
class Part:
    """The lines of a file in which those of one attempt stand: all of them, where its attempts are not told apart.

    `own` lines from the first on are told of by this part alone, also what is damaged among them. `begins` is the step
    of the first comparison, `steps` has the first and the last of each stream, and `later` the parts of later attempts.
    """

    attempt: int | None = None
    start: int = 0
    line: int = 1
    lines: int | None = None
    own: int | None = None
    begins: int = -1
    steps: dict[str, tuple[int, int]] = field(default_factory=dict)
    later: tuple["Part", ...] = ()

    def is_of(self, record: Record) -> bool:
        """Say whether a record is of this part's attempt."""
        return self.attempt is None or record.attempt == self.attempt

    def has(self, record: Record) -> bool:
        """Say whether a record of this part's attempt still counts: no later one has been at its step."""
        return not any(part.has_done(record) for part in self.later)

    def has_done(self, record: Record) -> bool:
        """Say whether this attempt has been at a record's steps, too: between the first and the last of a stream."""
        match record:
            case Comparison() | Finding():
                first, last = self.steps.get(record.stream, (0, -1))
                return first <= record.step <= last
            case Gap():
                return any(
                    first <= record.first_step and record.last_step <= last for first, last in self.steps.values()
                )
        return False

    def owns(self, line: int) -> bool:
        """Say whether a line, counted from 1, is told of by this part."""
        return self.own is None or line < self.line + self.own


def parts(lines: Iterable[bytes]) -> list[Part]:
    """Give a file's attempts, oldest first, each with where its lines begin and end, and what comes behind it."""
    found: dict[int, Part] = {}
    ends: dict[int, int] = {}
    streams: dict[bytes, str] = {}
    offset = 0
    for number, line in enumerate(lines, 1):
        head = _HEAD.search(line)
        if head and is_whole(line):
            attempt = int(head[1])
            part = found.get(attempt)
            if part is None:
                part = found[attempt] = Part(attempt, offset, number)
            if head[2] is not None and line.startswith(_COMPARISON):
                _met(part, _stream(line, head[3], streams), int(head[2]))
            ends[attempt] = number
        offset += len(line) + 1
    return _joined(found, ends)


def has_one(file: Path) -> bool:
    """Say whether a file holds nothing but a first attempt, as nearly all do, without reading all of it.

    Attempts follow one another, so the file's end tells; of two that write at once, samples of the file do.
    """
    if file.suffix in PACKED:
        return False
    with file.open("rb", buffering=0) as opened:
        size = os.fstat(opened.fileno()).st_size
        places = {(max(size - _END, 0), _END), *((size * number // _SAMPLES, _SAMPLE) for number in range(_SAMPLES))}
        heads = {
            head[1] for start, length in places for head in _HEAD.finditer(os.pread(opened.fileno(), length, start))
        }
    return heads == {b"1"}


def _met(part: Part, stream: str, step: int) -> None:
    if not part.steps:
        part.begins = step
    first, last = part.steps.get(stream, (step, step))
    part.steps[stream] = min(first, step), max(last, step)


def _stream(line: bytes, written: bytes, known: dict[bytes, str]) -> str:
    """Give a stream's name as records have it, by how it is written."""
    if written not in known:
        record = from_line(line)
        assert isinstance(record, Comparison)  # noqa: S101 - for the type checker
        known[written] = record.stream
    return known[written]


def _joined(found: dict[int, Part], ends: dict[int, int]) -> list[Part]:
    """Let each part reach to where the next begins, so that no line between them, damaged ones above all, is missed."""
    beginnings = sorted(part.line for part in found.values())
    if beginnings:
        first = min(found.values(), key=_line)
        first.start, first.line = 0, 1
    for attempt, part in found.items():
        following = [line - 1 for line in beginnings if line > part.line]
        if following:
            part.own = following[0] - part.line + 1
            part.lines = max(ends[attempt], following[0]) - part.line + 1
        part.later = tuple(found[later] for later in sorted(found) if later > attempt)
    return [found[attempt] for attempt in sorted(found)]


def _line(part: Part) -> int:
    return part.line
