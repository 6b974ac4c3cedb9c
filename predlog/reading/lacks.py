"""Which comparisons lack parts: of which ranks, as far as other steps show, or else of which ids."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from predlog.records.schema import Comparison

# Of more kinds than that, the others are counted as one of these.
_MOST: Final = 1000
_Ids = tuple[tuple[int, int], ...]


class Lack(NamedTuple):
    """So many comparisons that lack the same parts.

    `ranks` are the processes whose parts are missing; empty if no other step shows which they are. `ids` are the ranges
    of ids of the vocabulary that are missing, each with its last one, or of positions if `lacks_rows`. There are none
    if parts of several samples can't be told apart.
    """

    many: int
    ranks: tuple[int, ...]
    ids: _Ids
    first_step: int
    last_step: int
    lacks_rows: bool = False


class _Key(NamedTuple):
    run: str | None
    attempt: int
    present: frozenset[int]
    ids: _Ids
    lacks_rows: bool
    absent: frozenset[int]


class Lacks:
    """Count the comparisons that lack parts, and learn from the others which ranks have parts of the same one.

    Attributes:
        checked: The streams whose reported loss is known to be that of the whole comparisons, or of something else.
    """

    def __init__(self) -> None:
        self.checked: set[str] = set()
        self._found: dict[_Key, list[int]] = {}
        self._groups: dict[tuple[str | None, int, int], frozenset[int]] = {}

    def learn(self, whole: Comparison, ranks: frozenset[int]) -> None:
        """Note which ranks have the parts of a comparison."""
        for rank in ranks if self._groups.get((whole.run, whole.attempt, whole.rank)) != ranks else ():
            self._groups[whole.run, whole.attempt, rank] = ranks

    def together(self, run: str | None, attempt: int, rank: int) -> frozenset[int]:
        """Return the ranks that have had parts of the same comparison as a rank; none if there was no whole one."""
        return self._groups.get((run, attempt, rank), frozenset())

    def add(
        self, partial: Comparison, ranks: frozenset[int], ids: _Ids, *, lacks_rows: bool = False,
        absent: frozenset[int] = frozenset(),
    ) -> None:  # fmt: skip
        """Count a comparison of which there are parts of some ranks alone; `absent` are others that may have one."""
        key = _Key(partial.run, partial.attempt, ranks, ids, lacks_rows, absent)
        if key not in self._found and len(self._found) >= _MOST:
            key = next(reversed(self._found))
        found = self._found.setdefault(key, [0, partial.step, partial.step])
        found[:] = found[0] + 1, min(found[1], partial.step), max(found[2], partial.step)

    def __len__(self) -> int:
        """Return how many comparisons lack parts."""
        return sum(count for count, *_ in self._found.values())

    def __iter__(self) -> Iterator[Lack]:
        """Yield one entry for each set of missing ranks, or of missing ids if the ranks are not known."""
        every: dict[tuple[tuple[int, ...], _Ids, bool], Lack] = {}
        for (run, attempt, present, ids, lacks_rows, absent), (count, first, last) in self._found.items():
            groups = [self._groups.get((run, attempt, rank), frozenset()) for rank in present]
            ranks = tuple(sorted(frozenset().union(*groups) - present or absent))
            key = ranks, () if ranks else ids, lacks_rows
            known = every.get(key, Lack(0, ranks, tuple((start, stop - 1) for start, stop in ids), first, last))
            span = min(known.first_step, first), max(known.last_step, last)
            every[key] = Lack(known.many + count, ranks, known.ids, *span, lacks_rows)
        yield from sorted(every.values(), key=lambda one: (one.first_step, one.ranks, one.ids))
