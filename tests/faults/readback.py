"""What a run's files hold, as `predlog.read` gives it back: what the counts of stats() are held against."""

import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import predlog
from predlog.records.schema import Comparison, Gap, Record, Run


@dataclass(frozen=True)
class Contents:
    """The records of a file or a folder, and how many of its lines are none."""

    records: tuple[Record, ...]
    damaged: int

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Return the comparisons."""
        return tuple(one for one in self.records if isinstance(one, Comparison))

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Return the first lines of the attempts, and whatever else tells of a run."""
        return tuple(one for one in self.records if isinstance(one, Run))

    @property
    def missing(self) -> int:
        """How many comparisons the gaps say are missing."""
        return sum(one.count for one in self.records if isinstance(one, Gap))

    @property
    def duplicates(self) -> int:
        """How many comparisons are there once more than they should."""
        keys = Counter(
            (one.rank, one.attempt, one.step, one.stream, one.codebook, one.sample) for one in self.comparisons
        )
        return sum(count - 1 for count in keys.values())

    @property
    def holes(self) -> int:
        """How many lines are missing, as their numbers count from 0 in each attempt of a rank."""
        numbers: dict[tuple[int, int], set[int]] = defaultdict(set)
        for one in self.records:
            numbers[one.rank, one.attempt].add(one.seq)
        return sum(max(seen) + 1 - len(seen) for seen in numbers.values())

    @property
    def faults(self) -> int:
        """How many lines are damaged, doubled or missing."""
        return self.damaged + self.duplicates + self.holes

    @property
    def trailers(self) -> tuple[dict[str, Any], ...]:
        """Return the counts in the lines that end an attempt."""
        counts = [getattr(one, "stats", None) for one in self.runs]
        return tuple(one for one in counts if one is not None)

    def steps(self, stream: str = "text") -> set[int]:
        """Return the steps that were recorded of a stream."""
        return {one.step for one in self.comparisons if one.stream == stream}


def contents(place: Path) -> Contents:
    """Read a file or a folder; one that is not there holds nothing."""
    files = sorted(place.glob("predictions*.jsonl")) if place.is_dir() else [place] * place.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is passed over is counted
        records = tuple(record for file in files for record in predlog.read(file, attempt="all"))
    lines = sum(file.read_bytes().count(b"\n") for file in files)
    return Contents(records, lines - len(records))
