"""The form for logs and pipes: lines that a person greps and a program splits."""

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import events
from tests.sinks.shown import RAW, WORDS, drawn, drawn_together, event, texts


def test_a_sample_is_a_line() -> None:
    """Names and values, then each token: a tick, or what was predicted, and the probability; a pair is aligned."""
    second = event(["tokens\n", *WORDS[1:]], sample=1, supervised=12, matched=12, loss=0.00123)
    first, second_line = drawn_together([event(WORDS, loss=2.31), second], terminal=False).splitlines()
    values, _, tokens = first.partition("  ")
    assert values == "predlog step=120 stream=text sample=0 loss=2.31 accuracy=0.412 supervised=388/512"
    assert [token.strip() for token in tokens.split("  ") if token.strip()] == [
        *('" the"→" the" 1.0', '✓" lan" 0.90', '"guage"→"guage" 0.67', '✓" ref" 0.41', '"erence"→"erence" 0.20'),
        *('│ ✓" de" 0.082', '"scribes"→"scribes" 0.027', '✓" the" 7.4e-3', '" syntax"→" syntax" 1.7e-3', '✓"." 3.0e-4'),
    ]
    assert second_line.startswith("predlog step=120 stream=text sample=1 loss=0.00123 accuracy=1.000 supervised=12/512")
    assert r'  "tokens\n"→"tokens\n" 1.0  ' in second_line
    assert [second_line.index(text) for text in ("✓", "│", "0.90")] == [
        first.index(text) for text in ("✓", "│", "0.90")
    ]


def test_a_codebook_is_a_line() -> None:
    """It has its number, and ids where there is no text."""
    given = event([None] * 10, codebook=3, stream="audio")
    given["tokens"] = given["tokens"][:2]
    assert drawn(given, terminal=False) == (
        "predlog step=120 stream=audio codebook=3 sample=0 accuracy=0.412 supervised=388/512  "
        "100→200 1.0       ✓101 0.90\n"
    )
    nothing = event([], codebook=3, supervised=0)
    assert 'supervised=0/512 note="nothing supervised' in drawn({**nothing, "tokens": []}, terminal=False)


@given(stream=st.text(), labels=texts)
def test_values_can_be_read_back(stream: str, labels: list[Any]) -> None:
    """Any stream's name is one word for `shlex`, and nothing raw gets out."""
    output = drawn(event(labels, stream=stream, rank=3), terminal=False)
    assert RAW.search(output) is None
    (line,) = output.splitlines()
    values = dict(word.split("=", 1) for word in shlex.split(line.partition(" accuracy=")[0])[1:])
    assert values.keys() == {"step", "stream", "sample", "rank"}
    assert bool(values["stream"]) == bool(stream)
    if stream.isascii() and stream.isprintable():
        assert values["stream"] == stream.replace("\\", "\\\\")


@pytest.mark.parametrize(
    ("matched", "shown"), [(0, "0.000"), (1, "1.0e-04"), (9999, "0.999"), (10000, "1.000"), (4550, "0.455")]
)
def test_accuracy_is_a_number(matched: int, shown: str) -> None:
    """What is not all or nothing never reads as if it were."""
    given = events.comparison(matched=matched, supervised=10000, length=10000)
    assert f" accuracy={shown} " in drawn(given, terminal=False)
