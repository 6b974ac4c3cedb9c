"""Parts of the rows of one sequence, each with whole rows of logits → its numbers; of parts that are missing, none.

The first and the last supervised rows of the whole are among those of its parts: no part has fewer that come before.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any, Final

from predlog.numbers.seams import Seams
from predlog.numbers.shards import Joint, WholeRows, over_vocabulary
from predlog.numbers.snapshot import Counts, Numbers, ShardRows, Sizes, Slice, Statistics
from predlog.numbers.whole_ids import counted, whole_ids
from predlog.numbers.window import Chosen, Window

# The prediction of rows of which shards are missing.
UNKNOWN: Final = -2

_COLUMNS: Final = len(Statistics._fields)
# What shards have found in each row, as columns of `WholeRows`.
_FOUND: Final = ("predictions", "peaks", "log_sums", "label_logits", "entropies", "losses")


def over_rows(parts: Sequence[Joint], sizes: Sizes) -> Joint:
    """Return the rows of one sequence from its parts, which together have all of them; `sizes` are the whole's.

    Raises KeyError if a part lacks what is at the ends of its runs.
    """
    runs = [one.numbers.runs[0] for one in parts]
    seams = Seams(runs, sizes)
    ids = whole_ids(runs, seams, sizes)
    counts = seams.counts([one.numbers.counts[0] for one in parts], has_ids=ids is not None)
    unread = None
    if ids is not None:
        more, unread = counted(ids, sizes, has_codes=any(one.has_codes for one in runs))
        counts |= more
    return _joined(parts, seams, counts)._replace(unread=unread)


def over_known_rows(parts: Sequence[Joint], sizes: Sizes) -> Joint:
    """Return what parts of a sequence know of their rows, of which others are missing, or some of their shards."""
    every = [one.numbers.counts[0] for one in parts]
    counts: Counts = {"supervised": (sum(one["supervised"][0] for one in every),), "fingerprint": (0,)}
    counts["lowest"] = (min(one["lowest"][0] for one in every),)
    counts["highest"] = (max(one["highest"][0] for one in every),)
    counts["out_of_range"] = (sum(one.get("out_of_range", (0,))[0] for one in every),)
    known = [one for one in parts if one.rows is not None]
    return _joined(parts, Seams([one.numbers.runs[0] for one in parts], sizes), counts, known)


def of_some_shards(parts: Sequence[tuple[Slice, Numbers]]) -> Joint:
    """Return rows of which shards are missing: the labels, and what their ranks are at least.

    What is predicted is `UNKNOWN`, since the largest logit may be in any shard.
    """
    found = over_vocabulary([(shard, replace(one, whole=None)) for shard, one in parts], Window())
    known, many = found.numbers.statistics, len(found.bounds)
    least = [bound if above is None else above + 1 for above, bound in zip(known.above, found.bounds, strict=True)]
    ordered = sorted(shard for shard, _ in parts)
    is_apart = all(one.stop <= other.start for one, other in pairwise(ordered))  # else a logit would count twice
    bounds = [
        one if is_apart and one != 1 and not math.isnan(peak) else None
        for one, peak in zip(least, known.peak, strict=True)
    ]
    zeros = [0.0] * many
    statistics = Statistics([UNKNOWN] * many, [None] * many, zeros, zeros, zeros, [()] * many)
    return Joint(replace(found.numbers, statistics=statistics), bounds, None)


def _joined(parts: Sequence[Joint], seams: Seams, counts: Counts, scored: Sequence[Joint] | None = None) -> Joint:
    places = sorted((row, part, at) for part, one in enumerate(parts) for at, row in enumerate(_shown(one)))
    first, last = _ends(places, [one.numbers for one in parts])
    shown = [*first, *last]
    statistics = [one.numbers.statistics for one in parts]
    numbers = replace(
        parts[0].numbers,
        shown=[Chosen([row for row, *_ in first], [row for row, *_ in last], [])],
        statistics=Statistics._make(
            [_picked([one[number] for one in statistics], shown) for number in range(_COLUMNS)]
        ),
        around=[seams.around(row, parts[part].numbers.around[at]) for row, part, at in shown],
        reads=[seams.reads(row, parts[part].numbers.reads[at]) for row, part, at in shown],
        homes=[seams.home(row, parts[part].numbers.homes[at]) for row, part, at in shown],
        counts=[counts],
    )
    bounds = [parts[part].bounds[at] for _, part, at in shown]
    return Joint(numbers, bounds, _rows([one.rows for one in (parts if scored is None else scored)], seams))


def _picked(columns: Sequence[Sequence[Any]], shown: Sequence[tuple[int, int, int]]) -> Sequence[Any]:
    """Return the values of the rows shown; none if a column is empty, as that of alternatives that are not wanted."""
    return [columns[part][at] for _, part, at in shown] if all(columns[part] for _, part, _ in shown) else ()


def _shown(part: Joint) -> list[int]:
    return [*chain(*part.numbers.shown[0])]


def _ends(places: Sequence[tuple[int, int, int]], parts: Sequence[Numbers]) -> tuple[list[Any], list[Any]]:
    """Return the first and the last of the rows shown by the parts, each once, in order."""
    ends = [one.runs[0].ends for one in parts]
    # The shard with the first ids knows how many are wanted; without it, each shows as many as it can.
    ends += [(len(shown.first), len(shown.last)) for one in parts if one.runs[0].ends == (0, 0) for shown in one.shown]
    many_first, many_last = (max(column) for column in zip(*ends, strict=True))
    first = places[:many_first]
    return [*first], [*places[max(len(places) - many_last, len(first)) :]]


def _rows(parts: Sequence[WholeRows | None], seams: Seams) -> WholeRows | None:
    known = [one for one in parts if one is not None]
    if len(known) < len(parts) or not known:
        return None
    rows = [row for one in known for row in one.ids.rows]
    order = sorted(range(len(rows)), key=rows.__getitem__)
    ids = [one.ids for one in known]

    def column(every: Sequence[Sequence[Any] | None]) -> Any:
        if any(one is None for one in every):
            return None
        together = [*chain(*(one for one in every if one is not None))]
        return [together[at] for at in order]

    # What the shards had of each row is joined already: the columns of one shard alone are not needed.
    shared = {name: column([getattr(one, name) for one in ids]) for name in ShardRows._fields[:6]}
    return WholeRows(
        ShardRows(**shared, prediction=[], peak=[], log_sum=[], entropy=[], label_logit=[]),
        **{name: column([getattr(one, name) for one in known]) for name in _FOUND},
        settle=seams.home,
    )
