"""The records of two runs → where and in what they differ, how their streams compare, and what only one has right."""

from collections.abc import Iterable, Iterator
from heapq import nsmallest
from typing import Any, Literal

from predlog.aligning import Group, aligned
from predlog.comparing import First, Row
from predlog.contrasting import KINDS, Kind
from predlog.records import Comparison, Finding, Record, Run
from predlog.scoring import Misses
from predlog.standing import Ledger
from predlog.troubles import Shared, shared

Key = tuple[str, int | None]
_Recorded = dict[tuple[str | None, int, str], int]


class Difference:
    """How two runs differ: a row for each stream and codebook, and the headers of both."""

    def __init__(self, a: Iterable[Record], b: Iterable[Record]) -> None:
        self.rows: dict[Key, Row] = {}
        self.headers: tuple[list[Run], list[Run]] = ([], [])
        self.comparisons = [0, 0]
        self._ledgers = Ledger(), Ledger()
        # Of each run, rank and stream the last attempt; of each stream how far labels lead logits.
        self._recorded: tuple[_Recorded, _Recorded] = ({}, {})
        self._shifts: tuple[dict[str, int], dict[str, int]] = ({}, {})
        for stream, step, ones, others in aligned(self._comparisons(a, 0), self._comparisons(b, 1)):
            for codebook in sorted({one.codebook for one in (*ones, *others)}, key=_none_first):
                self._row(stream, codebook).meet(step, _of(ones, codebook), _of(others, codebook))

    @property
    def settings(self) -> dict[str, tuple[Any, Any]]:
        """What both say otherwise of the shift of a stream, settings and versions; it may explain a difference."""
        a, b = ({**ones[0].settings, **ones[0].versions} if ones else {} for ones in self.headers)
        names = [name for name in {**a, **b} if name != "directory"] if a and b else []
        shifts = [{f"shift of {stream}": shift for stream, shift in known.items()} for known in self._shifts]
        a, b = ({**said, **known} for said, known in zip((a, b), shifts, strict=True))
        names += [name for name in shifts[0] if name in shifts[1]]
        return {name: (a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)}

    @property
    def standing(self) -> tuple[list[Shared], list[Shared]]:
        """The findings that stand at the end of each: what a run has right under an error is no success."""
        both = zip(self._ledgers, self._recorded, strict=True)
        a, b = ([one for one in shared(ledger.found(recorded)) if one.found.stands] for ledger, recorded in both)
        return a, b

    @property
    def differs(self) -> bool:
        """Whether there is any difference."""
        return any(row.differing for row in self.rows.values())

    @property
    def first(self) -> dict[Kind, First]:
        """Where each kind of difference is seen first, of all streams."""
        firsts = [one for row in self.rows.values() for one in row.first.values()]
        return {
            kind: min(mine, key=lambda one: one.step)
            for kind in KINDS
            if (mine := [one for one in firsts if one.kind == kind])
        }

    def worst(self, only: Literal["a", "b"], most: int) -> list[tuple[Row, Misses]]:
        """Give the labels that most often only "a" or "b" had right, at most so many, of all streams together."""
        every = (
            (row, one)
            for row in self.rows.values()
            for one in (row.score.labels_a if only == "a" else row.score.labels_b).values()
        )
        return nsmallest(most, every, key=lambda found: (-found[1].count, found[1].step, found[1].label))

    def _comparisons(self, records: Iterable[Record], place: int) -> Iterator[Comparison]:
        for record in records:
            if isinstance(record, Comparison):
                self.comparisons[place] += 1
                self._shifts[place][record.stream] = record.shift
                key = record.run, record.rank, record.stream
                self._recorded[place][key] = max(self._recorded[place].get(key, 0), record.attempt)
                yield record
            elif isinstance(record, Finding):
                self._ledgers[place].add(record)
            elif isinstance(record, Run) and record.stats is None:
                self.headers[place].append(record)

    def _row(self, stream: str, codebook: int | None) -> Row:
        key = stream, codebook
        if key not in self.rows:
            self.rows[key] = Row(stream, codebook)
        return self.rows[key]


def _of(group: Group, codebook: int | None) -> Group:
    return [one for one in group if one.codebook == codebook]


def _none_first(codebook: int | None) -> int:
    return -1 if codebook is None else codebook
