"""An excerpt of ids → the passages of text that a comparison keeps as its `window`.

Ids are decoded as one sequence, so that words and characters join which are several tokens. What is kept is measured
by the texts of the single tokens, which are cached: so only tokens that are shown are decoded together.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from predlog.processors.passages import Passage, common
from predlog.records.window import BEYOND, Excerpt

# Stands for what is no text: ids that the decoder doesn't know, bytes that are no character.
_NO_TEXT: Final = "\ufffd"
# Of the characters that are kept, so many tenths are of the end of a prompt, and of what follows the last label.
_PROMPT, _REST = 3, 1
# So many tokens before a passage are decoded with it, since a character has four bytes at most.
_BEFORE: Final = 6
_BYTE: Final = len("<0x00>")
# Ids of which the size is remembered, as many as a vocabulary has.
_MOST_SIZES: Final = 1 << 18


class _Segment(NamedTuple):
    """Neighbouring places of an excerpt, from `low` to before `high`, that all have a label, or none.

    `left_out` places are missing before it. It `follows` the segment before if nothing is missing between the two.
    """

    low: int
    high: int
    is_asked: bool
    is_kept: bool
    left_out: int
    follows: bool


class Sizes(dict[int, int]):
    """How many characters the text of an id takes, remembered; 0 if it has none, of which `forget` asks anew."""

    def __init__(self, text_of: Callable[[int], str | None]) -> None:
        self.text_of = text_of
        self._without: list[int] = []

    def __missing__(self, token: int) -> int:
        text = self.text_of(token)
        if len(self) >= _MOST_SIZES:
            self.clear()
        if text is None:
            self._without.append(token)
        # One for each byte that is no character by itself; and a text without characters takes time, too.
        is_bytes = text is not None and text.startswith("<0x") and not len(text) % _BYTE
        size = 0 if text is None else (len(text) // _BYTE if is_bytes else len(text)) or 1
        self[token] = size
        return size

    def forget(self) -> None:
        """Forget which ids have no text: a decoder that has failed may have it now."""
        for token in self._without:
            self.pop(token, None)
        self._without.clear()


def passages(excerpt: Excerpt, sizes: Sizes, decode: Callable[[list[int]], Any] | None) -> list[Passage]:
    """Return the passages of an excerpt: what was left out before each, what was read, and what was asked for.

    `decode` returns the text of several ids; without it, the texts of single ones are joined. Passages with the key
    `beyond` are for processors only. Raises what `decode` raises, and TypeError if it returns no text.
    """
    most = excerpt.characters
    for _ in range(2):
        found = _passages(excerpt, most, sizes, decode)
        taken = sum(len(one["read"] or "") + len(one["asked"]) for one in found if BEYOND not in one)
        if taken <= excerpt.characters:
            return found
        most = most * excerpt.characters // taken  # together they are longer than one by one
    _cut(found, excerpt.characters)
    return found


def _cut(found: Iterable[Passage], room: int) -> None:
    for one in found:
        for which in ("read", "asked"):
            if BEYOND not in one and one[which] is not None:
                one[which] = one[which][:room]
                room -= len(one[which])


def _passages(excerpt: Excerpt, most: int, sizes: Sizes, decode: Callable[[list[int]], Any] | None) -> list[Passage]:
    segments = list(_segments(excerpt, _parts(excerpt, most, sizes)))
    found: list[Passage] = []
    for segment, text in zip(segments, _texts(excerpt, segments, sizes, decode), strict=True):
        before = found[-1] if found else None
        if (
            before is not None and segment.is_asked and segment.follows and not before["asked"]
            and segment.is_kept == (BEYOND not in before)
        ):  # fmt: skip
            before["asked"] = text
            continue
        passage: Passage = {"left_out": segment.left_out, "read": "" if excerpt.knows_inputs else None, "asked": ""}
        passage["asked" if segment.is_asked else "read"] = text
        if not segment.is_kept:
            passage[BEYOND] = True
        found.append(passage)
    return found


def _parts(excerpt: Excerpt, most: int, sizes: Sizes) -> list[tuple[int, int, bool]]:
    """Return from where to where the excerpt is decoded, and whether that is kept, in order.

    `most` characters are kept: the end of the prompt, the beginning and the end of what has labels, and a little after
    that. What one of them does not need goes to the others.
    """
    ids, first, last, end = excerpt.ids, excerpt.first, excerpt.last, len(excerpt.ids)

    def reach(places: Iterable[int], room: int) -> tuple[int, int]:
        """Return how many places there is room for, and how much of it they take."""
        many = taken = 0
        for place in places:
            after = taken + (sizes[ids[place]] or 1)
            if after > room:
                break
            many, taken = many + 1, after
        return many, taken

    before, after = range(first - 1, -1, -1), range(last, end)
    (prompt, of_prompt), (rest, of_rest) = reach(before, most * _PROMPT // 10), reach(after, most * _REST // 10)
    answer, of_answer = reach(range(first, last), most)
    if answer == last - first and of_answer + of_prompt + of_rest <= most:
        prompt, of_prompt = reach(before, most - of_answer - of_rest)
        rest, _ = reach(after, most - of_answer - of_prompt)
        kept_parts = [(first - prompt, last + rest)]
    else:
        room = most - of_prompt - of_rest
        # The first token is there, however long it is.
        answer, of_answer = reach(range(first, last), (room + 1) // 2)
        answer = max(answer, 1)
        ending, _ = reach(range(last - 1, first + answer - 1, -1), room - of_answer)
        kept_parts = [(first - prompt, first + answer), (last - ending, last + rest)]
    parts: list[tuple[int, int, bool]] = []
    at = 0
    for low, high in kept_parts:
        ahead, behind = range(low - 1, at - 1, -1), range(at, low if parts else at)
        (lead, _), (trail, _) = (reach(side, excerpt.beyond) for side in (ahead, behind))
        if at + trail >= low - lead:
            parts.append((at if parts else low - lead, low, False))
        else:
            parts += [(at, at + trail, False), (low - lead, low, False)]
        parts.append((low, high, True))
        at = high
    parts.append((at, at + reach(range(at, end), excerpt.beyond)[0], False))
    return [part for part in parts if part[0] < part[1]]


def _segments(excerpt: Excerpt, parts: Iterable[tuple[int, int, bool]]) -> Iterator[_Segment]:
    """Yield the segments of the parts: they end where labels begin or end, and before what is left out."""
    ends = {True: 0, False: 0}  # of what is kept, and of all
    for low, high, is_kept in parts:
        at = low
        while at < high:
            asked = excerpt.is_asked[at]
            change = excerpt.is_asked.find(1 - asked, at, high)
            holes = (place for place in excerpt.left_out if place > at)
            stop = min(high if change < 0 else change, *holes, high)
            until = ends[is_kept]
            missing = at - until + sum(many for place, many in excerpt.left_out.items() if until <= place <= at)
            follows = at == ends[False] and at not in excerpt.left_out
            yield _Segment(at, stop, asked != 0, is_kept, missing, follows)
            ends[False] = at = stop
            if is_kept:
                ends[True] = stop


def _texts(
    excerpt: Excerpt, segments: Sequence[_Segment], sizes: Sizes, decode: Callable[[list[int]], Any] | None
) -> list[str]:
    """Return the text of each segment. A character that two segments share is in the second."""
    texts: list[str] = []
    before: list[int] = []  # what is decoded together with the next ids
    for segment in segments:
        if not segment.follows:
            before = []
            _trim_end(texts)
        texts.append("")
        for has_text, ids in _by_text(excerpt.ids[segment.low : segment.high], sizes):
            if not has_text:
                texts[-1] += _NO_TEXT
                before = []
                continue
            if decode is None:
                texts[-1] += "".join(sizes.text_of(one) or "" for one in ids)
                continue
            head, whole = _decoded(decode, before) if before else "", _decoded(decode, before + ids)
            begin = len(head) if whole.startswith(head) else common(head, whole)
            if broken := head[begin:]:  # the last character goes on here
                _take_back(texts, broken)
            texts[-1] += whole[begin:]
            before = (before + ids)[-_BEFORE:]
        if not segment.follows and segment.left_out:
            texts[-1] = texts[-1].lstrip(_NO_TEXT) or texts[-1]
    _trim_end(texts)
    return texts


def _by_text(ids: list[int], sizes: Sizes) -> Iterator[tuple[bool, list[int]]]:
    """Yield neighbouring ids that all have a text, or none."""
    if all(map(sizes.__getitem__, ids)):
        yield True, ids
        return
    for has_text, some in groupby(ids, lambda one: sizes[one] > 0):
        yield has_text, list(some)


def _take_back(texts: list[str], broken: str) -> None:
    """Remove from the end of the last texts what they have of a character that ends in the next one."""
    for place in range(len(texts) - 1, -1, -1):
        many = min(len(broken), len(texts[place]))
        if not many:
            continue
        if not texts[place].endswith(broken[-many:]):
            return
        texts[place], broken = texts[place][:-many], broken[:-many]


def _trim_end(texts: list[str]) -> None:
    """Remove the part of a character at the end of the last text: its other part is left out."""
    if texts:
        texts[-1] = texts[-1].rstrip(_NO_TEXT) or texts[-1]


def _decoded(decode: Callable[[list[int]], Any], ids: list[int]) -> str:
    text = decode(ids)
    if not isinstance(text, str):
        raise TypeError(f"it returned {type(text).__name__} instead of text")
    return text
