"""What is remembered of earlier records: samples that came again, and labels that stay improbable; both bounded."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from predlog.findings.evidence import Evidence, Sums
from predlog.findings.facts import Facts

# How many samples, and how many labels, are remembered.
_MOST_SAMPLES = 512
_MOST_LABELS = 256
# Labels are looked at in portions of so many tokens. One that occurs less often in each is too rare.
PORTION = 256
_SOMETIMES = 3
# A label whose log-probability has risen by this much, in nats, and by this share of what it lacks, is being learnt.
TREND = 0.5
ITS_SHARE = 0.25
# How often a label must occur, in which share of the tokens, and by how much the loss of the others must have fallen.
SIGHTINGS = 16
RARE = 0.005
OTHERS_GAIN = 0.7
# What was probable enough before may be about to be learnt anew, and what is above this share of its frequency may be
# learnt slowly: both must occur so many times as often.
_SLOWLY = 3
_FAR_BELOW = 0.01


class Encounters(NamedTuple):
    """What the log-probabilities of a sample are, since which step, and at how many steps."""

    mark: int
    since: int
    last: int
    times: int


@dataclass(slots=True)
class Samples:
    """The samples that were shown since one had other log-probabilities than before; the first of them are kept.

    `has_changed` is whether any ever had others than before.
    """

    known: dict[tuple[int, ...], Encounters] = field(default_factory=dict)
    has_changed: bool = False

    def add(self, evidence: Evidence) -> None:
        """Add the samples of a record."""
        if evidence.is_idle:
            self.known.clear()  # nothing can change there
            return
        known, step = self.known, evidence.step
        for one, mark in zip(evidence.samples, evidence.marks, strict=True):
            before = known.get(one.fingerprint)
            if before is not None and before.mark != mark:
                known.clear()
                self.has_changed = True
                before = None
            if before is None:
                if len(known) < _MOST_SAMPLES:
                    known[one.fingerprint] = Encounters(mark, step, step, 1)
            elif step > before.last:
                known[one.fingerprint] = before._replace(last=step, times=before.times + 1)

    def again(self, evidence: Evidence) -> list[tuple[Encounters, Facts, bool]]:
        """Return what is known of samples of a record from earlier steps, and whether each is the same."""
        known = self.known
        return [
            (before, one, before.mark == mark)
            for one, mark in zip(evidence.samples, evidence.marks, strict=True)
            if (before := known.get(one.fingerprint)) is not None
        ]


@dataclass(slots=True)
class Improbable:
    """A label that has had too low a probability in each portion since the `first`.

    `count` is how often it occurred, `probability` the sum there. `began` is its mean log-probability in the first of
    the portions. `others` is the mean loss of the other labels in the first portion that ever had it; `gain` is by how
    much that has fallen since. It `sank` if it was probable enough at first.
    """

    first: int
    began: float
    others: float
    count: int = 0
    probability: float = 0.0
    gain: float = 0.0
    sank: bool = False

    def tokens(self, portions: int) -> int:
        """Return how many tokens there were since the first portion."""
        return PORTION * (portions - self.first + 1)

    def is_behind(self, portions: int) -> bool:
        """Return whether others were learnt meanwhile, and it occurs often enough to be learnt as well."""
        is_near = self.probability * self.tokens(portions) > _FAR_BELOW * self.count * self.count
        return (
            portions >= self.first + (_SLOWLY if self.sank else 1)
            and self.count >= max(SIGHTINGS * (_SLOWLY if self.sank or is_near else 1), RARE * self.tokens(portions))
            and self.gain >= OTHERS_GAIN
        )


@dataclass(slots=True)
class Labels:
    """Labels that stay improbable, portion by portion; those that are learnt are forgotten.

    `behind` are those of them that should have been learnt by now. Of labels that were ever looked at, the mean loss of
    the others is kept as it was then.
    """

    portions: int = 0
    known: dict[int, Improbable] = field(default_factory=dict)
    behind: dict[int, Improbable] = field(default_factory=dict)
    _seen: dict[int, float] = field(default_factory=dict)
    _labels: list[int] = field(default_factory=list)
    _losses: list[float] = field(default_factory=list)

    def add(self, sums: Sums) -> None:
        """Add the tokens of a record."""
        self._labels += sums.labels
        self._losses += sums.losses
        if len(self._labels) >= PORTION:
            self._look()
            self._labels, self._losses = [], []

    def _look(self) -> None:
        total, tokens = sum(self._losses), len(self._labels)
        counts = Counter(self._labels)
        followed: dict[int, list[float]] = {
            label: [] for label, count in counts.items() if count >= _SOMETIMES or label in self.known
        }
        for label, loss in zip(self._labels, self._losses, strict=True):
            if label in followed:
                followed[label].append(loss)
        self.portions += 1
        for label, losses in followed.items():
            self._follow(label, losses, total, tokens)
        if len(self.known) >= _MOST_LABELS:
            for label in [one for one, it in self.known.items() if it.count < RARE * it.tokens(self.portions)]:
                del self.known[label]
        self.behind = {label: one for label, one in self.known.items() if one.is_behind(self.portions)}

    def _follow(self, label: int, losses: Sequence[float], total: float, tokens: int) -> None:
        count, before, loss = len(losses), self.known.get(label), sum(losses)
        others = (total - loss) / max(tokens - count, 1)
        sank = label in self._seen
        if not sank and len(self._seen) < _MOST_LABELS:
            self._seen[label] = others
        least = 0.1 * count * count / tokens  # of a sum whose mean is a tenth of the frequency
        # The most probable one alone often shows that it is learnt.
        probability = math.exp(-min(losses))
        if probability < least:
            probability = sum([math.exp(-one) for one in losses])
        if probability >= least:
            self.known.pop(label, None)
            return
        now = -loss / count
        if before is None or now > before.began + max(
            TREND, ITS_SHARE * (math.log(0.1 * count / tokens) - before.began)
        ):
            if before is None and len(self.known) >= _MOST_LABELS:
                return
            sank = sank if before is None else before.sank
            at_first = self._seen.get(label, others) if sank else others
            before = self.known[label] = Improbable(self.portions, now, at_first, sank=sank)
        before.count += count
        before.probability += probability
        before.gain = before.others - others
