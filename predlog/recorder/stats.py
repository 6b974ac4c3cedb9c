"""The counts of comparisons: submitted = written + filtered + dropped + failed + pending."""

from collections.abc import Mapping
from typing import TypedDict

from predlog.recorder.outlet import Outlet
from predlog.recorder.queued_outlet import QueuedOutlet
from predlog.records.schema import Part


class Counts(TypedDict):
    """Counts of the comparisons for one sink."""

    submitted: int
    written: int
    filtered: int
    dropped: int
    failed: int
    pending: int


class Stats(Counts):
    """The counts of the run's file, or, without one, of what was passed to the sinks; and those of every sink."""

    refused: int
    sinks: dict[str, Counts]


class Accounts:
    """Counts of comparisons, each kept where it happens: by the threads that compare, the worker, and each sink.

    Only the first three are added to by several threads: each addition is one step of the interpreter, within which
    neither another thread nor a signal handler runs.
    """

    def __init__(self) -> None:
        self.submitted = 0
        self.dropped = 0
        self.refused = 0
        self.filtered = 0
        self.failed = 0
        self.passed = 0
        # The events that pairs have become: comparisons, or, of logits in shards, their parts.
        self.kinds: set[str] = set()
        self.file: Outlet | None = None
        self.queued: list[QueuedOutlet] = []

    @property
    def has_parts(self) -> bool:
        """Whether a pair was recorded in parts."""
        return Part.event in self.kinds

    def named(self, count: int) -> str:
        """Return a count with the name of what is counted: comparisons, parts of them, or both."""
        noun = "comparison" if not self.has_parts else "part" if len(self.kinds) == 1 else "record"
        return f"{count} {noun}{'s' * (count != 1)}"

    @property
    def counted(self) -> int:
        """How many comparisons the worker has finished."""
        return self.filtered + self.failed + self.passed

    def stats(self) -> Stats:
        """Return all counts as they are now."""
        sinks = {} if self.file is None else {self.file.name: self._of(self.file)}
        for one in self.queued:
            name, number = one.outlet.name, 2
            while name in sinks:
                name, number = f"{one.outlet.name} {number}", number + 1
            sinks[name] = self._of(one.outlet, one.dropped)
        whole = self._of(self.file)
        return {**whole, "refused": self.refused, "sinks": sinks}

    def _of(self, outlet: Outlet | None, dropped: int = 0) -> Counts:
        # `submitted` is read last, so that it is never less than the sum of the others.
        written = self.passed if outlet is None else outlet.written
        failed = self.failed + (0 if outlet is None else outlet.failed)
        filtered = self.filtered
        dropped += self.dropped
        submitted = self.submitted
        return {
            "submitted": submitted,
            "written": written,
            "filtered": filtered,
            "dropped": dropped,
            "failed": failed,
            "pending": submitted - written - filtered - dropped - failed,
        }


def describe_missing(stats: Stats) -> str:
    """Return which sinks lack how many comparisons, in words; empty if none does."""
    sinks: Mapping[str, Counts] = stats["sinks"] or {"any sink": stats}
    counts = {name: kept["submitted"] - kept["written"] - kept["filtered"] for name, kept in sinks.items()}
    return ", ".join(f"{count} did not reach {name}" for name, count in counts.items() if count)
