"""Which positions of a whole sample a process has, if its rows are split over processes, and what is at their ends.

Counts over neighbouring positions are those inside of runs; what lies across the end of a run is counted by whoever has
the ends of all runs, which `predlog.numbers.seams` does.
"""

from collections.abc import Sequence
from typing import NamedTuple

# How many positions are kept at the begin and at the end of each run: a label is compared with the inputs at its row
# and the two after, and a sample begins with three inputs.
HEAD, TAIL = 3, 2


class Edges(NamedTuple):
    """Columns of the positions at the ends of runs, by their `positions` in the whole sample; None for what is unknown.

    `documents` and `places` are those of the positions as far as one process knows them. `attended` is 0 at padding.
    """

    positions: Sequence[int]
    labels: Sequence[int]
    inputs: Sequence[int] | None = None
    places: Sequence[int] | None = None
    documents: Sequence[int] | None = None
    attended: Sequence[int] | None = None


class Runs(NamedTuple):
    """Stretches of neighbouring positions of a whole sample, from `starts` to before `stops`, in order.

    `of` is how many positions the whole sample has, None if that was not passed. `ends` are how many tokens of its
    begin and its end are to be shown. `is_counted` is whether documents are numbered as they are met, from the first
    position of the process on, and `has_places` whether the places in them were passed: else they are counted from the
    begin of each run. `is_blank` is whether all places are 0. `checks` are the CRC-32 of the labels of each run, and of
    its inputs. `ranks` are the processes that have the sample together, None if that is not known.
    """

    starts: Sequence[int]
    stops: Sequence[int]
    of: int | None
    ends: tuple[int, int]
    is_counted: bool
    has_places: bool
    is_blank: bool
    checks: Sequence[Sequence[int]]
    edges: Edges
    ranks: Sequence[int] | None = None

    @property
    def key(self) -> tuple[tuple[int, int], ...]:
        """Which positions they are: the same for all shards of a vocabulary."""
        return tuple(zip(self.starts, self.stops, strict=True))


def ends(start: int, stop: int) -> Sequence[int]:
    """Return which positions of a run are kept, in order."""
    if stop - start <= HEAD + TAIL:
        return range(start, stop)
    return [*range(start, start + HEAD), *range(stop - TAIL, stop)]
