"""Which part of the vocabulary the logits of a pair are of, and the pair with the columns of that part alone."""

import numbers
import operator
from dataclasses import dataclass, replace
from typing import SupportsIndex

from predlog.capture.pair import Pair
from predlog.capture.reduction import Rows
from predlog.errors import PairError
from predlog.numbers.snapshot import Slice

# How many of the largest logits of each row a shard keeps: the rank of a label that exceeds the last of them is exact.
BEST = 10


@dataclass(frozen=True, slots=True)
class Shard:
    """Which columns of the whole logits are passed to `compare`, where the vocabulary is sharded over processes.

    Labels and inputs stay ids of the whole vocabulary. Columns that are there only to make shards equally wide are
    those at or past `of`: they are left out, and so never predicted.

    Args:
        start: The id that the first column belongs to.
        of: How many ids the whole vocabulary has, without padding.
    """

    start: SupportsIndex
    of: SupportsIndex


def of_shard(pair: Pair, logits: object, shard: object) -> tuple[Pair, Slice]:
    """Return a pair without the columns past the vocabulary, and which part of the vocabulary it is of.

    Raises PairError if `shard` is none, or if the pair is none whose logits can be sharded.
    """
    if not isinstance(shard, Shard):
        raise PairError(f"shard is of type {type(shard).__name__}: pass predlog.Shard(start, of=…)")
    start, of = _index("start", shard.start), _index("of", shard.of)
    if isinstance(logits, Rows) or pair.fused is not None:
        what = "Rows" if isinstance(logits, Rows) else "a Projection with label_logprob"
        raise PairError(f"shard= with {what}: what was reduced over the whole vocabulary has no shards; leave it out")
    width = pair.vocabulary
    assert width is not None  # noqa: S101 - only Rows may not know it
    if not 0 <= start < of:
        raise PairError(
            f"Shard(start={start}, of={of}) has no id of the vocabulary: start must be at least 0 and below {of}; a"
            " rank that has padding alone has nothing to compare"
        )
    stop = min(start + width, of)
    own = stop - start
    if own == width:
        return pair, Slice(start, stop, of)
    if pair.source is None:
        return replace(pair, logits=pair.logits[..., :own]), Slice(start, stop, of)
    return replace(pair, source=pair.source.narrowed(own)), Slice(start, stop, of)


def _index(name: str, value: object) -> int:
    # A tensor has an index, too, but reading it would wait for its device.
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise PairError(f"{name} of Shard is of type {type(value).__name__}: pass an int")
    return operator.index(value)
