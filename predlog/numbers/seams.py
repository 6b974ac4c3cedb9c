"""Parts of the rows of one sample → its numbers, as if one process had had all rows.

Sums over rows are added up. What lies across the ends of runs, where a label is on one process and the input after it
on another, is counted here, from the ids that each part has of its ends. What can't be known so is left out.
"""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from predlog.findings.special_tokens import OF_TOKENIZERS
from predlog.numbers.checksums import combined
from predlog.numbers.runs import Runs
from predlog.numbers.snapshot import Counts, Sizes

_OFFSETS = 3
_Home = tuple[int | None, int | None]


class Place(NamedTuple):
    """What is known of one position at the end of a run; None for what is not."""

    label: int
    read: int | None
    place: int | None
    document: int | None
    attended: int | None


@dataclass(slots=True)
class Run:
    """A run of one part: its bounds, and its ends by their positions.

    `base` is the number of the document that it begins with, if these are counted, and `carry` the place in it of its
    first position, if places are counted and a part before has its begin. None if what is before is missing.
    """

    start: int
    stop: int
    group: int
    checks: tuple[int, ...]
    ends: dict[int, Place]
    base: int | None = 0
    carry: int | None = 0


def of_parts(parts: Sequence[Runs]) -> list[Run]:
    """Return the runs of all parts, in the order of the sample."""
    found = []
    for group, part in enumerate(parts):
        edges = part.edges
        columns = [edges.labels, edges.inputs, edges.places, edges.documents, edges.attended]
        ends = [
            Place(*(None if one is None else one[at] for one in columns))  # type: ignore[arg-type] # labels are known
            for at in range(len(edges.positions))
        ]
        positions = edges.positions
        order = sorted(range(len(positions)), key=positions.__getitem__)
        ordered = [positions[at] for at in order]
        for number, (start, stop) in enumerate(part.key):
            own = order[bisect.bisect_left(ordered, start) : bisect.bisect_left(ordered, stop)]
            checks = tuple(one[number] for one in part.checks)
            found.append(Run(start, stop, group, checks, {positions[at]: ends[at] for at in own}))
    return sorted(found, key=lambda run: run.start)


class Seams:
    """What the parts of one sample have at the ends of their runs, and what follows for the whole.

    Args:
        parts: The runs of each part, which together have all positions; without some, only `home` is asked.
        sizes: Those of the whole sample.
    """

    def __init__(self, parts: Sequence[Runs], sizes: Sizes) -> None:
        self._runs = of_parts(parts)
        self._starts = [run.start for run in self._runs]
        self._sizes = sizes
        first = parts[0]
        self._is_counted, self._has_places = first.is_counted, first.has_places
        self._places: dict[int, Place] = {}
        for run in reversed(self._runs):
            self._places |= run.ends  # of two that have a position, the one before has its label with its row
        every = self._places.values()
        self._has_inputs = all(one.read is not None for one in every)
        self.has_documents = (
            all(run.ends for run in self._runs)
            and all(one.document is not None for one in every)
            and len({(one.is_counted, one.has_places) for one in parts}) == 1
        )
        # Zeros fill an argument that the model does not use.
        self.is_blank = sizes.length > 1 and self._is_counted and all(one.is_blank for one in parts)
        # Where a run begins after the end of another, that has no label of the same position.
        self.between = [
            run.start for before, run in zip(self._runs, self._runs[1:], strict=False) if run.start == before.stop
        ]
        self._number()

    # --- documents -------------------------------------------------------------------------------------------------
    def home(self, row: int, local: _Home) -> _Home:
        """Return the document of a row's label and its place there, of what its part knows of them."""
        if not self.has_documents or self.is_blank or local[0] is None or local[1] is None:
            return None, None
        at = row + self._sizes.shift
        run = self._run(at)
        return self._document(run, local[0]), self._place(run, at, local[1])

    def _document(self, run: Run, local: int) -> int | None:
        if not self._is_counted:
            return local
        return None if run.base is None else local - (run.ends[run.start].document or 0) + run.base

    def _place(self, run: Run, at: int, local: int) -> int | None:
        if self._has_places or local != at - run.start:
            return local
        return None if run.carry is None else local + run.carry

    def _run(self, at: int) -> Run:
        """Return the run that has a label with its row."""
        place = bisect.bisect_right(self._starts, at - self._sizes.shift) - 1
        return self._runs[max(place, 0)]

    def _number(self) -> None:
        """Set the numbers of the documents through all runs, and count their places."""
        if not self.has_documents:
            return
        if self._runs[0].start:
            self._runs[0].base = self._runs[0].carry = None
        for before, run in zip(self._runs, self._runs[1:], strict=False):
            if run.start > before.stop:
                run.base = run.carry = None
                continue
            at = min(before.stop - 1, run.start)  # of a shift, both may have the position
            known = before.ends.get(at)
            if known is None or known.document is None or known.place is None:
                continue
            follows = at < run.start
            begins = follows and self.begins(run.start)
            base, carry = self._document(before, known.document), self._place(before, at, known.place)
            run.base = None if base is None else base + begins
            run.carry = 0 if begins else None if carry is None else carry + follows

    def begins(self, at: int) -> bool:
        """Return whether a document begins at a position; both it and the one before are at ends of runs."""
        one, two = self._places[at - 1], self._places[at]
        if self._is_counted:
            return (two.place or 0) <= (one.place or 0)
        return one.document != two.document

    def is_next(self, at: int) -> bool:
        """Return whether the position after one is the next in the same document."""
        if not self.has_documents or self.is_blank:
            return True
        one, two = self._places[at], self._places[at + 1]
        return not self.begins(at + 1) and (not self._has_places or (two.place or 0) - (one.place or 0) == 1)

    # --- what is around a row --------------------------------------------------------------------------------------
    def around(self, row: int, local: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Return the labels around that of a row, of what its part has."""
        at = row + self._sizes.shift
        run = self._run(at)
        before, own, after, after_next = (
            one if run.start <= there < run.stop or there not in self._places else self._places[there].label
            for there, one in zip((at - 1, at, at + 1, at + 2), local, strict=True)
        )
        return before, own, after, after_next

    def reads(self, row: int, local: _Home) -> _Home:
        """Return the input of a row and the one two positions on, of what its part has."""
        there = row + 2
        run = self._run(row + self._sizes.shift)
        if there < run.stop or there not in self._places:
            return local
        return local[0], self._places[there].read

    # --- counts ----------------------------------------------------------------------------------------------------
    def counts(self, parts: Sequence[Mapping[str, tuple[int, ...]]], *, has_ids: bool = False) -> Counts:
        """Return the counts of the whole sample from those of its parts; with `has_ids`, others are counted later."""
        known = set.intersection(*map(set, parts)) if parts else set()
        found: Counts = {"supervised": _sum(parts, "supervised"), "fingerprint": self._fingerprint()}
        found["lowest"] = (min(one["lowest"][0] for one in parts),)
        found["highest"] = (highest := max(one["highest"][0] for one in parts),)
        found["out_of_range"] = (sum(one.get("out_of_range", (0,))[0] for one in parts),)
        if "varied" in known:
            # Where the highest label is not that of the whole, all labels differ from that.
            varied = [one["varied" if one["highest"][0] == highest else "supervised"][0] for one in parts]
            found["varied"] = (sum(varied),)
        found |= _specials(parts, known, has_ids=has_ids)
        if "equal" in known and self._has_inputs and not self.is_blank:
            found |= self._compared(parts, has_ids=has_ids)
        start = [self._places[at].read for at in range(_OFFSETS) if at in self._places]
        if "start" in known and None not in start:
            found["start"] = tuple(one for one in start if one is not None)
        if "crossing" in known and self.has_documents and not self.is_blank:
            found |= self._crossing(parts)
        if "padding" in known:
            found |= self._padding(parts)
        return found

    def _fingerprint(self) -> tuple[int, ...]:
        columns = zip(*(run.checks for run in self._runs), strict=True)
        lengths = [run.stop - run.start for run in self._runs]
        found = tuple(combined(zip(one, lengths, strict=True)) for one in columns)
        return found if self._has_inputs else found[:1]

    def _compared(self, parts: Sequence[Mapping[str, tuple[int, ...]]], *, has_ids: bool) -> Counts:
        """Count the labels that equal the input at their row and the two after, also across the ends of runs."""
        equal, compared = ([*_sum(parts, name)] for name in ("equal", "compared"))
        shift, ignored = self._sizes.shift, self._sizes.ignore_index
        for run in self._runs:
            for row in range(max(run.start, run.stop - _OFFSETS + 1), run.stop - shift):
                label = self._places[row + shift].label
                for offset in (1, 2):
                    there = self._places.get(row + offset)
                    if label == ignored or there is None or row + offset < run.stop:
                        continue
                    if all(self.is_next(one) for one in range(row, row + offset)):
                        compared[offset] += 1
                        equal[offset] += there.read == label
        found: Counts = {"equal": tuple(equal), "compared": tuple(compared)}
        if not has_ids and any(one < many <= 2 * one for one, many in zip(equal[::2], compared[::2], strict=True)):
            # A label that no part reads may be an end token, and one that another reads is none: nobody knows.
            if any(any(one.get("lone", (0,))) for one in parts):
                return {}
            found["lone"] = (0,) * _OFFSETS
        return found

    def _crossing(self, parts: Sequence[Mapping[str, tuple[int, ...]]]) -> Counts:
        """Count the labels of another document than their row, also where a run ends."""
        read = []
        for at in self._seams():
            is_padding = self._places[at - 1].attended == 0 or self._places[at].attended == 0
            if not is_padding and self.begins(at) and self._is_crossing(at):
                one = self._places[at - 1]
                read.append(one.label if one.read is None else one.read)
        seen = [one for counts in parts for one in counts["separators"] if one >= 0] + read
        return {
            "crossing": (_sum(parts, "crossing")[0] + len(read),),
            "separators": (min(seen, default=-1), max(seen, default=-1)),
        }

    def _padding(self, parts: Sequence[Mapping[str, tuple[int, ...]]]) -> Counts:
        """Count the labels that are padding, and those whose row reads padding, also where a run ends."""
        from_padding = [
            at for at in self._seams()
            if self._places[at - 1].attended == 0 and self._places[at].attended and self._is_crossing(at)
        ]  # fmt: skip
        padding = [run.stop - 1 for run in self._runs if self._is_padding(run.stop - 1)]
        return {
            "from_padding": (_sum(parts, "from_padding")[0] + len(from_padding),),
            "padding": (_sum(parts, "padding")[0] + len(padding),),
        }

    def _seams(self) -> list[int]:
        """Return where runs begin, if the label of the row before is on that row's part."""
        return [] if self._sizes.shift else [run.start for run in self._runs[1:]]

    def _is_crossing(self, at: int) -> bool:
        """Return whether the row before a position has a label, the next input, that it can't know."""
        one, specials = self._places[at - 1], self._sizes.specials
        is_next = one.read is not None and one.label == self._places[at].read
        return self._is_token(one.label) and is_next and one.label not in specials.bos and one.read not in specials.eos

    def _is_padding(self, at: int) -> bool:
        one, after = self._places[at], self._places.get(at + 1)
        if one.attended != 0 or at < self._sizes.shift or not self._is_token(one.label):
            return False
        if self._sizes.shift or one.read is None or after is None or one.label != after.read:
            return True
        return one.label == one.read

    def _is_token(self, label: int) -> bool:
        return label != self._sizes.ignore_index and 0 <= label < self._sizes.limit


def _sum(parts: Sequence[Mapping[str, tuple[int, ...]]], name: str) -> tuple[int, ...]:
    return tuple(map(sum, zip(*(one[name] for one in parts), strict=True)))


def _specials(parts: Sequence[Mapping[str, tuple[int, ...]]], known: set[str], *, has_ids: bool) -> Counts:
    """Count the labels of each role, as far as rules may be asked about them.

    Rules about a pad or an unknown token look at what is next to it in the whole text, and about an end token that no
    label is; so such counts are left out without the ids.
    """
    found = {role: _sum(parts, role) for role in OF_TOKENIZERS if role in known}
    if has_ids:
        return found
    has_padding = "pad" in found and found["pad"][0] > 0
    if has_padding:
        del found["pad"]
        found.pop("unk", None)
    if "eos" in found and not found["eos"][0]:
        del found["eos"]
    return found
