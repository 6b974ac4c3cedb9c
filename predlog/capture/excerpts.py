"""The ids around the first and the last label of a sample: cut out where ids are at hand, merged in the worker.

A text has one place per token. A place with a label has the label, which the model was asked for; any other has the
input, which it read. So a prompt, an answer and what is between two answers follow one another as they were written.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from predlog.numbers.snapshot import Piece, Pieces, Sizes
from predlog.numbers.window import Window

_WORD = 8


def cut_out(
    sizes: Sizes,
    window: Window,
    supervised: bytes,
    labels: memoryview,
    read: memoryview | None,
    texts: Sequence[Sequence[int]],
) -> Iterator[Pieces | None]:
    """Yield what is cut out of each row: `labels` and `read` are the ids of all rows, one after the other.

    `supervised` are the rows of logits that have a label, `texts` the numbers of `numbers.texts`. A token has one
    character or more, so there are as many ids around each end as characters may be shown.
    """
    length, lead = sizes.length, sizes.shift or 1
    rows, ahead, most = length - sizes.shift, lead - sizes.shift, window.text + window.beyond
    for number, (begin, end, first_label, last_label, *_) in enumerate(texts):
        if first_label < 0 and end <= begin:
            yield None
            continue
        first, stop = (first_label, last_label + 1) if first_label >= 0 else (end, end)
        low = first if read is None else max(min(begin, first), first - most)
        high = stop if read is None else min(max(end, stop), stop + most)
        ends = [low, high] if stop - first <= 2 * most else [low, first + most, stop - most, high]
        start = number * length
        pieces = []
        for at, until in [*pairwise(ends)][::2]:
            missing = max(lead - at, 0)
            row = number * rows - lead
            asked = bytes(min(missing, until - at)) + supervised[row + at + missing : max(row + until, 0)]
            blank = max(ahead - at, 0)
            own = bytes(_WORD * blank) + labels[start + at + blank - ahead : start + until - ahead].tobytes()
            inputs = None if read is None else read[start + at : start + min(until, length)].tobytes()
            pieces.append(Piece(at, asked, own, inputs))
        yield Pieces(begin, end, tuple(pieces), window)
