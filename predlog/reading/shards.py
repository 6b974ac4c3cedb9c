"""Records as they come, parts among them → the same with whole comparisons, in memory bounded by a few steps.

The parts of a comparison come from several files. They are joined as soon as they are all there. If some are missing,
what there is makes a partial comparison when no more can come.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from predlog.findings.catalog import CODES, OF_PART
from predlog.findings.facts import Facts
from predlog.findings.judge import Judge
from predlog.findings.ledger import FindingEvent
from predlog.numbers.whole_ids import settle
from predlog.reading.joining import Whole, comparison
from predlog.reading.lacks import Lacks
from predlog.reading.part_groups import PartsOfSample, size
from predlog.reading.row_parts import comparison_of_rows
from predlog.reading.runs import USUAL, Asked, asked
from predlog.records.codec import from_event
from predlog.records.schema import SCHEMA, Comparison, Finding, Part, Record, Run, WholeRecord

_Lane = tuple[str | None, int, str]  # run, attempt, stream
_Key = tuple[int, int | None, str | None]  # sample, codebook, sample_id
# run, attempt, rank, recorder, stream
_Writer = tuple[str | None, int, int, str | None, str]
# Steps of a stream that wait at once where files are followed, and seconds after which a silent process is not awaited.
STEPS: Final = 64
# Bytes of parts that wait at once where the parts of each rank come after all those of another.
ROOM: Final = 1 << 26
_SILENT: Final = 5.0
# Steps of a stream that are remembered as over, so that what comes late is no second comparison.
_REMEMBERED: Final = 128


@dataclass(slots=True)
class _Step:
    """What has come of one step: its samples, what of them is judged, and when the last part came."""

    samples: dict[_Key, PartsOfSample] = field(default_factory=dict)
    judged: dict[int, list[Whole]] = field(default_factory=dict)  # by the rank that the comparison has
    ready: list[Comparison] = field(default_factory=list)
    ranks: set[int] = field(default_factory=set)
    heard: float = 0.0
    size: int = 0

    @property
    def is_joined(self) -> bool:
        return all(group.is_joined for sample in self.samples.values() for group in sample.values())


@dataclass(slots=True)
class _Steps:
    """The steps of a stream that are not over, how far each rank is, and the last steps that are over.

    `gone` is the last one that is over for lack of room.
    """

    waiting: dict[int, _Step] = field(default_factory=dict)
    reached: dict[int, int] = field(default_factory=dict)
    over: dict[int, set[int]] = field(default_factory=dict)
    gone: int = -1


class Joiner:
    """Join parts, and judge what they make by the rules that need whole rows.

    Of records that come in the order of their steps, as `predlog.read` merges files, one step of each stream waits at
    a time. Where files are followed, each is ahead of the others now and then: `steps` may wait at once. Where they
    come one after the other, `room` says how many bytes may wait, of any number of steps, and these are in no order.

    Attributes:
        lacks: Which comparisons lack parts.
        late: How many parts came after their comparison had been returned without them.
    """

    def __init__(self, steps: int = 1, room: int | None = None) -> None:
        self._most, self._room, self._held = steps, room, 0
        self._lanes: dict[_Lane, _Steps] = {}
        self._judges: dict[tuple[str | None, int, int], Judge] = {}
        self._asked: dict[tuple[str | None, int], Asked] = {}
        # What the processes with the first ids have found and is not gone: codes with their codebooks.
        self._open: dict[_Writer, dict[str, set[int | None]]] = {}
        # Streams whose samples are split over processes.
        self._split: set[_Lane] = set()
        self.lacks = Lacks()
        self.late = 0

    def add(self, record: Record, now: float = 0.0) -> Iterator[WholeRecord]:
        """Yield what a record that comes at a time (seconds) completes: itself, if it is no part."""
        if not isinstance(record, Part):
            if not self._is_known(record):
                self._note(record)
                yield record
            return
        if record.rows_of is not None:
            self._split.add((record.run, record.attempt, record.stream))
        lane = self._lanes.setdefault((record.run, record.attempt, record.stream), _Steps())
        yield from self._make_room(lane)
        step = lane.waiting.get(record.step)
        if step is None:
            is_over = self._most > 1 and record.rank not in lane.over.get(record.step, {record.rank})
            if is_over or record.step <= lane.gone:
                self.late += 1
                return
            while len(lane.waiting) >= self._most:
                yield from self._end(lane, min(lane.waiting))
            step = lane.waiting[record.step] = _Step()
        step.heard = now
        step.ranks.add(record.rank)
        lane.reached[record.rank] = record.step
        sample = step.samples.setdefault((record.sample, record.codebook, record.sample_id), PartsOfSample())
        parts = sample.take(record, self._expected(record))
        self._hold(step, [record])
        if parts is not None:
            whole = self._joined(parts)
            if not whole.is_partial:  # else a replica may have what is damaged
                self._hold(step, parts[1:], -1)
                sample.end(record)
                self._note_joined(step, whole)
                yield from self._ready(lane, step)

    def _hold(self, step: _Step, parts: Sequence[Part], sign: int = 1) -> None:
        """Count what parts take; of those that are joined, as much as one of them."""
        taken = 0 if self._room is None else sign * sum(map(size, parts))
        step.size += taken
        self._held += taken

    def _make_room(self, lane: _Steps) -> Iterator[WholeRecord]:
        while self._room is not None and self._held > self._room and len(lane.waiting) > 1:
            number = next(iter(lane.waiting))
            lane.gone = lane.gone if lane.waiting[number].is_joined else max(lane.gone, number)
            yield from self._end(lane, number)

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

    def _is_known(self, record: WholeRecord) -> bool:
        """Return whether a record is a finding of a process about its own rows: here it is found in all of them."""
        if not isinstance(record, Finding) or record.code not in OF_PART:
            return False
        return (record.run, record.attempt, record.stream) in self._split

    def _note(self, record: WholeRecord) -> None:
        """Note what joining and judging need of other records: settings, and which findings are open."""
        if isinstance(record, Run) and record.stats is None:
            self._asked.setdefault((record.run, record.attempt), asked(record))
        elif isinstance(record, Finding) and record.code in CODES:
            codes = self._open.setdefault(_writer(record), {})
            if record.level == "info":
                codes.get(record.code, set()).difference_update(record.codebooks)
            else:
                codes.setdefault(record.code, set()).update(record.codebooks)

    def _end(self, lane: _Steps, number: int) -> Iterator[WholeRecord]:
        step = lane.waiting.pop(number)
        self._held -= step.size
        for sample in step.samples.values():
            for parts in sample.left():
                self._note_joined(step, self._joined(parts))
        yield from step.ready
        for ones in step.judged.values():
            yield from self._findings(ones)
        if self._most > 1 and self._room is None:
            lane.over[number] = step.ranks
            while len(lane.over) > _REMEMBERED:
                del lane.over[next(iter(lane.over))]

    def _joined(self, parts: list[Part]) -> Whole:
        first = parts[0]
        window = self._asked.get((first.run, first.attempt), USUAL).window
        if first.rows_of is not None:
            together = self.lacks.together(first.run, first.attempt, first.rank)
            return comparison_of_rows(parts, window, self._expected(first), together)
        return comparison(parts, window)

    def _expected(self, part: Part) -> frozenset[int]:
        """Return the ranks that may have rows of the sample that a part is of: those that record, if nothing tells."""
        if part.rows_of is None:
            return frozenset()
        if part.rows_of.ranks is not None:
            return frozenset(part.rows_of.ranks)
        return self._asked.get((part.run, part.attempt), USUAL).ranks

    def _ready(self, lane: _Steps, own: _Step | None = None) -> Iterator[WholeRecord]:
        """Yield what is joined of the first step, and of those after it if it has all: steps stay in their order."""
        every = [*map(lane.waiting.__getitem__, sorted(lane.waiting))] if self._room is None else [own] if own else []
        for step in every:
            ready, step.ready = step.ready, []
            yield from ready
            if not step.is_joined:
                return

    def _note_joined(self, step: _Step, whole: Whole) -> None:
        if whole.is_partial:
            self.lacks.add(whole.record, whole.ranks, whole.lacking, lacks_rows=whole.lacks_rows, absent=whole.absent)
        else:
            self.lacks.learn(whole.record, whole.ranks)
        if whole.facts is not None:
            step.judged.setdefault(whole.record.rank, []).append(whole)
        step.ready.append(whole.record)

    def _open_in(self, whole: Whole) -> dict[str, set[int | None]]:
        """Return what the processes whose parts a comparison has have found: of the same rows, the first of them."""
        like, sizes = whole.record, whole.sizes
        ranks = whole.ranks if sizes is not None and sizes.is_split else {like.rank}
        found: dict[str, set[int | None]] = {}
        for (run, attempt, rank, _, stream), codes in self._open.items():
            if (run, attempt, stream) == (like.run, like.attempt, like.stream) and rank in ranks:
                for code, codebooks in codes.items():
                    found.setdefault(code, set()).update(codebooks)
        return found

    def _findings(self, every: list[Whole]) -> Iterator[WholeRecord]:
        if not every or (sizes := every[0].sizes) is None:
            return
        like, whole = every[0].record, [one for one in every if not one.is_partial]
        judge = self._judges.get((like.run, like.attempt, like.rank))
        if judge is None:
            ignored = self._asked.get((like.run, like.attempt), USUAL).ignore
            judge = self._judges[like.run, like.attempt, like.rank] = Judge(ignored)
        ask = partial(
            judge.judge, like.step, like.stream, is_trained=sizes.is_trained, declared=sizes.declared,
            is_idle=any(like.context.get(name) == 0 for name in ("lr", "learning_rate")),
        )  # fmt: skip
        with suppress(ArithmeticError, ValueError):  # as below
            for totals, reported in (one.loss for one in whole if one.loss is not None):
                judge.judge_loss(like.step, like.stream, totals, reported)
                self.lacks.checked.update(judge.loss_checked())
        with suppress(ArithmeticError, LookupError, TypeError, ValueError):  # of numbers that no recorder writes
            if len(whole) < len(every):  # what rows are there tell what each tells by itself
                ask(_facts(every), among="part")
            if whole:
                if sizes.is_split:
                    settle([(one.facts, one.unread) for one in whole if one.facts is not None])
                of_rows: Literal["all", "rest"] = "all" if len(whole) == len(every) else "rest"
                among = of_rows if sizes.is_split else "logits"
                ask(_facts(whole), among=among, elsewhere=self._open_in(whole[0]))
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


def _facts(every: Iterable[Whole]) -> list[Facts]:
    return [one.facts for one in every if one.facts is not None]


def _writer(record: Comparison | Finding) -> _Writer:
    return record.run, record.attempt, record.rank, record.recorder, record.stream


def _finding(found: FindingEvent, like: Comparison) -> Finding:
    """Return a finding that is in no file, as a record of the process and the line that its comparison begins with."""
    head = {name: getattr(like, name) for name in ("timestamp", "run", "recorder", "attempt", "rank", "seq")}
    event = {"event": "predlog.finding", "level": found.level, "schema": SCHEMA, **head, **found.fields}
    made = from_event(event)
    assert isinstance(made, Finding)  # noqa: S101 - for the type checker
    return made
