"""One stream and codebook of two runs: where they differ, and which labels only one predicts correctly."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, Literal, NamedTuple

from predlog.reading.common_tokens import TokenPair, at_same_positions, have_all
from predlog.reading.curves import Counted
from predlog.records.schema import Comparison, Token
from predlog.records.text import share

Group = list[Comparison]


Kind = Literal["labels", "inputs", "predictions", "logprobs", "ranks", "losses", "records", "steps"]
# Ordered so that each may be the cause of those after it.
KINDS: Final[tuple[Kind, ...]] = ("labels", "inputs", "predictions", "logprobs", "ranks", "losses", "records", "steps")
# Log-probabilities and losses are written with six decimals: equal values may differ by one in the last.
ROUNDING: Final = 1.5e-6


def contrasts(a: Comparison, b: Comparison, pairs: list[TokenPair]) -> Iterator[tuple[Kind, TokenPair | None]]:
    """Yield each kind of difference once, with the first tokens at the same positions that show it, if any do.

    What depends on the settings is no difference: the number of tokens shown, accuracy that was not counted, texts,
    inputs that were not passed. Where labels differ, predictions can't be compared, and are left out.
    """
    others = next((pair for pair in pairs if pair[0].label != pair[1].label), None)
    is_other_size = (a.length, a.supervised) != (b.length, b.supervised) and not (a.missing_rows or b.missing_rows)
    is_other_data = others is not None or is_other_size
    if is_other_data:
        yield "labels", others
    same = [pair for pair in pairs if pair[0].label == pair[1].label and _are_known(*pair)]
    # Predictions may also differ among the supervised positions that are not shown.
    is_other_count = not is_other_data and _other_if_known(a.matched, b.matched)
    for kind, differ in _DIFFER.items():
        tokens = next((pair for pair in same if differ(*pair)), None)
        if tokens is not None or (kind == "predictions" and is_other_count):
            yield kind, tokens
    # Of all supervised tokens, also those that are not shown; and they may be weighed in another way.
    if not is_other_data and a.loss is not None and b.loss is not None and abs(a.loss - b.loss) > ROUNDING:
        yield "losses", None


def _are_known(a: Token, b: Token) -> bool:
    return a.match is not None and b.match is not None


def _other_logprob(a: Token, b: Token) -> bool:
    one, other = a.label_logprob, b.label_logprob
    return one is not other if one is None or other is None else abs(one - other) > ROUNDING


def _other_if_known(a: int | None, b: int | None) -> bool:
    return a is not None and b is not None and a != b


_DIFFER: Final[dict[Kind, Callable[[Token, Token], bool]]] = {
    "inputs": lambda a, b: _other_if_known(a.input, b.input),
    "predictions": lambda a, b: a.prediction != b.prediction,
    "logprobs": _other_logprob,
    "ranks": lambda a, b: a.label_rank != b.label_rank,
}


@dataclass(slots=True)
class Misses:
    """How often only one run predicted a label correctly, and the first time: its step and the other's prediction."""

    label: int
    text: str | None
    count: int
    step: int
    other: Token


@dataclass(slots=True)
class Score:
    """How many tokens both runs, only one or neither predicted correctly, and the labels that only one did."""

    both: int = 0
    only_a: int = 0
    only_b: int = 0
    neither: int = 0
    labels_a: dict[int, Misses] = field(default_factory=dict)
    labels_b: dict[int, Misses] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Return how many tokens were compared."""
        return self.both + self.only_a + self.only_b + self.neither

    def add(self, a: Token, b: Token, step: int) -> None:
        """Count what both predicted for the same label at the same place."""
        if a.match and b.match:
            self.both += 1
        elif a.match:
            self.only_a += 1
            _note(self.labels_a, a, b, step)
        elif b.match:
            self.only_b += 1
            _note(self.labels_b, b, a, step)
        else:
            self.neither += 1


def _note(misses: dict[int, Misses], right: Token, wrong: Token, step: int) -> None:
    known = misses.setdefault(right.label, Misses(right.label, None, 0, step, wrong))
    known.count += 1
    if known.text is None:
        known.text = right.label_text


class First(NamedTuple):
    """Where a kind of difference is seen first.

    `position` and the tokens of both runs are None if none of the tokens shown has it; `sample` and `rank` are None if
    a whole step is missing. `only` is the one run, "a" or "b", that has the step or the record.
    """

    kind: Kind
    step: int
    stream: str
    codebook: int | None
    sample: int | None = None
    sample_id: str | None = None
    rank: int | None = None
    position: int | None = None
    a: Token | None = None
    b: Token | None = None
    only: str | None = None


@dataclass(slots=True)
class Figures:
    """The sums of one run's comparisons, over the steps and samples that both runs have."""

    losses: float = 0.0
    scored: int = 0
    right: int = 0
    of: int = 0
    logprobs: float = 0.0
    shown: int = 0

    @property
    def loss(self) -> float | None:
        """Return the mean loss of all supervised tokens, in nats, of the samples of which both runs have it."""
        return self.losses / self.scored if self.scored else None

    @property
    def accuracy(self) -> float | None:
        """Return the share of correct predictions."""
        return share(self.right, self.of) if self.of else None

    @property
    def logprob(self) -> float | None:
        """Return the mean log-probability of the labels that are compared, in nats."""
        return self.logprobs / self.shown if self.shown else None

    def add(self, one: Comparison, tokens: list[Token], *, is_counted: bool, is_scored: bool) -> None:
        """Count a comparison, and those of its tokens that are compared with the other run's."""
        if is_scored:
            self.losses += (one.loss or 0.0) * one.supervised
            self.scored += one.supervised
        self.right += (one.matched or 0) if is_counted else sum(token.match is True for token in tokens)
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
        """Count one more step."""
        self.steps += 1
        self.first_step = step if self.first_step is None else min(self.first_step, step)
        self.last_step = step if self.last_step is None else max(self.last_step, step)


@dataclass(slots=True)
class Row:
    """How a stream and codebook of two runs compare.

    `steps` and `records` are what both have, `only_a` and `only_b` the steps that only one has; `differing` counts the
    comparisons that differ, by kind, and `first` has the first of each. `counted` is what the accuracy is computed
    over: all supervised positions, or the tokens that both show. `score` is of tokens with the same label and place.
    `first_token` is the first token of a sample that differs in anything, if both runs kept all tokens of it.
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
    first_token: First | None = None

    def meet(self, step: int, a: Group, b: Group) -> None:
        """Compare what the runs have of one step; one of them may have nothing."""
        if not a or not b:
            (self.only_a if a else self.only_b).add(step)
            self._differ(First("steps", step, self.stream, self.codebook, only="a" if a else "b"))
            return
        self.steps += 1
        by_id = all(one.sample_id is not None for one in (*a, *b))
        others = _placed(b, by_id=by_id)
        for place, one in _placed(a, by_id=by_id).items():
            other = others.pop(place, None)
            if other is None:
                self._lone(one, "a")
            else:
                self._compare(one, other)
        for other in others.values():
            self._lone(other, "b")

    def _lone(self, one: Comparison, only: str) -> None:
        self._differ(
            First("records", one.step, self.stream, self.codebook, one.sample, one.sample_id, one.rank, only=only)
        )

    def _differ(self, first: First) -> None:
        self.differing[first.kind] = self.differing.get(first.kind, 0) + 1
        self.first.setdefault(first.kind, first)

    def _compare(self, a: Comparison, b: Comparison) -> None:
        self.records += 1
        pairs = at_same_positions(a, b)
        is_other_data, seen = False, []
        for kind, tokens in contrasts(a, b, pairs):
            one, other = tokens or (None, None)
            position = None if one is None else one.position
            found = First(kind, a.step, a.stream, a.codebook, a.sample, a.sample_id, a.rank, position, one, other)
            self._differ(found)
            is_other_data |= kind == "labels"
            if position is not None:
                seen.append((position, found))
        if self.first_token is None and seen and have_all(a, b):
            self.first_token = min(seen, key=itemgetter(0))[1]
        if not any(one.missing_ids or one.missing_rows for one in (a, b)):
            self._count(a, b, pairs, is_other_data=is_other_data)
        for pair in pairs:
            if pair[0].label == pair[1].label and _are_known(*pair):
                self.score.add(*pair, a.step)

    def _count(self, a: Comparison, b: Comparison, pairs: list[TokenPair], *, is_other_data: bool) -> None:
        is_counted = a.matched is not None and b.matched is not None
        counted: Counted = "supervised" if is_counted else "shown"
        self.counted = counted if self.counted in {None, counted} else "both"
        # If the data differ, positions can't be compared.
        ones = [*a.tokens] if is_other_data else [one for one, _ in pairs]
        others = [*b.tokens] if is_other_data else [other for _, other in pairs]
        is_scored = a.loss is not None and b.loss is not None
        self.a.add(a, ones, is_counted=is_counted, is_scored=is_scored)
        self.b.add(b, others, is_counted=is_counted, is_scored=is_scored)


def _placed(group: Group, *, by_id: bool) -> dict[tuple[int, int | str | None, int], Comparison]:
    """Return the comparisons of a step by rank and sample, and by their order if they have both in common.

    A sample is known by its id, wherever it is in the batch, or else by its place there.
    """
    seen = Counter[tuple[int, int | str | None]]()
    placed = {}
    for one in group:
        key = one.rank, one.sample_id if by_id else one.sample
        placed[(*key, seen[key])] = one
        seen[key] += 1
    return placed
