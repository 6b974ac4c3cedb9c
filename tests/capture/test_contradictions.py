"""Rows that some logits can give are never refused, and rows that none can give always are."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from predlog import Recorder, Rows
from predlog.capture.contradictions import slack
from tests.capture.test_projection import path
from tests.capture.test_reduction import changed, pair, reduced, refused

__all__ = ["path"]  # a fixture
LENGTH = 16
TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
WAYS = ("log_softmax", "shifted", "log-sum-exp subtracted", "in float32")


def drawn(seed: int, vocabulary: int, dtype: torch.dtype, scale: float, kind: str) -> tuple[Tensor, Tensor]:
    """Draw logits [2, t, v], and labels that are the best, the second, the worst, any, or ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, LENGTH, vocabulary, generator=generator)
    if kind == "tied":
        logits = logits.round()
    if kind == "peaked":
        logits[..., vocabulary // 2] += 30 * torch.rand(2, LENGTH, generator=generator)
    if kind == "two peaks":
        logits[..., 0] = logits[..., -1] = logits.amax(-1) + 9
    if kind == "lifted":
        logits += 20
    logits = logits.to(dtype)
    labels = torch.randint(vocabulary, (2, LENGTH), generator=generator)
    best = logits.topk(2).indices
    labels[:, 0::5], labels[:, 1::5], labels[:, 2::5] = (
        best[:, 0::5, 0], best[:, 1::5, 1], logits[:, 2::5].argmin(-1),
    )  # fmt: skip
    labels[:, 7] = -100
    return logits, labels


def logprobs_of(logits: Tensor, way: str) -> Tensor:
    """Return log-probabilities as people compute them, each step rounded to the type of the logits."""
    if way == "shifted":
        shifted = logits - logits.amax(-1, keepdim=True)
        return shifted - shifted.exp().sum(-1, keepdim=True).log()
    if way == "log-sum-exp subtracted":
        return logits - logits.logsumexp(-1, keepdim=True)
    return (logits.float() if way == "in float32" else logits).log_softmax(-1).to(logits.dtype)


def honest(logits: Tensor, labels: Tensor, way: str, stored: torch.dtype) -> Rows:
    logprobs, label = logprobs_of(logits, way), labels.clamp(min=0).unsqueeze(-1)
    return Rows(
        logits.argmax(-1),
        logprobs.amax(-1).to(stored),
        logprobs.gather(-1, label).squeeze(-1).to(stored),
        1 + (logits > logits.gather(-1, label)).sum(-1),
        vocabulary=logits.shape[-1],
    )


@given(
    st.integers(0, 2**32), st.sampled_from([2, 3, 7, 50, 1000, 50_257]), st.sampled_from(TYPES),
    st.sampled_from([0.0, 1e-3, 1.0, 3.0]), st.sampled_from(["plain", "tied", "peaked", "two peaks", "lifted"]),
    st.sampled_from(WAYS), st.booleans(),
)  # fmt: skip
@settings(max_examples=150)
def test_rows_of_logits_are_never_refused(
    seed: int, vocabulary: int, dtype: torch.dtype, scale: float, kind: str, way: str, widened: bool
) -> None:
    """However they are rounded: computed in any type, stored in it or widened, with or without a safe log-sum-exp."""
    logits, labels = drawn(seed, vocabulary, dtype, scale, kind)
    if way == "log-sum-exp subtracted":
        logits.clamp_(-32, 32)
    rows = honest(logits, labels, way, torch.float32 if widened else dtype)
    with Recorder(every=1, console=False, strict=True) as recorder:
        future = recorder.compare(rows, labels, 0)
        assert future is not None
        (found, _) = future.result(10)
    assert found.matched == int((logits.argmax(-1) == labels)[0].sum())


@given(
    st.integers(0, 2**32), st.sampled_from([2, 50, 50_257]), st.sampled_from([1e-3, 1.0, 100.0, 1000.0]),
    st.sampled_from(WAYS[:2]), st.sampled_from(TYPES[:2]),
)  # fmt: skip
@settings(max_examples=40)
def test_a_log_softmax_of_large_logits_is_not_refused(
    seed: int, vocabulary: int, scale: float, way: str, dtype: torch.dtype
) -> None:
    """What takes the peak off first is accurate, whatever the logits' size."""
    logits, labels = drawn(seed, vocabulary, dtype, scale, "plain")
    with Recorder(every=1, console=False, strict=True) as recorder:
        assert recorder.compare(honest(logits, labels, way, dtype), labels, 0) is not None


# What no logits can give, at one row; `by` is far more than any rounding.
PLANTED: dict[str, Any] = {
    "an id too large": lambda rows, at, by: rows.prediction[at].fill_(rows.vocabulary + int(by)),
    "an id below -1": lambda rows, at, by: rows.prediction[at].fill_(-2 - int(by)),
    "a positive prediction": lambda rows, at, by: rows.prediction_logprob[at].fill_(by),
    "a positive label": lambda rows, at, by: rows.label_logprob[at].fill_(by),
    "an impossible prediction": lambda rows, at, by: rows.prediction_logprob[at].fill_(-math.inf),
    "an improbable prediction": lambda rows, at, by: rows.prediction_logprob[at].fill_(
        -(1 + by) * (1 + math.log(rows.vocabulary))
    ),
    "rank 0": lambda rows, at, by: rows.label_rank[at].fill_(0),
    "a rank too large": lambda rows, at, by: rows.label_rank[at].fill_(rows.vocabulary + 1 + int(by)),
    "rank 1 of another": lambda rows, at, by: (
        rows.label_rank[at].fill_(1),
        rows.label_logprob[at].fill_((1 + by) * (rows.prediction_logprob[at].item() - 1)),
    ),
    "a rank too probable": lambda rows, at, by: (
        rows.prediction_logprob[at].fill_(-0.01),
        rows.label_logprob[at].fill_(-0.02),
        rows.label_rank[at].fill_(2),
    ),
    "a label too probable": lambda rows, at, by: rows.label_logprob[at].add_(
        (1 + by) * (1 + rows.prediction_logprob[at].abs()) - rows.label_logprob[at] + rows.prediction_logprob[at]
    ),
    "more than 1 together": lambda rows, at, by: (
        rows.prediction_logprob[at].fill_(-0.3),
        rows.label_logprob[at].fill_(-0.31),
        rows.label_rank[at].fill_(2),
    ),
}


@pytest.mark.parametrize("what", PLANTED)
@given(
    st.integers(0, 2**32), st.sampled_from([2, 50, 1000]), st.sampled_from(TYPES), st.integers(0, LENGTH - 1),
    st.floats(0.4, 50), st.booleans(),
)  # fmt: skip
@settings(max_examples=10)
def test_a_planted_contradiction_is_refused(
    what: str, seed: int, vocabulary: int, dtype: torch.dtype, row: int, by: float, far: bool
) -> None:
    """Wherever it is among the rows shown, in any type, on either way; ids anywhere in a sample shown."""
    logits, labels = drawn(seed, vocabulary, dtype, 1.0, "plain")
    rows: Any = honest(logits, labels, "log_softmax", dtype)
    labels[:, 7] = 0
    if "an id" not in what:
        row = row % 5 if row % 2 else LENGTH - 1 - row % 5
        labels[1, row] = (rows.prediction[1, row] + 1) % vocabulary  # such that it is not the prediction
    PLANTED[what](rows, (1, row), by)
    with pytest.MonkeyPatch.context() as patched:
        if far:
            patched.setattr("predlog.capture.capture._NEAR", frozenset())
        found = refused(rows, labels)
    assert found.code == "unreadable-pair"
    assert found.evidence["sample"] == 1
    assert found.evidence["position"] == row, found.message


# Each was taken when one slack of 1 % held for all types.
FINE: dict[str, tuple[str, float]] = {
    "a probability of 1.005": ("label_logprob", 0.005),
    "a probability of 1.001": ("prediction_logprob", 0.001),
}


@pytest.mark.parametrize("what", FINE)
def test_in_float32_little_is_too_much(path: str, what: str) -> None:
    """A float32 log-softmax misses by a few eps, so a log-probability of 0.001 is none."""
    name, value = FINE[what]
    logits, labels = pair()
    rows = reduced(logits, labels)
    changes = {one: getattr(rows, one).float() for one in ("prediction_logprob", "label_logprob")}
    changes[name][0, 2] = value
    found = refused(changed(rows, **changes), labels)
    assert "log-probabilities are at most 0, and 1 of the 40 shown are above, up to 0.00" in found.message
    assert "sample 0, position 2" in found.message


def test_a_peak_of_zero_with_a_label_of_few_digits_is_taken(path: str) -> None:
    """In bfloat16 a sum of 1 and 1/256 is 1, so that both probabilities together may be more than 1 by as much."""
    rows = Rows(torch.zeros(2, 5).long(), torch.zeros(2, 5), torch.full((2, 5), -5.5625), vocabulary=9)
    with Recorder(every=1, console=False, strict=True) as recorder:
        assert recorder.compare(rows, torch.ones(2, 5).long(), 0) is not None


@pytest.mark.parametrize("dtype", TYPES)
def test_the_slack_follows_the_precision(dtype: torch.dtype) -> None:
    """It is that of the coarsest value, also if that was widened since; zero and infinity are exact."""
    value = torch.tensor(-1 / 3, dtype=dtype).item()
    wanted = {torch.float16: 2**-6, torch.bfloat16: 2**-3}.get(dtype, 2**-13)
    assert slack([value, 0.0, -math.inf]) == slack([value, -math.e]) == wanted
    assert slack([0.0]) == slack([]) == 2**-13


def test_equal_log_probabilities_may_have_any_rank_that_they_leave_room_for(path: str) -> None:
    """Logits that differ may have equal log-probabilities in float32; r of probability p need r · p of at most 1."""
    logprob = torch.full((1, 6), -math.log(4.5))
    labels = torch.arange(6)[None]
    rows = Rows(labels, logprob, logprob, torch.tensor([[1, 2, 3, 4, 4, 4]]), vocabulary=50)
    with Recorder(every=1, console=False, strict=True) as recorder:
        future = recorder.compare(rows, labels, 0)
        assert future is not None
        assert [token.label_rank for token in future.result(10)[0].tokens] == [1, 2, 3, 4, 4, 4]
    rows.label_rank[0, 5] = 5  # type: ignore[index]
    found = refused(rows, labels)
    assert "a label of rank r has a probability of at most 1/r; at sample 0, position 5" in found.message


@pytest.mark.parametrize("is_prediction", [False, True])
def test_the_argmax_may_be_of_rounded_logits(path: str, is_prediction: bool) -> None:
    """Below 64, logits that bfloat16 rounds to the same number differ by up to 0.25, and a compiler may round some."""
    logprob, other = torch.full((1, 3), -1.51), torch.full((1, 3), -1.71)
    labels = torch.arange(3)[None]
    prediction = labels if is_prediction else (labels + 1) % 3
    ranks = torch.ones(1, 3).long()
    with Recorder(every=1, console=False, strict=True) as recorder:
        assert recorder.compare(Rows(prediction, logprob, other, ranks, vocabulary=50), labels, 0) is not None
        if not is_prediction:  # the prediction's own number may be the lower one
            assert recorder.compare(Rows(prediction, other, logprob, ranks, vocabulary=50), labels, 1) is not None
    other[0, 1] = -1.81
    assert "of logits in different types" in refused(Rows(prediction, logprob, other, ranks), labels).message
    assert "more probable than the prediction" in refused(Rows(prediction, other, logprob, ranks), labels).message


@pytest.mark.parametrize("where", [0, 6, 29])
def test_an_id_that_is_not_shown_is_looked_at(path: str, where: int) -> None:
    """One that is none would lower the accuracy; unsupervised positions and rows that are not finite don't count."""
    logits, labels = pair(2, 30)
    labels[1, 20] = -100
    rows: Any = reduced(logits, labels)
    rows.prediction[1, 20] = 77
    rows.prediction[1, 15], rows.prediction_logprob[1, 15] = 77, torch.nan
    with Recorder(every=1, console=False, strict=True) as recorder:
        assert recorder.compare(rows, labels, 0) is not None
    rows.prediction[1, where] = 50
    found = refused(rows, labels)
    assert "predictions are ids from 0 to 49, or -1 for a position without a row, and 1 are not" in found.message
    assert f"at sample 1, position {where}: prediction=50" in found.message
    rows.prediction[1, where] = -3
    assert "ids from 0 on, or -1" in refused(changed(rows, vocabulary=None), labels).message


NAMED: dict[str, tuple[Any, str]] = {
    "raw logits": (
        lambda logits, labels: (logits.amax(-1), logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)),
        "pass not raw logits, as these seem to be, but their log_softmax",
    ),
    "losses": (
        lambda logits, labels: tuple(-one for one in logprobs(logits, labels)), "pass not losses, as these seem to be"
    ),
    "one loss": (
        lambda logits, labels: (logprobs(logits, labels)[0], -logprobs(logits, labels)[1]), "pass not losses, as"
    ),
    "probabilities": (
        lambda logits, labels: tuple(one.exp() for one in logprobs(logits, labels)), "pass not probabilities, as these"
    ),
    "one probability": (
        lambda logits, labels: (logprobs(logits, labels)[0].exp(), logprobs(logits, labels)[1]),
        "pass neither logits, losses nor probabilities",
    ),
}  # fmt: skip


def logprobs(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    rows: Any = reduced(logits, labels)
    return rows.prediction_logprob, rows.label_logprob


@pytest.mark.parametrize("what", NAMED)
def test_what_was_passed_instead_is_named(what: str) -> None:
    """Values above 0 tell logits, losses and probabilities from one another, with how many there are."""
    make, says = NAMED[what]
    logits, labels = pair()
    prediction_logprob, label_logprob = make(logits, labels)
    rows = reduced(logits, labels, prediction_logprob=prediction_logprob, label_logprob=label_logprob)
    message = refused(rows, labels).message
    assert "of the 40 shown are above, up to " in message
    assert says in message, message
