"""The pieces that were cut out of a text → the ids of its excerpt, in the order of the text."""

from predlog.numbers.snapshot import Pieces
from predlog.records.window import Excerpt


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
