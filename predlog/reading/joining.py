"""The parts of one sample and codebook → its comparison, whole or, if one is missing or damaged, partial.

A file may hold anything. A part that can't be read, or that is of another pair than most, counts as missing.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple

from predlog.errors import RecordError
from predlog.findings.facts import Facts
from predlog.findings.reported_loss import Reported, Totals
from predlog.numbers.losses import joined_loss
from predlog.numbers.parts import from_part
from predlog.numbers.shards import is_whole, joined
from predlog.numbers.snapshot import Numbers, Sizes, Slice, Snapshot
from predlog.numbers.split import UNKNOWN, of_some_shards
from predlog.numbers.unpack import unpack
from predlog.numbers.whole_ids import Unread
from predlog.numbers.window import Window
from predlog.records.codec import from_event
from predlog.records.schema import Comparison, Part, Passage

# What is known of a token's prediction without some of the shards.
_NOT_KNOWN: Final = {
    "match": None, "prediction": None, "prediction_text": None, "label_logprob": None, "prediction_logprob": None,
    "label_rank": None, "alternatives": (),
}  # fmt: skip


class Whole(NamedTuple):
    """A joined comparison, the ranks whose parts it has, what judging needs, and the ranges of ids that it lacks.

    If it lacks any, it has no facts, or those of the rows that are there. The ranges are each up to before their second
    number; those of positions in the sample if `lacks_rows`. `absent` are ranks that may have rows of the sample, of
    which there are no parts. `unread` are its labels that are no input, if its rows were split. `loss` are the sums
    over the whole pair and the loss that was reported of it, if its parts have these.
    """

    record: Comparison
    ranks: frozenset[int]
    facts: Facts | None = None
    sizes: Sizes | None = None
    lacking: tuple[tuple[int, int], ...] = ()
    lacks_rows: bool = False
    absent: frozenset[int] = frozenset()
    unread: Unread | None = None
    loss: tuple[Totals, Reported] | None = None

    @property
    def is_partial(self) -> bool:
        """Whether parts are missing."""
        return bool(self.lacking) or self.lacks_rows


class Known(NamedTuple):
    """A part, and its numbers."""

    part: Part
    shard: Slice
    numbers: Numbers
    sizes: Sizes


def comparison(parts: Sequence[Part], window: Window) -> Whole:
    """Return the comparison of one sample and codebook from its parts, of which there is at least one."""
    ordered = sorted(parts, key=lambda part: (part.shard.start, part.rank))
    known = of_one_pair(list(readable(ordered)))
    ranks = frozenset(one.part.rank for one in known)
    shards = [one.shard for one in known]
    holes = missing_ids(shards, ordered[0].shard.of)
    if known and is_whole(shards):
        try:
            return _whole(known, ranks, window)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            ranks = frozenset()  # numbers that no recorder writes
    kept = [one.part for one in known] or ordered
    holes = holes or ((0, kept[0].shard.of),)
    if ranks:
        with suppress(ArithmeticError, LookupError, TypeError, ValueError, RecordError):
            return _partial(known, holes, ranks)
    return Whole(to_record(kept, {}, many_of(holes)), ranks, lacking=holes)


def readable(ordered: Sequence[Part]) -> Iterator[Known]:
    """Yield the parts that can be read, with their numbers."""
    for part in ordered:
        try:
            shard, numbers, sizes = from_part(part)
        except RecordError:
            continue
        yield Known(part, shard, numbers, sizes)


def of_one_pair(known: Sequence[Known]) -> list[Known]:
    """Return each shard once, of the pair that most of them are of; of replicas the first counts."""
    pairs = [*map(_pair, known)]
    often = Counter(pairs)
    usual = max(often, key=often.__getitem__, default=None)
    ones = zip(reversed(known), reversed(pairs), strict=True)
    each = {one.shard.start: one for one, pair in ones if pair == usual}
    return [each[start] for start in sorted(each)]


def _pair(known: Known) -> Hashable:
    """Return what the parts of a pair have in common."""
    part, sizes = known.part, known.sizes
    shown = tuple((one.slot, one.position, one.label) for one in part.tokens if one.slot is not None)
    return part.length, part.shift, part.supervised, part.shard.of, sizes.ignore_index, shown


def _whole(known: Sequence[Known], ranks: frozenset[int], window: Window) -> Whole:
    parts, sizes = [one.part for one in known], replace(known[0].sizes, shard=None)
    numbers, bounds = joined([(one.shard, one.numbers) for one in known], sizes, window)
    whole = unpacked(parts, numbers, bounds, sizes, ranks, has_alternatives=window.alternatives > 0)
    return whole._replace(loss=loss_of([known]))


def loss_of(groups: Sequence[Sequence[Known]]) -> tuple[Totals, Reported] | None:
    """Return the sums of a pair, and the loss that was reported of it, from all parts; None if they don't have these.

    Of a damaged one, the records are not lost.
    """
    with suppress(ArithmeticError, LookupError, ValueError, RecordError):
        facts = [[(one.shard, one.part.facts.get("loss")) for one in group] for group in groups]
        return joined_loss(facts, is_split=groups[0][0].sizes.is_split)
    return None


def _partial(known: Sequence[Known], holes: tuple[tuple[int, int], ...], ranks: frozenset[int]) -> Whole:
    """Return the comparison of a sample of which shards are missing: its labels."""
    parts, sizes = [one.part for one in known], replace(known[0].sizes, shard=None)
    joint = of_some_shards([(one.shard, one.numbers) for one in known])
    fields, _ = shown(parts, joint.numbers, joint.bounds, sizes, has_alternatives=False)
    return Whole(to_record(parts, without_figures(fields), many_of(holes)), ranks, lacking=holes)


def many_of(ranges: Iterable[tuple[int, int]]) -> int:
    """Return how many ids or positions ranges have, each up to before its second number."""
    return sum(stop - start for start, stop in ranges)


def without_figures(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a comparison without those that all parts give together; what is not known is null."""
    tokens = [{**one, **_NOT_KNOWN} if one["prediction"] == UNKNOWN else one for one in fields["tokens"]]
    return {**fields, **dict.fromkeys(("matched", "loss", "entropy", "all_tokens")), "tokens": tokens}


def unpacked(
    parts: Sequence[Part], numbers: Numbers, bounds: Sequence[int | None], sizes: Sizes, ranks: frozenset[int], *,
    has_alternatives: bool,
) -> Whole:  # fmt: skip
    """Return the comparison of joined numbers, and of the least ranks of the labels that it shows."""
    fields, facts = shown(parts, numbers, bounds, sizes, has_alternatives=has_alternatives)
    return Whole(to_record(parts, fields, 0, 0 if sizes.is_split else None), ranks, facts, sizes)


def shown(
    parts: Sequence[Part], numbers: Numbers, bounds: Sequence[int | None], sizes: Sizes, *, has_alternatives: bool
) -> tuple[dict[str, Any], Facts]:
    """Return the fields and the facts of joined numbers, with the texts that parts have."""
    ((fields, facts),) = unpack(Snapshot(sizes, lambda: numbers))
    facts = replace(facts, codebook=parts[0].codebook)
    texts = _texts(parts, has_alternatives=has_alternatives)
    tokens = [*fields["tokens"], *fields["worst"]]
    for token, bound in zip(tokens, bounds, strict=True):
        token["label_rank_at_least"] = bound
        for name in ("label", "prediction", "input") if texts else ():
            token[f"{name}_text"] = texts.get(token[name])
        for one in token["alternatives"] if texts else ():
            one["text"] = texts.get(one["prediction"])
    return fields, facts


def missing_ids(shards: Iterable[Slice], of: int) -> tuple[tuple[int, int], ...]:
    """Return the ranges of ids of a vocabulary that no shard has, each up to before its second number."""
    holes, end = [], 0
    for one in sorted(shards):
        if one.start > end:
            holes.append((end, one.start))
        end = max(end, one.stop)
    return (*holes, (end, of)) if end < of else tuple(holes)


def _texts(parts: Sequence[Part], *, has_alternatives: bool) -> dict[int | None, str | None]:
    """Return the texts of the ids that are shown; labels and inputs are the same in all parts of the same rows."""
    texts: dict[int | None, str | None] = {}
    for token in [token for part in parts if part is parts[0] or part.rows_of is not None for token in part.tokens]:
        texts[token.label] = token.label_text
        texts.setdefault(token.input, token.input_text)
    for token in [token for part in parts for token in part.tokens]:
        if token.prediction_text is not None:
            texts[token.prediction] = token.prediction_text
        if has_alternatives:
            texts.update({one.prediction: one.text for one in token.alternatives if one.text is not None})
    return {one: text for one, text in texts.items() if one is not None and text is not None}


def to_record(
    parts: Sequence[Part], fields: dict[str, Any], missing: int, missing_rows: int | None = None
) -> Comparison:
    """Return a comparison with what all parts have in common, and the fields that they give together."""
    first = parts[0]
    names = (
        "level", "timestamp", "schema", "run", "recorder", "attempt", "rank", "seq", "step", "stream", "codebook",
        "sample", "sample_id", "length", "vocabulary", "shift", "supervised", "context",
    )  # fmt: skip
    common = {name: getattr(first, name) for name in names}
    if missing_rows is not None:
        common |= {name: fields[name] for name in ("length", "supervised")}
    losses = [part.reported_loss for part in parts if part.reported_loss is not None]
    if missing_rows is not None and len({*losses}) > 1:
        losses = []  # each is the loss of some rows
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
            "missing_rows": missing_rows,
        }
    )
    assert isinstance(made, Comparison)  # noqa: S101 - for the type checker
    return made


def _passage(passage: Passage) -> dict[str, Any]:
    return {"left_out": passage.left_out, "read": passage.read, "asked": passage.asked}
