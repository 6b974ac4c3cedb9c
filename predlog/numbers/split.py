"""Parts of the rows of one sequence, each with whole rows of logits → its numbers.

The first and the last supervised rows of the whole are among those of its parts: no part has fewer that come before.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final

from predlog.numbers.runs import Runs
from predlog.numbers.seams import Seams
from predlog.numbers.shards import Joint, WholeRows
from predlog.numbers.snapshot import ShardRows, Sizes, Statistics
from predlog.numbers.window import Chosen

_COLUMNS: Final = len(Statistics._fields)
# What shards have found in each row, as columns of `WholeRows`.
_FOUND: Final = ("predictions", "peaks", "log_sums", "label_logits", "entropies", "losses")


def over_rows(parts: Sequence[Joint], sizes: Sizes) -> Joint:
    """Return the rows of one sequence from its parts, which together have all of them; `sizes` are the whole's.

    Raises KeyError if a part lacks what is at the ends of its runs.
    """
    runs = [one.numbers.runs[0] for one in parts]
    seams = Seams(runs, sizes)
    places = sorted((row, part, at) for part, one in enumerate(parts) for at, row in enumerate(_shown(one)))
    first, last = _ends(places, runs[0])
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
        counts=[seams.counts([one.numbers.counts[0] for one in parts])],
    )
    bounds = [parts[part].bounds[at] for _, part, at in shown]
    return Joint(numbers, bounds, _rows([one.rows for one in parts], seams))


def _picked(columns: Sequence[Sequence[Any]], shown: Sequence[tuple[int, int, int]]) -> Sequence[Any]:
    """Return the values of the rows shown; none if a column is empty, as that of alternatives that are not wanted."""
    return [columns[part][at] for _, part, at in shown] if all(columns[part] for _, part, _ in shown) else ()


def _shown(part: Joint) -> list[int]:
    return [*chain(*part.numbers.shown[0])]


def _ends(places: Sequence[tuple[int, int, int]], like: Runs) -> tuple[list[Any], list[Any]]:
    """Return the first and the last of the rows shown by the parts, each once, in order."""
    first = places[: like.ends[0]]
    return [*first], [*places[max(len(places) - like.ends[1], len(first)) :]]


def _rows(parts: Sequence[WholeRows | None], seams: Seams) -> WholeRows | None:
    known = [one for one in parts if one is not None]
    if len(known) < len(parts):
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
