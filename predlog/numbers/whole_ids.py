"""All ids of a sample whose rows are split over processes, from those of its parts → what is counted of a whole one.

What a mask of the labels leaves out, where texts begin and end, and which labels nobody reads, is counted by looking at
what is next to each label, however far that is. `capture` counts the same of ids that one process has, in tensors.
"""

import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from predlog.findings.evidence import PROMPT_AFTER, PROMPT_AT, PROMPT_BEFORE
from predlog.findings.facts import Facts
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.runs import Ids, Runs
from predlog.numbers.seams import Seams
from predlog.numbers.snapshot import Counts, Sizes
from predlog.numbers.texts import Row, text_of

_OFFSETS = 3


class Unread(NamedTuple):
    """What a sample has `read`, and its labels that are none of it.

    Of each it is known whether the next label is ignored, and whether the positions 0, 1 and 2 after its row are in the
    same document.
    """

    read: frozenset[int]
    labels: Sequence[int]
    are_last: Sequence[bool]
    near: Sequence[tuple[bool, ...]]


def whole_ids(parts: Sequence[Runs], seams: Seams, sizes: Sizes) -> Ids | None:
    """Return the ids of a whole sample; None if a part has not kept its own."""
    known = [one.ids for one in parts if one.ids is not None]
    # If documents are not known as all of the parts together know them, nobody knows where they begin.
    if len(known) < len(parts) or (any(one.begins is not None for one in known) and not seams.has_documents):
        return None
    length, has_documents = sizes.length, seams.has_documents and not seams.is_blank
    runs = sorted(
        (start, stop, offset, ids)
        for part, ids in zip(parts, known, strict=True)
        for (start, stop), offset in zip(part.key, part.offsets, strict=True)
    )
    labels = array("q", [sizes.ignore_index]) * length
    inputs, attended = array("q", [0]) * length, bytearray(length)
    begins, follows = bytearray(length), bytearray(length)
    has_inputs, has_mask = (all(getattr(one, name) is not None for one in known) for name in ("inputs", "attended"))
    for start, stop, offset, ids in reversed(runs):  # of two that have a position, the one before has its row
        here = slice(offset, offset + stop - start)
        labels[start:stop] = array("q", ids.labels[here])
        if has_inputs and ids.inputs is not None:
            inputs[start:stop] = array("q", ids.inputs[here])
        if has_mask and ids.attended is not None:
            attended[start:stop] = ids.attended[here]
        if has_documents and ids.begins is not None:
            begins[start:stop] = ids.begins[here]
    for start, stop, offset, ids in runs if has_documents else ():
        if ids.follows is not None:
            follows[start:stop] = ids.follows[offset : offset + stop - start]
    for at in seams.between if has_documents else ():
        begins[at], follows[at - 1] = seams.begins(at), seams.is_next(at - 1)
    return Ids(
        memoryview(labels),
        memoryview(inputs) if has_inputs else None,
        bytes(attended) if has_mask else None,
        bytes(begins) if has_documents else None,
        bytes(follows) if has_documents else None,
    )


def counted(ids: Ids, sizes: Sizes, *, has_codes: bool) -> tuple[Counts, Unread | None]:
    """Return what is counted of a whole sample, of what parts of it can't count, and the labels that are no input.

    `has_codes` is as in `Runs`.
    """
    rows = _Rows(ids, sizes)
    found: Counts = {"fingerprint": rows.fingerprint()}
    if ids.inputs is not None:
        found |= rows.compared(ids.inputs)
    special = rows.special(has_codes=has_codes)
    if special and rows.many > 1:
        found["special_run"] = rows.special_run(special)
    if ids.inputs is not None and sizes.shift <= 1:
        if rows.many > 2:
            found["holes"] = rows.holes(ids.inputs)
        if sizes.specials.prompt:
            found["answer"] = rows.answer(ids.inputs)
    if not sizes.has_codebooks:
        found["text"] = rows.text()
    return found, None if ids.inputs is None else rows.unread(ids.inputs)


def settle(samples: Sequence[tuple[Facts, Unread | None]]) -> None:
    """Set `lone` in the facts of all samples of a pair, as `capture.counts` does that has all of them at once.

    Such a label is no input of any sample. They are looked for where most labels of a sample equal an input.
    """
    pairs = [(one.equal, one.compared) for one, _ in samples if one.equal is not None and one.compared is not None]
    is_asked = any(
        few < many <= 2 * few for equal, compared in pairs for few, many in zip(equal[::2], compared[::2], strict=True)
    )
    known = [unread for _, unread in samples if unread is not None]
    read = frozenset[int]().union(*(one.read for one in known))
    lone = [[at for at, label in enumerate(one.labels) if label not in read] for one in known]
    ids = {one.labels[at] for one, every in zip(known, lone, strict=True) for at in every}
    is_last = all(one.are_last[at] for one, every in zip(known, lone, strict=True) for at in every)
    is_end = len(ids) == 1 and (is_last or bool(ids & {*samples[0][0].specials.eos}))
    if not is_end or len(known) < len(samples):
        lone = [[] for _ in known]
    places = iter(lone)
    for facts, unread in samples:
        if unread is not None:
            near = [unread.near[at] for at in next(places)]
            facts.lone = tuple(sum(one[offset] for one in near) for offset in range(_OFFSETS)) if is_asked else None


class _Rows:
    """The rows of a sample that may have a label: the label of row r is what the text has at position r + 1."""

    def __init__(self, ids: Ids, sizes: Sizes) -> None:
        self._ids, self._sizes = ids, sizes
        self.labels = ids.labels[sizes.shift :]
        self.many = len(self.labels)
        self.asked = bytes([one != sizes.ignore_index for one in self.labels])

    def fingerprint(self) -> tuple[int, ...]:
        labels = zlib.crc32(self.labels)
        return (labels,) if self._ids.inputs is None else (labels, zlib.crc32(self._ids.inputs))

    def special(self, *, has_codes: bool) -> frozenset[int]:
        """Return the special tokens that are looked at: of very many, which are codes, those with a role."""
        known: SpecialTokens = self._sizes.specials
        every = frozenset[int]() if has_codes else known.every
        return every.union(known.pad, known.eos, known.bos)

    def special_run(self, special: frozenset[int]) -> tuple[int, ...]:
        """Return what `capture.masking` has as `special_run`."""
        labels, asked = self.labels, self.asked
        same = [row for row in range(1, self.many) if labels[row] == labels[row - 1] and asked[row]]
        same = [row for row in same if labels[row] in special]
        if not same:
            return (0,) * 6
        token = _commonest(labels[row] for row in same)
        lengths: list[int] = []
        last = 0
        for row in (row for row in same if labels[row] == token):
            if not lengths or row != last + 1:
                lengths.append(1)
            lengths[-1] += 1
            last = row
        spans = sum(one for one, _ in groupby(asked))
        at_end = lengths[-1] if last == asked.rfind(1) else 0
        return token, max(lengths), min(lengths), len(lengths), at_end, spans

    def holes(self, inputs: Sequence[int]) -> tuple[int, ...]:
        """Return what `capture.masking` has as `holes`."""
        begins, found, at = self._ids.begins, [], self.asked.find(b"\1\0\1")
        while at >= 0:
            if begins is None or not begins[at + 2]:
                found.append(at)
            at = self.asked.find(b"\1\0\1", at + 1)
        if not found:
            return (0,) * 5
        token = _commonest(inputs[row + 2] for row in found)
        chosen = [row for row in found if inputs[row + 2] == token]
        labels = sum([label == token for label in self.labels])
        return token, len(chosen), labels, inputs[chosen[0] + 1], len(found) - len(chosen)

    def answer(self, inputs: Sequence[int]) -> tuple[int, ...]:
        """Return what `capture.masking` has as `answer`."""
        wanted = list(self._sizes.specials.prompt)
        length, first = len(wanted), max(self.asked.find(1), 0) + 1
        begin = max(first - length - 1, 0)
        read = list(inputs[begin : first + 2])
        for where, end in ((PROMPT_AT, first), (PROMPT_BEFORE, first - 1), (PROMPT_AFTER, first + 1)):
            stop = end - begin
            if stop >= length and stop < len(read) and read[stop - length : stop] == wanted:
                return where, read[stop]
        return 0, 0

    def text(self) -> tuple[int, ...]:
        ids = self._ids
        changes = b"" if ids.inputs is None else bytes(map(int.__ne__, ids.inputs[1:], ids.inputs[:-1]))
        documents = -1 if ids.begins is None else ids.begins.count(1) + 1
        row = Row(ids.labels, ids.inputs, self.asked, changes, ids.attended, documents)
        return text_of(row, self._sizes.specials, self._sizes.shift)

    def compared(self, inputs: Sequence[int]) -> Counts:
        """Return how many labels equal the input at their row and at the two after it, and of how many."""
        rows = [row for row in range(self.many) if self.asked[row]]
        near = [[row for row in rows if self._reaches(row, offset)] for offset in range(_OFFSETS)]
        equal = [sum([self.labels[row] == inputs[row + offset] for row in ones]) for offset, ones in enumerate(near)]
        return {"equal": tuple(equal), "compared": tuple(map(len, near))}

    def unread(self, inputs: Sequence[int]) -> Unread:
        """Return the labels that are no input of the sample, and the inputs."""
        read, labels, asked = frozenset(inputs), self.labels, self.asked
        rows = [row for row in range(self.many) if asked[row] and labels[row] not in read]
        last = [row + 1 == self.many or not asked[row + 1] for row in rows]
        near = [tuple(self._reaches(row, offset) for offset in range(_OFFSETS)) for row in rows]
        return Unread(read, [labels[row] for row in rows], last, near)

    def _reaches(self, row: int, offset: int) -> bool:
        """Return whether the position that is so far after a row is in its document, too."""
        if row + offset >= self._sizes.length:
            return False
        follows = self._ids.follows
        return follows is None or all(follows[row : row + offset])


def _commonest(ids: Iterable[int]) -> int:
    """Return the most common id, of several the lowest."""
    counts = Counter(ids)
    return min(counts, key=lambda one: (-counts[one], one))
