"""From evidence to findings: which rule is asked when, and which findings are open.

Each stream and codebook is judged separately. A finding is reported once, when it is gone, and again if it returns;
each time it must be absent twice as long. Codebooks with the same fault at the same step are reported together.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from predlog.findings import catalog
from predlog.findings.evidence import Evidence, Others
from predlog.findings.facts import Across, Facts
from predlog.findings.ledger import FindingEvent, summary_line
from predlog.findings.loss_check import LossCheck
from predlog.findings.needs import COMPARE_STEPS, MORE, Known, undecided, without_inputs
from predlog.findings.reported_loss import Reported, Totals
from predlog.findings.rule import CLEAN, LONGEST_POOL, Fault, Past, Rule
from predlog.findings.special_tokens import PerStream

# If there are more streams and codebooks, those that were not seen for longest are forgotten.
_MOST_LANES = 1024
_NOTHING: Final[Mapping[str, Collection[int | None]]] = MappingProxyType({})

_codebook, _in_order = attrgetter("codebook"), attrgetter("codebook", "sample")


@dataclass(slots=True)
class _Opinion:
    """What one rule has seen of one lane, and how often in a row it must find nothing before its finding is gone.

    `is_waiting` is whether it could not decide about the latest record without further ones.
    """

    pool: list[Evidence] = field(default_factory=list)
    is_open: bool = False
    patience: int = 1
    clean: int = 0
    is_waiting: bool = False


@dataclass(slots=True)
class _Lane:
    """One stream and codebook; that of the whole stream, without codebook, has what is known of its pairs and loss."""

    past: Past
    opinions: dict[str, _Opinion]
    asked: list[tuple[Rule, _Opinion]]
    loss: LossCheck = field(default_factory=LossCheck)
    known: Known | None = None


class _Case(NamedTuple):
    """A fault that a rule has found in one codebook, and the records that show it."""

    codebook: int | None
    rule: Rule
    fault: Fault
    pool: list[Evidence]


class Judge:
    """Ask the rules about everything that was captured, and remember which findings are open."""

    def __init__(self, ignore: Collection[str] | PerStream[frozenset[str]] = ()) -> None:
        self._ignored = ignore if isinstance(ignore, PerStream) else PerStream(alone=frozenset(ignore))
        self._rules = [rule for rule in catalog.RULES if rule.code not in (self._ignored.alone or ())]
        self._lanes: OrderedDict[tuple[str, int | None], _Lane] = OrderedDict()
        self._open: list[FindingEvent] = []
        self._gone: dict[tuple[str, int | None, str], None] = {}
        self._leaving: list[FindingEvent] = []
        self._refused = 0

    @property
    def open(self) -> list[FindingEvent]:
        """What was found and is not gone, oldest first."""
        return list(self._open)

    @property
    def unreported(self) -> list[FindingEvent]:
        """What was found or is gone and is not reported yet."""
        self._leaving = [one for one in self._leaving if not one.is_reported]
        return [one for one in (*self._leaving, *self._open) if not one.is_reported]

    @property
    def undecided(self) -> dict[str, dict[str, str]]:
        """Which rules can't decide, and why, by stream, as of its latest pair; those that are ignored are left out."""
        found = {}
        for (stream, codebook), lane in list(self._lanes.items()):
            if codebook is None and lane.known is not None:
                known = replace(lane.known, loss=lane.loss.is_known, is_loss_told=lane.loss.state is not None)
                ignored = self._ignored_in(stream)
                found[stream] = {code: why for code, why in undecided(known).items() if code not in ignored}
        return found

    def loss_checked(self) -> list[str]:
        """Return the streams whose reported loss was held against their pairs, with an answer."""
        return [key[0] for key, one in list(self._lanes.items()) if one.loss.is_checked]

    def waiting(self, stream: str) -> dict[str, str]:
        """Return which rules need further pairs of a stream to decide, and why, in the order of the rules.

        Those that compare steps are among them, unless they found something.
        """
        lanes = [lane for (name, _), lane in list(self._lanes.items()) if name == stream]
        ignored = self._ignored_in(stream) | {one.code for one in self._open if one.stream == stream}
        waiting = {code for lane in lanes for code, opinion in lane.opinions.items() if opinion.is_waiting}
        return {code: why for code, why in MORE.items() if code in COMPARE_STEPS | waiting and code not in ignored}

    def learn(self, step: int, stream: str, known: Known) -> str | None:
        """Remember what is known of a pair; return what is to be reported of a stream's first one without inputs."""
        lane = self._lane(stream, None, step)
        is_first = lane.known is None
        lane.known = known
        return without_inputs(self._ignored_in(stream)) if is_first and not known.inputs else None

    def judge(
        self, step: int, stream: str, facts: Iterable[Facts], *, is_trained: bool, across: Across | None = None,
        declared: frozenset[str] = frozenset(), is_idle: bool = False,
        among: Literal["all", "ids", "logits", "part", "rest"] = "all",
        elsewhere: Mapping[str, Collection[int | None]] = _NOTHING,
    ) -> list[FindingEvent]:  # fmt: skip
        """Judge what was captured of a pair, and return what is found now and was not open before.

        `is_trained` is whether its logits require gradients, `is_idle` whether the learning rate is known to be 0.
        `among` says which rules are asked: of a pair in shards, one process asks those that need ids alone, and whoever
        has joined the shards those that need logits. Of samples whose rows are split, each process asks those that need
        a "part" of them, and whoever has joined the rows asks all; if some are missing, the "rest" of whole samples.
        `elsewhere` are codes, with their codebooks, that processes have open in the stream: they explain symptoms.
        """
        captured = sorted(facts, key=_in_order)
        widest = max((one.supervised for one in captured), default=0)
        lane = self._lane(stream, None, step)
        for code in catalog.REFUSALS:
            if code in lane.opinions:
                self._found_nothing(stream, None, code, step)
        cases: dict[str, list[_Case]] = {}
        others = Others.of(captured)
        for codebook, ones in groupby(captured, key=_codebook):
            evidence = Evidence(
                step, tuple(ones), is_trained=is_trained, widest=widest, loss=lane.loss.state, across=across,
                declared=declared, is_idle=is_idle, others=others,
            )  # fmt: skip
            known = [code for code, codebooks in elsewhere.items() if codebook in codebooks]
            for case in self._ask(stream, codebook, evidence, among, known):
                cases.setdefault(case.rule.code, []).append(case)
        return [self._found(step, stream, alike) for alike in cases.values()]

    def judge_loss(self, step: int, stream: str, totals: Totals, reported: Reported) -> str | None:
        """Hold the loss that was reported for a pair against its sums; return why this is done no more, if so."""
        code = catalog.LOSS
        if code in self._ignored_in(stream):
            return None
        lane = self._lane(stream, None, step)
        verdict = lane.loss.judge(totals, reported)
        if isinstance(verdict, str):
            return verdict
        opinion = lane.opinions.setdefault(code, _Opinion())
        opinion.is_waiting = verdict is None
        if isinstance(verdict, Fault) and not opinion.is_open:
            opinion.is_open = True
            self._open.append(FindingEvent.of(catalog.LOSS_RULE, verdict, step, stream, [None]))
        if isinstance(verdict, Fault):
            opinion.clean = 0
        elif verdict is CLEAN:
            self._found_nothing(stream, None, code, step)
        return None

    def refuse(self, step: int, stream: str, code: str, message: str, evidence: dict[str, Any]) -> list[FindingEvent]:
        """Record that a pair was refused, and return what is found now and was not open before."""
        opinion = self._lane(stream, None, step).opinions.setdefault(code, _Opinion())
        opinion.clean = 0
        self._refused += 1
        if code in self._ignored_in(stream) or opinion.is_open:
            return []
        opinion.is_open = True
        found = FindingEvent(code, "error", step, stream, None, message, evidence, {None})
        self._open.append(found)
        return [found]

    def find(self, step: int, stream: str, rule: Rule, fault: Fault) -> None:
        """Record a fault that was found elsewhere, unless its code is ignored."""
        if rule.code not in self._ignored_in(stream):
            self._open.append(FindingEvent.of(rule, fault, step, stream, [None]))

    def summary(self) -> str | None:
        """Return one line about all that was found; None if nothing was."""
        return summary_line(self.open, list(self._gone), self._refused)

    def _ask(
        self, stream: str, codebook: int | None, evidence: Evidence, among: str, now: list[str]
    ) -> list[_Case]:  # fmt: skip
        """Ask the rules about a codebook; `now` are codes that are open there elsewhere, and gets those from here."""
        lane = self._lane(stream, codebook, evidence.step)
        past = lane.past
        cases = []
        # Nearly all of what judging costs is this loop: some thirty rules, most of which find nothing.
        for rule, opinion in lane.asked if among == "all" else _among(lane.asked, among):
            if now and rule.is_symptom and any(catalog.explains(code, rule.code) for code in now):
                opinion.pool, opinion.is_waiting = [], False
                self._close(stream, codebook, rule.code, evidence.step, is_gone=False)
                continue
            pool = opinion.pool
            pool.append(evidence)
            verdict = rule.judge(pool, past)
            if verdict is None:
                opinion.is_waiting = True
                if len(pool) >= LONGEST_POOL:
                    opinion.pool = []
            elif type(verdict) is Fault:
                opinion.pool, opinion.is_waiting, opinion.clean = [], False, 0
                if not opinion.is_open:
                    opinion.is_open = True
                    cases.append(_Case(codebook, rule, verdict, pool))
            else:
                opinion.is_waiting = False
                if rule.looks_back > 1:
                    del pool[: 1 - rule.looks_back]
                else:
                    pool.clear()
                if verdict is CLEAN and opinion.is_open:
                    self._found_nothing(stream, codebook, rule.code, evidence.step)
            if opinion.is_open:
                now.append(rule.code)
        past.learn(evidence)
        return cases

    def _ignored_in(self, stream: str) -> frozenset[str]:
        return self._ignored.of(stream, has_codebooks=False) or frozenset()

    def _lane(self, stream: str, codebook: int | None, step: int) -> _Lane:
        key = stream, codebook
        lane = self._lanes.get(key)
        if lane is None:
            ignored = self._ignored_in(stream)
            rules = [rule for rule in self._rules if rule.code not in ignored]
            asked = [(rule, _Opinion()) for rule in rules]
            opinions = {rule.code: opinion for rule, opinion in asked}
            lane = self._lanes[key] = _Lane(Past(step, stream=stream), opinions, asked)
        self._lanes.move_to_end(key)
        if len(self._lanes) > _MOST_LANES:
            (stream, codebook), forgotten = self._lanes.popitem(last=False)
            for code, opinion in forgotten.opinions.items():
                if opinion.is_open:
                    self._remove(stream, codebook, code)
        return lane

    def _found(self, step: int, stream: str, alike: Sequence[_Case]) -> FindingEvent:
        """Open a finding of one codebook, or of several that have the same fault at the same step."""
        first, codebooks = alike[0], [case.codebook for case in alike]
        fault = first.fault
        if len(alike) > 1:
            past = self._lane(stream, first.codebook, step).past
            together = first.rule.judge(Evidence.together(case.pool for case in alike), past)
            # If the rule does not find it in all of them together, the numbers of the first are reported.
            what = f"in codebook {codebooks[0]}, and likewise in the others, {fault.what}"
            fault = together if isinstance(together, Fault) else fault._replace(what=what)
        found = FindingEvent.of(first.rule, fault, step, stream, codebooks)
        self._open.append(found)
        return found

    def _found_nothing(self, stream: str, codebook: int | None, code: str, step: int) -> None:
        opinion = self._lanes[stream, codebook].opinions[code]
        opinion.clean += opinion.is_open
        if opinion.clean >= opinion.patience:
            self._close(stream, codebook, code, step, is_gone=True)

    def _close(self, stream: str, codebook: int | None, code: str, step: int, *, is_gone: bool) -> None:
        """End a finding in one codebook: it is gone at that step, or another finding explains it."""
        opinion = self._lanes[stream, codebook].opinions[code]
        if not opinion.is_open:
            return
        opinion.is_open = False
        opinion.clean = 0
        opinion.patience *= 2
        if is_gone and len(self._gone) < _MOST_LANES:
            self._gone[stream, codebook, code] = None
        for one in self._remove(stream, codebook, code):
            # A reader knows from the file what is explained, but not that it is gone in one of several codebooks.
            one.is_partly_gone |= is_gone
            if not one.codebooks and one.is_partly_gone and one.is_reported:
                self._leaving.append(one.gone(step))

    def _remove(self, stream: str, codebook: int | None, code: str) -> list[FindingEvent]:
        """Take a codebook from the open findings of a code, and return these."""
        found = [one for one in self.open if one.stream == stream and one.code == code and codebook in one.codebooks]
        for one in found:
            one.codebooks.discard(codebook)
            if not one.codebooks:
                self._open.remove(one)
        return found


def _among(asked: Iterable[tuple[Rule, _Opinion]], among: str) -> list[tuple[Rule, _Opinion]]:
    codes, are_in = catalog.AMONG[among]
    return [one for one in asked if (one[0].code in codes) == are_in]
