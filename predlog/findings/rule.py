"""What a rule is, what it answers, and how sure is sure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, NamedTuple

from predlog.findings.evidence import Evidence, Sums

# --- how sure is sure ---------------------------------------------------------------------------------------------

# The share of supervised labels that must equal the inputs, and how many must differ from the next one, as they should
# not. The same number is asked for wherever a handful would be too few.
ALL_BUT_FEW = 0.98
CLEARLY_MORE = 8
# The share of samples without labels that is no accident, and of how many.
NEARLY_ALL = 0.9
MANY_SAMPLES = 16
# Tokens that a statistical rule wants to see.
ENOUGH = 64
# A rule that could not decide after so many records begins anew.
LONGEST_POOL = 64
# Labels of a stream and codebook that are remembered as predicted once.
_MOST_KNOWN = 100_000


# --- what a rule says ---------------------------------------------------------------------------------------------
class Clean(Enum):
    """The evidence sufficed, and shows no such fault; or none by itself, and none that was found before as gone."""

    CLEAN = "clean"
    NO_BETTER = "no better"


CLEAN: Final = Clean.CLEAN
NO_BETTER: Final = Clean.NO_BETTER


class Fault(NamedTuple):
    """What is wrong, how to mend it, and the numbers that show it."""

    what: str
    mend: str
    evidence: Mapping[str, Any]


@dataclass(slots=True)
class Past:
    """What is known of a stream and codebook from earlier records.

    `best` is the lowest mean loss (nats a token) of any 64 tokens or more before, with what their scatter allows on
    top, None where there were none yet; `first` are the sums of the first 64. `supervised` counts the supervised
    positions of all samples before, `records` the logged steps, and `known` are the labels that were ever predicted.
    """

    first_step: int
    best: float | None = None
    supervised: int = 0
    records: int = 0
    first: Sums | None = None
    known: set[int] = field(default_factory=set)
    _lately: list[Evidence] = field(default_factory=list)

    def learn(self, evidence: Evidence) -> None:
        """Take in what was judged: the lowest mean loss of enough tokens in a row, and the labels predicted."""
        self.supervised += evidence.supervised
        self.records += 1
        sums = evidence.sums
        if len(self.known) < _MOST_KNOWN:
            self.known.update(label for label, said in zip(sums.labels, sums.predictions, strict=True) if label == said)
        if sums.labels_vary:  # silence and the like is learnt at once, and no mark for what is not
            self._lately.append(evidence)
            self._measure()

    def _measure(self) -> None:
        is_enough = sum(one.sums.tokens for one in self._lately) >= ENOUGH
        if is_enough:
            sums = Sums.together([one.sums for one in self._lately])
            self.first = self.first or sums
            self.best = sums.at_most if self.best is None else min(self.best, sums.at_most)
        if is_enough or len(self._lately) >= LONGEST_POOL:
            self._lately = []


Verdict = Fault | Clean | None
Pool = Sequence[Evidence]


@dataclass(frozen=True, slots=True)
class Rule:
    """A finding's code, and the function that finds it.

    A symptom is kept back while an error that is certain stands, or a symptom further up in the list: it would follow
    from it. After it found nothing, a rule that looks back keeps the latest records, one fewer than that; the others
    begin anew.
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
