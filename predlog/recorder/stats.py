"""What became of every comparison: submitted = written + filtered + dropped + failed + pending."""

from collections.abc import Mapping
from typing import TypedDict

from predlog.recorder.outlet import Outlet, QueuedOutlet


class Counts(TypedDict):
    """Comparisons, on their way to one sink."""

    submitted: int
    written: int
    filtered: int
    dropped: int
    failed: int
    pending: int


class Stats(Counts):
    """The counts of the run's file, or, without one, of what was given to the sinks; and those of every sink."""

    refused: int
    sinks: dict[str, Counts]


class Accounts:
    """Counts of comparisons, each kept where it happens: by the threads that compare, the worker, and each sink.

    None is ever added to by two threads at once, but for the first three: those are added to in one step of the
    interpreter, within which neither another thread nor a signal's handler runs.
    """

    def __init__(self) -> None:
        self.submitted = 0
        self.dropped = 0
        self.refused = 0
        self.filtered = 0
        self.failed = 0
        self.passed = 0
        self.file: Outlet | None = None
        self.queued: list[QueuedOutlet] = []

    @property
    def counted(self) -> int:
        """How many the worker is done with."""
        return self.filtered + self.failed + self.passed

    def stats(self) -> Stats:
        """Give all counts of this moment."""
        sinks = {} if self.file is None else {self.file.name: self._of(self.file)}
        for one in self.queued:
            name, number = one.outlet.name, 2
            while name in sinks:
                name, number = f"{one.outlet.name} {number}", number + 1
            sinks[name] = self._of(one.outlet, one.dropped)
        whole = self._of(self.file)
        return {**whole, "refused": self.refused, "sinks": sinks}

    def _of(self, outlet: Outlet | None, dropped: int = 0) -> Counts:
        # What is submitted is read last: what it is made of can't be more by then.
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
