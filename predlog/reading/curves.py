"""The comparisons of one stream and codebook → its curve over the steps, in bounded memory.

Far more steps are logged than a chart can show. Above a bound, neighbouring points are merged, and their sums stay
exact. First, last and best are taken from the single steps before, so merging does not change them.
"""

from collections import deque
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Literal, NamedTuple

from predlog.records.figures import Point, merged, of_step
from predlog.records.schema import Comparison
from predlog.records.text import share

MOST_POINTS = 2000
# A loss is the mean of so many records: that of a step, of two samples, says more about these than about the model.
SMOOTHED = 10
Source = tuple[str | None, int, int]
Counted = Literal["supervised", "shown", "both"]
_source = attrgetter("run", "attempt", "rank")
Key = tuple[str, int | None]


def none_first(codebook: int | None) -> int:
    """Return a sorting key for codebooks, with None for a stream that has none."""
    return -1 if codebook is None else codebook


class Mark(NamedTuple):
    """A value, and the step that it is from."""

    step: int
    value: float


class Course(NamedTuple):
    """How a figure developed: its first and its last value, and the best at its earliest step."""

    first: Mark
    last: Mark
    best: Mark


@dataclass(frozen=True, slots=True)
class Curve:
    """How one stream and codebook developed.

    `steps` counts the logged steps and `records` the comparisons. `counted` is what the accuracy is computed over: all
    supervised positions, the tokens shown, or both in turn. `loss` is that of all supervised tokens in nats, as means
    of `SMOOTHED` records: of the newest steps, as many as have so many together. `accuracy`, `logprob`, `rank`, and
    the loss of a run with fewer records, are those of single steps. Each is None if no step has it.
    """

    stream: str
    codebook: int | None
    points: tuple[Point, ...]
    steps: int
    records: int
    first_step: int
    last_step: int
    length: int
    supervised: int
    counted: Counted
    loss: Course | None
    accuracy: Course | None
    logprob: Course | None
    rank: Course | None

    @property
    def share(self) -> float:
        """Return the supervised share of all positions."""
        return share(self.supervised, self.length)


@dataclass(slots=True)
class Coverage:
    """What one process of one attempt has compared; the timestamp is that of the latest."""

    records: int
    first_step: int
    last_step: int
    timestamp: str

    def add(self, records: int, first_step: int, last_step: int, timestamp: str) -> None:
        """Count further comparisons."""
        self.records += records
        self.first_step = min(self.first_step, first_step)
        self.last_step = max(self.last_step, last_step)
        self.timestamp = max(self.timestamp, timestamp)


@dataclass(slots=True)
class _Figure:
    """A course as it grows, without a new object per step."""

    sign: int = 1
    first: Mark | None = None
    best: Mark | None = None
    last_step: int = 0
    last_value: float = 0.0

    def add(self, step: int, value: float) -> None:
        self.last_step = step
        self.last_value = value
        if self.best is None:
            self.first = self.best = Mark(step, value)
        elif self.sign * (value - self.best.value) > 0:
            self.best = Mark(step, value)

    @property
    def course(self) -> Course | None:
        if self.first is None or self.best is None:
            return None
        return Course(self.first, Mark(self.last_step, self.last_value), self.best)


@dataclass(slots=True)
class _Smoothed:
    """The course of a loss, whose means are weighted by supervised tokens, as an accuracy is."""

    steps: _Figure = field(default_factory=lambda: _Figure(sign=-1))
    means: _Figure = field(default_factory=lambda: _Figure(sign=-1))
    recent: deque[tuple[float, int, int]] = field(default_factory=deque)

    def add(self, step: int, loss: float, tokens: int, records: int) -> None:
        self.steps.add(step, loss)
        recent, count = self.recent, records
        count += sum(one[2] for one in recent)
        recent.append((loss, tokens, records))
        while count - recent[0][2] >= SMOOTHED:
            count -= recent.popleft()[2]
        if count >= SMOOTHED:
            self.means.add(step, sum(one[0] * one[1] for one in recent) / sum(one[1] for one in recent))

    @property
    def course(self) -> Course | None:
        return self.means.course or self.steps.course

    def copy(self) -> "_Smoothed":
        return _Smoothed(copy(self.steps), copy(self.means), self.recent.copy())


@dataclass(slots=True)
class _Closed:
    """The steps that are complete."""

    points: list[Point] = field(default_factory=list)
    stride: int = 1
    steps: int = 0
    records: int = 0
    first_step: int = 0
    last_step: int = 0
    length: int = 0
    supervised: int = 0
    counted: set[bool] = field(default_factory=set)
    covered: dict[Source, Coverage] = field(default_factory=dict)
    loss: _Smoothed = field(default_factory=_Smoothed)
    accuracy: _Figure = field(default_factory=_Figure)
    logprob: _Figure = field(default_factory=_Figure)
    rank: _Figure = field(default_factory=lambda: _Figure(sign=-1))

    def add(self, ones: Sequence[Comparison]) -> None:
        self.counted |= {one.matched is not None for one in ones if not (one.missing_ids or one.missing_rows)}
        _cover(self.covered, ones)
        point = of_step(ones)
        step = point.first_step
        if step < self.first_step or not self.steps:
            self.first_step = step
        self.last_step = max(self.last_step, step)
        self.steps += 1
        self.records += point.records
        self.length += point.length
        self.supervised += point.supervised
        if point.loss is not None:
            records = sum([one.loss is not None for one in ones])
            self.loss.add(step, point.loss, point.scored, records)
        if point.of:
            self.accuracy.add(step, share(point.right, point.of))
        if point.logprob is not None:
            self.logprob.add(step, point.logprob)
        if point.rank is not None:
            self.rank.add(step, point.rank)
        self._draw(point)

    def copy(self) -> "_Closed":
        figures = {name: copy(getattr(self, name)) for name in ("accuracy", "logprob", "rank")}
        covered = {source: copy(coverage) for source, coverage in self.covered.items()}
        return replace(
            self, points=[*self.points], counted={*self.counted}, covered=covered, loss=self.loss.copy(), **figures
        )

    def _draw(self, point: Point) -> None:
        points = self.points
        if points and points[-1].steps < self.stride:
            points[-1] = merged(points[-1], point)
            return
        points.append(point)
        if len(points) > MOST_POINTS:
            pairs = [merged(*pair) for pair in zip(points[::2], points[1::2], strict=False)]
            self.points = pairs + points[2 * len(pairs) :]
            self.stride *= 2


class CurveBuilder:
    """Take the comparisons of one stream and codebook in the order of their steps, and return the curve at any time.

    Consecutive comparisons of one step make one point. A step that comes again later, as it does with all attempts,
    makes another.
    """

    def __init__(self, stream: str, codebook: int | None) -> None:
        self.stream = stream
        self.codebook = codebook
        self._step = -1
        self._open: list[Comparison] = []
        self._closed = _Closed()

    def add(self, one: Comparison) -> None:
        """Take in the next comparison."""
        if one.step != self._step:
            self._close()
            self._step = one.step
        self._open.append(one)

    def curve(self) -> Curve:
        """Return the curve of the comparisons so far."""
        closed = self._whole()
        return Curve(
            self.stream,
            self.codebook,
            tuple(closed.points),
            closed.steps,
            closed.records,
            closed.first_step,
            closed.last_step,
            closed.length,
            closed.supervised,
            "both" if len(closed.counted) > 1 else "supervised" if True in closed.counted else "shown",
            closed.loss.course,
            closed.accuracy.course,
            closed.logprob.course,
            closed.rank.course,
        )

    def covered(self) -> dict[Source, Coverage]:
        """Return what each process of each attempt has compared so far."""
        return self._whole().covered

    def _whole(self) -> _Closed:
        closed = self._closed.copy()
        if self._open:
            closed.add(self._open)
        return closed

    def _close(self) -> None:
        if self._open:
            self._closed.add(self._open)
            self._open = []


def _cover(covered: dict[Source, Coverage], ones: Sequence[Comparison]) -> None:
    groups: dict[Source, list[Comparison]] = {}
    for one in ones:
        groups.setdefault(_source(one), []).append(one)
    for source, mine in groups.items():
        last = mine[-1]
        known = covered.get(source)
        if known is None:
            known = covered[source] = Coverage(0, last.step, last.step, "")
        known.add(len(mine), last.step, last.step, last.timestamp)
