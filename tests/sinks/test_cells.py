"""What trackers show of a sample is what the console's compact form shows of it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from predlog import Comparison
from predlog.records import codec
from predlog.sinks import cells
from tests import events
from tests.sinks import tracked
from tests.sinks.shown import TOKENS

# A prediction is drawn where it is wrong.
texts = st.none() | st.sampled_from(TOKENS) | st.text(max_size=12)


def comparison(**fields: Any) -> Comparison:
    record = codec.from_event(codec.conform(events.comparison(recorder="0a1b2c3d", **fields)))
    assert isinstance(record, Comparison)
    return record


@given(st.lists(st.tuples(texts, texts, st.booleans(), st.none() | st.floats(-30, 0)), min_size=2, max_size=10))
def test_a_sample_has_the_console_s_rows(drawn: list[tuple[str | None, str | None, bool, float | None]]) -> None:
    """Label, prediction and probability, each as it is drawn there: a mark in place of a prediction that is correct."""
    tokens = [
        events.token(
            place, 3, 3 if match else 4, slot="first" if place < len(drawn) // 2 else "last", label_text=label,
            prediction_text=label if match else predicted, label_logprob=logprob,
        )
        for place, (label, predicted, match, logprob) in enumerate(drawn)
    ]  # fmt: skip
    one = comparison(tokens=tokens, loss=1.5)
    (shown,) = cells.samples([one], [])
    assert [[cell.removeprefix("│\xa0") for cell in row] for row in shown.rows] == tracked.on_console([one])
    assert [place for place, cell in enumerate(shown.rows[0]) if cell.startswith("│\xa0")] == [len(drawn) // 2 + 1]
    assert f"{shown.place} · {shown.figures}" == tracked.headings([one])[0]


def test_codebooks_are_a_row_each() -> None:
    """With loss, accuracy and tokens as on the console; samples with and without codebooks have rows of their own."""
    ones = [
        comparison(
            stream="audio", codebook=codebook, sample=sample, loss=2.0 + codebook,
            tokens=[events.token(1, 7, 7 + codebook), events.token(5, 9, 9, slot="last")],
        )
        for sample in range(2)
        for codebook in range(3)
    ]  # fmt: skip
    found = [*cells.samples(ones, ["constant-codebook"])]
    assert [one.place for one in found] == ["step 120 · audio"] * 2
    assert [one.figures.split(" · ")[:2] for one in found] == [
        ["sample 0", "✗ constant-codebook"], ["sample 1", "✗ constant-codebook"]
    ]  # fmt: skip
    assert found[0].rows == found[1].rows == [
        ["codebook 0 · loss 2.00 · 41.2% of 388", "✓7", "│\xa0✓9"],
        ["codebook 1 · loss 3.00 · 41.2% of 388", "7→8", "│\xa0✓9"],
        ["codebook 2 · loss 4.00 · 41.2% of 388", "7→9", "│\xa0✓9"],
    ]  # fmt: skip


def test_what_has_no_tokens_is_a_heading() -> None:
    """A sample without supervision says so, and a row with a NaN predicts nothing."""
    (bare,) = cells.samples([comparison(tokens=[], supervised=0, matched=0)], [])
    assert bare.rows == []
    assert bare.figures == "sample 0 · nothing supervised: every label of 512 is ignored"
    broken = events.token(1, 3, None, match=False, label_logprob=None, label_rank=None, prediction_logprob=None)
    (nan,) = cells.samples([comparison(tokens=[broken], nonfinite=1)], [])
    assert nan.rows == [["label", "3"], ["pred", "nan"], ["p", "-"]]
