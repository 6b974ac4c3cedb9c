"""What rules look at: counts and tokens that were captured beside the records."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from predlog.findings.facts import Across, Facts, Shown

# The offsets around a position whose labels a prediction is compared with: 1 before, 1 after and 2 after.
AROUND = (-1, 1, 2)
# Where the template's prompt that begins an answer ends: one token after the first label, at it, or one before.
PROMPT_AFTER, PROMPT_AT, PROMPT_BEFORE = 1, 2, 3
# A record needs this many tokens to show that they are all predicted the same.
_SOME = 8


@dataclass(slots=True, eq=False)
class Evidence:
    """The facts of one stream and codebook at one step, one for each sample, and their sums.

    `is_trained` is whether the logits require gradients; `widest` is the largest number of supervised positions of a
    sample in any codebook. `equal`, `compared` and `lone` are as in `Facts`. `copies` are how many predictions equal
    the input read where the label does not, and how many labels do not: among all supervised positions if they were
    counted, else among those shown. `loss` is "fits" if the reported loss is that of the pair, else the name of what
    explains it, and None if that is not known. `across` has the labels that equal the inputs of other samples, if these
    were counted. `declared` are options of the run, such as "num_iterations=4". `commonest` is how many predictions
    shown are the same token. `is_idle` is whether the learning rate is known to be 0. `marks` has one number per
    sample, which changes with any of its log-probabilities; empty if the logits don't require gradients. `others` has,
    in a codebook, what the others of the pair are like.
    """

    step: int
    samples: tuple[Facts, ...]
    is_trained: bool = True
    widest: int = 0
    loss: str | None = None
    across: Across | None = None
    declared: frozenset[str] = frozenset()
    is_idle: bool = False
    others: "Others | None" = None
    supervised: int = field(init=False)
    equal: tuple[int, ...] | None = field(init=False)
    compared: tuple[int, ...] | None = field(init=False)
    lone: tuple[int, ...] | None = field(init=False)
    copies: tuple[int, int] = field(init=False)
    sums: "Sums" = field(init=False)
    commonest: int = field(init=False)
    marks: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        samples = self.samples
        self.supervised = sum([one.supervised for one in samples])
        self.equal = added([one.equal for one in samples])
        self.compared = added([one.compared for one in samples])
        self.lone = added([one.lone for one in samples])
        self.copies = _copies(samples)
        self.sums = sums = Sums.of([token for one in samples for token in one.tokens])
        # A single prediction is always the commonest.
        self.commonest = max(Counter(sums.predictions).values()) if sums.tokens >= _SOME else 0
        self.marks = tuple(map(_mark, self.samples)) if self.is_trained else ()

    @staticmethod
    def together(pools: "Iterable[Sequence[Evidence]]") -> "list[Evidence]":
        """Return the evidence of several codebooks as if they were one, step by step."""
        steps: dict[int, list[Evidence]] = {}
        for one in chain.from_iterable(pools):
            steps.setdefault(one.step, []).append(one)
        return [
            Evidence(
                step,
                tuple(facts for one in ones for facts in one.samples),
                is_trained=all(one.is_trained for one in ones),
                widest=max(one.widest for one in ones),
                loss=ones[0].loss,
                across=ones[0].across,
                declared=ones[0].declared,
                is_idle=ones[0].is_idle,
                others=ones[0].others,
            )
            for step, ones in sorted(steps.items())
        ]


class Others(NamedTuple):
    """The codebooks of a pair: how many are shown, which of them vary, and a number that differs from pair to pair."""

    shown: int
    varying: frozenset[int | None]
    pair: int

    @staticmethod
    def of(captured: Sequence[Facts]) -> "Others | None":
        """Return what the codebooks of a pair are like; None if it has none."""
        if not captured or captured[0].codebook is None:
            return None
        varying = frozenset([one.codebook for one in captured if one.varied])
        shown = len({one.codebook for one in captured})
        return Others(shown, varying, hash(tuple([one.fingerprint for one in captured])))


def _mark(facts: Facts) -> int:
    return hash(tuple([(token.label_logprob, token.prediction_logprob) for token in facts.tokens]))


def _copies(samples: Sequence[Facts]) -> tuple[int, int]:
    copied = copyable = 0
    for one in samples:
        if one.copied is not None and one.equal is not None:
            copied += one.copied
            copyable += one.supervised - one.equal[0]
        else:
            others = [token for token in one.tokens if token.read is not None and token.read != token.label]
            copyable += len(others)
            copied += sum(token.prediction == token.read for token in others)
    return copied, copyable


class Sums(NamedTuple):
    """Sums over tokens: how many, how many correct, and how many the model itself expected to be correct.

    `expected` adds up the probabilities that the model gave its predictions: a model that was trained on such pairs is
    correct about that often, and `variance` is then the variance of that number. `informative`, `hits` and
    `correct_there` are for each offset in `AROUND`, over the tokens whose label at that offset is known and differs
    from their own: how many there are, how many predictions equal that label, and how many the token's own. `losses`
    are the labels' in nats, `loss` and `squares` the sums of them and of their squares.
    """

    tokens: int
    correct: int
    expected: float
    variance: float
    loss: float
    squares: float
    informative: tuple[int, ...]
    hits: tuple[int, ...]
    correct_there: tuple[int, ...]
    labels: tuple[int, ...]
    predictions: tuple[int, ...]
    losses: tuple[float, ...]

    @staticmethod
    def of(tokens: Sequence[Shown]) -> "Sums":
        """Return the sums over the tokens that have finite numbers."""
        correct = 0
        expected = variance = loss = squares = 0.0
        informative, hits, correct_there = [0, 0, 0], [0, 0, 0], [0, 0, 0]
        labels: list[int] = []
        predictions: list[int] = []
        losses: list[float] = []
        for _, label, prediction, _, label_logprob, prediction_logprob, around in tokens:
            if prediction is None or label_logprob is None or prediction_logprob is None:
                continue
            labels.append(label)
            predictions.append(prediction)
            probability = math.exp(prediction_logprob)
            is_correct = prediction == label
            correct += is_correct
            expected += probability
            variance += probability * (1 - probability)
            loss -= label_logprob
            losses.append(-label_logprob)
            squares += label_logprob * label_logprob
            for place, other in enumerate(around):
                if other is not None and other != label:
                    informative[place] += 1
                    hits[place] += prediction == other
                    correct_there[place] += is_correct
        return Sums(
            len(labels), correct, expected, variance, loss, squares,
            tuple(informative), tuple(hits), tuple(correct_there), tuple(labels), tuple(predictions),
            tuple(losses),
        )  # fmt: skip

    @property
    def labels_vary(self) -> bool:
        """Whether no label makes up more than half of them."""
        return max(Counter(self.labels).values(), default=0) <= 0.5 * len(self.labels)

    @property
    def at_most(self) -> float:
        """The mean loss plus 1.5 standard errors, so that a lucky draw is not taken for a good model."""
        mean = self.loss / self.tokens
        return mean + 1.5 * math.sqrt(max(self.squares / self.tokens - mean * mean, 0.0) / self.tokens)

    @staticmethod
    def together(parts: "Sequence[Sums]") -> "Sums":
        """Return the sums over all parts."""
        *numbers, informative, hits, correct_there, labels, predictions, losses = zip(*parts, strict=True)
        return Sums._make([
            *map(sum, numbers), added(informative), added(hits), added(correct_there),
            tuple(chain.from_iterable(labels)), tuple(chain.from_iterable(predictions)),
            tuple(chain.from_iterable(losses)),
        ])  # fmt: skip


def added(columns: Iterable[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """Return the column-wise sum of the tuples that are not None; None if all are."""
    known = [column for column in columns if column is not None]
    if len(known) == 1:
        return known[0]
    return tuple(map(sum, zip(*known, strict=True))) if known else None
