"""The records of two runs → where and in what they differ, how their streams compare, and what only one has right."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from predlog.aligning import Group, aligned
from predlog.contrasting import KINDS, Contrast, Kind, TokenPair, at_same_positions, contrasts
from predlog.records import Comparison, Record, Run, Token

Key = tuple[str, int | None]


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
        return self.right / self.of if self.of else None

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
class Misses:
    """How often only one run had a label right, and the first such place: its step and what the other predicted."""

    label: int
    text: str | None
    count: int
    step: int
    other: Token


@dataclass(slots=True)
class Row:
    """How a stream and codebook compare.

    `steps` and `records` are what both have; `only_a` and `only_b` count the steps that one has alone, and `differing`
    the comparisons that differ, by kind. Of the tokens with the same label at the same place, `both`, `right_a`,
    `right_b` and `neither` count who predicted them right.
    """

    stream: str
    codebook: int | None
    steps: int = 0
    records: int = 0
    only_a: int = 0
    only_b: int = 0
    a: Figures = field(default_factory=Figures)
    b: Figures = field(default_factory=Figures)
    differing: dict[Kind, int] = field(default_factory=dict)
    first: dict[Kind, First] = field(default_factory=dict)
    is_counted: bool = True
    both: int = 0
    neither: int = 0
    right_a: int = 0
    right_b: int = 0
    only_right_a: dict[int, Misses] = field(default_factory=dict)
    only_right_b: dict[int, Misses] = field(default_factory=dict)

    def meet(self, step: int, a: Group, b: Group) -> None:
        """Take in what the runs have of one step; of one of them it may be nothing."""
        if not a or not b:
            self._miss(step, a, b)
            return
        self.steps += 1
        others = {(one.rank, one.sample): one for one in b}
        for one in a:
            other = others.pop((one.rank, one.sample), None)
            if other is None:
                self._lone(one, "a")
            else:
                self._compare(one, other)
        for other in others.values():
            self._lone(other, "b")

    def _miss(self, step: int, a: Group, b: Group) -> None:
        self.only_a += bool(a)
        self.only_b += bool(b)
        only = "a" if a else "b"
        self._differ(First("steps", step, self.stream, self.codebook, None, None, None, None, None, only))

    def _lone(self, one: Comparison, only: str) -> None:
        self._differ(
            First("records", one.step, self.stream, self.codebook, one.sample, one.rank, None, None, None, only)
        )

    def _differ(self, first: First) -> None:
        self.differing[first.kind] = self.differing.get(first.kind, 0) + 1
        known = self.first.get(first.kind)
        if known is None or first.step < known.step:
            self.first[first.kind] = first

    def _compare(self, a: Comparison, b: Comparison) -> None:
        self.records += 1
        pairs = at_same_positions(a, b)
        found = list(contrasts(a, b, pairs))
        for contrast in found:
            self._differ(_first(contrast, a))
        self._count(a, b, pairs, is_other_data=any(one.kind == "labels" for one in found))
        for pair in pairs:
            if pair[0].label == pair[1].label:
                self._judge(pair, a.step)

    def _count(self, a: Comparison, b: Comparison, pairs: list[TokenPair], *, is_other_data: bool) -> None:
        is_counted = a.matched is not None and b.matched is not None
        self.is_counted &= is_counted
        # Of other data, no position stands for the same.
        self.a.add(a, [*a.tokens] if is_other_data else [one for one, _ in pairs], is_counted=is_counted)
        self.b.add(b, [*b.tokens] if is_other_data else [other for _, other in pairs], is_counted=is_counted)

    def _judge(self, pair: TokenPair, step: int) -> None:
        a, b = pair
        if a.match and b.match:
            self.both += 1
        elif a.match:
            self.right_a += 1
            _note(self.only_right_a, a, b, step)
        elif b.match:
            self.right_b += 1
            _note(self.only_right_b, b, a, step)
        else:
            self.neither += 1


class Difference:
    """How two runs differ: a row for each stream and codebook, and the headers of both."""

    def __init__(self, a: Iterable[Record], b: Iterable[Record]) -> None:
        self.rows: dict[Key, Row] = {}
        self.headers: tuple[list[Run], list[Run]] = ([], [])
        self.comparisons = [0, 0]
        for stream, step, ones, others in aligned(self._comparisons(a, 0), self._comparisons(b, 1)):
            for codebook in sorted({one.codebook for one in (*ones, *others)}, key=_none_first):
                self._row(stream, codebook).meet(step, _of(ones, codebook), _of(others, codebook))

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

    def _comparisons(self, records: Iterable[Record], place: int) -> Iterator[Comparison]:
        for record in records:
            if isinstance(record, Comparison):
                self.comparisons[place] += 1
                yield record
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


def _first(contrast: Contrast, one: Comparison) -> First:
    a, b = contrast.tokens or (None, None)
    position = None if a is None else a.position
    return First(contrast.kind, one.step, one.stream, one.codebook, one.sample, one.rank, position, a, b)


def _note(misses: dict[int, Misses], right: Token, wrong: Token, step: int) -> None:
    known = misses.get(right.label)
    if known is None:
        misses[right.label] = Misses(right.label, right.label_text, 1, step, wrong)
    else:
        known.count += 1
        if known.text is None:
            known.text = right.label_text
