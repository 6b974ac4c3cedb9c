"""The ids around the first and the last label of a sample: cut out where ids are at hand, merged in the worker.

A text has one place per token. A place with a label has the label, which the model was asked for; any other has the
input, which it read. So a prompt, an answer and what is between two answers follow one another as they were written.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from predlog.capture.snapshot import Piece, Pieces, Sizes
from predlog.capture.window import Window
from predlog.records.window import Excerpt

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

    `supervised` are the rows of logits that have a label, `texts` the numbers of `capture.texts`. A token has one
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


def merged(cut: Pieces) -> Excerpt:
    """Return the ids of the pieces in the order of the text.

    Where labels end, and the model did not read the last one back, as in masked language modelling, what it read in
    that place follows the label.
    """
    ids: list[int] = []
    is_asked = bytearray()
    left_out: dict[int, int] = {}
    first, last, hidden = -1, 0, max(cut.pieces[0].start - cut.begin, 0)
    for number, piece in enumerate(cut.pieces):
        if number:
            before = cut.pieces[number - 1]
            hidden += piece.start - before.start - len(before.is_asked)
        labels = memoryview(piece.labels).cast("q").tolist()
        read = None if piece.inputs is None else memoryview(piece.inputs).cast("q").tolist()
        many, at = len(piece.is_asked), 0
        is_last = number == len(cut.pieces) - 1
        while at < many:
            asked = piece.is_asked[at] != 0
            stop = piece.is_asked.find(not asked, at)
            stop = many if stop < 0 else stop
            more = labels[at:stop] if asked else [] if read is None else read[at:stop]
            if more:
                if hidden > 0:
                    left_out[len(ids)] = hidden
                hidden = 0
            else:
                hidden += stop - at
            first = len(ids) if asked and first < 0 else first
            ids += more
            is_asked += bytes([asked]) * len(more)
            if asked:
                last = len(ids)
                is_end = (stop < many or is_last) and piece.start + stop - 1 < cut.end
                if is_end and read is not None and stop <= len(read) and read[stop - 1] != labels[stop - 1]:
                    ids.append(read[stop - 1])
                    is_asked.append(0)
            at = stop
    if first < 0:
        first = last = len(ids)
    knows_inputs = cut.pieces[0].inputs is not None
    return Excerpt(ids, bytes(is_asked), first, last, left_out, knows_inputs, cut.window.text, cut.window.beyond)
