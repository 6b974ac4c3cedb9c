"""Which attempts a file holds, and what of each a later one has done again."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from predlog.records import Comparison, Finding, Gap, Record, is_whole

# In this order they stand in every line, and no text in a line holds a bare quotation mark.
_HEAD = re.compile(rb'"attempt":(\d+),"rank":\d+,"seq":\d+(?:,"step":(\d+))?')
_COMPARISON = b'{"event":"predlog.comparison"'


@dataclass(slots=True)
class Part:
    """The lines of a file in which those of one attempt stand: all of them, where its attempts are not told apart.

    `first_step` and `last_step` are those of its comparisons, and `later` the parts of the attempts behind it.
    """

    attempt: int | None = None
    start: int = 0
    line: int = 1
    lines: int | None = None
    first_step: int | None = None
    last_step: int | None = None
    later: tuple["Part", ...] = ()

    def has(self, record: Record) -> bool:
        """Say whether a record belongs here, and no later attempt has been at its step."""
        return self.attempt is None or (
            record.attempt == self.attempt and not any(part.has_done(record) for part in self.later)
        )

    def has_done(self, record: Record) -> bool:
        """Say whether this attempt has been at a record's step, too: between its first and its last."""
        if self.first_step is None or self.last_step is None:
            return False
        match record:
            case Comparison() | Finding():
                return self.first_step <= record.step <= self.last_step
            case Gap():
                return self.first_step <= record.first_step and record.last_step <= self.last_step
        return False

    def _met(self, line: bytes, step: bytes | None) -> None:
        if step is not None and line.startswith(_COMPARISON):
            at = int(step)
            self.first_step = at if self.first_step is None else min(self.first_step, at)
            self.last_step = at if self.last_step is None else max(self.last_step, at)


def parts(lines: Iterable[bytes]) -> list[Part]:
    """Give a file's attempts, oldest first, each with where its lines begin and end, and what comes behind it."""
    found: dict[int, Part] = {}
    ends: dict[int, int] = {}
    offset = 0
    for number, line in enumerate(lines, 1):
        head = _HEAD.search(line)
        if head and is_whole(line):
            attempt = int(head[1])
            part = found.get(attempt)
            if part is None:
                part = found[attempt] = Part(attempt, offset, number)
            part._met(line, head[2])  # noqa: SLF001 - the class is this function's own
            ends[attempt] = number
        offset += len(line) + 1
    return _joined(found, ends)


def _joined(found: dict[int, Part], ends: dict[int, int]) -> list[Part]:
    """Let each part reach to where the next begins, so that no line between them, damaged ones above all, is missed."""
    beginnings = sorted(part.line for part in found.values())
    if beginnings:
        first = min(found.values(), key=_line)
        first.start, first.line = 0, 1
    for attempt, part in found.items():
        following = [line - 1 for line in beginnings if line > part.line]
        if following:
            part.lines = max(ends[attempt], following[0]) - part.line + 1
        part.later = tuple(found[later] for later in sorted(found) if later > attempt)
    return [found[attempt] for attempt in sorted(found)]


def _line(part: Part) -> int:
    return part.line
