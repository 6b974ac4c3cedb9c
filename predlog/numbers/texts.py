"""Where the text of a row begins and ends, and what stands there, from ids on the host.

What pads is known from the attention mask, or else from a run of one input at an end of the row: of a padding token, or
of any id if none is known to pad and none of its labels is supervised. All is found by searching bytes from both ends.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

from predlog.findings.special_tokens import SpecialTokens

# How many of the last labels may end a text: a template may write a line feed after its end token.
_TAIL = 3
# A run of an id that is not known to pad is padding if it is this long; of a known one at the begin of a row, this.
_RUN, _LEFT = 3, 2
_UNKNOWN = -1
_WORD = 8


class Row(NamedTuple):
    """The ids of one row, and what is known of each position: bytes are 1 where it is so.

    `supervised` are the rows of logits that have a label, `changes` the positions at which another input follows.
    `attended` are those that are no padding, None if that is not known. The row has `documents`, -1 if not known.
    """

    labels: memoryview
    inputs: memoryview | None
    supervised: bytes
    changes: bytes
    attended: bytes | None
    documents: int


def text_of(row: Row, specials: SpecialTokens, shift: int) -> tuple[int, ...]:
    """Return the numbers of a `Text` of one row."""
    lead, read, own = shift or 1, row.inputs, row.labels[shift:]
    first, last = row.supervised.find(1), row.supervised.rfind(1)
    # The label of a row is the input after it, or `shift` after it.
    inside = (len(row.labels), _UNKNOWN) if first < 0 else (first + lead, last + lead)
    if row.attended is not None:
        begin, end = _attended(row.attended)
    elif read is None:
        begin, end = 0, _UNKNOWN
    else:
        begin, end = _span(row.changes, read, specials, inside)
    opening = read[begin] if read is not None and begin < end else _UNKNOWN
    if first < 0:
        return begin, end, _UNKNOWN, _UNKNOWN, opening, _UNKNOWN, 0, _UNKNOWN, _UNKNOWN, _UNKNOWN, row.documents
    tail = [own[at] for at in range(max(last + 1 - _TAIL, first), last + 1) if row.supervised[at]]
    ends = _inner_ends(own[:last], read, specials)
    return begin, end, *inside, opening, own[first], *ends, row.documents, *tail


def _attended(used: bytes) -> tuple[int, int]:
    begin, end = used.find(1), used.rfind(1)
    return (begin, end + 1) if begin >= 0 else (0, 0)


def _span(changes: bytes, row: memoryview, specials: SpecialTokens, inside: tuple[int, int]) -> tuple[int, int]:
    """Return where a row's text begins and ends; its first and last label are inside."""
    length = len(row)
    change = changes.rfind(1)
    if change < 0:
        return 0, length  # one id throughout
    first, last = inside
    pads = max(change + 1, last + 1)
    if _is_padding(row[length - 1], length - pads, 1, specials):
        # Of the end tokens of a run the first may end the text.
        return 0, pads + (row[length - 1] in specials.eos and pads == change + 1)
    if row[0] == row[1]:
        pads = min(changes.find(1) + 1, first)
        return (pads if _is_padding(row[0], pads, _LEFT, specials) else 0), length
    return 0, length


def _is_padding(one: int, many: int, least: int, specials: SpecialTokens) -> bool:
    """Return whether an id, repeated so often at an end of a row without a label, is padding."""
    if one in specials.pad and one not in specials.eos:
        return many >= least
    # Where padding is known, a run of another token is something else, such as places for images or sound.
    return many >= _RUN and (not specials.pad or one in specials.pad or one in specials.eos)


def _inner_ends(labels: memoryview, row: memoryview | None, specials: SpecialTokens) -> tuple[int, int, int, int]:
    """Return how many labels end a text, whether an input does, and the extremes of the inputs after such labels.

    The labels are only looked at if no input ends a text.
    """
    if row is None or not specials.eos:
        return 0, _UNKNOWN, _UNKNOWN, _UNKNOWN
    ends, read = [one.to_bytes(_WORD, sys.byteorder) for one in specials.eos], row.tobytes()
    if any(next(_places(read, one), None) is not None for one in ends):
        return 0, 1, _UNKNOWN, _UNKNOWN
    found = labels.tobytes()
    after = [row[at + 1] for one in ends for at in _places(found, one)]
    return len(after), 0, min(after, default=_UNKNOWN), max(after, default=_UNKNOWN)


def _places(ids: bytes, one: bytes) -> Iterator[int]:
    """Yield the positions of an id, written as bytes, among others."""
    at = ids.find(one)
    while at >= 0:
        if at % _WORD == 0:
            yield at // _WORD
        at = ids.find(one, at + 1)
