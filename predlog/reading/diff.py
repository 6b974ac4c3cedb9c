"""One stream and codebook of two runs → how it compares, and where it differs first."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any, Literal, NamedTuple

from predlog.findings.ledger import Ledger
from predlog.reading.align import Group, aligned
from predlog.reading.contrast import KINDS, Contrast, Kind, Misses, Score, TokenPair, at_same_positions, contrasts
from predlog.reading.curves import Counted
from predlog.reading.runs import Shared, shared
from predlog.records.schema import Comparison, Finding, Record, Run, Token
from predlog.records.text import share


class First(NamedTuple):
    """Where a kind of difference is seen first.

    `position` and the tokens of both runs are None where none of the tokens shown has it; `sample` and `rank` where a
    whole step is missing. `only` is the run, "a" or "b", that alone has the step or the record.
    """

    kind: Kind
    step: int
    stream: str
    codebook: int | None
    sample: int | None
    rank: int | None
    position: int | None
    a: Token | None
    b: Token | None
    only: str | None = None


@dataclass(slots=True)
class Figures:
    """What one run's comparisons add up to, at the steps and samples that both runs have."""

    right: int = 0
    of: int = 0
    logprobs: float = 0.0
    shown: int = 0

    @property
    def accuracy(self) -> float | None:
        """The share of right predictions."""
        return share(self.right, self.of) if self.of else None

    @property
    def logprob(self) -> float | None:
        """The mean log-probability of the labels shown, in nats."""
        return self.logprobs / self.shown if self.shown else None

    def add(self, one: Comparison, tokens: list[Token], *, is_counted: bool) -> None:
        """Take in a comparison, and of its tokens those that are held against the other run's."""
        self.right += (one.matched or 0) if is_counted else sum(token.match for token in tokens)
        self.of += one.supervised if is_counted else len(tokens)
        known = [token.label_logprob for token in tokens if token.label_logprob is not None]
        self.logprobs += sum(known)
        self.shown += len(known)


@dataclass(slots=True)
class Alone:
    """The steps that only one run has."""

    steps: int = 0
    first_step: int | None = None
    last_step: int | None = None

    def add(self, step: int) -> None:
        """Take in one more step."""
        self.steps += 1
        self.first_step = step if self.first_step is None else min(self.first_step, step)
        self.last_step = step if self.last_step is None else max(self.last_step, step)


@dataclass(slots=True)
class Row:
    """How a stream and codebook of two runs compare.

    `steps` and `records` are what both have, `only_a` and `only_b` the steps that one has alone; `differing` counts the
    comparisons that differ, by kind, and `first` has the first of each. `counted` says whether the accuracy is of all
    supervised positions, or of the tokens that both show; `score` is of those with the same label at the same place.
    """

    stream: str
    codebook: int | None
    steps: int = 0
    records: int = 0
    only_a: Alone = field(default_factory=Alone)
    only_b: Alone = field(default_factory=Alone)
    a: Figures = field(default_factory=Figures)
    b: Figures = field(default_factory=Figures)
    differing: dict[Kind, int] = field(default_factory=dict)
    first: dict[Kind, First] = field(default_factory=dict)
    counted: Counted | None = None
    score: Score = field(default_factory=Score)

    def meet(self, step: int, a: Group, b: Group) -> None:
        """Take in what the runs have of one step; of one of them it may be nothing."""
        if not a or not b:
            self._miss(step, "a" if a else "b")
            return
        self.steps += 1
        others = _placed(b)
        for place, one in _placed(a).items():
            other = others.pop(place, None)
            if other is None:
                self._lone(one, "a")
            else:
                self._compare(one, other)
        for other in others.values():
            self._lone(other, "b")

    def _miss(self, step: int, only: str) -> None:
        (self.only_a if only == "a" else self.only_b).add(step)
        self._differ(First("steps", step, self.stream, self.codebook, None, None, None, None, None, only))

    def _lone(self, one: Comparison, only: str) -> None:
        self._differ(
            First("records", one.step, self.stream, self.codebook, one.sample, one.rank, None, None, None, only)
        )

    def _differ(self, first: First) -> None:
        self.differing[first.kind] = self.differing.get(first.kind, 0) + 1
        self.first.setdefault(first.kind, first)

    def _compare(self, a: Comparison, b: Comparison) -> None:
        self.records += 1
        pairs = at_same_positions(a, b)
        found = list(contrasts(a, b, pairs))
        for contrast in found:
            self._differ(_first(contrast, a))
        self._count(a, b, pairs, is_other_data=any(one.kind == "labels" for one in found))
        for pair in pairs:
            if pair[0].label == pair[1].label:
                self.score.add(*pair, a.step)

    def _count(self, a: Comparison, b: Comparison, pairs: list[TokenPair], *, is_other_data: bool) -> None:
        is_counted = a.matched is not None and b.matched is not None
        counted: Counted = "supervised" if is_counted else "shown"
        self.counted = counted if self.counted in {None, counted} else "both"
        # Of other data, no position stands for the same.
        self.a.add(a, [*a.tokens] if is_other_data else [one for one, _ in pairs], is_counted=is_counted)
        self.b.add(b, [*b.tokens] if is_other_data else [other for _, other in pairs], is_counted=is_counted)


def _placed(group: Group) -> dict[tuple[int, int, int], Comparison]:
    """Tell comparisons of a step apart by rank and sample; those that have both in common by their order."""
    seen = Counter[tuple[int, int]]()
    placed = {}
    for one in group:
        key = one.rank, one.sample
        placed[*key, seen[key]] = one
        seen[key] += 1
    return placed


def _first(contrast: Contrast, one: Comparison) -> First:
    a, b = contrast.tokens or (None, None)
    position = None if a is None else a.position
    return First(contrast.kind, one.step, one.stream, one.codebook, one.sample, one.rank, position, a, b)


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
