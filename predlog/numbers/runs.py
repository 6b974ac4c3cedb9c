"""Which positions of a whole sample a process has, if its rows are split over processes, and what is at their ends.

Counts over neighbouring positions are those inside of runs; what lies across the end of a run is counted by whoever has
the ends of all runs, which `predlog.numbers.seams` does.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

# How many positions are kept at the begin and at the end of each run: a label is compared with the inputs at its row
# and the two after, and a sample begins with three inputs.
HEAD, TAIL = 3, 2
# Of a part with more positions, ids are not kept but at the ends of its runs.
MOST_IDS: Final = 32_768


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


class Ids(NamedTuple):
    """Columns of all positions, None for what is not known.

    Bytes are 1 at what is no padding, where a document begins, and where the next position follows in the same one.
    """

    labels: memoryview
    inputs: memoryview | None
    attended: bytes | None
    begins: bytes | None
    follows: bytes | None


class Runs(NamedTuple):
    """Stretches of neighbouring positions of a whole sample, from `starts` to before `stops`, in order.

    `of` is how many positions the whole sample has, None if that was not passed. `ends` are how many tokens of its
    begin and its end are to be shown. `is_counted` is whether documents are numbered as they are met, from the first
    position of the process on, and `has_places` whether the places in them were passed: else they are counted from the
    begin of each run. `is_blank` is whether all places are 0. `checks` are the CRC-32 of the labels of each run, and of
    its inputs. `ranks` are the processes that have the sample together, None if that is not known. `ids` are those of
    the positions, one run after the other, None of more than `MOST_IDS` positions. `has_codes` is whether there are so
    many special tokens that those without a role are codes.
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
    ids: Ids | None = None
    has_codes: bool = False

    @property
    def key(self) -> tuple[tuple[int, int], ...]:
        """Which positions they are: the same for all shards of a vocabulary."""
        return tuple(zip(self.starts, self.stops, strict=True))

    @property
    def offsets(self) -> Sequence[int]:
        """How many positions come before each run, in the columns of `ids`."""
        return [*accumulate((stop - start for start, stop in self.key), initial=0)][:-1]


def ends(start: int, stop: int) -> Sequence[int]:
    """Return which positions of a run are kept, in order."""
    if stop - start <= HEAD + TAIL:
        return range(start, stop)
    return [*range(start, start + HEAD), *range(stop - TAIL, stop)]


def missing(runs: Iterable[tuple[int, int]], of: int | None, shift: int) -> int | None:
    """Return how many positions no run has; None if two have a label of the same, so that they are of two samples.

    Of a shift, the first labels of a run belong to rows of another, which may have these labels, too.
    """
    covered = end = 0
    for start, stop in sorted(runs):
        if start + min(shift, stop - start) < end:
            return None
        covered += max(stop - max(start, end), 0)
        end = max(end, stop)
    return max(end, of or 0) - covered
