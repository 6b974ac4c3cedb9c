"""Which part of the vocabulary the logits of a pair are of, and the pair with the columns of that part alone."""

import numbers
import operator
from dataclasses import dataclass, replace
from typing import SupportsIndex

from predlog.capture.dtensor import Span
from predlog.capture.pair import Pair
from predlog.capture.reduction import Rows
from predlog.errors import NothingHereError, PairError
from predlog.numbers.snapshot import Slice

# How many of the largest logits of each row a shard keeps: the rank of a label that exceeds the last of them is exact.
BEST = 10


@dataclass(frozen=True, slots=True)
class Shard:
    """Which columns of the whole logits are passed to `compare`, where the vocabulary is sharded over processes.

    Labels and inputs stay ids of the whole vocabulary. Columns that are there only to make shards equally wide are
    those at or past `of`: they are left out, and so never predicted.

    Args:
        start: The id that the first column belongs to. A DTensor knows it.
        of: How many ids the whole vocabulary has, without padding. A DTensor knows how many it has with padding.
    """

    start: SupportsIndex | None = None
    of: SupportsIndex | None = None


def of_part(
    pair: Pair, logits: object, shard: object, part: Span | None, row_count: object
) -> tuple[Pair, Slice | None]:
    """Return a pair, and which part of the vocabulary it is of; of all of it, if its rows are a part of a sample's.

    The part is None if the pair is whole. `part` is what a DTensor says. Raises PairError for what makes no part.
    """
    is_split = pair.positions.index is not None
    if row_count is not None:
        if isinstance(row_count, bool) or not isinstance(row_count, int) or row_count < 1:
            shown = row_count if isinstance(row_count, int) else f"of type {type(row_count).__name__}"
            raise PairError(f"row_count is {shown}: pass how many positions the whole sample has, a Python int")
        if not is_split:
            raise PairError(
                f"row_count={row_count} without row_index=: pass where each label here belongs in the whole sample, too"
            )
    if shard is not None or part is not None:
        return of_shard(pair, logits, shard, part)
    if not is_split:
        return pair, None
    if isinstance(logits, Rows):
        raise PairError(
            "row_index= with Rows: what was reduced elsewhere can't be joined; pass the logits of these rows, or a"
            " Projection"
        )
    width = pair.vocabulary
    assert width is not None  # noqa: S101 - only Rows may not know it
    # What a fused head has returned needs no logits, and has none of the numbers that rows are joined by.
    return replace(pair, fused=None), Slice(0, width, width)


def of_shard(pair: Pair, logits: object, shard: object, part: Span | None) -> tuple[Pair, Slice]:
    """Return a pair without the columns past the vocabulary, and which part of the vocabulary it is of.

    `shard` is what was passed as such, and `part` what a DTensor says. Raises PairError if `shard` is none, if both
    differ, or if the pair is none whose logits can be sharded; NothingHereError if all columns here are padding.
    """
    if isinstance(logits, Rows) or pair.fused is not None:
        what = "Rows" if isinstance(logits, Rows) else "a Projection with label_logprob"
        raise PairError(f"shard= with {what}: what was reduced over the whole vocabulary has no shards; leave it out")
    width = pair.vocabulary
    assert width is not None  # noqa: S101 - only Rows may not know it
    found = _slice(shard, part, width)
    own = found.stop - found.start
    if own == width:
        return pair, found
    if pair.source is None:
        return replace(pair, logits=pair.logits[..., :own]), found
    return replace(pair, source=pair.source.narrowed(own)), found


def _slice(shard: object, part: Span | None, width: int) -> Slice:
    if shard is None:
        shard = Shard()
    if not isinstance(shard, Shard):
        raise PairError(f"shard is of type {type(shard).__name__}: pass predlog.Shard(start, of=…)")
    start, of = _index("start", shard.start, part and part.start), _index("of", shard.of, part and part.whole)
    if part is not None and (start != part.start or not 0 < of <= part.whole):
        raise PairError(
            f"Shard(start={start}, of={of}) with a DTensor whose columns here are those from {part.start} on, of"
            f" {part.whole}: leave start out, and pass of= from 1 to {part.whole}"
        )
    if start < 0 or of < 1:
        raise PairError(f"Shard(start={start}, of={of}) must have a start of at least 0, and of= at least 1")
    if start >= of:
        raise NothingHereError(f"of the vocabulary of {of} ids, this rank has none from {start} on")
    return Slice(start, min(start + width, of), of)


def _index(name: str, value: object, known: int | None) -> int:
    if value is None and known is not None:
        return known
    if value is None:
        raise PairError(f"{name} of Shard is missing: pass predlog.Shard(start, of=…); a DTensor alone knows it")
    # A tensor has an index, too, but reading it would wait for its device.
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise PairError(f"{name} of Shard is of type {type(value).__name__}: pass an int")
    return operator.index(value)
