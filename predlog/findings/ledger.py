"""The findings of a file → which of them stand at its end, and what became of the others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from predlog.findings.catalog import RULES
from predlog.findings.rule import Rule
from predlog.records.schema import Finding

Fate = Literal["stands", "gone", "explained", "earlier"]
_PLACES = {rule.code: place for place, rule in enumerate(RULES)}


@dataclass(frozen=True, slots=True)
class Found:
    """A finding, and what became of it.

    It *stands* until it is said to be *gone*, at step `until`; until it is *explained* there by the finding `by`, of
    which it is a symptom; or until a later attempt of the same rank has recorded the stream: then it is *earlier*.
    """

    finding: Finding
    fate: Fate
    until: int | None = None
    by: str | None = None

    @property
    def stands(self) -> bool:
        """Whether it stands at the end."""
        return self.fate == "stands"


@dataclass(slots=True)
class _Entry:
    finding: Finding
    codebooks: set[int | None]
    until: int | None = None
    by: str | None = None


@dataclass(slots=True)
class Ledger:
    """Take findings in the order in which they were said, and give what became of each."""

    entries: list[_Entry] = field(default_factory=list)
    _standing: dict[tuple[str | None, int, int, str], list[_Entry]] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Take in a finding, or, of level info, that one is gone."""
        key = finding.run, finding.attempt, finding.rank, finding.stream
        standing = self._standing.setdefault(key, [])
        if finding.level == "info":
            ended = [entry for entry in standing if _ends(finding, entry.finding)]
        else:
            ended = [entry for entry in standing if _explains(finding, entry)]
        for entry in ended:
            standing.remove(entry)
            entry.until = finding.step
            entry.by = None if finding.level == "info" else finding.code
        if finding.level != "info":
            entry = _Entry(finding, finding.codebooks)
            self.entries.append(entry)
            standing.append(entry)

    def found(self, recorded: Mapping[tuple[str | None, int, str], int]) -> tuple[Found, ...]:
        """Give all findings; `recorded` has the last attempt of each run, rank and stream that has comparisons."""
        said = _last_said(entry.finding for entry in self.entries)
        return tuple(
            Found(entry.finding, _fate(entry, recorded, said), entry.until, entry.by) for entry in self.entries
        )


def _ends(gone: Finding, finding: Finding) -> bool:
    return (
        gone.code == finding.code
        and gone.codebooks == finding.codebooks
        and gone.evidence.get("since", finding.step) == finding.step
    )


def _explains(finding: Finding, entry: _Entry) -> bool:
    """Take the codebooks that a finding explains a symptom of from an entry; say whether none is left.

    The judge ends such a symptom without a word, by the same rule: see `predlog.judging`.
    """
    symptom, cause = _rule(entry.finding.code), _rule(finding.code)
    if symptom is None or cause is None or not symptom.is_symptom or _PLACES[symptom.code] <= _PLACES[cause.code]:
        return False
    if cause.is_symptom or (cause.is_certain and cause.level == "error"):
        entry.codebooks -= finding.codebooks
    return not entry.codebooks


def _rule(code: str) -> Rule | None:
    return RULES[_PLACES[code]] if code in _PLACES else None


def _last_said(findings: Iterable[Finding]) -> dict[tuple[str | None, int, str, str], int]:
    said: dict[tuple[str | None, int, str, str], int] = {}
    for one in findings:
        key = one.run, one.rank, one.stream, one.code
        said[key] = max(said.get(key, 0), one.attempt)
    return said


def _fate(
    entry: _Entry,
    recorded: Mapping[tuple[str | None, int, str], int],
    said: Mapping[tuple[str | None, int, str, str], int],
) -> Fate:
    one = entry.finding
    if entry.until is not None:
        return "explained" if entry.by else "gone"
    newest = max(recorded.get((one.run, one.rank, one.stream), 0), said[one.run, one.rank, one.stream, one.code])
    return "earlier" if newest > one.attempt else "stands"
