"""Ids are recorded as they are, whatever their type and however they lie in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from predlog import Comparison, Recorder, Rows
from tests import events

LOGITS, LABELS = events.pair(samples=1, length=6, vocabulary=16)
LABELS = LABELS.clamp(0)
BEFORE = LABELS.roll(1, 1)


@pytest.fixture(params=["cpu", "device"], autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture on the CPU, and as on any other device."""
    if request.param == "device":
        monkeypatch.setattr("predlog.capture.capture._NEAR", frozenset())


def recorded(folder: Path, logits: Any, labels: Any, **how: Any) -> tuple[list[Any], list[str]]:
    with Recorder(folder, every=1, console=False) as recorder:
        future = recorder.compare(logits, labels, 0, **how)
        assert future is not None
        (record,) = future.result(10)
        assert isinstance(record, Comparison)
        recorder.flush()
        return list(record.tokens), [one.code for one in recorder.findings]


def negated(tensor: torch.Tensor) -> torch.Tensor:
    """Return a view with the same values, whose memory has the opposite ones, as parts of a conjugate have."""
    view = torch._neg_view(-tensor)
    assert view.is_neg()
    return view


def test_negative_views(tmp_path: Path) -> None:
    """A view that only says that its values are negated is read as it is seen, not as it lies in memory."""
    expected = recorded(tmp_path / "plain", LOGITS, LABELS, inputs=BEFORE)
    views = (negated(LOGITS), negated(LABELS))
    assert recorded(tmp_path / "views", *views, inputs=negated(BEFORE)) == expected
    best = LOGITS.log_softmax(-1).max(-1)
    label = LOGITS.log_softmax(-1).gather(-1, LABELS.unsqueeze(-1)).squeeze(-1)
    rows = (best.indices, best.values, label)
    assert recorded(tmp_path / "negated rows", Rows(*map(negated, rows)), negated(LABELS)) == recorded(
        tmp_path / "rows", Rows(*rows), LABELS
    )


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32"])
def test_integers_of_any_type(tmp_path: Path, kind: str) -> None:
    """Ids of any integer type are the same ids."""
    labels, inputs = LABELS.numpy().astype(kind), BEFORE.numpy().astype(kind)
    assert recorded(tmp_path / kind, LOGITS, labels, inputs=inputs) == recorded(
        tmp_path / "int64", LOGITS, LABELS, inputs=BEFORE
    )


@pytest.mark.parametrize("huge", [2**63, 2**63 + 5, 2**64 - 100, 2**64 - 1])
def test_unsigned_ids_never_turn_negative(tmp_path: Path, huge: int) -> None:
    """A label of 2**63 or more has no logit; it is neither negative nor the one that is ignored."""
    labels = LABELS.numpy().astype("uint64")
    labels[0, 1] = huge
    tokens, findings = recorded(tmp_path, LOGITS, labels, inputs=labels)
    assert [one.label for one in tokens] == [one.input for one in tokens]
    assert [one.label for one in tokens][:3] == [LABELS[0, 0], 2**63 - 1, LABELS[0, 2]]
    assert "label-out-of-range" in findings


def test_an_unsigned_prediction_is_no_mark(tmp_path: Path) -> None:
    """The largest unsigned number is a prediction without a logit, not the mark of a row that was not reduced."""
    best = LOGITS.log_softmax(-1).max(-1)
    predictions = best.indices.numpy().astype("uint64")
    predictions[0, 0] = np.uint64(2**64 - 1)
    with Recorder(tmp_path, every=1, console=False) as recorder:
        future = recorder.compare(Rows(predictions, best.values, torch.full((1, 6), torch.nan)), LABELS, 0)
        assert future is None or not future.result(10)
        recorder.flush()
        (finding,) = recorder.findings
        assert "predictions are ids from 0 on, or -1" in finding.message
