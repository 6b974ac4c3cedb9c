"""What a rule is, what it answers, and how sure is sure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, NamedTuple

from predlog.findings.evidence import Evidence, Sums
from predlog.findings.facts import Facts
from predlog.findings.history import Labels, Samples

# --- how sure is sure ---------------------------------------------------------------------------------------------

# The share of supervised labels that must equal the inputs, and how many must differ from the next input, which they
# should equal. The same number is required wherever a handful would be too few.
ALL_BUT_FEW = 0.98
CLEARLY_MORE = 8
# The share of samples without labels that is no accident, and the number of samples that it needs.
NEARLY_ALL = 0.9
MANY_SAMPLES = 16
# Tokens that a statistical rule needs.
ENOUGH = 64
# The option of a run that generates the texts which it learns from.
GENERATES = "generated completions"
# A rule that could not decide after this many records starts over.
LONGEST_POOL = 64
# Of one stream and codebook, how many labels are remembered as correctly predicted once.
_MOST_KNOWN = 100_000
# Few tokens show that a model has no preference: all of them have nearly the same loss.
_FEW = 8
# A model that gives its predictions less than this is not sure of anything.
_CALM = 0.1


# --- what a rule answers ------------------------------------------------------------------------------------------
class Clean(Enum):
    """The evidence sufficed and shows no fault.

    CLEAN: a finding that was open may end. NO_BETTER: no new fault is found, and a finding that was open stays open.
    """

    CLEAN = "clean"
    NO_BETTER = "no better"


CLEAN: Final = Clean.CLEAN
NO_BETTER: Final = Clean.NO_BETTER


class Fault(NamedTuple):
    """What is wrong, how to fix it, and the numbers that show it."""

    what: str
    fix: str
    evidence: Mapping[str, Any]


@dataclass(slots=True)
class Past:
    """What is known of a stream and codebook from earlier records.

    `best` is the lowest mean loss (nats per token) of any 64 tokens or more, plus 1.5 standard errors; None before
    there were 64. `first` are the sums of the first 64. `supervised` counts the supervised positions of all samples,
    `records` the logged steps, and `known` are the labels that were ever predicted correctly. `calm` is the lowest mean
    loss of a record whose predictions were all improbable, plus 1.5 standard errors. `samples` are those that were
    shown, and `labels` those that stay improbable. `stream` is its name. `labelled` samples in a row had labels, up to
    the last, and `longest` is the greatest number of inputs of a sample that are no padding.
    """

    first_step: int
    best: float | None = None
    supervised: int = 0
    records: int = 0
    first: Sums | None = None
    known: set[int] = field(default_factory=set)
    labelled: int = 0
    longest: int = 0
    calm: float | None = None
    samples: Samples = field(default_factory=Samples)
    labels: Labels = field(default_factory=Labels)
    stream: str = ""
    _lately: list[Sums] = field(default_factory=list)

    def learn(self, evidence: Evidence) -> None:
        """Add the evidence of a record, after the rules have judged it."""
        self.supervised += evidence.supervised
        self.records += 1
        for one in evidence.samples:
            self.labelled = self.labelled + 1 if one.supervised else 0
            if one.text is not None and one.text.used > self.longest:
                self.longest = one.text.used
        sums = evidence.sums
        if len(self.known) < _MOST_KNOWN:
            pairs = zip(sums.labels, sums.predictions, strict=True)
            self.known.update([label for label, prediction in pairs if label == prediction])
        if evidence.is_trained:
            self.samples.add(evidence)
        self.labels.add(sums)
        if sums.tokens >= _FEW and sums.expected <= _CALM * sums.tokens:
            self.calm = sums.at_most if self.calm is None else min(self.calm, sums.at_most)
        # A constant label, such as silence, is learnt at once: its low loss is no standard for others.
        if sums.labels_vary:
            self._lately.append(sums)
        if sum([one.tokens for one in self._lately]) >= ENOUGH:
            lately, self._lately = Sums.together(self._lately), []
            self.first = self.first or lately
            self.best = lately.at_most if self.best is None else min(self.best, lately.at_most)
        elif len(self._lately) >= LONGEST_POOL:
            self._lately = []


Verdict = Fault | Clean | None
Pool = Sequence[Evidence]


@dataclass(frozen=True, slots=True)
class Rule:
    """A finding's code, and the function that finds it.

    A symptom is not reported while it follows from another open finding: see `catalog.explains`. A rule that has
    decided starts over with no records; one with `looks_back`, if it found nothing, keeps the latest `looks_back - 1`.
    """

    code: str
    level: Literal["error", "warning"]
    is_certain: bool
    is_symptom: bool
    says: str
    judge: Callable[[Pool, Past], Verdict]
    looks_back: int = 0


def _listed(ids: Sequence[int]) -> str:
    return f"token{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"


def _shift(pool: Pool) -> int:
    return pool[0].samples[0].shift


def _nearly_all_equal(ones: Sequence[Evidence | Facts], offset: int) -> tuple[int, int] | None:
    """Return how many labels equal the inputs at an offset, of how many, if nearly all do; else None."""
    equal = sum([one.equal[offset] for one in ones if one.equal])
    compared = sum([one.compared[offset] for one in ones if one.compared])
    compared -= sum([one.lone[offset] for one in ones if one.lone])
    return (equal, compared) if equal >= ALL_BUT_FEW * compared > 0 else None
