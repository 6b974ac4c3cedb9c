"""Time contenders in turn on torch's own clock, and set one against another.

Each round times every contender once, so that what the machine does meanwhile falls on all of them alike, and a ratio
is taken within each round. torch's clock waits for an accelerator's work before it tells the time.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch.utils.benchmark import Measurement, TaskSpec, timer


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and the quartiles around it."""

    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Return the quartiles of what was measured."""
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))

    @classmethod
    def exact(cls, value: float) -> "Spread":
        """Return what was counted, not timed, and has no spread."""
        return cls(value, value, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the report: what is measured, what came out, and what it must be."""

    name: str
    title: str
    measured: Spread
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    note: str = ""
    seconds: Mapping[str, Spread] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Say whether the target is met, or missed by less than the spread, or MISSED; nothing where there is none."""
        if self.at_least is None and self.at_most is None:
            return ""
        if self._reaches(self.measured.median, self.measured.median):
            return "ok"
        return "within spread" if self._reaches(self.measured.upper, self.measured.lower) else "MISSED"

    def _reaches(self, highest: float, lowest: float) -> bool:
        return (self.at_least is None or highest >= self.at_least) and (self.at_most is None or lowest <= self.at_most)


class Contender(NamedTuple):
    """What is timed, and how many steps one run of it makes: times are given by the step."""

    run: Callable[[], object]
    steps: int = 1


def repeated(call: Callable[[], object], steps: int) -> Contender:
    """Make a contender that calls `call` so many times a run."""

    def run() -> None:
        for _ in range(steps):
            call()

    return Contender(run, steps)


def interleaved(contenders: Mapping[str, Contender], *, rounds: int) -> dict[str, Measurement]:
    """Time each contender `rounds` times, in turn; one round before warms up.

    `Timer.timeit` would warm up before each timing, so that nothing is ever found as another contender left it.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, contender in contenders.items():
            start = timer()
            contender.run()
            took = timer() - start
            if round_:
                times[name].append(took)
    return {
        name: Measurement(contender.steps, times[name], TaskSpec(name, "pass", num_threads=torch.get_num_threads()))
        for name, contender in contenders.items()
    }


def ratio(
    times: Mapping[str, Measurement],
    over: str,
    under: str,
    *,
    name: str,
    title: str,
    at_least: float | None = None,
    at_most: float | None = None,
    note: str = "",
) -> Row:
    """Return the row of one contender's time ÷ another's, taken within each round."""
    pairs = zip(times[over].times, times[under].times, strict=True)
    return Row(
        name=name,
        title=title,
        measured=Spread.of(upper / lower for upper, lower in pairs),
        at_least=at_least,
        at_most=at_most,
        note=note,
        seconds={each: Spread.of(times[each].times) for each in (over, under)},
    )


def duration(seconds: float) -> str:
    """Write a time with the unit that fits it."""
    unit, scale = next((pair for pair in (("s", 1), ("ms", 1e3), ("µs", 1e6)) if seconds * pair[1] >= 1), ("ns", 1e9))
    return f"{seconds * scale:.3g} {unit}"
