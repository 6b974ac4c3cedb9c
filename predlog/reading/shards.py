"""Parts of comparisons, which processes with shards of the vocabulary have written → whole comparisons and findings.

The parts of a step come from several files. They are joined when no more of them can come: when the records have gone
on to a later step of their stream, or end. So what is kept is bounded by the parts of one step of each stream.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from predlog.findings.catalog import CODES
from predlog.findings.judge import Judge
from predlog.findings.ledger import FindingEvent
from predlog.findings.special_tokens import PerStream
from predlog.numbers.window import Window
from predlog.reading.joining import Whole, comparison
from predlog.records.codec import from_event
from predlog.records.schema import SCHEMA, Comparison, Finding, Part, Record, Run, WholeRecord

_Lane = tuple[str | None, int, str]  # run, attempt, stream
_Sample = tuple[int, int | None, str | None]  # sample, codebook, sample_id
# run, attempt, rank, recorder, stream
_Writer = tuple[str | None, int, int, str | None, str]


class _Asked(NamedTuple):
    """What a run shows of each sample, and the codes that it ignores, by the settings in its first line."""

    window: Window
    ignore: PerStream[frozenset[str]]


_USUAL = _Asked(Window(), PerStream())


class Joined:
    """Records with each comparison whole: parts are joined, and judged by the rules that need whole rows.

    Attributes:
        parts: How many parts were read.
        partial: How many comparisons lack a part.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self._waiting: dict[_Lane, list[Part]] = {}
        self._judges: dict[tuple[str | None, int], Judge] = {}
        self._asked: dict[tuple[str | None, int], _Asked] = {}
        # What the processes with the first ids have found and is not gone: codes with their codebooks.
        self._open: dict[_Writer, dict[str, set[int | None]]] = {}
        self.parts = self.partial = 0

    def __iter__(self) -> Iterator[WholeRecord]:
        """Yield the records in their order, and each joined comparison before those of a later step."""
        for record in self._records:
            if not isinstance(record, Part):
                self._note(record)
                yield record
                continue
            self.parts += 1
            lane = record.run, record.attempt, record.stream
            waiting = self._waiting.setdefault(lane, [])
            if waiting and waiting[0].step != record.step:
                yield from self._join(waiting)
                waiting = self._waiting[lane] = []
            waiting.append(record)
        yield from self._all()

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

    def _all(self) -> Iterator[WholeRecord]:
        waiting, self._waiting = self._waiting, {}
        for parts in waiting.values():
            yield from self._join(parts)

    def _join(self, parts: Sequence[Part]) -> Iterator[WholeRecord]:
        samples: dict[_Sample, list[Part]] = {}
        for part in parts:
            samples.setdefault((part.sample, part.codebook, part.sample_id), []).append(part)
        first = parts[0]
        asked = self._asked.get((first.run, first.attempt), _USUAL)
        whole = [comparison(ones, asked.window) for ones in samples.values()]
        self.partial += sum(one.facts is None for one in whole)
        yield from (one.record for one in whole)
        yield from self._findings([one for one in whole if one.facts is not None], asked.ignore)

    def _findings(self, whole: Sequence[Whole], ignore: PerStream[frozenset[str]]) -> Iterator[WholeRecord]:
        if not whole or (sizes := whole[0].sizes) is None:
            return
        like = whole[0].record
        judge = self._judges.setdefault((like.run, like.attempt), Judge(ignore))
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
