"""Faults that people have reported, as they were written: each is named, or no longer accused."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch users know

import predlog
from predlog.records.schema import Finding


def recorded(logits: Any, labels: Any, records: int = 1, **how: Any) -> tuple[list[Finding], dict[str, Any]]:
    """Return the findings of a pair, and the recorder's counts."""
    with predlog.Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
        for step in range(records):
            recorder.compare(logits, labels, step, **how)
        recorder.flush()
        return list(recorder.findings), dict(recorder.stats())


def test_an_empty_chunk_is_left_out() -> None:
    """Of a row whose length is one more than a chunk's, the last chunk is empty after the shift."""
    logits, labels = torch.randn(2, 129, 50), torch.randint(0, 50, (2, 129))
    found, stats = recorded([logits[:, :128], logits[:, 128:-1]], labels, shift=1)
    assert found == []
    assert (stats["written"], stats["refused"]) == (2, 0)
    nothing, _ = recorded([logits[:, :0], logits[:, :0]], labels, shift=1)
    assert [one.code for one in nothing] == ["empty-pair"]


def delayed() -> tuple[Tensor, Tensor, Tensor]:
    """Return logits [b, k, t, v] that are NaN where the delay pattern has no code, codes, and the mask of the loss."""
    logits, codes, mask = torch.randn(2, 4, 48, 64), torch.randint(0, 64, (2, 4, 48)), torch.ones(2, 4, 48)
    for codebook in range(4):
        logits[:, codebook, 48 - codebook :] = math.nan
        mask[:, codebook, 48 - codebook :] = 0
    return logits, codes, mask


def test_nan_under_a_mask_is_silent_with_the_mask_and_names_it_without() -> None:
    """A model may give NaN where its loss does not look."""
    logits, codes, mask = delayed()
    assert recorded(logits, codes, layout="b k t v, b k t", loss_mask=mask)[0] == []
    (found,) = recorded(logits, codes, layout="b k t v, b k t")[0]
    assert found.code == "logits-not-finite"
    assert "If a mask of the loss leaves these rows out, pass it as loss_mask=." in found.message


def loss(logits: Tensor, labels: Tensor, lead: int) -> Tensor:
    return F.cross_entropy(logits[:, : labels.shape[1] - lead].flatten(0, 1), labels[:, lead:].flatten())


@pytest.mark.parametrize(
    ("lead", "says"),
    [
        (None, "as they were passed to predlog. If the model or the loss shifts them by itself, pass shift=1"),
        (1, "and the reported loss shows that the model or the loss shifts them by itself. Pass shift=1 to predlog"),
        (0, "so the model is asked to copy. The reported loss shows that nothing shifts them: shift the labels before"),
    ],
)
def test_labels_that_equal_inputs_are_blamed_on_the_call_or_on_the_loss_as_the_loss_tells(
    lead: int | None, says: str
) -> None:
    """Whoever forgot shift=1 in predlog's call trains a model that is right; only the reported loss knows."""
    ids = torch.randint(0, 50, (2, 60))
    # What fits both ways decides nothing, so the model knows the next token a little.
    logits = torch.randn(2, 60, 50) + 3 * F.one_hot(ids.roll(-1, 1), 50)
    known = {} if lead is None else {"reported_loss": loss(logits, ids, lead)}
    found = {one.code: one.message for one in recorded(logits, ids, records=2, inputs=ids, **known)[0]}
    assert says in found["labels-are-inputs"]
    assert ("loss-differs-from-pair" in found) == (lead == 1)
    right = {one.code for one in recorded(logits, ids, shift=1, inputs=ids)[0]}
    assert "labels-are-inputs" not in right
