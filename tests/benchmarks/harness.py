"""Time several things in turn and compare their medians.

Each round times every contender once, so that what the machine does meanwhile falls on all of them alike.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds a call: the median of the rounds, and the quartiles around it."""

    median: float
    lower: float
    upper: float

    def divided(self, many: int) -> "Timing":
        """Give the time of one of `many` that were timed together."""
        return Timing(self.median / many, self.lower / many, self.upper / many)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One row of the table: what is compared, what came out, and what it must be."""

    name: str
    measured: float
    lower: float
    upper: float
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the median meets the target; a ratio without one always does."""
        return (self.at_least is None or self.measured >= self.at_least) and (
            self.at_most is None or self.measured <= self.at_most
        )

    def __str__(self) -> str:
        target = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}" if self.at_most else "-"
        verdict = "" if self.at_least is None and self.at_most is None else "ok" if self.holds else "MISSED"
        spread = f"{self.lower:.3g} to {self.upper:.3g}"
        return f"{self.name:<78} {self.measured:>8.3g}  ({spread})".ljust(112) + f"{target:>8}  {verdict:<7}{self.note}"


def interleaved(contenders: dict[str, Callable[[], object]], *, rounds: int, repeat: int = 1) -> dict[str, Timing]:
    """Time each contender `rounds` times, `repeat` calls at a time, in turn; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, call in contenders.items():
            start = time.perf_counter()
            for _ in range(repeat):
                call()
            if round_:
                times[name].append((time.perf_counter() - start) / repeat)
    return {name: _timing(values) for name, values in times.items()}


def ratio(name: str, slower: Timing, faster: Timing, **target: Any) -> Ratio:
    """Give slower ÷ faster, with the spread that the quartiles of both allow."""
    return Ratio(
        name,
        slower.median / faster.median,
        slower.lower / faster.upper,
        slower.upper / faster.lower,
        **target,
    )


def _timing(values: list[float]) -> Timing:
    lower, median, upper = statistics.quantiles(values, n=4)
    return Timing(median, lower, upper)
