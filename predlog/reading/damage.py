"""Which lines of a file can't be read or are missing; the number that is remembered is bounded."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from predlog.records.schema import Record, Run
from predlog.records.text import harmless

_MOST = 1000


class Damage(NamedTuple):
    """One line that is damaged, or, if it is a `hole`, before which lines are missing.

    `line` counts from 1.
    """

    file: Path
    line: int
    reason: str
    hole: bool = False

    def __str__(self) -> str:
        """Return the line and the reason."""
        return f"line {self.line}: {self.reason}"


class Damages(list[Damage]):
    """The first thousand damages that were found.

    Attributes:
        total: How many there were.
        passed: How many of these are lines that were skipped, by file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.passed = Counter[Path]()

    def note(self, damage: Damage) -> None:
        """Count a damage, and remember it while there is room."""
        self.total += 1
        self.passed[damage.file] += not damage.hole
        if len(self) < _MOST:
            self.append(damage)

    def words(self) -> Iterator[str]:
        """Yield one sentence per file: how many lines were skipped, and the first of them."""
        first: dict[Path, list[str]] = {}
        for one in self:
            if not one.hole:
                first.setdefault(one.file, []).append(str(one))
        for file, count in self.passed.items():
            if count:
                named = first.get(file, [])[:3]
                more = f" (and {count - len(named)} more)" if count > len(named) else ""
                lines = "1 line is" if count == 1 else f"{count} lines are"
                yield f"{harmless(str(file))}: {lines} skipped: {'; '.join(named)}{more}"


_Key = tuple[int, int, str | None]


class Sequence:
    """Follows the `seq` of each attempt, rank and recorder, which has no holes, and notes the holes that it finds."""

    def __init__(self, damages: Damages) -> None:
        self._damages = damages
        self._next: dict[_Key, int] = {}
        self._pids: dict[_Key, int] = {}
        self._shared: set[_Key] = set()
        self._key: _Key = (-1, -1, None)
        self.attempt = -1
        self.recorder: str | None = None
        self.explained = 0

    def jump(self, record: Record, expected: int, file: Path, line: int) -> int:
        """Check a record that is not the expected one: it is of another attempt, rank or recorder, or follows a hole.

        Return the `seq` that is expected next.
        """
        self._next[self._key] = expected
        key = (record.rank, record.attempt, record.recorder)
        before = self._next.get(key, 0)
        is_first = isinstance(record, Run) and record.stats is None
        if isinstance(record, Run) and is_first and self._pids.setdefault(key, record.pid) != record.pid:
            self._shared.add(key)  # of two processes that write as one attempt, each counts its own lines
        missing = record.seq - before - self.explained
        if missing > 0 and key not in self._shared:
            lines = "a line is missing" if missing == 1 else f"{missing} lines are missing"
            last = f"the one before has seq {before - 1}" if before else "it is the first"
            reason = f"{lines} before it: it has seq {record.seq} of attempt {record.attempt}, and {last}"
            self._damages.note(Damage(file, line, reason, hole=True))
        self._key = key
        self.attempt, self.recorder = record.attempt, record.recorder
        self.explained = 0
        # A first line that comes again, in a file that was put in the place of another, counts nothing anew.
        return max(before, record.seq + 1) if is_first and record.recorder is not None else record.seq + 1
