"""The passages of a comparison's `window`: which follow one another, and how to change what their joined text says."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate, pairwise
from os.path import commonprefix
from typing import Any, Final

from predlog.records.window import BEYOND

Passage = dict[str, Any]
# Longer texts are not compared word by word, which takes quadratic time.
_LONGEST: Final = 20_000
_WORD: Final = re.compile(r"\w+|\W")


def following(window: Iterable[Passage]) -> Iterator[list[Passage]]:
    """Yield the passages that follow one another, with nothing left out between them, in one list each."""
    run: list[Passage] = []
    for one in window:
        # Of a passage that is kept, `left_out` counts from the one that is kept before it.
        follows = not one["left_out"] or (run and BEYOND in run[-1] and BEYOND not in one)
        if run and not follows:
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def common(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    return len(commonprefix([one, other]))  # noqa: RUF071 - of texts


def replaced(texts: Iterable[str], spans: Iterable[tuple[int, int]], replacement: str) -> Iterator[str]:
    """Yield each text with its part of each span of the joined text replaced; spans that overlap are one."""
    whole: list[tuple[int, int]] = []
    for begin, end in sorted(span for span in spans if span[0] < span[1]):
        if whole and begin < whole[-1][1]:
            whole[-1] = whole[-1][0], max(end, whole[-1][1])
        else:
            whole.append((begin, end))
    start = 0
    for text in texts:
        stop, at, seen = start + len(text), start, []
        for begin, end in whole:
            if begin < stop and end > start:
                seen += [text[at - start : max(begin, start) - start], replacement]
                at = min(end, stop)
        yield "".join(seen) + text[at - start :]
        start = stop


def changed(texts: Sequence[str], change: Callable[[str], str], replacement: str) -> list[str]:
    """Return texts as a callable changes all of them joined, and then each of them.

    What it has changed is in the text where that began; the others that had a part of it get the replacement.
    """
    before = "".join(texts)
    after = change(before)
    if after != before:
        texts = _divided(texts, before, after, replacement)
    return [change(text) if text else text for text in texts]


def _divided(texts: Sequence[str], before: str, after: str, replacement: str) -> list[str]:
    """Return what has become of each text; all that is returned comes from `after`."""
    blocks = list(_blocks(before, after))
    seen = []
    for start, stop in pairwise([0, *accumulate(map(len, texts))]):
        parts = []
        for begin, end, new_begin, new_end, is_equal in blocks:
            if is_equal:
                low, high = max(begin, start), min(end, stop)
                parts.append(after[new_begin + low - begin : new_begin + high - begin] if low < high else "")
            elif start <= begin < stop or (begin == end == stop == len(before)):
                parts.append(after[new_begin:new_end])
            elif begin < start < end and stop > start:
                parts.append(replacement)
        seen.append("".join(parts))
    return seen


def _blocks(before: str, after: str) -> Iterator[tuple[int, int, int, int, bool]]:
    """Yield from where to where both texts are equal, and where not, as places in each of them."""
    begin = common(before, after)
    end = min(common(before[::-1], after[::-1]), len(before) - begin, len(after) - begin)
    old, new = before[begin : len(before) - end], after[begin : len(after) - end]
    yield 0, begin, 0, begin, True
    if max(len(old), len(new)) > _LONGEST:
        yield begin, begin + len(old), begin, begin + len(new), False
    else:
        words = [_WORD.findall(text) for text in (old, new)]
        places = [[begin, *accumulate(map(len, ones), initial=begin)][1:] for ones in words]
        for tag, i, j, k, m in SequenceMatcher(None, words[0], words[1]).get_opcodes():
            yield places[0][i], places[0][j], places[1][k], places[1][m], tag == "equal"
    yield len(before) - end, len(before), len(after) - end, len(after), True
