"""Several runs → a table: how each went, stream by stream, and where it first differs from the first one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from predlog.reading.contrast import KINDS, First, Row
from predlog.reading.curves import Curve, Key, none_first
from predlog.reading.diff import Difference
from predlog.reading.reader import Reading
from predlog.reading.summary import Summary
from predlog.records.schema import Record

# A step or a record that only one run has may have any reason: the other one is shorter, or records less.
_DATA = tuple(kind for kind in KINDS if kind not in {"records", "steps"})


def complete(summary: Summary, reading: Reading) -> None:
    """Add to a summary what a reading knows when all its records have been added."""
    summary.replace(reading.replaced)
    summary.share(reading.writers)
    summary.left_out = tuple(reading.left_out)
    summary.lacks = reading.lacks


@dataclass(frozen=True, slots=True)
class Compared:
    """One of several runs: its summary, and how it differs from the first one; None for the first one itself."""

    reading: Reading
    summary: Summary
    difference: Difference | None

    def curve(self, key: Key) -> Curve | None:
        """Return its curve of a stream and codebook, if it has them."""
        return self.summary.curves.get(key)

    def row(self, key: Key) -> Row | None:
        """Return how it differs in a stream and codebook; None if neither it nor the first run has them."""
        return None if self.difference is None else self.difference.rows.get(key)


def compared(readings: Sequence[Reading]) -> list[Compared]:
    """Compare each run with the first one, at least one more; the first one is read as often as there are others."""
    first, *others = readings
    whole = Summary()
    found = []
    for number, other in enumerate(others):
        summary = Summary()
        difference = Difference(first if number else _noted(first, whole), _noted(other, summary))
        complete(summary, other)
        found.append(Compared(other, summary, difference))
    complete(whole, first)
    return [Compared(first, whole, None), *found]


def keys(runs: Sequence[Compared]) -> list[Key]:
    """Return the streams and codebooks of all runs: streams in the order of the first run, codebooks ascending."""
    every = dict.fromkeys(key for run in runs for key in run.summary.curves)
    streams = {stream: place for place, stream in enumerate(dict.fromkeys(stream for stream, _ in every))}
    return sorted(every, key=lambda key: (streams[key[0]], none_first(key[1])))


def first_difference(row: Row) -> First | None:
    """Return the first record that differs in what both runs have; of kinds at the same step, the cause of the rest."""
    known = [row.first[kind] for kind in _DATA if kind in row.first]
    return min(known, key=lambda one: one.step, default=None)


def _noted(reading: Reading, summary: Summary) -> Iterator[Record]:
    for record in reading:
        summary.add(record)
        yield record
