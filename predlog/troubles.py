"""What is wrong with a run, of all its ranks together: findings, and how its attempts ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from predlog.records import Finding
from predlog.standing import Found
from predlog.starts import Attempt


@dataclass(frozen=True, slots=True)
class Shared:
    """A finding that one rank or several have said of the same, in the words of the first; `ranks` says which."""

    found: Found
    ranks: tuple[int, ...]
    codebooks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a run, on all its ranks: `processes` are the ranks, and `ended` says how many were closed."""

    run: str | None
    number: int
    processes: tuple[Attempt, ...]

    @property
    def ended(self) -> int:
        """How many ranks were closed."""
        return sum(one.end is not None for one in self.processes)

    @property
    def records(self) -> int:
        """How many comparisons are its own."""
        return sum(one.records for one in self.processes)

    @property
    def replaced(self) -> int:
        """How many comparisons a later attempt has done again."""
        return sum(one.replaced for one in self.processes)

    @property
    def steps(self) -> tuple[int, int] | None:
        """The first and the last step compared; None without any."""
        firsts = [one.first_step for one in self.processes if one.first_step is not None]
        lasts = [one.last_step for one in self.processes if one.last_step is not None]
        return (min(firsts), max(lasts)) if firsts and lasts else None


def shared(found: Iterable[Found]) -> list[Shared]:
    """Join what several ranks have said of the same: what stands first, errors first, as they were said first."""
    groups: dict[tuple[object, ...], list[Found]] = {}
    for one in found:
        finding = one.finding
        about = frozenset(finding.codebooks)
        key = finding.run, finding.attempt, finding.stream, about, finding.code, one.fate
        groups.setdefault(key, []).append(one)
    joined = [_shared(min(group, key=_step), group) for group in groups.values()]
    return sorted(joined, key=_worst_first)


def starts(attempts: Sequence[Attempt]) -> list[Start]:
    """Join the ranks of each start."""
    groups: dict[tuple[str | None, int], list[Attempt]] = {}
    for one in attempts:
        groups.setdefault((one.run, one.number), []).append(one)
    return [Start(run, number, tuple(processes)) for (run, number), processes in groups.items()]


def latest(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Give the last attempt of each run and rank, whose numbers may differ: each file counts its own."""
    last: dict[tuple[str | None, int], Attempt] = {}
    for one in attempts:
        key = one.run, one.rank
        last[key] = max(last.get(key, one), one, key=_number)
    return [*last.values()]


def _number(one: Attempt) -> int:
    return one.number


def _shared(first: Found, group: Sequence[Found]) -> Shared:
    known = sorted(one for one in first.finding.codebooks if one is not None)
    return Shared(first, tuple(sorted({one.finding.rank for one in group})), tuple(known))


def _step(one: Found) -> int:
    return one.finding.step


_LEVELS = ("error", "warning")


def _worst_first(one: Shared) -> tuple[bool, int, int]:
    finding: Finding = one.found.finding
    level = _LEVELS.index(finding.level) if finding.level in _LEVELS else len(_LEVELS)
    return not one.found.stands, level, finding.step
