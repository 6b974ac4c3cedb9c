"""The numbers of a shard as the fields of its record, and back.

Which tokens are the worst is known when all shards are there; by then nobody has a decoder. So a part has the texts of
those that are likely among them, too.

A `predlog.part` has the tokens shown, as a comparison has them, with what the shard itself predicts. All other numbers
are in `facts` and, of all supervised rows, in `rows`: columns of little-endian numbers in base64, after their type.
"""

import heapq
import math
from array import array
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, chain, compress
from typing import Any, Final

from predlog.errors import RecordError
from predlog.findings.special_tokens import ROLES, SpecialTokens
from predlog.numbers.columns import deflated, inflated, packed, unpacked, unpacked_floats
from predlog.numbers.runs import MOST_IDS, Edges, Ids, Runs, ends
from predlog.numbers.snapshot import Counts, Numbers, ShardRows, Sizes, Slice, Statistics, Whole
from predlog.numbers.window import Chosen
from predlog.records.part_facts import RunFacts, facts_of
from predlog.records.schema import Part, Split, Token

# Columns of `rows` that are the same in all shards: written by the one that has the first ids.
_SHARED: Final = ("rows", "labels", "inputs", "weights", "documents", "places")
_OWN: Final = ("prediction", "peak", "log_sum", "entropy", "label_logit")
_FLAGS: Final = (
    "is_trained", "has_probabilities", "knows_inputs", "knows_documents", "knows_padding", "has_weights",
)  # fmt: skip
# Of each row, what one of the shards has: columns of which few numbers are looked at.
_PICKED: Final = frozenset(("prediction", "label_logit"))
_OF_RUNS: Final = ("is_counted", "has_places", "is_blank")
# What only the whole row tells.
_UNKNOWN: Final = {"match": False, "label_logprob": None, "prediction_logprob": None, "label_rank": None}


def to_part(fields: Mapping[str, Any], numbers: Numbers, sizes: Sizes, texts: int = 0) -> dict[str, Any]:
    """Return the fields of a part from those of a comparison of the shard alone, and the numbers of one sequence.

    `texts` is of how many of the worst tokens the texts are wanted: tokens that may be among them come after those
    shown, without a slot.
    """
    shard = sizes.shard
    assert shard is not None  # noqa: S101 - for the type checker
    names = ("codebook", "sample", "sample_id", "length", "vocabulary", "shift", "supervised", "context")
    statistics = numbers.statistics
    whole = None if numbers.whole is None else numbers.whole[0].rows
    runs = numbers.runs[0] if numbers.runs else None
    best = [ones for ones, token in zip(statistics.best, fields["tokens"], strict=True) if token["alternatives"]]
    shown = {*numbers.shown[0].first, *numbers.shown[0].last}
    more = _suspicious(whole, shown, texts, sizes.shift) if whole is not None and texts else []
    return {
        **{name: fields[name] for name in names if name in fields},
        "shard": shard._asdict(),
        "rows_of": None
        if runs is None
        else {"starts": [*runs.starts], "stops": [*runs.stops], "of": runs.of, "ranks": runs.ranks},
        "tokens": [*(_token(token) for token in fields["tokens"]), *more],
        "window": fields["window"] if shard.start == 0 else None,
        "facts": {
            "peak": packed(statistics.peak),
            "log_sum": packed(statistics.log_sum),
            "label_logit": packed(statistics.label_logit),
            "above": list(statistics.above),
            # A row with NaN has no alternatives.
            "best": packed([logit for ones in best for _, logit in ones]),
            "around": list(map(list, numbers.around)),
            "reads": list(map(list, numbers.reads)),
            "counts": {name: list(many) for name, many in numbers.counts[0].items()},
            "ignore_index": sizes.ignore_index,
            "declared": sorted(sizes.declared),
            "specials": _specials(sizes.specials, numbers),
            **{name: getattr(sizes, name) for name in _FLAGS},
            # What is the same in all shards of the vocabulary is written by one.
            "runs": None if runs is None or shard.start else _packed_runs(runs, sizes),
        },
        "rows": None if whole is None else _rows(whole, shard),
    }


def _token(token: Mapping[str, Any]) -> dict[str, Any]:
    alternatives = [{**one, "logprob": None} for one in token["alternatives"]]
    return {**token, **_UNKNOWN, "alternatives": alternatives}


def _suspicious(rows: ShardRows, shown: Collection[int], many: int, shift: int) -> list[dict[str, Any]]:
    """Return tokens that are not shown, without figures: at most three times as many as are asked for.

    The shard with a label's logit knows that its log-probability is at most the logit less the log-sum-exp of the
    shard: of those labels, twice as many. What is predicted there may be in another shard, which knows no more than
    that its own logits are large: of other labels, as many as have the largest log-sum-exp and different predictions.
    """
    own, others = [], []
    for place, row in enumerate(rows.rows):
        total = rows.peak[place] + rows.log_sum[place]
        if row in shown or math.isnan(total):
            continue
        label_logit = rows.label_logit[place]
        if math.isnan(label_logit):
            others.append((-total, place))
        else:
            own.append((label_logit - total, place))
    places = [place for _, place in heapq.nsmallest(2 * many, own)]
    known = {rows.prediction[place] for place in places}
    for _, place in heapq.nsmallest(4 * many, others):
        if len(places) < 3 * many and rows.prediction[place] not in known:
            known.add(rows.prediction[place])
            places.append(place)
    return [_suspect(rows, place, shift) for place in sorted(places)]


def _suspect(rows: ShardRows, place: int, shift: int) -> dict[str, Any]:
    unknown = ("label_logprob", "prediction_logprob", "label_rank", "input_text", "label_text", "prediction_text")
    prediction = rows.prediction[place]
    return {
        "slot": None,
        "position": rows.rows[place] + shift,
        "document": None if rows.documents is None else rows.documents[place],
        "document_position": None if rows.places is None else rows.places[place],
        "label": rows.labels[place],
        "prediction": prediction if prediction >= 0 else None,
        "match": False,
        "input": None if rows.inputs is None else rows.inputs[place],
        "alternatives": [],
        **dict.fromkeys(unknown),
    }


def _specials(specials: SpecialTokens, numbers: Numbers) -> dict[str, Any]:
    """Return the special tokens; of the large sets what is among the ids here."""
    ids = {
        *chain.from_iterable(numbers.around), *numbers.statistics.prediction,
        *(one for ones in numbers.reads for one in ones if one is not None),
        *chain.from_iterable(numbers.counts[0].get(name, ()) for name in ("start", "text")),
    }  # fmt: skip
    for one in (runs.ids for runs in numbers.runs if runs.ids is not None):
        ids.update(one.labels, one.inputs or ())
        # Whether any is known is to be told, too.
        ids.update(sorted(specials.every)[:1])
    return {
        **{role: list(getattr(specials, role)) for role in ROLES},
        "every": sorted(specials.every & ids),
        "added": sorted(specials.added & ids),
        "prompt": list(specials.prompt),
        "size": specials.size,
    }


def _rows(rows: ShardRows, shard: Slice) -> dict[str, Any]:
    shared = _SHARED if shard.start == 0 else ()
    columns = rows._asdict()
    return {name: packed(columns[name], is_rounded=True) for name in (*shared, *_OWN) if columns[name] is not None}


def _packed_runs(runs: Runs, sizes: Sizes) -> dict[str, Any]:
    edges = {name: packed(column) for name, column in runs.edges._asdict().items() if column is not None}
    del edges["positions"]  # the runs say which they are
    ids = runs.ids
    return {
        "ends": [*runs.ends],
        **{name: getattr(runs, name) for name in _OF_RUNS},
        "checks": list(map(packed, runs.checks)),
        "edges": edges,
        "ids": None if ids is None else _packed_ids(ids, sizes),
        "has_codes": runs.has_codes,
    }


def from_part(part: Part) -> tuple[Slice, Numbers, Sizes]:
    """Return the numbers of a part; raise RecordError if they are not what a part has: a file may hold anything."""
    facts, shift, shard = facts_of(part), part.shift, Slice(part.shard.start, part.shard.stop, part.shard.of)
    if not shard.start < shard.stop <= shard.of == part.vocabulary:
        raise RecordError(f"a part of the ids {shard.start} to {shard.stop} of {shard.of}")
    _check_counts(facts.counts)
    # Others are there for their texts.
    tokens = [token for token in part.tokens if token.slot is not None]
    many = len(tokens)
    if not many == len(facts.around) == len(facts.reads) == len(facts.above):
        raise RecordError("a part whose columns differ in length")
    statistics = Statistics(
        prediction=[-1 if one.prediction is None else one.prediction for one in tokens],
        above=[*facts.above],
        peak=unpacked_floats(facts.peak, many),
        label_logit=unpacked_floats(facts.label_logit, many),
        log_sum=unpacked_floats(facts.log_sum, many),
        best=_unpacked_best(facts.best, tokens),
    )
    first, last = ([one.position - shift for one in tokens if one.slot == slot] for slot in ("first", "last"))
    numbers = Numbers(
        [Chosen(first, last, [])],
        statistics,
        facts.around,
        facts.reads,
        [(one.document, one.document_position) for one in tokens],
        [facts.counts],
        None if part.rows is None else [Whole(math.nan, math.nan, None, _unpacked_rows(part.rows, part))],
        runs=() if part.rows_of is None else [_unpacked_runs(part.rows_of, facts.runs, part, facts.ignore_index)],
    )
    special = facts.specials
    flags: dict[str, Any] = {name: getattr(facts, name) for name in _FLAGS}
    sizes = Sizes(
        samples=1, codebooks=1, length=part.length, vocabulary=part.vocabulary, shift=shift,
        ignore_index=facts.ignore_index, has_codebooks=part.codebook is not None, places=(part.sample,),
        declared=facts.declared, shard=shard, is_split=part.rows_of is not None,
        row_count=None if part.rows_of is None else part.rows_of.of,
        specials=SpecialTokens(
            **{name: getattr(special, name) for name in (*ROLES, "prompt", "size", "every", "added")}
        ),
        **flags,
    )  # fmt: skip
    return shard, numbers, sizes


def _packed_ids(ids: Ids, sizes: Sizes) -> dict[str, str]:
    """Return the ids of all positions: labels that are the next inputs take nearly no room beside these."""
    asked = bytes([one != sizes.ignore_index for one in ids.labels])
    after = _next_inputs(ids.inputs, len(ids.labels), sizes.shift)
    labels = array(
        "q", [one ^ two for one, two in zip(compress(ids.labels, asked), compress(after, asked), strict=True)]
    )
    columns = {"asked": asked, "labels": labels, **{name: getattr(ids, name) for name in Ids._fields[1:]}}
    return {name: deflated(one) for name, one in columns.items() if one is not None}


def _next_inputs(inputs: Sequence[int] | None, many: int, shift: int) -> Sequence[int]:
    """Return what is likely the label of each position: its input, or, if they are not to be shifted, the next one."""
    if inputs is None:
        return [0] * many
    return inputs if shift else [*inputs[1:], 0]


def _unpacked_ids(
    columns: Mapping[str, str], bounds: Sequence[tuple[int, int]], part: Part, ignore_index: int
) -> Ids:  # fmt: skip
    """Return the ids of all positions of a part."""
    many = sum(stop - start for start, stop in bounds)
    if many > MOST_IDS or not columns.keys() >= {"asked", "labels"}:
        raise RecordError(f"ids of {many} positions, of which only up to {MOST_IDS} are kept")
    asked = inflated(columns["asked"], many)
    marks = {name: inflated(columns[name], many) if name in columns else None for name in Ids._fields[2:]}
    inputs = memoryview(inflated(columns["inputs"], many)).cast("q") if "inputs" in columns else None
    own = iter(memoryview(inflated(columns["labels"], asked.count(1))).cast("q"))
    after = _next_inputs(inputs, many, part.shift)
    labels = array("q", [next(own, 0) ^ two if one else ignore_index for one, two in zip(asked, after, strict=True)])
    return Ids(memoryview(labels), inputs, **marks)


def _unpacked_runs(split: Split, known: RunFacts | None, part: Part, ignore_index: int) -> Runs:
    """Return the runs of a part; without what is at their ends, which the shard with the first ids has."""
    bounds = [*zip(split.starts, split.stops, strict=False)]
    if not bounds or len(split.starts) != len(split.stops) or any(start >= stop for start, stop in bounds):
        raise RecordError("a part whose rows have no begin or end")
    if known is None:
        return Runs(split.starts, split.stops, split.of, (0, 0), False, False, False, (), Edges((), ()), split.ranks)
    positions = [at for run in bounds for at in ends(*run)]
    many = len(positions)
    columns = {name: unpacked(one, many).tolist() for name, one in known.edges.items() if name in Edges._fields}
    if "labels" not in columns or len(known.checks) != 2:
        raise RecordError("a part without the ends of its rows")
    return Runs(
        split.starts, split.stops, split.of, known.ends, known.is_counted, known.has_places, known.is_blank,
        [unpacked(one, len(bounds)).tolist() for one in known.checks], Edges(positions, **columns),
        split.ranks, None if known.ids is None else _unpacked_ids(known.ids, bounds, part, ignore_index),
        known.has_codes,
    )  # fmt: skip


def _check_counts(counts: Counts) -> None:
    """Raise RecordError if counts are not there that all sequences have, or have not as many numbers as they must."""
    exact = {"equal": 3, "compared": 3, "lone": 3}
    least = {**dict.fromkeys(counts, 1), "start": 0, "separators": 0, "text": 11}
    for name in ("supervised", "lowest", "highest", "fingerprint", *counts):
        many = len(counts.get(name, ()))
        if many < least.get(name, 1) or many != exact.get(name, many):
            raise RecordError(f"a part with {many} numbers as the count {name!r}")


def _unpacked_best(text: str, tokens: Sequence[Token]) -> list[list[tuple[int, float]]]:
    """Return the ids and logits of the largest logits of each token."""
    ids = [two.prediction for one in tokens for two in one.alternatives]
    every = [*zip(ids, unpacked_floats(text, len(ids)), strict=True)]
    stops = [*accumulate(len(one.alternatives) for one in tokens)]
    return [every[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def _unpacked_rows(rows: Mapping[str, str], part: Part) -> ShardRows:
    columns: dict[str, Any] = dict.fromkeys(_SHARED)
    for name in (*_SHARED, *_OWN):
        if name in rows:
            column = unpacked(rows[name], part.supervised)
            columns[name] = column if name in _PICKED else column.tolist()
    for name in (*_OWN, *(("rows", "labels") if part.shard.start == 0 else ())):
        if columns.get(name) is None:
            raise RecordError(f"a part whose rows have no {name}")
    return ShardRows(**columns)
