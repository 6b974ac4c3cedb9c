"""What an experiment is: it does something to predlog, and gives figures that hold or do not."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Size:
    """How much of an experiment is done: all of it, or as much as takes seconds."""

    is_full: bool

    def of(self, full: Value, reduced: Value) -> Value:
        """Choose between the two."""
        return full if self.is_full else reduced


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, and whether it is what was promised; `bound` is empty where nothing was."""

    what: str
    measured: float
    bound: str = ""
    holds: bool = True
    unit: str = ""
    note: str = ""


Experiment = Callable[[Size], Iterable[Figure]]


def equals(what: str, measured: float, expected: float, note: str = "") -> Figure:
    """Return a count that must be exactly this."""
    return Figure(what, measured, f"= {expected:,g}", measured == expected, note=note)


def at_most(what: str, measured: float, bound: float, unit: str = "", note: str = "") -> Figure:
    """Return something that must not be larger."""
    return Figure(what, measured, f"≤ {bound:,g}", measured <= bound, unit, note)


def at_least(what: str, measured: float, bound: float, unit: str = "", note: str = "") -> Figure:
    """Return something that must not be smaller."""
    return Figure(what, measured, f"≥ {bound:,g}", measured >= bound, unit, note)


def told(what: str, measured: float, unit: str = "", note: str = "") -> Figure:
    """Return something that a reader wants to know, and that nothing was promised of."""
    return Figure(what, measured, unit=unit, note=note)
