"""Records of several ranks and attempts, each in the order of its file → all of them, by step."""

import heapq
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

from predlog.records import Comparison, Finding, Record

_Place = tuple[int, int, int]


class Source(NamedTuple):
    """Records of one file or attempt; `begins` is the step of its first comparison, where it is known."""

    records: Iterator[Record]
    begins: int = -1


def merged(sources: Iterable[Source], *, by_attempt: bool) -> Iterator[Record]:
    """Give all records by step; with `by_attempt` attempt by attempt, each by step.

    A record stands at the highest step that its source has reached. A stream that counts its own steps, such as one of
    an evaluation, is there by these.
    """
    placed = [_placed(source, by_attempt=by_attempt) for source in sources]
    return map(itemgetter(1), heapq.merge(*placed, key=itemgetter(0)))


def _placed(source: Source, *, by_attempt: bool) -> Iterator[tuple[_Place, Record]]:
    attempt, reached, below = 0, source.begins, -1
    for record in source.records:
        if record.attempt != attempt:
            attempt, reached, below = record.attempt, source.begins, -1
        if isinstance(record, Comparison | Finding):
            if record.step > reached:
                reached, below = record.step, -1
            elif record.step < reached:
                below = max(below, record.step)
        yield ((attempt, reached, below) if by_attempt else (reached, below, attempt)), record
