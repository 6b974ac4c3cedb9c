"""What a capture passes to the worker: the sizes of the pair, and its numbers, which may still be on their way."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, NamedTuple

from predlog.findings.facts import Across
from predlog.findings.needs import Known
from predlog.findings.reported_loss import Reported, Totals
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.runs import MOST_IDS, Runs
from predlog.numbers.window import Chosen, Window

Counts = dict[str, tuple[int, ...]]


class Slice(NamedTuple):
    """The part of a vocabulary that a process has the logits of: from `start` to before `stop`, of so many ids."""

    start: int
    stop: int
    of: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is known of a pair without reading its values; `vocabulary` is None if it is not known.

    `is_flat` says that the labels had one axis, and nothing but the default says what it is. `unused` says what was
    passed and is not used, and why. `places` are those of the samples in the batch, if they are not the first of it.
    `has_weights` is whether a mask of the loss was passed, and `declared` are options of the run. `scored` is what the
    scores of all rows know: everything; only losses and matches, or only losses, if a fused head has returned these.
    `shard` is the part of the vocabulary that the logits are of, None for all of it. `is_split` is whether the rows are
    a part of those of the whole samples, which have `row_count` positions, and are on these `ranks`, if that is known.
    """

    samples: int
    codebooks: int
    length: int
    vocabulary: int | None
    shift: int
    ignore_index: int
    specials: SpecialTokens
    has_codebooks: bool
    is_trained: bool
    has_probabilities: bool = True
    is_flat: bool = False
    unused: tuple[str, ...] = ()
    knows_inputs: bool = False
    knows_documents: bool = False
    knows_padding: bool = False
    has_weights: bool = False
    declared: frozenset[str] = frozenset()
    places: tuple[int, ...] = ()
    scored: Literal["all", "matches", "losses"] = "all"
    shard: Slice | None = None
    is_split: bool = False
    row_count: int | None = None
    ranks: tuple[int, ...] | None = None

    def place(self, sample: int) -> int:
        """Return the place in the batch of one of the samples shown."""
        return self.places[sample] if self.places else sample

    @property
    def limit(self) -> int:
        """The number that all ids of labels and predictions are below, as far as it is known."""
        return sys.maxsize if self.vocabulary is None else self.vocabulary

    @property
    def known(self) -> Known:
        """What rules may use of the pair."""
        return Known(
            self.knows_inputs, self.knows_documents, self.knows_padding, self.specials, self.vocabulary is not None,
            self.has_probabilities, self.is_trained, whole=self.shard is None, is_split=self.is_split,
            is_long=self.is_split and self.length > MOST_IDS,
        )  # fmt: skip

    @property
    def count(self) -> int:
        """The number of comparisons: one per sample and codebook."""
        return self.samples * self.codebooks


class Statistics(NamedTuple):
    """What is kept of the rows shown, on the host: five numbers per row, and more if asked for.

    log p(label) = label_logit - peak - log_sum and log p(prediction) = -log_sum, with log_sum the log of
    Σ exp(row - peak) in float32. The differences are taken in float64, so they are exact to a few float32
    roundings however large the logits are. `above` is how many logits exceed the label's; None if it is not known.
    `best` are the ids and logits of the largest logits of each row, if they are asked for. All ids are those of the
    whole vocabulary. Of a shard, the logit of a label that it does not have is NaN.
    """

    prediction: list[int]
    above: list[int | None]
    peak: list[float]
    label_logit: list[float]
    log_sum: list[float]
    best: Sequence[Sequence[tuple[int, float]]] = ()


class ShardRows(NamedTuple):
    """What a shard knows of all supervised rows of one sequence, as columns of equal length.

    `rows`, `labels`, `inputs`, `weights`, and the label's `documents` and its `places` in them are the same in all
    shards of a sequence; all but the first two may not be known. `log_sum` is that of `Statistics`, `entropy` that of
    the shard's own softmax, in nats, and `label_logit` is NaN for a label that the shard does not have.
    """

    rows: list[int]
    labels: list[int]
    inputs: list[int] | None
    weights: list[float] | None
    documents: list[int] | None
    places: list[int] | None
    prediction: list[int]
    peak: list[float]
    log_sum: list[float]
    entropy: list[float]
    label_logit: list[float]


class Whole(NamedTuple):
    """What all supervised rows of one sequence have given: mean loss and entropy in nats, NaN if they are not known.

    `tokens` are columns of the first tokens, if they are asked for. Of a shard there are only its `rows`.
    """

    loss: float
    entropy: float
    tokens: dict[str, Any] | None
    rows: ShardRows | None = None


class Piece(NamedTuple):
    """Neighbouring places of a text, from `start` on: which have a label, the labels, and the inputs, if known."""

    start: int
    is_asked: bytes
    labels: bytes
    inputs: bytes | None


class Pieces(NamedTuple):
    """What is cut out of a text, which begins and ends at these places, as `window` says."""

    begin: int
    end: int
    pieces: tuple[Piece, ...]
    window: Window


@dataclass(frozen=True, slots=True)
class Numbers:
    """Plain numbers of all sequences in order; there is one sequence per sample and codebook.

    `shown` are the rows shown of each sequence. `statistics`, `around` and `reads` have one entry per row shown, of all
    sequences one after the other. `around` are four labels: the one before the row's own, its own, and the two after.
    `reads` are the input at the row and the one two positions later. Past an end the nearest id is repeated. `homes`
    are the label's document and its position there. `counts` has the counts of each sequence by name, each a tuple.
    `whole` is what all rows have given, if they were scored, and `texts` the ids of which the text is kept. `runs` say
    which rows of a whole sample these are, if it is split over processes: `shown` and `ShardRows.rows` are rows of it.
    """

    shown: Sequence[Chosen]
    statistics: Statistics
    around: Sequence[tuple[int, int, int, int]]
    reads: Sequence[tuple[int | None, int | None]]
    homes: Sequence[tuple[int | None, int | None]]
    counts: Sequence[Counts]
    whole: Sequence[Whole] | None = None
    texts: Sequence[Pieces | None] = ()
    runs: Sequence[Runs] = ()


def joined(parts: Sequence[Numbers]) -> Numbers:
    """Return the numbers of several pairs, one after the other, as those of one."""
    if len(parts) == 1:
        return parts[0]

    def together(name: str) -> list[Any]:
        return list(chain.from_iterable(getattr(one, name) for one in parts))

    return Numbers(
        together("shown"),
        Statistics(
            *(list(chain.from_iterable(column)) for column in zip(*(one.statistics for one in parts), strict=True))
        ),
        together("around"),
        together("reads"),
        together("homes"),
        together("counts"),
        None if parts[0].whole is None else together("whole"),
        together("texts"),
        together("runs"),
    )


def each(numbers: Numbers) -> Iterator[Numbers]:
    """Yield the numbers of each sequence by itself."""
    begin = 0
    for place, shown in enumerate(numbers.shown):
        rows = slice(begin, begin := begin + sum(map(len, shown)))
        yield Numbers(
            [shown],
            Statistics._make(column[rows] for column in numbers.statistics),
            numbers.around[rows],
            numbers.reads[rows],
            numbers.homes[rows],
            numbers.counts[place : place + 1],
            None if numbers.whole is None else numbers.whole[place : place + 1],
            numbers.texts[place : place + 1],
            numbers.runs[place : place + 1],
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was captured of a pair.

    `numbers`, called once, waits for the numbers and returns them. It is None if the pair was dropped for lack of room.
    `totals` waits for the sums over the whole pair, and `reported` for the loss that the trainer reports and, of what
    it divides by, for that number; `across` for counts that tell which axis is time, and `ids` for those of the
    samples. `sums` are what a part knows of the sums over the whole pair. None if they are not known.
    """

    sizes: Sizes
    numbers: Callable[[], Numbers] | None
    totals: Callable[[], Totals] | None = None
    reported: Callable[[], Reported] | None = None
    across: Callable[[], Across] | None = None
    ids: Callable[[], Sequence[str]] | None = None
    sums: Callable[[], Any] | None = None
