"""Evidence on both sides of each threshold of the rules about where texts begin and end."""

from dataclasses import replace
from typing import Any

from predlog.findings.evidence import Evidence
from predlog.findings.facts import Facts
from predlog.findings.rule import GENERATES, Past
from predlog.findings.special_tokens import SpecialTokens
from tests.events import evidence, facts, text

SPECIAL = SpecialTokens(pad=(0,), eos=(2,), bos=(1,), every=frozenset({0, 1, 2, 9}))
STOP = replace(SPECIAL, stop=(2,))
ADDED = replace(SPECIAL, added=frozenset({81}))
FRESH = Past(0)


def cut_off(used: int = 128, **fields: Any) -> Facts:
    """Return a sample without labels that fills its row."""
    return facts(supervised=0, text=text(end=used, first=-1, last=-1, head=-1, tail=()), **fields)


def short(**fields: Any) -> Facts:
    return facts(text=text(**fields))


def unended(number: int, *last: int, special: SpecialTokens = SPECIAL, known: Any = None, **fields: Any) -> Facts:
    """Return a text whose last labels are of no special token, or as given."""
    known = {"eos": 0, "specials": special, **(known or {})}
    return facts(text=text(**{"tail": last or (50, 60, 70 + number), "first": 20 + number % 2, **fields}), **known)


def unended_texts(count: int, *last: int, special: SpecialTokens = SPECIAL, known: Any = None, **fields: Any) -> Any:
    return [unended(number, *last, special=special, known=known, **fields) for number in range(count)]


LONGEST = Past(0, longest=128)


def inner(ends: int, after: tuple[int, int] = (20, 90), **fields: Any) -> Facts:
    """Return a packed row whose labels alone end texts."""
    known = {"inner": ends, "ended": 0, "after": after}
    return facts(**{"eos": ends + 1, "equal": (2, 100 - ends - 1, 1), "text": text(**known), **fields})


def again(**fields: Any) -> Facts:
    return facts(text=text(**{"head": 1, **fields}))


Row = tuple[str, list[Evidence], list[Evidence], Past]
THRESHOLDS: list[Row] = [
    # answers-truncated: so many samples, all as long as the longest, while shorter ones have labels.
    (
        "answers-truncated",
        [evidence(*[cut_off()] * 8, *[short()] * 22)],
        [evidence(*[cut_off()] * 7, *[short()] * 22)],
        FRESH,
    ),
    (
        "answers-truncated",
        [evidence(*[cut_off()] * 16, *[short()] * 16)],
        [evidence(*[cut_off()] * 16, cut_off(127), *[short()] * 16)],
        FRESH,
    ),
    (
        "answers-truncated",
        [evidence(*[cut_off()] * 16, *[short()] * 16)],
        [evidence(*[cut_off(127)] * 16, *[short()] * 16)],
        LONGEST,
    ),
    (  # a few samples may be cut off on purpose: a tenth, and three standard deviations more by chance
        "answers-truncated",
        [evidence(*[cut_off()] * 19, *[short()] * 81)],
        [evidence(*[cut_off()] * 18, *[short()] * 82)],
        FRESH,
    ),
    (  # where nearly all rows are full, those without labels are full by accident: 0.9 ** 87 > 1e-4 > 0.9 ** 88
        "answers-truncated",
        [evidence(*[cut_off()] * 88, *[short(end=128)] * 2, *[short()] * 10)],
        [evidence(*[cut_off()] * 87, *[short(end=128)] * 3, *[short()] * 10)],
        FRESH,
    ),
    (  # completions alone, without a prompt
        "answers-truncated",
        [evidence(*[cut_off()] * 16, *[short(first=2)] * 16)],
        [evidence(*[cut_off()] * 16, *[short(first=1)] * 16)],
        FRESH,
    ),
    (
        "answers-truncated",
        [evidence(*[cut_off()] * 16, *[short()] * 16)],
        [evidence(*[cut_off()] * 15, facts(supervised=0, text=text(end=128, documents=2, tail=())), *[short()] * 16)],
        FRESH,
    ),
    (  # a mask of completions, all after prompts of one length, or a run that generates them
        "answers-truncated",
        [evidence(*[cut_off(is_weighed=True)] * 16, *[short()] * 14, *[short(first=21)] * 2)],
        [evidence(*[cut_off(is_weighed=True)] * 16, *[short()] * 15, *[short(first=21)] * 1)],
        FRESH,
    ),
    (
        "answers-truncated",
        [evidence(*[cut_off()] * 16, *[short()] * 16)],
        [evidence(*[cut_off()] * 16, *[short()] * 16, declared=frozenset({GENERATES}))],
        FRESH,
    ),
    # end-missing: as many texts, none with a special token, nor all with the same at the end.
    ("end-missing", [evidence(*unended_texts(16))], [evidence(*unended_texts(15))], LONGEST),
    (
        "end-missing",
        [evidence(*unended_texts(16))],
        [evidence(*unended_texts(16), unended(0, 2, 60, 70))],
        LONGEST,
    ),
    (  # a mark of ordinary tokens
        "end-missing",
        [evidence(*unended_texts(14, 50, 60, 70), *unended_texts(2, 50, 60, 71))],
        [evidence(*unended_texts(15, 50, 60, 70), *unended_texts(1, 50, 60, 71))],
        LONGEST,
    ),
    (
        "end-missing",
        [evidence(*unended_texts(16, end=127, last=126))],
        [evidence(*unended_texts(16, end=128, last=127))],
        Past(0, longest=999),
    ),
    (  # a text of the greatest length may be cut off, and its row padded to a multiple of 8
        "end-missing",
        [evidence(*unended_texts(16, end=121, last=120))],
        [evidence(*unended_texts(16, end=122, last=121))],
        Past(0, longest=122),
    ),
    (
        "end-missing",
        [evidence(*unended_texts(16))],
        [evidence(*unended_texts(16, end=121, last=120))],
        FRESH,
    ),
    ("end-missing", [evidence(*unended_texts(16, last=117))], [evidence(*unended_texts(16, last=116))], LONGEST),
    ("end-missing", [evidence(*unended_texts(16, last=120))], [evidence(*unended_texts(16, last=121))], LONGEST),
    (
        "end-missing",
        [evidence(*unended_texts(16, known={"supervised": 4, "equal": (0, 4, 0), "compared": (4, 4, 4)}))],
        [evidence(*unended_texts(16, known={"supervised": 3, "equal": (0, 3, 0), "compared": (3, 3, 3)}))],
        LONGEST,
    ),
    (
        "end-missing",
        [evidence(*unended_texts(16, known={"follower": 0}))],
        [evidence(*unended_texts(16, known={"follower": 2}))],
        LONGEST,
    ),
    (
        "end-missing",
        [evidence(*unended_texts(16, known={"equal": (2, 98, 1)}))],
        [evidence(*unended_texts(16, known={"equal": (2, 97, 1)}))],
        LONGEST,
    ),
    (
        "end-missing",
        [evidence(*unended_texts(16, known={"equal": None}))],
        [evidence(*unended_texts(16, known={"equal": None, "shift": 0}))],
        LONGEST,
    ),
    (
        "end-missing",
        [evidence(*unended_texts(16))],
        [evidence(*unended_texts(16, special=SpecialTokens()))],
        LONGEST,
    ),
    (  # without a mask, padding that is not known is a guess
        "end-missing",
        [evidence(*unended_texts(16, special=replace(SPECIAL, pad=()), known={"padding": 0}))],
        [evidence(*unended_texts(16, special=replace(SPECIAL, pad=())))],
        LONGEST,
    ),
    (  # the end of a turn, where generation stops at another token
        "end-missing",
        [evidence(*unended_texts(15, 50, 9, 60, special=STOP), *unended_texts(1, special=STOP))],
        [evidence(*unended_texts(14, 50, 9, 60, special=STOP), *unended_texts(2, special=STOP))],
        LONGEST,
    ),
    (
        "end-missing",
        [evidence(*unended_texts(16, 50, 9, 60, special=STOP))],
        [evidence(*unended_texts(16, 50, 9, 60))],
        LONGEST,
    ),
    (
        "end-missing",
        [evidence(*unended_texts(16, 50, 9, 60, special=STOP))],
        [evidence(*unended_texts(16, 50, 9, 60, special=replace(STOP, stop=(2, 9))))],
        LONGEST,
    ),
    (  # of completions that were cut off at a number of tokens, all have as many labels
        "end-missing",
        [evidence(*unended_texts(14, first=20), *unended_texts(2, first=21))],
        [evidence(*unended_texts(15, first=20), *unended_texts(1, first=21))],
        LONGEST,
    ),
    (
        "end-missing",
        [evidence(*unended_texts(16))],
        [evidence(*unended_texts(16), declared=frozenset({GENERATES}))],
        LONGEST,
    ),
    (  # what follows is padding by the attention mask, or an end token that is none
        "end-missing",
        [evidence(*unended_texts(16, known={"follower": 2, "padding": 0}))],
        [evidence(*unended_texts(16, last=118, known={"follower": 2, "padding": 0}))],
        LONGEST,
    ),
    (  # a token that was added, and is not declared special
        "end-missing",
        [evidence(*(unended(number, 50, 80, 60 + number, special=ADDED) for number in range(16)))],
        [evidence(*(unended(number, 50, 81, 60 + number, special=ADDED) for number in range(16)))],
        LONGEST,
    ),
    # end-only-in-labels
    ("end-only-in-labels", [evidence(inner(4), inner(4))], [evidence(inner(4), inner(3))], FRESH),
    ("end-only-in-labels", [evidence(inner(8))], [evidence(inner(8, (20, 20)))], FRESH),
    ("end-only-in-labels", [evidence(inner(8, (0, 20)))], [evidence(inner(8, (0, 1)))], FRESH),
    ("end-only-in-labels", [evidence(inner(8))], [evidence(inner(8), facts(text=text(ended=1)))], FRESH),
    ("end-only-in-labels", [evidence(inner(8, equal=(2, 89, 1)))], [evidence(inner(8, equal=(2, 88, 1)))], FRESH),
    (
        "end-only-in-labels",
        [evidence(inner(8, text=text(inner=8, ended=0, after=(20, 90), documents=1)))],
        [evidence(inner(8, text=text(inner=8, ended=0, after=(20, 90), documents=2)))],
        FRESH,
    ),
    # bos-inside
    ("bos-inside", [evidence(*[again()] * 4)], [evidence(*[again()] * 3)], FRESH),
    ("bos-inside", [evidence(*[again()] * 9, short())], [evidence(*[again()] * 8, short())], FRESH),
    ("bos-inside", [evidence(*[again(first=2)] * 4)], [evidence(*[again(first=1)] * 4)], FRESH),
    ("bos-inside", [evidence(*[again()] * 4)], [evidence(*[again(opening=40)] * 4)], FRESH),
    ("bos-inside", [evidence(*[again()] * 4)], [evidence(*[again(head=2)] * 4)], FRESH),
    ("bos-inside", [evidence(*[again(documents=1)] * 4)], [evidence(*[again(documents=2)] * 4)], FRESH),
    (  # one token that begins and ends, as GPT-2's does, or that pads
        "bos-inside",
        [evidence(*[again()] * 4)],
        [evidence(*[facts(text=text(head=1), specials=SpecialTokens(eos=(1,), bos=(1,), every=frozenset({1})))] * 4)],
        FRESH,
    ),
    (
        "bos-inside",
        [evidence(*[again()] * 4)],
        [evidence(*[facts(text=text(head=1), specials=SpecialTokens(pad=(1,), bos=(1,), every=frozenset({1})))] * 4)],
        FRESH,
    ),
]  # fmt: skip
