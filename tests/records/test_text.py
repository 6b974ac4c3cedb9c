"""How tokens and numbers are written wherever a person reads them."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predlog.records.text import brief, nats, probability, visible


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.0, "1.0"), (0.9999, "1.0"), (0.994, "0.99"), (0.9, "0.90"), (0.1, "0.10"), (0.0996, "0.10"),
        (0.083, "0.083"), (0.01, "0.010"), (0.00996, "0.010"), (0.0099, "9.9e-3"), (0.0012, "1.2e-3"),
        (1.26e-10, "1.3e-10"),
    ],
)  # fmt: skip
def test_a_probability_has_two_significant_digits(value: float, shown: str) -> None:
    """From 0.01 on as a decimal, below with an exponent."""
    assert probability(math.log(value)) == shown


@given(st.floats(max_value=0, allow_nan=False, allow_infinity=False))
def test_a_probability_is_close_and_short(logprob: float) -> None:
    """It is within half a digit, and never longer than seven characters."""
    shown = probability(logprob)
    assert len(shown) <= 7
    if not shown.startswith("<"):
        assert float(shown) == pytest.approx(math.exp(logprob), rel=0.051)


def test_what_is_no_probability() -> None:
    """Unknown is a dash, nearly nothing is no zero, and more than one is one."""
    assert [probability(one) for one in (None, -1e308, 1000.0)] == ["-", "<1e-99", "1.0"]


@pytest.mark.parametrize(
    ("value", "shown"), [(2.3071, "2.31"), (0.5, "0.500"), (0.00123, "0.00123"), (0.0, "0.00"), (123.4, "123")]
)
def test_a_loss_has_three_significant_digits(value: float, shown: str) -> None:
    """Small losses stay apart."""
    assert nats(value) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("    ", "␣␣␣␣"), ("     ", "␣×5"), (" " * 22, "␣×22"), ("\n" * 6, r"\n×6"), ("a" + "-" * 9 + "b", "a-×9b"),
        ("<0xF0><0x9F>", "⟨F0 9F⟩"), ("<0x0A>", "⟨0A⟩"), ("a<0xE2>b", "a⟨E2⟩b"), ("<0xe2>", "<0xe2>"), ("", ""),
        ("\\" * 5, r"\\×5"), ("\u0301" * 5 + "\u0301", "◌\u0301×6"), ("aaaaa\u0301", "a×5◌\u0301"),
    ],
)  # fmt: skip
def test_runs_are_counted_and_bytes_are_bytes(text: str, shown: str) -> None:
    """Five and more of one character; a single byte has brackets, too."""
    assert brief(text) == shown


@given(st.text(max_size=100))
def test_any_other_text_is_what_visible_shows(text: str) -> None:
    """Only runs and bytes are written in another way."""
    if not re.search(r"(.)\1{4}|<0x[0-9A-F]{2}>", text, re.DOTALL):
        assert brief(text) == visible(text)
    assert len(brief(text * 50)) <= 4096 * 10 + 1


def test_a_long_text_is_cut() -> None:
    """Of a text that no one reads to its end, the first 4096 characters are looked at."""
    assert brief("ab" * 4096) == "ab" * 2048 + "…"
    assert brief("a" * 5000) == "a×4096…"
