"""The parts of one sample as they come, from any process → those that may be all of one comparison."""

from collections.abc import Collection
from dataclasses import dataclass, field

from predlog.records.schema import Part

# Bytes that a part, a token of it and an alternative of that take, about.
_OF_PART, _OF_TOKEN, _OF_ALTERNATIVE = 4096, 256, 96


def size(part: Part) -> int:
    """Return about how many bytes a part takes."""
    tokens = sum(_OF_TOKEN + _OF_ALTERNATIVE * len(token.alternatives) for token in part.tokens)
    return _OF_PART + tokens + sum(map(len, (part.rows or {}).values()))


@dataclass(slots=True)
class _Group:
    """Parts of the same labels, and of how many ids they are; none when they are joined."""

    parts: list[Part] = field(default_factory=list)
    starts: set[int] = field(default_factory=set)
    covered: int = 0
    is_joined: bool = False

    def take(self, part: Part) -> bool:
        """Take in a part, and return whether all may be there, with this one."""
        self.parts.append(part)
        shard = part.shard
        if shard.start in self.starts:
            return False
        self.starts.add(shard.start)
        self.covered += shard.stop - shard.start
        return self.covered == shard.of


@dataclass(slots=True)
class RowGroup:
    """Parts of the rows of one sample, and the ranks that have one; none when they are joined."""

    parts: list[Part] = field(default_factory=list)
    ranks: set[int] = field(default_factory=set)
    is_joined: bool = False

    def take(self, part: Part, expected: Collection[int]) -> bool:
        """Take in a part, and return whether all may be there, with this one: those of the ranks that are expected."""
        self.parts.append(part)
        is_new = part.rank not in self.ranks
        self.ranks.add(part.rank)
        return is_new and self.ranks.issuperset(expected)


def _fits(lone: list[Part], others: list[Part]) -> bool:
    """Return whether a lone part has ids that the others lack: what makes it another group may be its damage."""
    start, stop = lone[0].shard.start, lone[0].shard.stop
    return len(lone) == 1 and all(stop <= one.shard.start or one.shard.stop <= start for one in others)


class PartsOfSample(dict[str, _Group | RowGroup]):
    """The groups of one sample: the processes of each data-parallel replica have a sample 0, of other labels."""

    def take(self, part: Part, expected: frozenset[int]) -> list[Part] | None:
        """Take in a part, and return those that may be all of a comparison; None if some are missing.

        `expected` are the ranks that may have rows of the sample.
        """
        # What is joined already was recorded by a replica, too.
        if part.rows_of is None:
            group = self.setdefault(_fingerprint(part), _Group())
            is_all = isinstance(group, _Group) and not group.is_joined and group.take(part)
        else:
            group = self.setdefault(f"rows {part.rows_of.ranks}", RowGroup())
            is_all = isinstance(group, RowGroup) and not group.is_joined and group.take(part, expected)
        return group.parts if is_all else None

    def end(self, part: Part) -> None:
        """Forget the parts that have been joined, of which this is one."""
        group = self[_fingerprint(part) if part.rows_of is None else f"rows {part.rows_of.ranks}"]
        group.parts, group.is_joined = [], True

    def left(self) -> list[list[Part]]:
        """Return the parts of each group that is not joined, with what is in the place of those that it lacks."""
        found: list[list[Part]] = []
        of_rows = [one for one in self.values() if isinstance(one, RowGroup)]
        of_ids = [(labels, one) for labels, one in self.items() if isinstance(one, _Group)]
        for labels, group in sorted(of_ids, key=lambda one: -len(one[1].starts)):
            if group.is_joined:
                continue
            place = next((ones for ones in found if _fits(group.parts, ones)), None)
            if place is not None:
                place += group.parts
            elif labels or len(self) == 1:  # what has no labels is damaged
                found.append([*group.parts])
        return [*found, *([*one.parts] for one in of_rows if not one.is_joined)]


def _fingerprint(part: Part) -> str:
    """Return what tells the labels of a part from others; parts without it are of any."""
    counts = part.facts.get("counts")
    return str(counts.get("fingerprint")) if isinstance(counts, dict) else ""
