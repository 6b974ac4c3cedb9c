"""Records as they come, parts among them → the same with whole comparisons, in memory bounded by a few steps.

The parts of a comparison come from several files. They are joined as soon as they are all there. If some are missing,
what there is makes a partial comparison when no more can come.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from predlog.findings.catalog import CODES
from predlog.findings.judge import Judge
from predlog.findings.ledger import FindingEvent
from predlog.findings.special_tokens import PerStream
from predlog.numbers.window import Window
from predlog.reading.joining import Whole, comparison
from predlog.reading.lacks import Lacks
from predlog.records.codec import from_event
from predlog.records.schema import SCHEMA, Comparison, Finding, Part, Record, Run, WholeRecord

_Lane = tuple[str | None, int, str]  # run, attempt, stream
_Key = tuple[int, int | None, str | None]  # sample, codebook, sample_id
# run, attempt, rank, recorder, stream
_Writer = tuple[str | None, int, int, str | None, str]
# Steps of a stream that wait at once where files are followed, and seconds after which a silent process is not awaited.
STEPS: Final = 64
_SILENT: Final = 5.0
# Steps of a stream that are remembered as over, so that what comes late is no second comparison.
_REMEMBERED: Final = 128


def _fits(lone: list[Part], others: list[Part]) -> bool:
    """Return whether a lone part has ids that the others lack: what makes it another group may be its damage."""
    start, stop = lone[0].shard.start, lone[0].shard.stop
    return len(lone) == 1 and all(stop <= one.shard.start or one.shard.stop <= start for one in others)


class _Asked(NamedTuple):
    """What a run shows of each sample, and the codes that it ignores, by the settings in its first line."""

    window: Window
    ignore: PerStream[frozenset[str]]


_USUAL: Final = _Asked(Window(), PerStream())


@dataclass(slots=True)
class _Group:
    """Parts of the same labels, and of how many ids they are; none when they are joined."""

    parts: list[Part] = field(default_factory=list)
    starts: set[int] = field(default_factory=set)
    covered: int = 0
    is_joined: bool = False

    def take(self, part: Part) -> bool:
        """Take in a part, and return whether all may be there, with this one."""
        self.parts.append(part)
        shard = part.shard
        if shard.start in self.starts:
            return False
        self.starts.add(shard.start)
        self.covered += shard.stop - shard.start
        return self.covered == shard.of


class _Sample(dict[str, _Group]):
    """The groups of one sample: the processes of each data-parallel replica have a sample 0, of other labels."""

    def left(self) -> list[list[Part]]:
        """Return the parts of each group that is not joined, with what is in the place of those that it lacks."""
        found: list[list[Part]] = []
        for labels, group in sorted(self.items(), key=lambda one: -len(one[1].starts)):
            if group.is_joined:
                continue
            place = next((ones for ones in found if _fits(group.parts, ones)), None)
            if place is not None:
                place += group.parts
            elif labels or len(self) == 1:  # what has no labels is damaged
                found.append([*group.parts])
        return found


@dataclass(slots=True)
class _Step:
    """What has come of one step: its samples, what of them is judged, and when the last part came."""

    samples: dict[_Key, _Sample] = field(default_factory=dict)
    judged: dict[int, list[Whole]] = field(default_factory=dict)  # by the rank that the comparison has
    ready: list[Comparison] = field(default_factory=list)
    ranks: set[int] = field(default_factory=set)
    heard: float = 0.0

    @property
    def is_joined(self) -> bool:
        return all(group.is_joined for sample in self.samples.values() for group in sample.values())


@dataclass(slots=True)
class _Steps:
    """The steps of a stream that are not over, how far each rank is, and the last steps that are over."""

    waiting: dict[int, _Step] = field(default_factory=dict)
    reached: dict[int, int] = field(default_factory=dict)
    over: dict[int, set[int]] = field(default_factory=dict)


class Joiner:
    """Join parts, and judge what they make by the rules that need whole rows.

    Of records that come in the order of their steps, as `predlog.read` merges files, one step of each stream waits at
    a time. Where files are followed, each is ahead of the others now and then: `steps` may wait at once.

    Attributes:
        lacks: Which comparisons lack parts.
        late: How many parts came after their comparison had been returned without them.
    """

    def __init__(self, steps: int = 1) -> None:
        self._most = steps
        self._lanes: dict[_Lane, _Steps] = {}
        self._judges: dict[tuple[str | None, int, int], Judge] = {}
        self._asked: dict[tuple[str | None, int], _Asked] = {}
        # What the processes with the first ids have found and is not gone: codes with their codebooks.
        self._open: dict[_Writer, dict[str, set[int | None]]] = {}
        self.lacks = Lacks()
        self.late = 0

    def add(self, record: Record, now: float = 0.0) -> Iterator[WholeRecord]:
        """Yield what a record that comes at a time (seconds) completes: itself, if it is no part."""
        if not isinstance(record, Part):
            self._note(record)
            yield record
            return
        lane = self._lanes.setdefault((record.run, record.attempt, record.stream), _Steps())
        step = lane.waiting.get(record.step)
        if step is None:
            if self._most > 1 and record.rank not in lane.over.get(record.step, {record.rank}):
                self.late += 1
                return
            while len(lane.waiting) >= self._most:
                yield from self._end(lane, min(lane.waiting))
            step = lane.waiting[record.step] = _Step()
        step.heard = now
        step.ranks.add(record.rank)
        lane.reached[record.rank] = record.step
        sample = step.samples.setdefault((record.sample, record.codebook, record.sample_id), _Sample())
        group = sample.setdefault(_fingerprint(record), _Group())
        # What is joined already was recorded by a replica, too.
        if not group.is_joined and group.take(record):
            whole = self._joined(group.parts)
            if not whole.lacking:  # else a replica may have what is damaged
                group.parts, group.is_joined = [], True
                self._note_joined(step, whole)
                yield from self._ready(lane)

    def settle(self, now: float) -> Iterator[WholeRecord]:
        """Yield what need not wait any longer at a time (seconds), when all there is has been added."""
        for lane in self._lanes.values():
            for number in sorted(lane.waiting):
                step = lane.waiting[number]
                is_past = step.is_joined and all(reached > number for reached in lane.reached.values())
                if not is_past and now - step.heard < _SILENT:
                    break
                yield from self._end(lane, number)
            yield from self._ready(lane)

    def end(self) -> Iterator[WholeRecord]:
        """Yield what still waits: no more will come."""
        for lane in self._lanes.values():
            for number in sorted(lane.waiting):
                yield from self._end(lane, number)

    def _note(self, record: WholeRecord) -> None:
        """Note what joining and judging need of other records: settings, and which findings are open."""
        if isinstance(record, Run) and record.stats is None:
            self._asked.setdefault((record.run, record.attempt), _asked(record.settings))
        elif isinstance(record, Finding) and record.code in CODES:
            codes = self._open.setdefault(_writer(record), {})
            if record.level == "info":
                codes.get(record.code, set()).difference_update(record.codebooks)
            else:
                codes.setdefault(record.code, set()).update(record.codebooks)

    def _end(self, lane: _Steps, number: int) -> Iterator[WholeRecord]:
        step = lane.waiting.pop(number)
        for sample in step.samples.values():
            for parts in sample.left():
                self._note_joined(step, self._joined(parts))
        yield from step.ready
        for ones in step.judged.values():
            yield from self._findings(ones)
        if self._most > 1:
            lane.over[number] = step.ranks
            while len(lane.over) > _REMEMBERED:
                del lane.over[next(iter(lane.over))]

    def _joined(self, parts: list[Part]) -> Whole:
        return comparison(parts, self._asked.get((parts[0].run, parts[0].attempt), _USUAL).window)

    @staticmethod
    def _ready(lane: _Steps) -> Iterator[WholeRecord]:
        """Yield what is joined of the first step, and of those after it if it has all: steps stay in their order."""
        for number in sorted(lane.waiting) if len(lane.waiting) > 1 else lane.waiting:
            step = lane.waiting[number]
            ready, step.ready = step.ready, []
            yield from ready
            if not step.is_joined:
                return

    def _note_joined(self, step: _Step, whole: Whole) -> None:
        if whole.lacking:
            self.lacks.add(whole.record, whole.ranks, whole.lacking)
        else:
            self.lacks.learn(whole.record, whole.ranks)
            step.judged.setdefault(whole.record.rank, []).append(whole)
        step.ready.append(whole.record)

    def _findings(self, whole: list[Whole]) -> Iterator[WholeRecord]:
        if not whole or (sizes := whole[0].sizes) is None:
            return
        like = whole[0].record
        asked = self._asked.get((like.run, like.attempt), _USUAL)
        judge = self._judges.setdefault((like.run, like.attempt, like.rank), Judge(asked.ignore))
        is_idle = any(like.context.get(name) == 0 for name in ("lr", "learning_rate"))
        with suppress(ArithmeticError, LookupError, TypeError, ValueError):  # of numbers that no recorder writes
            judge.judge(
                like.step, like.stream, [one.facts for one in whole if one.facts is not None],
                is_trained=sizes.is_trained, declared=sizes.declared, is_idle=is_idle, among="logits",
                elsewhere=self._open.get(_writer(like), {}),
            )  # fmt: skip
        for found in judge.unreported:
            found.is_reported = True
            yield _finding(found, like)


class Joined:
    """Records in the order of their steps, with each comparison whole.

    Attributes:
        lacks: Which comparisons lack parts, when all records have been iterated over.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self._joiner = Joiner()
        self.lacks = self._joiner.lacks

    def __iter__(self) -> Iterator[WholeRecord]:
        """Yield the records in their order, and each joined comparison where its last part is."""
        joiner = self._joiner
        for record in self._records:
            if isinstance(record, Comparison):  # without parts, nearly all are, and nothing is noted of them
                yield record
            else:
                yield from joiner.add(record)
        yield from joiner.end()


def _fingerprint(part: Part) -> str:
    """Return what tells the labels of a part from others; parts without it are of any."""
    counts = part.facts.get("counts")
    return str(counts.get("fingerprint")) if isinstance(counts, dict) else ""


def _writer(record: Comparison | Finding) -> _Writer:
    return record.run, record.attempt, record.rank, record.recorder, record.stream


def _finding(found: FindingEvent, like: Comparison) -> Finding:
    """Return a finding that is in no file, as a record of the process and the line that its comparison begins with."""
    head = {name: getattr(like, name) for name in ("timestamp", "run", "recorder", "attempt", "rank", "seq")}
    event = {"event": "predlog.finding", "level": found.level, "schema": SCHEMA, **head, **found.fields}
    made = from_event(event)
    assert isinstance(made, Finding)  # noqa: S101 - for the type checker
    return made


def _asked(settings: Mapping[str, Any]) -> _Asked:
    names = ("worst", "alternatives", "all_tokens")
    known: dict[str, Any] = {name: value for name in names if type(value := settings.get(name)) is int and value >= 0}
    window, ignore = replace(Window(), **known), settings.get("ignore")
    if isinstance(ignore, dict):
        return _Asked(window, PerStream(by_name={name: _codes(one) for name, one in ignore.items()}))
    return _Asked(window, PerStream(alone=_codes(ignore)))


def _codes(listed: Any) -> frozenset[str]:
    return frozenset(one for one in listed if isinstance(one, str)) if isinstance(listed, list) else frozenset()
