"""A sample's tokens and the passages of text around them → one running text: what stands where, and what is missing.

A token is put into the text only where that is certain. The first tokens follow one another from the first label on,
and the last ones up to the last label, so they are found by their texts from both ends. What is between is shown as
text without a probability, or as a gap.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from predlog.records.schema import Comparison, Passage

# How `Decode` writes a piece of a character, and what the decoder of a text writes for it.
_BYTE: Final = re.compile("<0x([0-9A-F]{2})>")
_NO_TEXT: Final = "\ufffd"
_CONTINUES: Final = "##"  # how a token of WordPiece begins that continues a word
_SHORTEST: Final = 3  # a shorter text is in many places by chance
# Tokens after an unknown one that must fit, and characters that it may have.
_AHEAD, _LONGEST = 3, 40


class Piece(NamedTuple):
    """A part of a running text: `many` tokens, or text without a probability, or how many tokens are left out.

    `kind` is token, read (what the model read without being asked), asked (labels), gap, or unlabelled (tokens without
    a label). Of text, `passage` is the number of its passage, and `span` from where to where it is in that.
    A gap of 0 tokens is one of an unknown number.
    """

    kind: str
    many: int = 0
    passage: int | None = None
    span: tuple[int, int] = (0, 0)


@dataclass
class Known:
    """What is known of the text of one sample: its labels by position, those that follow one another, its passages."""

    passages: tuple[Passage, ...] | None
    labels: dict[int, int] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    head: list[int] = field(default_factory=list)
    tail: list[int] = field(default_factory=list)

    def fits(self, row: Comparison, *, whole: bool) -> bool:
        """Return whether a comparison has the same label at every position that both know."""
        return all(self.labels.get(position, label) == label for position, label in _labels(row, whole=whole))

    def add(self, row: Comparison, *, whole: bool, has_worst: bool = True) -> None:
        """Add what a comparison of this sample knows; its worst and all of its tokens only if they are in the page."""
        self.labels.update(_labels(row, whole=whole, has_worst=has_worst))
        for token in (*row.tokens, *row.worst):
            if token.label_text is not None:
                self.texts.setdefault(token.position, token.label_text)
        firsts = [token.position for token in row.tokens if token.slot == "first"]
        lasts = [token.position for token in row.tokens if token.slot == "last"]
        if whole and row.all_tokens is not None and len(row.all_tokens.positions) >= len(self.head):
            firsts = list(row.all_tokens.positions)
            if len(firsts) >= row.supervised:
                lasts = firsts
        if len(firsts) >= len(self.head):
            self.head = firsts
        if len(lasts) >= len(self.tail):
            self.tail = lasts


def _labels(row: Comparison, *, whole: bool, has_worst: bool = True) -> Iterable[tuple[int, int]]:
    for token in (*row.tokens, *(row.worst if has_worst else ())):
        yield token.position, token.label
    if whole and row.all_tokens is not None:
        yield from zip(row.all_tokens.positions, row.all_tokens.labels, strict=True)


def pieces(known: Known) -> list[Piece]:
    """Return the running text of a sample; its tokens are those of `known.labels` in the order of their positions.

    Texts of tokens that the passages tell are added to `known.texts`. Of the worst tokens, `known.labels` loses those
    that are somewhere in a passage, because it is not certain where. If the passages don't fit the first and the last
    tokens, only the text before these is in the pieces.
    """
    if not known.passages:
        return _positioned(known)
    asked = _Asked(known.passages)
    head = _walked(asked, known, known.head)
    low = max((end for _, end in head.values()), default=0)
    tail = _walked_back(asked, known, [one for one in known.tail if one not in head], low)
    inner = [one for one in sorted(known.labels) if one not in head and one not in tail]
    placed = _between(asked, known, inner, head, tail)
    lost = {one for one in inner if one not in placed}
    if lost & {*known.head, *known.tail}:
        return _positioned(known, known.passages[0])
    for position in lost:
        del known.labels[position]
    return _joined(asked, known, head | tail | {one: span for one, span in placed.items() if span})


class _Asked:
    """The labels of all passages as one text; `begins` has where each passage's begin in it."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = passages
        self.text = "".join(one.asked for one in passages)
        self.begins = [0]
        for one in passages:
            self.begins.append(self.begins[-1] + len(one.asked))
        holes = [place for place, one in enumerate(passages) if one.left_out and place]
        # Up to the first hole the text follows the first label, and from the last one on it leads to the last label.
        self.stop = self.begins[holes[0]] if holes else len(self.text)
        self.start = self.begins[holes[-1]] if holes else 0
        self.left_out = passages[holes[0]].left_out if len(holes) == 1 else 0
        self.has_holes = bool(holes)

    def crosses(self, low: int, high: int) -> bool:
        """Return whether a part of the text is of two passages."""
        return any(low < begin < high for begin in self.begins)


_Spans = dict[int, tuple[int, int]]


def _walked(asked: _Asked, known: Known, positions: Sequence[int]) -> _Spans:
    """Return from where to where in the text the tokens are that follow one another from its beginning."""
    spans: _Spans = {}
    at, place, before = 0, 0, None
    while place < len(positions):
        position = positions[place]
        many, end = _matched(asked, known.texts, positions[place:], at)
        if not many and before is not None and known.texts.get(position) == before:
            many = 1  # a redaction of several tokens is one in the text
        elif not many and (guess := _guessed(asked, known.texts, positions[place:], at)):
            known.texts[position] = asked.text[at:guess]
            many, end = 1, guess
        if not many or end > asked.stop or asked.crosses(at, end):
            break
        for one in positions[place : place + many]:
            spans[one] = (at, end)
            at = end  # the first of several tokens that share a character has all of it
        before = known.texts.get(position)
        place += many
    return spans


def _matched(asked: _Asked, texts: dict[int, str], positions: Sequence[int], at: int) -> tuple[int, int]:
    """Return how many tokens the next text is of, and where it ends; 0 if it is not that of the next token."""
    text = texts.get(positions[0])
    if text is None:
        return (1, at + 1) if asked.text.startswith(_NO_TEXT, at) else (0, at)
    if _BYTE.match(text):
        raw = b""
        for many, position in enumerate(positions[:4], 1):
            parts = _BYTE.findall(texts.get(position) or "")
            if not parts:
                break
            raw += bytes(int(one, 16) for one in parts)
            try:
                character = raw.decode()
            except UnicodeDecodeError:
                continue
            if asked.text.startswith(character, at):
                return many, at + len(character)
        return 0, at
    for form in _forms(text, is_first=at in asked.begins):
        if asked.text.startswith(form, at):
            return 1, at + len(form)
    return 0, at


def _forms(text: str, *, is_first: bool) -> Iterable[str]:
    """Yield how a token may be written within a text, the likeliest first."""
    yield text
    if text.startswith(_CONTINUES):
        yield text.removeprefix(_CONTINUES)
    if is_first and text.startswith(" "):
        yield text[1:]
    yield f" {text}"


def _guessed(asked: _Asked, texts: dict[int, str], positions: Sequence[int], at: int) -> int | None:
    """Return where the text of a token ends that has none, if the tokens after it are written there and only there."""
    following = [texts.get(one) for one in positions[1 : 1 + _AHEAD]]
    if positions[0] in texts or len(following) < _AHEAD or None in following:
        return None
    joined = "".join(text or "" for text in following)
    found = [end for end in range(at + 1, min(at + _LONGEST, asked.stop)) if asked.text.startswith(joined, end)]
    return found[0] if len(found) == 1 else None


def _walked_back(asked: _Asked, known: Known, positions: Sequence[int], low: int) -> _Spans:
    """Return from where to where the tokens are that lead to the end of the text, but not before `low`."""
    spans: _Spans = {}
    end, after = len(asked.text), -1
    for position in reversed(positions):
        text = known.texts.get(position)
        if text is None or _BYTE.match(text):
            break
        # A space that the token does not have belongs to the one after it: a word, or what replaced one.
        ends = [end, end - 1] if spans and asked.text[end - 1 : end] == " " else [end]
        forms = (text, text.removeprefix(_CONTINUES))
        found = next(((form, at) for at in ends for form in forms if asked.text.endswith(form, 0, at)), None)
        if found is None and after >= 0 and text == known.texts[after]:
            found = "", end  # a redaction of several tokens is one in the text
        if found is None or (begin := found[1] - len(found[0])) < max(low, asked.start) or asked.crosses(begin, end):
            break
        if found[1] < end:
            spans[after] = (found[1], spans[after][1])
        spans[position] = (begin, found[1])
        end, after = begin, position
    return spans


def _between(
    asked: _Asked, known: Known, positions: Sequence[int], head: _Spans, tail: _Spans
) -> dict[int, tuple[int, int] | None]:
    """Return where other tokens certainly are: within the text, or None for the hole. Others are not in it."""
    found: dict[int, tuple[int, int] | None] = {}
    if not head or not tail:
        return found
    low, high = max(end for _, end in head.values()), min(begin for begin, _ in tail.values())
    before, after = max(head), min(tail)
    # So many tokens are in the texts that are left on both sides of the hole.
    loose = after - before - 1 - asked.left_out
    for position in positions:
        text = known.texts.get(position, "")
        if asked.left_out and before + loose < position < after - loose:
            found[position] = None
        elif not asked.has_holes and len(text.strip()) >= _SHORTEST and asked.text.count(text, low, high) == 1:
            at = asked.text.index(text, low, high)
            if not asked.crosses(at, at + len(text)):
                found[position] = (at, at + len(text))
                low = at + len(text)
    return found


def _joined(asked: _Asked, known: Known, spans: _Spans) -> list[Piece]:
    """Return the passages in order, with the tokens at their places, and the others in the hole."""
    made: list[Piece] = []
    todo = [one for one in sorted(known.labels) if one in spans]
    in_hole = [one for one in sorted(known.labels) if one not in spans]
    for place, passage in enumerate(asked.passages):
        at = begin = asked.begins[place]
        end = asked.begins[place + 1]
        if passage.left_out:
            made += _hole(in_hole if place else [], passage.left_out)
        if passage.read:
            made.append(_read(place, passage))
        while todo and spans[todo[0]][1] <= end:
            low, high = spans[todo.pop(0)]
            if low > at:
                made.append(Piece("asked", 0, place, (at - begin, low - begin)))
            made.append(Piece("token", 1))
            at = high
        if at < end:
            made.append(Piece("asked", 0, place, (at - begin, end - begin)))
    return _counted(made)


def _read(place: int, passage: Passage) -> Piece:
    return Piece("read", 0, place, (0, len(passage.read or "")))


def _hole(positions: Sequence[int], left_out: int) -> list[Piece]:
    """Return what is left out of the text, with the tokens that are known there."""
    if not positions:
        return [Piece("gap", left_out)]
    made = [Piece("gap")]
    for before, position in zip([positions[0] - 1, *positions], positions, strict=False):
        made += [Piece("gap", position - before - 1)] if position > before + 1 else []
        made.append(Piece("token", 1))
    return [*made, Piece("gap")] if left_out > len(positions) else made


def _counted(made: Iterable[Piece]) -> list[Piece]:
    """Return the pieces with neighbouring tokens counted together."""
    joined: list[Piece] = []
    for piece in made:
        if piece.kind == "token" and joined and joined[-1].kind == "token":
            piece = Piece("token", joined.pop().many + 1)  # noqa: PLW2901 - of both
        joined.append(piece)
    return joined


def _positioned(known: Known, passage: Passage | None = None) -> list[Piece]:
    """Return the tokens in order with the gaps between them, as their positions tell them, after a passage if any."""
    made: list[Piece] = []
    before = -1
    groups = (set(known.head), set(known.tail))
    if passage is not None:
        made += [Piece("gap", passage.left_out)] if passage.left_out else []
        made += [_read(0, passage)] if passage.read else []
    for position in sorted(known.labels):
        missing = position - before - 1
        if missing and (before >= 0 or passage is None):
            is_sure = before < 0 or any({before, position} <= group for group in groups)
            made.append(Piece("unlabelled" if is_sure else "gap", missing))
        made.append(Piece("token", 1))
        before = position
    return _counted(made)
