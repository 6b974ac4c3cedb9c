"""The running text of a sample: tokens are where they certainly belong; nothing is lost or there twice."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predlog.records.codec import from_event
from predlog.records.schema import Comparison
from predlog.report import whole_samples
from predlog.report.running_text import Known, Piece, pieces
from predlog.report.whole_samples import shown_at, shown_text
from tests import events


def comparison(
    labels: Sequence[str | None], window: Any = None, worst: Sequence[int] = (), **fields: Any
) -> Comparison:
    """Return a comparison of labels at the positions from 0 on: five first tokens, five last, and the worst."""
    count = len(labels)
    firsts = range(min(5, count))
    lasts = range(max(5, count - 5), count)
    made = [
        events.token(place, label_text=labels[place], label=100 + place, prediction=7, slot=slot)
        for slot, places in (("first", firsts), ("last", lasts), (None, worst))
        for place in places
    ]
    shown = len(firsts) + len(lasts)
    record = from_event(
        events.comparison(
            **{**events.LATER, "recorder": "0a", "window": window, "worst": made[shown:], **fields},
            tokens=made[:shown], supervised=count, length=max(count, 1),
        )
    )  # fmt: skip
    assert isinstance(record, Comparison)
    return record


def known(record: Comparison, *, whole: bool = False) -> Known:
    made = Known(record.window)
    made.add(record, whole=whole)
    return made


def passage(left_out: int, read: str | None, asked: str) -> dict[str, Any]:
    return {"left_out": left_out, "read": read, "asked": asked}


def spelt(sample: Known, made: list[Piece]) -> str:
    """Return what a reader reads."""
    texts = iter([sample.texts[position] for position in sorted(sample.labels)])
    told = ""
    for kind, many, number, (begin, end) in made:
        if kind == "token":
            told += "".join(next(texts) for _ in range(many))
        elif number is not None:
            assert sample.passages is not None
            text = sample.passages[number].read if kind == "read" else sample.passages[number].asked
            told += (text or "")[begin:end]
        elif many:
            told += f"<{many}>"
    assert next(texts, None) is None
    return told


words = st.text("ab c\n", min_size=1, max_size=4)


@given(st.text("pq ", max_size=9), st.lists(words, min_size=1, max_size=16))
def test_all_of_a_short_text_is_told_once(prompt: str, labels: list[str]) -> None:
    """Of a text that is all in the window, each character is there once, and each token shown is at its place."""
    sample = known(comparison(labels, [passage(0, prompt, "".join(labels))], worst=range(5, max(len(labels) - 5, 5))))
    made = pieces(sample)
    assert spelt(sample, made) == prompt + "".join(labels)
    assert {*range(min(5, len(labels)))} <= sample.labels.keys()


@given(st.lists(words, min_size=24, max_size=40), st.integers(5, 8), st.integers(5, 8))
def test_a_long_text_has_one_hole(labels: list[str], begin: int, end: int) -> None:
    """What is left out between the beginning and the end is one gap of so many tokens."""
    left_out = len(labels) - begin - end
    window = [passage(0, "p", "".join(labels[:begin])), passage(left_out, "", "".join(labels[-end:]))]
    sample = known(comparison(labels, window))
    expected = f"p{''.join(labels[:begin])}<{left_out}>{''.join(labels[-end:])}"
    assert spelt(sample, pieces(sample)) == expected


def test_the_worst_tokens_in_the_hole_are_in_the_gap() -> None:
    """A token that is certainly left out of the text is in its gap; one that may be within the text is nowhere."""
    labels = [f" {number}." for number in range(40)]
    window = [passage(0, "", "".join(labels[:7])), passage(26, "", "".join(labels[-7:]))]
    sample = known(comparison(labels, window, worst=[6, 20]))
    made = pieces(sample)
    assert 20 in sample.labels
    assert 6 not in sample.labels
    assert [piece.kind for piece in made] == ["token", "asked", "gap", "token", "gap", "asked", "token"]


def test_a_unique_word_is_found_within_the_text() -> None:
    """Between the first tokens and the last ones, a worst token is shaded where its text is, if that is once there."""
    labels = [*"abcde", " rare", " the", " the", *"vwxyz"]
    sample = known(comparison(labels, [passage(0, "", "".join(labels))], worst=[5, 7]))
    made = pieces(sample)
    assert (5 in sample.labels, 7 in sample.labels) == (True, False)
    assert spelt(sample, made) == "".join(labels)


def test_one_redaction_of_several_tokens() -> None:
    """Where several tokens became one replacement in the text, they stand there together."""
    labels = [
        "My",
        " name",
        "[redacted]",
        "[redacted]",
        ".",
        " So",
        " I",
        " am",
        " at",
        "[redacted]",
        "[redacted]",
        "!",
    ]
    sample = known(comparison(labels, [passage(0, "", "My name [redacted]. So I am at [redacted]!")]))
    made = pieces(sample)
    assert [piece.kind for piece in made] == ["token", "asked", "token"]
    assert len(sample.labels) == 10


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (["<0xE4><0xBD>", "<0xA0>", " ok"], "你 ok"),
        ([" The", " cat"], "The cat"),
        (["play", "##ing", "now"], "playing now"),
        (["a", None, "c", "d", "e"], "a, b? cde"),
    ],
)
def test_tokens_are_found_as_tokenizers_write_them(labels: list[str | None], text: str) -> None:
    """Bytes of a character, a first space that is not written, pieces of words, a token that has no text."""
    sample = known(comparison(labels, [passage(0, "", text)]))
    made = pieces(sample)
    assert [piece.kind for piece in made] == ["token"]
    if None in labels:
        assert sample.texts[1] == ", b? "


def test_a_text_that_does_not_fit_is_not_told_twice() -> None:
    """If the first tokens are not in the text, they are there by their positions, after what was read before them."""
    sample = known(comparison(list("abcdefghijkl"), [passage(3, "read", "something else")]))
    made = pieces(sample)
    assert spelt(sample, made) == "<3>readabcde<2>hijkl"


def test_without_a_text_gaps_are_told_by_the_positions() -> None:
    """Between the first tokens, missing positions have no label; between these and the last, tokens are left out."""
    made = Known(None)
    tokens = [events.token(place, slot="first" if place < 9 else "last") for place in (4, 5, 8, 30, 31)]
    record = from_event(events.comparison(tokens=tokens))
    assert isinstance(record, Comparison)
    made.add(record, whole=False)
    assert [(piece.kind, piece.many) for piece in pieces(made)] == [
        ("unlabelled", 4), ("token", 2), ("unlabelled", 2), ("token", 1), ("gap", 21), ("token", 2),
    ]  # fmt: skip


@given(st.text(max_size=40), st.integers(0, 40))
def test_places_are_the_same_in_what_is_shown(text: str, at: int) -> None:
    """A place in a text is where the text up to it ends in what is shown."""
    at = min(at, len(text))
    shown = shown_text(text)
    assert shown[: shown_at(text, at)] == shown_text(text[:at])
    assert shown_at(text, len(text)) == len(shown)


def test_places_in_a_text_that_is_cut() -> None:
    """What is in the cut is at the cut; what is after it is as far from the end as in the text."""
    text = "a" * 3000 + "\n" * 3000
    shown = shown_text(text)
    assert [shown_at(text, at) for at in (0, 999, 1000)] == [0, 999, 1000]
    assert shown_at(text, 3000) == 1000
    assert shown[shown_at(text, 5999) :] == "\\n"
    assert shown_at(text, 6000) == len(shown)


# --- in columns ---------------------------------------------------------------------------------------------------


def placed(rows: list[Comparison], **how: Any) -> dict[str, Any]:
    return whole_samples.columns(rows, lambda token, text: (token, text), **how)  # type: ignore[arg-type, return-value]


def test_rows_of_one_sample_have_one_text() -> None:
    """The same labels and text at other steps are one text, which knows the worst tokens of all of them."""
    labels = [f" {number}." for number in range(40)]
    window = [passage(0, "", "".join(labels[:5])), passage(30, "", "".join(labels[-5:]))]
    rows = [comparison(labels, window, worst=[worst], step=step) for step, worst in enumerate((10, 20, 10))]
    rows.append(comparison([*labels[:-1], "?"], window, step=3))
    made = placed(rows)
    assert made["text"] == [0, 0, 0, 0]
    assert made["count"] == [1, 1, 1, 0]
    other = comparison(labels[1:], [passage(0, "", "".join(labels[1:]))], step=4)
    assert placed([*rows, other])["text"] == [0, 0, 0, 0, 1]


def test_what_may_be_redacted_is_not_spelt() -> None:
    """An id has the text that it has elsewhere only if no processor took texts out, and if it has one text."""
    columns = {
        "positions": [0, 1, 2], "labels": [100, 101, 102], "predictions": [100, 101, 102],
        "label_logprobs": [-1.0] * 3, "label_ranks": [1] * 3,
    }  # fmt: skip
    told = comparison(["a", "b", "c"])
    silent = comparison([], all_tokens=columns, step=1)
    assert [text for _, text in placed([told, silent])["label"]] == ["a", "b", "c"]
    assert [text for _, text in placed([told, silent], spells=False)["label"]] == [None] * 3
    redacted = comparison(["[redacted]", "b", "c"], step=2)
    assert [text for _, text in placed([told, silent, redacted])["label"]] == [None] * 3
