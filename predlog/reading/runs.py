"""First lines, last lines and steps → what is known of each attempt, process by process, and what it was asked for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from predlog.findings.special_tokens import PerStream
from predlog.numbers.window import Window
from predlog.reading.curves import Coverage, Source
from predlog.records.schema import Run

# The exception that Ctrl-C raises.
INTERRUPTED: Final = "KeyboardInterrupt"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One process of one start of a run.

    `start` is its first line and `end` its last: None if it was killed, or is running. `records` counts its
    comparisons, from `first_step` to `last_step`, the latest at `timestamp`; of an attempt that was done again, those
    that no later one has replaced. `replaced` counts the others, if they were passed to `Summary.replace`.
    """

    run: str | None
    number: int
    rank: int
    start: Run | None
    end: Run | None
    records: int = 0
    first_step: int | None = None
    last_step: int | None = None
    timestamp: str | None = None
    replaced: int = 0

    @property
    def error(self) -> str | None:
        """Return the name of the exception that ended it, if one did."""
        return None if self.end is None else ended_by(self.end)


def ended_by(end: Run) -> str | None:
    """Return the name of the exception that ended an attempt, which is in its last line; None without one."""
    error = (end.stats or {}).get("error")
    return error if isinstance(error, str) else None


class Attempts:
    """Collect the first and last lines of attempts, and list the attempts.

    Attributes:
        replaced: How many comparisons of each process of an attempt a later one has done again.
    """

    def __init__(self) -> None:
        self._starts: dict[Source, Run] = {}
        self._ends: dict[Source, dict[str | None, Run]] = {}
        self._recorders: dict[Source, set[str | None]] = {}
        self.replaced: Mapping[Source, int] = {}

    def add(self, run: Run) -> None:
        """Add a first line, or, with stats, a last one."""
        key = run.run, run.attempt, run.rank
        self._recorders.setdefault(key, set()).add(run.recorder)
        if run.stats is None:
            # If a file was removed during the run, its first line was written twice.
            self._starts.setdefault(key, run)
        else:
            self._ends.setdefault(key, {})[run.recorder] = run

    @property
    def ends(self) -> tuple[Run, ...]:
        """Return all last lines, by run, number and rank."""
        ordered = sorted(self._ends, key=_by_run)
        return tuple(run for key in ordered for run in self._ends[key].values())

    def listed(self, coverages: Iterable[dict[Source, Coverage]]) -> tuple[Attempt, ...]:
        """Return the attempts by run, number and rank, with the steps that the streams cover."""
        covered: dict[Source, Coverage] = {}
        for source, more in chain.from_iterable(each.items() for each in coverages):
            if (known := covered.setdefault(source, more)) is not more:
                known.add(more.records, more.first_step, more.last_step, more.timestamp)
        keys = {*self._starts, *self._ends, *self.replaced, *covered}
        ordered = sorted(keys, key=_by_run)
        return tuple(self._attempt(key, covered.get(key)) for key in ordered)

    def _attempt(self, key: Source, covered: Coverage | None) -> Attempt:
        start, replaced = self._starts.get(key), self.replaced.get(key, 0)
        ends = self._ends.get(key, {})
        # Recorders that began at the same time have one number: the attempt has ended when all of them have.
        end = [*ends.values()][-1] if ends and ends.keys() == self._recorders[key] else None
        if covered is None:
            return Attempt(*key, start, end, replaced=replaced)
        first, last = covered.first_step, covered.last_step
        return Attempt(*key, start, end, covered.records, first, last, covered.timestamp, replaced)


def _by_run(source: Source) -> tuple[str, int, int]:
    return source[0] or "", *source[1:]


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a run, on all its ranks: `processes` has one attempt per rank."""

    run: str | None
    number: int
    processes: tuple[Attempt, ...]

    @property
    def ended(self) -> int:
        """Return how many ranks were closed."""
        return sum(one.end is not None for one in self.processes)

    @property
    def records(self) -> int:
        """Return how many comparisons no later attempt has replaced."""
        return sum(one.records for one in self.processes)

    @property
    def replaced(self) -> int:
        """Return how many comparisons a later attempt has done again."""
        return sum(one.replaced for one in self.processes)

    @property
    def steps(self) -> tuple[int, int] | None:
        """Return the first and the last step compared; None without any."""
        firsts = [one.first_step for one in self.processes if one.first_step is not None]
        lasts = [one.last_step for one in self.processes if one.last_step is not None]
        return (min(firsts), max(lasts)) if firsts and lasts else None


def starts(attempts: Sequence[Attempt]) -> list[Start]:
    """Return the starts of a run, each with the attempts of all its ranks."""
    groups: dict[tuple[str | None, int], list[Attempt]] = {}
    for one in attempts:
        groups.setdefault((one.run, one.number), []).append(one)
    return [Start(run, number, tuple(processes)) for (run, number), processes in groups.items()]


def latest(
    attempts: Sequence[Attempt], beside: Mapping[tuple[str | None, int, int], int] = MappingProxyType({})
) -> list[Attempt]:
    """Return the last attempt of each run and rank, given all by number, and those that ran at the same time.

    The numbers of ranks may differ, because each file counts its own. `beside` is `Summary.beside`.
    """
    newest = {(one.run, one.rank): one.number for one in attempts}
    return [
        one for one in attempts if beside.get((one.run, one.rank, one.number), one.number) >= newest[one.run, one.rank]
    ]


class Asked(NamedTuple):
    """What a run shows of each sample, which codes it ignores, and who may record, by its first line."""

    window: Window
    ignore: PerStream[frozenset[str]]
    ranks: frozenset[int]


USUAL: Final = Asked(Window(), PerStream(), frozenset())


def asked(run: Run) -> Asked:
    """Return what the settings in the first line of a process ask for."""
    settings = run.settings
    names = ("worst", "alternatives", "all_tokens")
    known: dict[str, Any] = {name: value for name in names if type(value := settings.get(name)) is int and value >= 0}
    window, ignore = replace(Window(), **known), settings.get("ignore")
    if isinstance(ignore, dict):
        codes = PerStream(by_name={name: _codes(one) for name, one in ignore.items()})
    else:
        codes = PerStream(alone=_codes(ignore))
    named = settings.get("ranks")
    is_named = isinstance(named, list) and all(type(one) is int for one in named)
    return Asked(window, codes, frozenset(named if is_named else range(run.world_size)))  # type: ignore[arg-type] # a list


def _codes(listed: Any) -> frozenset[str]:
    return frozenset(one for one in listed if isinstance(one, str)) if isinstance(listed, list) else frozenset()
