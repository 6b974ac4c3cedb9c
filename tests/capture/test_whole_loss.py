"""The loss of a whole pair: each sum is what torch's loss makes of the same labels, in any chunks."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch users know

from predlog.capture import whole_loss
from predlog.capture.capture import capture
from predlog.capture.projection import Projection
from predlog.findings.reported_loss import Totals
from predlog.numbers.window import Window


def totals(logits: Any, labels: Any, **how: Any) -> Totals | None:
    wait = capture(logits, labels, window=Window(), has_totals=True, **how).totals
    return None if wait is None else wait()


@given(
    seed=st.integers(0, 2**32), shift=st.integers(0, 2), vocabulary=st.sampled_from([3, 17, 300]),
    chunk=st.sampled_from([1, 40, 1000, 1 << 21]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_sums_are_those_of_cross_entropy(
    seed: int, shift: int, vocabulary: int, chunk: int, dtype: torch.dtype
) -> None:
    """In any chunks, the mean is torch's, at the shift of the call, at one more, at one less, and without the mask."""
    generator = torch.Generator().manual_seed(seed)
    logits = (4 * torch.randn(3, 9, vocabulary, generator=generator)).to(dtype)
    labels = torch.randint(vocabulary, (3, 9), generator=generator)
    labels[torch.rand(3, 9, generator=generator) < 0.2] = -100
    mask = torch.rand(3, 9, generator=generator) < 0.7
    before = whole_loss._CHUNK
    whole_loss._CHUNK = chunk
    try:
        found = totals(logits, labels, shift=shift, loss_mask=mask)
    finally:
        whole_loss._CHUNK = before
    assert found is not None

    def mean(lead: int, ids: torch.Tensor) -> float:
        rows = logits.double() if dtype == torch.float64 else logits.float()
        rows, ids = rows[:, : 9 - lead], ids[:, lead:]
        return F.cross_entropy(rows.flatten(0, 1), ids.flatten()).item()

    masked = labels.masked_fill(~mask, -100)
    expected = {"as recorded": (shift, masked), "one more": (shift + 1, masked), "unmasked": (shift, labels)}
    if shift:
        expected["one less"] = (shift - 1, masked)
    for name, (lead, ids) in expected.items():
        assert found.ways[name].mean == pytest.approx(mean(lead, ids), rel=1e-5, abs=1e-6, nan_ok=True), name


def test_chunks_of_logits_are_summed_up_as_one() -> None:
    """A list of chunks along time has the sums of the whole."""
    logits, labels = torch.randn(2, 12, 30), torch.randint(30, (2, 12))
    whole, parts = totals(logits, labels, shift=1), totals(list(logits.split(5, 1)), labels, shift=1)
    assert whole is not None
    assert parts is not None
    for name, total in whole.ways.items():
        assert parts.ways[name] == pytest.approx(total, rel=1e-9)


def test_rows_that_nothing_counts_do_not_make_the_sum_nan() -> None:
    """NaN under the mask is counted as unseen, and is in no sum; a NaN that the loss sees makes it NaN."""
    logits, labels = torch.randn(2, 12, 30), torch.randint(30, (2, 12))
    logits[0, :3] = math.nan
    mask = torch.ones(2, 12)
    mask[0, :3] = 0
    found = totals(logits, labels, loss_mask=mask)
    assert found is not None
    assert found.unseen == 3
    assert math.isfinite(found.recorded.mean)
    seen = totals(logits, labels)
    assert seen is not None
    assert math.isnan(seen.recorded.mean)


def test_a_head_that_makes_rows_on_demand_is_not_summed_up() -> None:
    """Nothing projects a whole batch for a check."""
    assert totals(Projection(torch.randn(2, 12, 8), torch.randn(30, 8)), torch.randint(30, (2, 12))) is None
