"""Parts of the rows of one sample, which may be sharded over the vocabulary, too → its comparison, whole or partial.

Whole it is if no position is missing, and if no process may have recorded a part that is not there: with data-parallel
replicas, parts of two samples without ids may look like those of one.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from predlog.errors import RecordError
from predlog.findings.facts import Facts
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.runs import Runs, missing
from predlog.numbers.shards import Joint, finished, is_whole, over_vocabulary
from predlog.numbers.snapshot import Sizes
from predlog.numbers.split import of_some_shards, over_known_rows, over_rows
from predlog.numbers.window import Window
from predlog.reading.joining import (
    Known,
    Whole,
    loss_of,
    many_of,
    missing_ids,
    of_one_pair,
    readable,
    shown,
    to_record,
    unpacked,
    without_figures,
)
from predlog.records.schema import Part


def comparison_of_rows(
    parts: Sequence[Part], window: Window, expected: Collection[int], together: frozenset[int] = frozenset()
) -> Whole:
    """Return the comparison of one sample and codebook from parts of its rows, of which there is at least one.

    `expected` are the ranks that may have a part of it, `together` those that have had parts of one sample before.
    """
    ordered = sorted(parts, key=lambda part: (part.shard.start, part.rank))
    # Ranks with nothing of the sample, as those whose ids of the vocabulary are padding, say so.
    empty = frozenset(one.rank for one in ordered if _is_empty(one))
    ordered = [one for one in ordered if not _is_empty(one)] or ordered
    groups, is_one = _of_same_rows(list(readable(ordered)))
    known = [one for group in groups for one in group]
    ranks = frozenset(one.part.rank for one in known)
    holes = [hole for group in groups for hole in missing_ids([one.shard for one in group], group[0].shard.of)]
    of, lacking = _lacking(groups, ordered)
    # An id tells a sample from those of replicas, as do the ranks that have it; and another replica would have as many
    # ranks. A number of rows tells that there are no more. What is left are ranks with nothing of the sample.
    is_told = _is_named(ordered[0]) or len({*expected}) < 2 * len(ranks)
    ranks |= empty
    is_all = ranks.issuperset(expected) or (is_told and _has_count(ordered))
    if known and is_one and not lacking and not holes and is_all:
        try:
            return _whole(groups, of, ranks, window)
        except (ArithmeticError, LookupError, TypeError, ValueError, RecordError):
            ranks = frozenset()  # numbers that no recorder writes
    kept = [one.part for one in known] or ordered
    fields = {"length": of, "supervised": sum(group[0].part.supervised for group in groups)}
    absent = frozenset(expected) - ranks
    # Of two samples, each would lack a rank: else it would have all positions, and the other one some of these, too.
    is_one = is_one and bool(known)
    is_sure = len(groups) == 1 or len(absent) < 2 or ranks <= together or _is_named(ordered[0])
    ids, rows = many_of({*holes}), many_of(lacking) if is_one else 0
    if not holes or not is_one or lacking:
        rows = max(rows, 1 if is_one else of)
    made, facts, sizes = to_record(kept, fields, ids, rows), None, None
    if is_one and ranks and is_sure:
        with suppress(ArithmeticError, LookupError, TypeError, ValueError, RecordError):
            known_fields, facts, sizes = _known(groups, of, window)
            made = to_record(kept, known_fields, ids, rows)
    if not rows:
        return Whole(made, ranks, facts, sizes, lacking=tuple(sorted({*holes})))
    # Without a number of rows, those that are missing may come after all others.
    ranges = (lacking or ((of, of + 1),)) if is_one else ()
    return Whole(made, ranks, facts, sizes, lacking=ranges, lacks_rows=True, absent=absent)


def _of_same_rows(known: Sequence[Known]) -> tuple[list[list[Known]], bool]:
    """Return the parts of the same rows, each shard once, in the order of the rows, and whether all are of one sample.

    Parts of the same rows that have other labels are of another sample.
    """
    rows: dict[tuple[tuple[int, int], ...], list[Known]] = {}
    for one in known:
        rows.setdefault(_runs(one).key, []).append(one)
    labels = [{one.numbers.counts[0]["fingerprint"][0] for one in group} for group in rows.values()]
    shifts = {one.part.shift for one in known}
    is_one = all(len(one) == 1 for one in labels) and len({(one.part.shift, _runs(one).of) for one in known}) <= 1
    bounds = [bound for key in rows for bound in key]
    is_one = is_one and missing(bounds, None, max(shifts, default=0)) is not None
    return [of_one_pair(rows[key]) for key in sorted(rows)], is_one


def _is_empty(part: Part) -> bool:
    split = part.rows_of
    return split is not None and not (split.starts or split.stops or part.supervised or part.tokens)


def _is_named(part: Part) -> bool:
    return part.sample_id is not None or (part.rows_of is not None and part.rows_of.ranks is not None)


def _has_count(parts: Sequence[Part]) -> bool:
    return all(one.rows_of is not None and one.rows_of.of is not None for one in parts)


def _runs(known: Known) -> Runs:
    return known.numbers.runs[0]


def _lacking(groups: Sequence[Sequence[Known]], ordered: Sequence[Part]) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return how many positions the sample has, as far as that is known, and the ranges that no part has."""
    bounds = sorted(bound for group in groups for bound in _runs(group[0]).key)
    counts = [one.rows_of.of for one in ordered if one.rows_of is not None and one.rows_of.of is not None]
    of = max([stop for _, stop in bounds] + counts, default=1)
    found, end = [], 0
    for start, stop in [*bounds, (of, of)]:
        if start > end:
            found.append((end, start))
        end = max(end, stop)
    return of, tuple(found)


def _whole(groups: Sequence[Sequence[Known]], of: int, ranks: frozenset[int], window: Window) -> Whole:
    sizes = _sizes([group[0].sizes for group in groups], of)
    if not all(is_whole([one.shard for one in group]) for group in groups):
        raise RecordError("shards that are not those of one vocabulary")
    joints: list[Joint] = [over_vocabulary([(one.shard, one.numbers) for one in group], window) for group in groups]
    joint = over_rows(joints, sizes)
    numbers, bounds = finished(joint, sizes, window)
    parts = [one.part for group in groups for one in group]
    whole = unpacked(parts, numbers, bounds, sizes, ranks, has_alternatives=window.alternatives > 0)
    return whole._replace(unread=joint.unread, loss=loss_of(groups))


def _known(
    groups: Sequence[Sequence[Known]], of: int, window: Window
) -> tuple[dict[str, Any], Facts, Sizes]:  # fmt: skip
    """Return the fields and facts of a comparison of which parts are missing: those of the others."""
    sizes, joints = _sizes([group[0].sizes for group in groups], of), []
    for group in groups:
        shards = [(one.shard, one.numbers) for one in group]
        has_all = is_whole([one.shard for one in group])
        joints.append(over_vocabulary(shards, window) if has_all else of_some_shards(shards))
    numbers, bounds = finished(over_known_rows(joints, sizes), sizes, window)
    parts = [one.part for group in groups for one in group]
    fields, facts = shown(parts, numbers, bounds, sizes, has_alternatives=window.alternatives > 0)
    return without_figures(fields), replace(facts, codebook=parts[0].codebook), sizes


def _sizes(every: Sequence[Sizes], of: int) -> Sizes:
    """Return the sizes of a whole sample: what is known of it is what is known of all of its parts."""
    names = ("is_trained", "has_probabilities", "knows_inputs", "knows_documents", "knows_padding", "has_weights")
    flags: dict[str, Any] = {name: all(getattr(one, name) for one in every) for name in names}
    return replace(
        every[0], shard=None, length=of, specials=_in_common([one.specials for one in every]),
        **flags,
    )  # fmt: skip


def _in_common(every: Sequence[SpecialTokens]) -> SpecialTokens:
    """Return the special tokens of a pair from those of its parts, which of large sets have what is among their ids."""
    ids, added = (one.every for one in every), (one.added for one in every)
    return replace(every[0], every=frozenset[int]().union(*ids), added=frozenset[int]().union(*added))
