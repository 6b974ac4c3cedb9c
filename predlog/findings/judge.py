"""From evidence to findings: which rule is asked when, what stands, and what is said of it.

Each stream and codebook is judged by itself. A finding is said once, and again when it comes back after it was gone;
each time it comes back it must stay away twice as long before it counts as gone, so that what comes and goes does not
fill the log. That it is gone is said, too. Codebooks that are found guilty of the same thing at the same step are said
together.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from predlog.findings import catalog
from predlog.findings.evidence import Evidence, Facts, Sums
from predlog.findings.rule import CLEAN, ENOUGH, Clean, Fault, Past, Rule
from predlog.findings.statistical import vary
from predlog.records.schema import Finding

# A rule that could not decide by then begins anew.
_LONGEST_POOL = 64
# Streams and codebooks beyond this number are forgotten, those first that were not seen for longest.
_MOST_LANES = 1024
_MOST_NAMED = 8
_MOST_KNOWN = 100_000


@dataclass(slots=True, eq=False)
class Standing:
    """Something that was found, or is gone again: the fields of its record, and the codebooks that it stands for.

    Whoever tells it sets `is_said` and `record`.
    """

    code: str
    level: str
    step: int
    stream: str
    codebook: int | None
    message: str
    evidence: dict[str, Any]
    codebooks: set[int | None]
    record: Finding | None = None
    is_said: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        """What is the finding's own in its event, beside what all events have."""
        return {
            "step": self.step,
            "stream": self.stream,
            "codebook": self.codebook,
            "sample": None,
            "code": self.code,
            "message": self.message,
            "evidence": self.evidence,
            "help": f"predlog explain {self.code}",
            "context": {},
        }


@dataclass(slots=True)
class _Opinion:
    """What one rule has seen of one lane, and how often it must find nothing before its finding is gone."""

    pool: list[Evidence] = field(default_factory=list)
    stands: bool = False
    patience: int = 1
    clean: int = 0


@dataclass(slots=True)
class _Lane:
    """One stream and codebook."""

    first_step: int
    opinions: dict[str, _Opinion]
    best: float | None = None
    supervised: int = 0
    records: int = 0
    first: Sums | None = None
    known: set[int] = field(default_factory=set)
    lately: list[Evidence] = field(default_factory=list)

    @property
    def past(self) -> Past:
        """What the rules may know of earlier records."""
        return Past(self.first_step, self.best, self.supervised, self.records, self.first, self.known)


class Judge:
    """Ask the rules about everything that was captured, and remember what they said."""

    def __init__(self, ignore: Collection[str] = ()) -> None:
        self._ignored = frozenset(ignore)
        self._rules = [rule for rule in catalog.RULES if rule.code not in self._ignored]
        self._lanes: OrderedDict[tuple[str, int | None], _Lane] = OrderedDict()
        self._standing: dict[int, Standing] = {}
        self._gone: dict[tuple[str, int | None, str], None] = {}
        self._leaving: list[Standing] = []
        self._refused = 0

    @property
    def standing(self) -> list[Standing]:
        """What was found and is not gone, oldest first."""
        return list(self._standing.values())

    @property
    def unsaid(self) -> list[Standing]:
        """What was found, or is gone, and has not been told yet."""
        self._leaving = [one for one in self._leaving if not one.is_said]
        return [one for one in (*self._leaving, *self.standing) if not one.is_said]

    def judge(self, step: int, stream: str, facts: Iterable[Facts], *, is_trained: bool) -> list[Standing]:
        """Take in what was captured of a pair, and give what is to be said of it now."""
        captured = sorted(facts, key=_codebook_first)
        widest = max((one.supervised for one in captured), default=0)
        lane = self._lane(stream, None, step)
        for code in catalog.REFUSALS:
            if code in lane.opinions:
                self._found_nothing(stream, None, code, step)
        found: dict[str, list[tuple[int | None, Rule, Fault, list[Evidence]]]] = {}
        for codebook, ones in groupby(captured, key=_codebook):
            evidence = Evidence.of(step, tuple(ones), is_trained=is_trained, widest=widest)
            for rule, fault, pool in self._ask(stream, codebook, evidence):
                found.setdefault(rule.code, []).append((codebook, rule, fault, pool))
        return [self._said(step, stream, guilty) for guilty in found.values()]

    def refuse(self, step: int, stream: str, code: str, message: str, evidence: dict[str, Any]) -> list[Standing]:
        """Take in that a pair was refused, and give what is to be said of it now."""
        opinion = self._lane(stream, None, step).opinions.setdefault(code, _Opinion())
        opinion.clean = 0
        self._refused += 1
        if code in self._ignored or opinion.stands:
            return []
        opinion.stands = True
        return [self._stands(Standing(code, "error", step, stream, None, message, evidence, {None}))]

    def summary(self) -> str | None:
        """Give one line about all that was found; None where nothing was."""
        stand = [
            f"{one.code} ({_lane_name(one.stream, sorted(one.codebooks, key=_none_first))}, since step {one.step})"
            for one in self.standing
        ]
        now = {(one.stream, codebook, one.code) for one in self.standing for codebook in tuple(one.codebooks)}
        gone = dict.fromkeys(f"{key[2]} ({key[0]})" for key in list(self._gone) if key not in now)
        parts = [
            f"{len(stand)} finding{'s stand' if len(stand) > 1 else ' stands'}: {_listed(stand)}" if stand else "",
            f"found earlier and gone: {_listed(list(gone))}" if gone else "",
            f"pairs refused: {self._refused}" if self._refused else "",
        ]
        return "; ".join(filter(None, parts)) or None

    def _ask(self, stream: str, codebook: int | None, evidence: Evidence) -> list[tuple[Rule, Fault, list[Evidence]]]:
        lane = self._lane(stream, codebook, evidence.step)
        past = lane.past
        is_explained = False
        found = []
        for rule in self._rules:
            opinion = lane.opinions[rule.code]
            if rule.is_symptom and is_explained:
                opinion.pool = []
                self._clear(stream, codebook, rule.code, None)
                continue
            opinion.pool.append(evidence)
            verdict = rule.judge(opinion.pool, past)
            pool = opinion.pool
            if isinstance(verdict, Clean) and rule.looks_back:
                opinion.pool = pool[1 - rule.looks_back :]
            elif verdict is not None or len(pool) >= _LONGEST_POOL:
                opinion.pool = []
            if isinstance(verdict, Fault):
                opinion.clean = 0
                if not opinion.stands:
                    opinion.stands = True
                    found.append((rule, verdict, pool))
            elif verdict is CLEAN and opinion.stands:
                self._found_nothing(stream, codebook, rule.code, evidence.step)
            if opinion.stands and (rule.is_symptom or (rule.is_certain and rule.level == "error")):
                is_explained = True
        self._learn(lane, evidence)
        return found

    def _learn(self, lane: _Lane, evidence: Evidence) -> None:
        """Keep the lowest mean loss of at least `ENOUGH` tokens in a row, and which labels were ever predicted."""
        lane.supervised += evidence.supervised
        lane.records += 1
        right = [
            label for label, said in zip(evidence.sums.labels, evidence.sums.predictions, strict=True) if label == said
        ]
        if len(lane.known) < _MOST_KNOWN:
            lane.known.update(right)
        if not vary(evidence.sums.labels):
            return  # silence and the like is learnt at once, and no mark for what is not
        lane.lately.append(evidence)
        tokens = sum(one.sums.tokens for one in lane.lately)
        if tokens >= ENOUGH:
            sums = Sums.together([one.sums for one in lane.lately])
            lane.first = lane.first or sums
            lane.best = sums.at_most if lane.best is None else min(lane.best, sums.at_most)
        if tokens >= ENOUGH or len(lane.lately) >= _LONGEST_POOL:
            lane.lately = []

    def _lane(self, stream: str, codebook: int | None, step: int) -> _Lane:
        key = stream, codebook
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(step, {rule.code: _Opinion() for rule in self._rules})
        self._lanes.move_to_end(key)
        if len(self._lanes) > _MOST_LANES:
            (stream, codebook), forgotten = self._lanes.popitem(last=False)
            for code, opinion in forgotten.opinions.items():
                if opinion.stands:
                    self._remove(stream, codebook, code, None)
        return lane

    def _said(
        self, step: int, stream: str, guilty: Sequence[tuple[int | None, Rule, Fault, list[Evidence]]]
    ) -> Standing:
        codebooks = [codebook for codebook, *_ in guilty]
        codebook, rule, fault, _ = guilty[0]
        if len(guilty) > 1:
            codebook = None
            together = rule.judge(_together([pool for *_, pool in guilty]), self._lane(stream, codebooks[0], step).past)
            # What can't be said of all at once is said with the numbers of the first.
            fault = (
                together
                if isinstance(together, Fault)
                else fault._replace(what=f"in codebook {codebooks[0]}, and likewise in the others, {fault.what}")
            )
        where = _lane_name(stream, codebook if len(guilty) == 1 else codebooks)
        return self._stands(
            Standing(
                rule.code,
                rule.level,
                step,
                stream,
                codebook,
                f"{where}: {fault.what}. {fault.mend}",
                {**fault.evidence, **({"codebooks": codebooks} if len(guilty) > 1 else {})},
                set(codebooks),
            )
        )

    def _stands(self, standing: Standing) -> Standing:
        self._standing[id(standing)] = standing
        return standing

    def _found_nothing(self, stream: str, codebook: int | None, code: str, step: int) -> None:
        opinion = self._lanes[stream, codebook].opinions[code]
        opinion.clean += opinion.stands
        if opinion.clean >= opinion.patience:
            self._clear(stream, codebook, code, step)

    def _clear(self, stream: str, codebook: int | None, code: str, step: int | None) -> None:
        """End a finding: it is gone at `step`, or, where that is None, kept back by what explains it."""
        lane = self._lanes.get((stream, codebook))
        opinion = lane.opinions.get(code) if lane is not None else None
        if opinion is not None and opinion.stands:
            opinion.stands = False
            opinion.clean = 0
            opinion.patience *= 2
            self._remove(stream, codebook, code, step)

    def _remove(self, stream: str, codebook: int | None, code: str, step: int | None) -> None:
        if step is not None and len(self._gone) < _MOST_LANES:
            self._gone[stream, codebook, code] = None
        for one in self.standing:
            if one.stream == stream and one.code == code and codebook in one.codebooks:
                one.codebooks.discard(codebook)
                if not one.codebooks:
                    del self._standing[id(one)]
                    if step is not None and one.is_said:
                        self._leaving.append(_gone(one, step))


def _gone(one: Standing, step: int) -> Standing:
    """Give what tells that a finding is gone."""
    where = one.message.partition(": ")[0]
    return Standing(
        code=one.code,
        level="info",
        step=step,
        stream=one.stream,
        codebook=one.codebook,
        message=f"{where}: gone; it was found at step {one.step}.",
        evidence={"since": one.step} | {name: one.evidence[name] for name in ("codebooks",) if name in one.evidence},
        codebooks=set(),
    )


def _together(pools: Sequence[Sequence[Evidence]]) -> list[Evidence]:
    """Join what was captured of several codebooks, step by step."""
    everything = sorted((evidence for pool in pools for evidence in pool), key=_step)
    return [
        Evidence.of(
            step,
            tuple(facts for one in ones for facts in one.samples),
            is_trained=all(one.is_trained for one in ones),
            widest=max(one.widest for one in ones),
        )
        for step, ones in ((step, list(ones)) for step, ones in groupby(everything, key=_step))
    ]


def _step(evidence: Evidence) -> int:
    return evidence.step


def _codebook(facts: Facts) -> int | None:
    return facts.codebook


def _none_first(codebook: int | None) -> int:
    return -1 if codebook is None else codebook


def _codebook_first(facts: Facts) -> tuple[int, int]:
    return (_none_first(facts.codebook), facts.sample)


def _lane_name(stream: str, codebook: int | Sequence[int | None] | None) -> str:
    if codebook is None:
        return stream
    if isinstance(codebook, int):
        return f"{stream} codebook {codebook}"
    known = [one for one in codebook if one is not None]
    if not known:
        return stream
    if len(known) == 1:
        return f"{stream} codebook {known[0]}"
    if known == list(range(known[0], known[-1] + 1)):
        return f"{stream} codebooks {known[0]} to {known[-1]}"
    return f"{stream} codebooks {', '.join(map(str, known))}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
