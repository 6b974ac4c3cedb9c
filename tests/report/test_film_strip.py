"""The film strip's data, and what makes data harmless inside a page."""

import json
import math
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predlog.records.codec import from_event
from predlog.records.schema import Comparison
from predlog.records.text import visible
from predlog.report import whole_samples
from predlog.report.film_strip import Strip, shown
from predlog.report.page import json_text, policy
from tests import events


def comparison(**fields: Any) -> Comparison:
    record = from_event(events.comparison(**fields))
    assert isinstance(record, Comparison)
    return record


def strip(records: Iterable[Comparison], most: int = 20_000) -> Strip:
    made = Strip(most)
    for record in records:
        made.add(record)
    return made


# --- columns ------------------------------------------------------------------------------------------------------

logprobs = st.none() | st.floats(-30, 0)
tokens = st.builds(
    events.token,
    st.integers(0, 2**60),
    st.integers(-(2**60), 2**60),
    st.none() | st.integers(0, 9),
    label_logprob=logprobs,
    prediction_logprob=logprobs,
    label_rank=st.none() | st.integers(1, 2**60),
    input=st.none() | st.integers(0, 9),
    label_text=st.none() | st.text(max_size=9),
    prediction_text=st.none() | st.text(max_size=9),
)


@given(
    st.lists(
        st.tuples(
            st.lists(tokens, max_size=4), st.lists(tokens, max_size=4), st.sampled_from(["text", "a</b>", "\u202e"])
        ),
        min_size=1,
        max_size=5,
    )
)
def test_the_columns_hold_every_token(drawn: list[tuple[list[Any], list[Any], str]]) -> None:
    """From the columns, through JSON, come the same tokens, in the same order, with the same numbers."""
    records = [
        comparison(
            step=step,
            stream=stream,
            tokens=[*({**one, "slot": "first"} for one in first), *({**one, "slot": "last"} for one in last)],
        )
        for step, (first, last, stream) in enumerate(drawn)
    ]
    columns = json.loads(json_text(strip(records).columns()))
    told = columns["tokens"]
    at = 0
    for row, record in enumerate(records):
        assert columns["streams"][columns["rows"]["stream"][row]] == visible(record.stream, " ")
        assert columns["rows"]["count"][row] == len(record.tokens)
        assert columns["rows"]["first"][row] == sum(token.slot == "first" for token in record.tokens)
        for token in record.tokens:
            assert int(told["position"][at]) == token.position
            assert columns["ids"][told["label"][at]] == str(token.label)
            expected = None if token.label_text is None else shown(token.label_text)
            assert columns["texts"][told["label"][at]] == expected
            assert told["match"][at] == str(int(token.match or 0))
            assert (told["label_logprob"][at], told["prediction_logprob"][at]) == (
                token.label_logprob,
                token.prediction_logprob,
            )
            assert told["label_rank"][at] in (token.label_rank, str(token.label_rank))
            at += 1
    assert at == len(told["position"]) == len(told["match"])
    assert columns["first"] == max(len(first) for first, *_ in drawn)
    assert columns["last"] == max(len(last) for _, last, _ in drawn)


@given(st.integers(0, 2**63 - 1))
def test_no_number_is_rounded(number: int) -> None:
    """A number that a browser can't hold exactly is text."""
    (step,) = strip([comparison(step=number)]).columns()["rows"]["step"]
    assert str(step) == str(number)
    assert isinstance(step, str) or float(step) == step <= 2**53


def test_each_text_stands_once() -> None:
    """However often a token comes, its text is in the page once; and so is the text around the same tokens."""
    windows = [[{"left_out": 0, "read": "a\nb", "asked": "x"}], [{"left_out": 9, "read": None, "asked": "\x1b"}], None]
    columns = strip(comparison(step=step, recorder="0a", window=windows[step % 3]) for step in range(50)).columns()
    assert sorted(columns["ids"]) == ["3", "4", "9"]
    assert columns["windows"] == [[[0, "a\\nb", "x"]], [[9, None, "\\x1b"]]]
    assert columns["rows"]["window"] == [[0, 1, -1][step % 3] for step in range(50)]


def test_of_a_long_text_around_the_tokens_the_ends_are_shown() -> None:
    """A crafted file can't make the page large with it."""
    window = [{"left_out": 0, "read": "a" * 10**6 + "z", "asked": ""}]
    (((_, read, _),),) = strip([comparison(recorder="0a", window=window)]).columns()["windows"]
    assert len(read) < 2100
    assert (read[0], read[-1]) == ("a", "z")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", '""'),
        (" the", "␣the"),
        ("\u202eabc", "\\u202eabc"),
        ("\ud800", "\\ud800"),
        ("\x00", "\\x00"),
        ("ab" * 150, None),
        ("<0xE2><0x82>", "⟨E2 82⟩"),
        (" " * 22, "␣×22"),
    ],
)
def test_texts_are_seen(text: str, seen: str | None) -> None:
    """What is invisible or steers is spelt out, and of what is long the start is shown, with its length."""
    assert shown(text) == (seen or f"{'ab' * 99}a… (300 characters)")


# --- whole samples ------------------------------------------------------------------------------------------------


def kept(step: int, labels: list[int], **fields: Any) -> Any:
    """Return a comparison with all its tokens, every other one predicted correctly."""
    count = len(labels)
    columns = {
        "positions": list(range(count)), "labels": labels,
        "predictions": [label + place % 2 for place, label in enumerate(labels)],
        "label_logprobs": [-0.12345] * count, "label_ranks": [1] * count,
    }  # fmt: skip
    return comparison(step=step, **{**events.LATER, "recorder": "0a1b2c3d", "all_tokens": columns, **fields})


def test_whole_samples_have_the_texts_of_the_tokens_shown() -> None:
    """All tokens of a sample are there, with the texts that their ids have in the same stream and codebook."""
    shown_tokens = [events.token(0, 7, 8, label_text=" a", prediction_text=" b")]
    made = strip([
        kept(0, [7, 8, 9], tokens=shown_tokens),
        kept(0, [7], stream="audio", codebook=1, tokens=[]),
        comparison(step=10),
    ]).columns()  # fmt: skip
    whole, texts, ids = made["whole"], made["texts"], made["ids"]
    assert (whole["kept"], whole["count"]) == ([3, 1, 0], [3, 1, 0])
    named = [texts[place] or ids[place] for place in whole["label"]]
    assert named == ["␣a", "␣b", "9", "7"]
    assert [texts[place] or ids[place] for place in whole["prediction"]] == ["␣a", "9", "9", "7"]
    assert whole["label_logprob"] == [-0.1235] * 4


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 60))
def test_whole_samples_are_left_out_evenly(sizes: list[int], most: int) -> None:
    """The page has at most so many tokens, the last sample's if they fit, and knows how many each record has."""
    rows = [kept(step, list(range(size)), tokens=[]) for step, size in enumerate(sizes)]
    made = whole_samples.columns(rows, lambda token, _text: token or 0, most)
    assert made["kept"] == sizes
    assert sum(made["count"]) == len(made["label"]) <= most
    assert all(count in {0, size} for count, size in zip(made["count"], sizes, strict=True))
    if sizes[-1] <= most:
        assert made["count"][-1] == sizes[-1]
    if sum(sizes) <= most:
        assert made["count"] == sizes


# --- leaving out --------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 40))
def test_steps_are_left_out_evenly(steps: int, a_step: int, most: int) -> None:
    """Whole steps are kept at even distances, the first and the last among them, and how many is reported exactly."""
    made = strip((comparison(step=step, sample=sample) for step in range(steps) for sample in range(a_step)), most)
    rows = made.columns()["rows"]
    told = made.left_out
    kept = list(dict.fromkeys(rows["step"]))
    assert kept == sorted({*range(0, steps, told.every), steps - 1})
    assert rows["sample"] == [*range(a_step)] * len(kept)
    assert told == (told.every, len(kept), steps, len(kept) * a_step, steps * a_step)
    assert told.comparisons <= max(most + a_step, 3 * a_step)
    assert told.every == 1 or 2 * told.comparisons > min(most, steps * a_step) - 2 * a_step


def test_that_nothing_is_left_out_is_told() -> None:
    """Where all fits, the strip shows one step in one."""
    assert strip([comparison(step=1), comparison(step=2)]).left_out == (1, 2, 2, 2, 2)
    assert strip([]).left_out == (1, 0, 0, 0, 0)
    assert strip([]).columns()["rows"]["step"] == []


# --- inside a page ------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """What a parser makes of a page: its elements, and the text of its last script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


hostile = st.text() | st.sampled_from(
    ["</script>", "<!--", "<script>", "]]>", "&lt;", "\u2028", "\ud800", "\x00", "</SCRIPT\n>"]
)


@given(
    st.recursive(hostile | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(hostile, inner))
)
def test_data_stays_data(value: Any) -> None:
    """Whatever the data holds, its element ends where it should, and the same data is read out of it."""
    text = json_text(value)
    found = Elements(f'<script type="application/json">{text}</script>')
    assert found.names == ["script"]
    assert json.loads(found.text) == value
    assert text.isascii()
    assert not set("<>&") & set(text)


def test_nan_is_not_json() -> None:
    """A number that JSON does not have is refused, for a browser would refuse the whole."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(math.nan)


def test_the_policy_names_the_scripts() -> None:
    """The policy allows these scripts by their hashes, and no other, and nothing is loaded or evaluated."""
    said = dict(part.split(" ", 1) for part in policy(["alert(1)"]).split("; "))
    assert said["default-src"] == "'none'"
    assert said["script-src"] == "'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"
    assert "unsafe" not in said["script-src"]
    assert said["trusted-types"] == said["base-uri"] == said["form-action"] == "'none'"
