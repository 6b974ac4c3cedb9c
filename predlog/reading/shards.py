"""Parts of comparisons, which processes with shards of the vocabulary have written → whole comparisons and findings.

The parts of a step come from several files. They are joined when no more of them can come: when the records have gone
on to a later step of their stream, or end. So what is kept is bounded by the parts of one step of each stream.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from predlog.errors import RecordError
from predlog.findings.facts import Facts
from predlog.findings.judge import Judge
from predlog.findings.ledger import FindingEvent
from predlog.numbers.parts import from_part
from predlog.numbers.shards import is_whole, joined
from predlog.numbers.snapshot import Sizes, Slice, Snapshot
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window
from predlog.records.codec import from_event
from predlog.records.schema import SCHEMA, Comparison, Part, Passage, Record, Run

_Lane = tuple[str | None, int, str]  # run, attempt, stream
_Sample = tuple[int, int | None, str | None]  # sample, codebook, sample_id


class _Whole(NamedTuple):
    """A joined comparison, and what judging needs."""

    record: Comparison
    facts: Facts | None
    sizes: Sizes | None


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
        self._windows: dict[tuple[str | None, int], Window] = {}
        self.parts = self.partial = 0

    def __iter__(self) -> Iterator[Record]:
        """Yield the records in their order, and each joined comparison before those of a later step."""
        for record in self._records:
            if isinstance(record, Run) and record.stats is None:
                self._windows.setdefault((record.run, record.attempt), _window(record.settings))
            if not isinstance(record, Part):
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

    def _all(self) -> Iterator[Record]:
        waiting, self._waiting = self._waiting, {}
        for parts in waiting.values():
            yield from self._join(parts)

    def _join(self, parts: Sequence[Part]) -> Iterator[Record]:
        samples: dict[_Sample, list[Part]] = {}
        for part in parts:
            samples.setdefault((part.sample, part.codebook, part.sample_id), []).append(part)
        first = parts[0]
        window = self._windows.get((first.run, first.attempt), Window())
        whole = [_joined(ones, window) for ones in samples.values()]
        self.partial += sum(one.facts is None for one in whole)
        yield from (one.record for one in whole)
        yield from self._findings(whole)

    def _findings(self, whole: Sequence[_Whole]) -> Iterator[Record]:
        facts = [one.facts for one in whole if one.facts is not None]
        sizes = next((one.sizes for one in whole if one.sizes is not None), None)
        if sizes is None:
            return
        like = whole[0].record
        judge = self._judges.setdefault((like.run, like.attempt), Judge())
        is_idle = any(like.context.get(name) == 0 for name in ("lr", "learning_rate"))
        judge.judge(
            like.step, like.stream, facts, is_trained=sizes.is_trained, declared=sizes.declared, is_idle=is_idle,
            among="logits",
        )  # fmt: skip
        for found in judge.unreported:
            found.is_reported = True
            yield _finding(found, like)


def _finding(found: FindingEvent, like: Comparison) -> Record:
    head = {name: getattr(like, name) for name in ("timestamp", "run", "recorder", "attempt", "rank", "seq")}
    event = {"event": "predlog.finding", "level": found.level, "schema": SCHEMA, **head, **found.fields}
    return from_event(event)


def _window(settings: dict[str, Any]) -> Window:
    """Return what a run shows of each sample, by the settings in its first line."""
    usual = Window()
    names = ("worst", "alternatives", "all_tokens")
    known: dict[str, Any] = {name: value for name in names if type(value := settings.get(name)) is int and value >= 0}
    return replace(usual, **known)


def _joined(parts: Sequence[Part], window: Window) -> _Whole:
    """Return the comparison of one sample and codebook from its parts."""
    ordered = sorted(parts, key=lambda part: (part.shard.start, part.rank))
    # Replicas may have recorded the same shard: the first counts.
    each = {part.shard.start: part for part in reversed(ordered)}
    ordered = [each[start] for start in sorted(each)]
    try:
        numbers = [from_part(part) for part in ordered]
    except RecordError:
        numbers = []
    shards = [Slice(part.shard.start, part.shard.stop, part.shard.of) for part in ordered]
    if not numbers or not is_whole(shards):
        return _Whole(_comparison(ordered, {}, _missing(shards)), None, None)
    sizes = replace(numbers[0][2], shard=None)
    whole, bounds = joined([(shard, one) for shard, one, _ in numbers], sizes, window)
    ((fields, facts),) = unpack(Snapshot(sizes, lambda: whole))
    facts = replace(facts, codebook=ordered[0].codebook)
    texts = _texts(ordered)
    tokens = [*fields["tokens"], *fields["worst"]]
    for token, bound in zip(tokens, bounds, strict=True):
        token["label_rank_at_least"] = bound
        for name in ("label", "prediction", "input"):
            token[f"{name}_text"] = texts.get(token[name])
        for one in token["alternatives"]:
            one["text"] = texts.get(one["prediction"])
    return _Whole(_comparison(ordered, fields, 0), facts, sizes)


def _missing(shards: Sequence[Slice]) -> int:
    covered = end = 0
    for one in sorted(shards):
        covered += max(one.stop - max(one.start, end), 0)
        end = max(end, one.stop)
    return max(shards[0].of - covered, 1)


def _texts(parts: Sequence[Part]) -> dict[int | None, str | None]:
    """Return the texts of all ids that any part has."""
    texts: dict[int | None, str | None] = {}
    for token in (token for part in parts for token in part.tokens):
        pairs = [(token.label, token.label_text), (token.prediction, token.prediction_text)]
        pairs += [(token.input, token.input_text), *((one.prediction, one.text) for one in token.alternatives)]
        texts.update((one, text) for one, text in pairs if one is not None and text is not None)
    return texts


def _comparison(parts: Sequence[Part], fields: dict[str, Any], missing: int) -> Comparison:
    """Return a comparison with what all parts have in common, and the fields that they give together."""
    first = parts[0]
    names = (
        "level", "timestamp", "schema", "run", "recorder", "attempt", "rank", "seq", "step", "stream", "codebook",
        "sample", "sample_id", "length", "vocabulary", "shift", "supervised", "context",
    )  # fmt: skip
    common = {name: getattr(first, name) for name in names}
    losses = [part.reported_loss for part in parts if part.reported_loss is not None]
    window = next((part.window for part in parts if part.window is not None), None)
    made = from_event(
        {
            "event": "predlog.comparison",
            **common,
            "reported_loss": losses[0] if losses else None,
            **{name: fields.get(name) for name in ("matched", "loss", "entropy", "all_tokens")},
            "nonfinite": fields.get("nonfinite", 0),
            "tokens": fields.get("tokens", []),
            "worst": fields.get("worst", []),
            "window": None if window is None else [_passage(one) for one in window],
            "missing_ids": missing,
        }
    )
    assert isinstance(made, Comparison)  # noqa: S101 - for the type checker
    return made


def _passage(passage: Passage) -> dict[str, Any]:
    return {"left_out": passage.left_out, "read": passage.read, "asked": passage.asked}
