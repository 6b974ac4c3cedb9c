"""Which attempts in a folder are one run, and which begin another: the latest run counts, and the others are named.

An attempt that was resumed from a checkpoint begins after the run's first step, and continues the run. One that begins
at or before it does everything again, perhaps with other settings: it is another run. Steps are compared in the streams
that are trained, since an evaluation may count its own.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from predlog.findings.progress import HELD_OUT, is_named
from predlog.reading.attempts import Part
from predlog.records.codec import moment

# The number of an attempt, and which of the recorders with that number it is, if these wrote one after another.
_Key = tuple[int, int]
# Seconds since 1970 of the first and of the last line.
_Time = tuple[float, float]


class Piece(NamedTuple):
    """What one recorder wrote to one file."""

    file: Path
    part: Part

    @property
    def place(self) -> tuple[Path, int]:
        """Return the file and the rank: within these, lines show what was written before what."""
        return self.file, self.part.rank


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """A run that is left out, because a later attempt in its folder began another one.

    `attempts` are its numbers, ascending, and `steps` its first and its last step; None if it compared nothing. The
    `folder` is None for standard input. If a later run has one of its numbers, too, `is_numbered` is False: recorders
    that don't know of each other may all begin with 1.
    """

    folder: Path | None
    attempts: tuple[int, ...]
    steps: tuple[int, int] | None
    is_numbered: bool = True


def latest(pieces: Sequence[Piece]) -> tuple[list[Piece], list[EarlierRun]]:
    """Return what the latest run of a folder has written, and the runs before it, oldest first.

    A recorder that began in an earlier run, and still wrote when the latest one had begun, is part of both.
    """
    runs: list[_Run] = []
    for start in _starts(pieces):
        if not runs or runs[-1].is_begun_again(start):
            runs.append(_Run())
        runs[-1].join(start)
    if len(runs) < 2:
        return [*pieces], []
    *before, last = runs
    mine = {id(piece.part) for run in runs for piece in run.pieces if run is last or last.is_beside(piece)}
    left_out = [[piece for piece in run.pieces if id(piece.part) not in mine] for run in before]
    kept = [piece for piece in pieces if id(piece.part) in mine]
    taken = {piece.part.attempt for piece in kept}
    earlier = [_named(ones) for ones in left_out if ones]
    return kept, [replace(run, is_numbered=taken.isdisjoint(run.attempts)) for run in earlier]


@dataclass(slots=True)
class _Streams:
    """The first step of each stream, and the lowest of them."""

    firsts: dict[str, int] = field(default_factory=dict)
    lowest: int | None = None

    def add(self, stream: str, step: int) -> None:
        self.firsts[stream] = min(self.firsts.get(stream, step), step)
        self.lowest = step if self.lowest is None else min(self.lowest, step)

    def is_done_again(self, later: "_Streams", postponed: int) -> bool:
        """Return whether what begins at later first steps does this again, from its beginning on."""
        if self.lowest is None or later.lowest is None:
            return False
        common = [(self.firsts[stream], step) for stream, step in later.firsts.items() if stream in self.firsts]
        if not common:
            return later.lowest - postponed <= self.lowest
        least = min(first for first, _ in common)
        return all(step - postponed <= least for first, step in common if first == least)


@dataclass(slots=True)
class _Run:
    """Starts that continue one another: where their streams begin, and the lines between which they wrote."""

    pieces: list[Piece] = field(default_factory=list)
    trained: _Streams = field(default_factory=_Streams)
    held_out: _Streams = field(default_factory=_Streams)
    every: int | None = None
    # Of each file and rank: the lowest first and last line of what was written, and the highest of both.
    extents: dict[tuple[Path, int], tuple[int, int, int, int]] = field(default_factory=dict)

    def join(self, pieces: Sequence[Piece]) -> "_Run":
        """Add what continues the run."""
        self.every = self.every or next((piece.part.every for piece in pieces if piece.part.every), None)
        self.pieces += pieces
        for piece in pieces:
            for stream, step in piece.part.firsts.items():
                (self.held_out if is_named(stream, HELD_OUT) else self.trained).add(stream, step)
            first, last = piece.part.within
            a, b, c, d = self.extents.get(piece.place, (first, last, first, last))
            self.extents[piece.place] = min(a, first), min(b, last), max(c, first), max(d, last)
        return self

    def is_begun_again(self, pieces: Sequence[Piece]) -> bool:
        """Return whether a start is later than this run, and begins at or before its first step."""
        known = [(piece.part, self.extents[piece.place]) for piece in pieces if piece.place in self.extents]
        if known and not any(_is_apart(part, extent) for part, extent in known):
            return False
        start = _Run().join(pieces)
        if not self.trained.firsts and not start.trained.firsts:
            return self.held_out.is_done_again(start.held_out, 0)
        # A recorder that records fewer steps than before may record its first one so much later.
        is_rarer = self.every is not None and start.every is not None and start.every > self.every
        return self.trained.is_done_again(start.trained, (start.every or 1) - 1 if is_rarer else 0)

    def is_beside(self, piece: Piece) -> bool:
        """Return whether the recorder of an earlier run still wrote when this one did."""
        if piece.part.recorder is None or piece.place not in self.extents:
            return False
        first, last = piece.part.within
        begun, *_, ended = self.extents[piece.place]
        return begun < last and first < ended


def _is_apart(part: Part, extent: tuple[int, int, int, int]) -> bool:
    """Return whether something that wrote within some lines is not all of recorders that wrote at the same time."""
    first, last = part.within
    return part.recorder is None or extent[1] < first or last < extent[2]


def _named(pieces: Sequence[Piece]) -> EarlierRun:
    every = [(stream, span) for piece in pieces for stream, span in piece.part.steps.items()]
    spans = [span for stream, span in every if not is_named(stream, HELD_OUT)] or [span for _, span in every]
    steps = (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None
    numbers = sorted({piece.part.attempt for piece in pieces if piece.part.attempt is not None})
    return EarlierRun(pieces[0].file.parent, tuple(numbers), steps)


# --- which pieces are of one start --------------------------------------------------------------------------------
def _starts(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Return the starts, oldest first, each with the pieces of all ranks."""
    ranks: dict[int, dict[_Key, list[Piece]]] = {}
    for key, piece in _keyed(pieces):
        ranks.setdefault(piece.part.rank, {}).setdefault(key, []).append(piece)
    order = sorted(ranks, key=lambda rank: (-len(ranks[rank]), rank))
    starts: dict[_Key, list[Piece]] = {}
    of_most = _Clock(ranks[order[0]]) if len(order) > 1 else None
    for rank in order:
        for key, ones in ranks[rank].items():
            starts.setdefault(of_most.same(key, ones) if of_most else key, []).extend(ones)
    return [starts[key] for key in sorted(starts)]


def _keyed(pieces: Sequence[Piece]) -> Iterable[tuple[_Key, Piece]]:
    """Yield each piece with its key; given those of a file in the order of their numbers and lines."""
    known: dict[tuple[Path, int, int], tuple[int, int]] = {}
    for piece in pieces:
        number, (first, last) = piece.part.attempt or 0, piece.part.within
        turn, ended = known.get((*piece.place, number), (0, last))
        if piece.part.recorder is not None and ended < first:
            turn, ended = turn + 1, last
        known[(*piece.place, number)] = turn, min(ended, last)
        yield (number, turn), piece


class _Clock:
    """When the attempts of a rank began: each rank counts its own, and one that recorded fewer has other numbers."""

    def __init__(self, attempts: Mapping[_Key, Sequence[Piece]]) -> None:
        times = {key: time for key, ones in attempts.items() if (time := _time(ones)) is not None}
        self._times = times
        self._begun = sorted(((begun, key) for key, (begun, _) in times.items()), key=itemgetter(0))

    def same(self, key: _Key, pieces: Sequence[Piece]) -> _Key:
        """Return the key of the start that pieces of another rank are of: at the same time, else with the same key."""
        time, own = _time(pieces), self._times.get(key)
        if time is None or not self._begun or (own is not None and _overlap(own, time)):
            return key
        place = bisect_right(self._begun, time[0], key=itemgetter(0))
        near = min(self._begun[max(place - 1, 0) : place + 1], key=lambda one: abs(one[0] - time[0]))
        return near[1] if _overlap(self._times[near[1]], time) else key


def _overlap(one: _Time, other: _Time) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _time(pieces: Sequence[Piece]) -> _Time | None:
    began = [at.timestamp() for piece in pieces if (at := moment(piece.part.began)) is not None]
    ended = [at.timestamp() for piece in pieces if (at := moment(piece.part.latest)) is not None]
    return (min(began), max(ended)) if began and ended else None
