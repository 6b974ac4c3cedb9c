"""A finding as it is reported, and as it is read back from a file with what became of it.

Both sides are here because they must agree. A run reports that a finding is found and that it is gone; it reports
nothing when another finding explains it. A reader finds out from these lines alone which findings are open at the end.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Literal

from predlog.findings.catalog import CODES, explains
from predlog.findings.rule import Fault, Rule
from predlog.records.schema import Finding

_MOST_NAMED = 8


# --- as it is reported --------------------------------------------------------------------------------------------
@dataclass(slots=True, eq=False)
class FindingEvent:
    """A finding that is to be reported, or, with level info, that one is gone.

    `codebooks` are those in which it is still open; `is_partly_gone` is whether it is gone, and not explained, in one
    of them. Whoever reports it sets `is_reported` and `record`.
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
    is_reported: bool = False
    is_partly_gone: bool = False

    @staticmethod
    def of(rule: Rule, fault: Fault, step: int, stream: str, codebooks: Sequence[int | None]) -> "FindingEvent":
        """Return the finding of a fault in these codebooks; [None] for a stream without any."""
        is_alone = len(codebooks) == 1
        return FindingEvent(
            rule.code,
            rule.level,
            step,
            stream,
            codebooks[0] if is_alone else None,
            f"{_where(stream, codebooks)}: {fault.what}. {fault.fix}",
            {**fault.evidence, **({} if is_alone else {"codebooks": list(codebooks)})},
            set(codebooks),
        )

    def gone(self, step: int) -> "FindingEvent":
        """Return the event that reports that it is gone at a step."""
        evidence = {name: self.evidence[name] for name in ("codebooks",) if name in self.evidence}
        where = _where(self.stream, evidence.get("codebooks", [self.codebook]))
        return FindingEvent(
            self.code,
            "info",
            step,
            self.stream,
            self.codebook,
            f"{where}: gone; it was found at step {self.step}.",
            {"since": self.step, **evidence},
            set(),
        )

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of its event that not all events have."""
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


def summary_line(
    found: Sequence[FindingEvent], ended: Iterable[tuple[str, int | None, str]], refused: int
) -> str | None:
    """Return one line about open findings, those that are gone, and refused pairs; None if there are none.

    `ended` are the stream, codebook and code of each finding that is gone.
    """
    now_open = [f"{one.code} ({_where(one.stream, tuple(one.codebooks))}, since step {one.step})" for one in found]
    now = {(one.stream, codebook, one.code) for one in found for codebook in tuple(one.codebooks)}
    gone = dict.fromkeys(f"{key[2]} ({key[0]})" for key in ended if key not in now)
    parts = [
        f"{len(now_open)} open finding{'s' * (len(now_open) > 1)}: {_listed(now_open)}" if now_open else "",
        f"found earlier and gone: {_listed(list(gone))}" if gone else "",
        f"pairs refused: {refused}" if refused else "",
    ]
    return "; ".join(filter(None, parts)) or None


def _where(stream: str, codebooks: Collection[int | None]) -> str:
    known = sorted(one for one in codebooks if one is not None)
    if not known:
        return stream
    if len(known) == 1:
        return f"{stream} codebook {known[0]}"
    if known[-1] - known[0] == len(known) - 1:
        return f"{stream} codebooks {known[0]} to {known[-1]}"
    return f"{stream} codebooks {', '.join(map(str, known))}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


# --- as it is read back -------------------------------------------------------------------------------------------
Fate = Literal["stands", "gone", "explained", "earlier"]
_LEVELS = {"error": 0, "warning": 1}


@dataclass(frozen=True, slots=True)
class Found:
    """A finding, what became of it, and which ranks have reported it.

    `fate` is "stands" while it is open; "gone" if the run has reported that, at step `until`; "explained" if it is a
    symptom of the finding `by`, reported at step `until`; "earlier" if a later attempt of the same rank has recorded
    the stream. `codebooks` are those that it is about, ascending; empty for a stream without.
    """

    finding: Finding
    fate: Fate
    until: int | None = None
    by: str | None = None
    ranks: tuple[int, ...] = ()
    codebooks: tuple[int, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it is open at the end."""
        return self.fate == "stands"


# The codes of the findings that each explains.
_SYMPTOMS = {cause: tuple(code for code in CODES if explains(cause, code)) for cause in CODES}


@dataclass(slots=True)
class _Open:
    """The places of open entries, found without looking at all of them: a file may have any number.

    `left` has their codebooks that nothing explains, `of` the places by code and codebook, and `alike` those by code,
    codebooks and step.
    """

    left: dict[int, set[int | None]] = field(default_factory=dict)
    of: dict[tuple[str, int | None], list[int]] = field(default_factory=dict)
    alike: dict[tuple[str, frozenset[int | None]], dict[int, list[int]]] = field(default_factory=dict)

    def add(self, place: int, finding: Finding, codebooks: set[int | None]) -> None:
        self.left[place] = codebooks
        for codebook in codebooks:
            self.of.setdefault((finding.code, codebook), []).append(place)
        steps = self.alike.setdefault((finding.code, frozenset(codebooks)), {})
        steps.setdefault(finding.step, []).append(place)

    def end(self, gone: Finding) -> list[int]:
        """Remove and return the places of what is gone: all of its kind, or those found at the step that it names."""
        steps = self.alike.get((gone.code, frozenset(gone.codebooks)), {})
        since = gone.evidence.get("since")
        if "since" in gone.evidence:
            ended = steps.pop(since, []) if isinstance(since, int) else []
        else:
            ended = [place for places in steps.values() for place in places]
            steps.clear()
        return [place for place in ended if self.left.pop(place, None) is not None]

    def explain(self, cause: str, codebooks: set[int | None]) -> list[int]:
        """Remove and return the places of the symptoms of a cause in some codebooks, if none of theirs is left."""
        explained = []
        for key in ((code, codebook) for code in _SYMPTOMS.get(cause, ()) for codebook in codebooks):
            for place in self.of.pop(key, ()):
                left = self.left.get(place)
                if left is not None:
                    left.discard(key[1])
                    if not left:
                        del self.left[place]
                        explained.append(place)
        return explained


@dataclass(slots=True)
class Ledger:
    """The findings of one or more runs in the order in which they were reported, and what became of each."""

    entries: list[Found] = field(default_factory=list)
    # Open entries of each run, attempt, rank, recorder and stream.
    _open: dict[tuple[object, ...], _Open] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Add a finding, or, with level info, that one is gone."""
        key = finding.run, finding.attempt, finding.rank, finding.recorder, finding.stream
        now = self._open.setdefault(key, _Open())
        if finding.level == "info":
            for place in now.end(finding):
                self.entries[place] = replace(self.entries[place], fate="gone", until=finding.step)
            return
        codebooks = finding.codebooks
        for place in now.explain(finding.code, codebooks):
            self.entries[place] = replace(self.entries[place], fate="explained", until=finding.step, by=finding.code)
        now.add(len(self.entries), finding, codebooks)
        known = tuple(sorted(one for one in codebooks if one is not None))
        self.entries.append(Found(finding, "stands", ranks=(finding.rank,), codebooks=known))

    def found(
        self,
        recorded: Mapping[tuple[str | None, int, str], int],
        beside: Mapping[tuple[str | None, int, int], int] = MappingProxyType({}),
    ) -> tuple[Found, ...]:
        """Return all findings; `recorded` has the last attempt of each run, rank and stream that has comparisons.

        `beside` has the last attempt that ran at the same time as one of a run and rank: neither replaces the other.
        """
        findings = [one.finding for one in self.entries]
        keys = [(finding.run, finding.rank, finding.stream, finding.code) for finding in findings]
        newest = {key: recorded.get(key[:3], 0) for key in keys}
        for key, finding in zip(keys, findings, strict=True):
            newest[key] = max(newest[key], finding.attempt)
        return tuple(
            replace(one, fate="earlier") if one.is_open and newest[key] > _last_beside(one.finding, beside) else one
            for key, one in zip(keys, self.entries, strict=True)
        )


def across_ranks(found: Iterable[Found]) -> list[Found]:
    """Return findings that several ranks share once, as the first reported them: open ones first, errors first."""
    groups: dict[tuple[object, ...], list[Found]] = {}
    for one in found:
        finding = one.finding
        key = finding.run, finding.attempt, finding.stream, frozenset(finding.codebooks), finding.code, one.fate
        groups.setdefault(key, []).append(one)
    joined = [
        replace(
            min(group, key=attrgetter("finding.step")), ranks=tuple(sorted({n for one in group for n in one.ranks}))
        )
        for group in groups.values()
    ]
    return sorted(joined, key=_worst_first)


def _last_beside(finding: Finding, beside: Mapping[tuple[str | None, int, int], int]) -> int:
    return beside.get((finding.run, finding.rank, finding.attempt), finding.attempt)


def _worst_first(one: Found) -> tuple[bool, int, int]:
    return not one.is_open, _LEVELS.get(one.finding.level, len(_LEVELS)), one.finding.step
