"""The reported loss: what fits is silent, what one explanation fits is named, and nothing is guessed."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch users know

import predlog
from predlog.findings.loss_check import LossCheck
from predlog.findings.reported_loss import Reported, Total, Totals
from predlog.findings.rule import CLEAN
from tests import events

B, T, V = 4, 24, 60


def pairs(count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield logits that have learnt a little, labels with some ignored, and an attention mask."""
    generator = torch.Generator().manual_seed(5)
    for _ in range(count):
        labels = torch.randint(V, (B, T), generator=generator)
        logits = torch.randn(B, T, V, generator=generator) + 3 * F.one_hot(labels.roll(-1, 1), V)
        attended = torch.ones(B, T, dtype=torch.long)
        lengths = torch.randint(T // 3, T, (B,), generator=generator)
        attended[torch.arange(T) >= lengths[:, None]] = 0
        yield logits, labels, attended


def loss(logits: Tensor, labels: Tensor, lead: int = 1, reduction: str = "mean") -> Tensor:
    return F.cross_entropy(logits[:, : T - lead].flatten(0, 1), labels[:, lead:].flatten(), reduction=reduction)


def found(report: Callable[[Tensor, Tensor, Tensor], Any], records: int = 3, **how: Any) -> tuple[list[Any], str]:
    """Record pairs with the loss that is reported for each; return the findings, and what stderr got."""
    with predlog.Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
        for step, (logits, labels, attended) in enumerate(pairs(records)):
            known = {name: make(logits, labels, attended) for name, make in how.items()}
            recorder.compare(
                logits, labels, step, shift=1, reported_loss=report(logits, labels, attended), **known
            )  # fmt: skip
        recorder.flush()
        return [one for one in recorder.findings if one.code == "loss-differs-from-pair"], ""


HEALTHY: dict[str, Any] = {
    "the mean": lambda logits, labels, _: loss(logits, labels),
    "a Python number": lambda logits, labels, _: loss(logits, labels).item(),
    "in bfloat16": lambda logits, labels, _: loss(logits, labels).bfloat16(),
    "in float16": lambda logits, labels, _: loss(logits, labels).half(),
    "divided for four micro-batches": lambda logits, labels, _: loss(logits, labels) / 4,
}


def weighted(logits: Tensor, labels: Tensor, attended: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses of all labels with a row, multiplied by weights from 0 to 3, and the weights."""
    weights = weights_of(logits, labels, attended)[:, 1:]
    losses = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    return losses.view(B, T - 1) * weights, weights


def weights_of(_logits: Tensor, labels: Tensor, _attended: Tensor) -> Tensor:
    return labels % 4


WEIGHTS = {"loss_mask": weights_of}


@pytest.mark.parametrize("divisor", ["their sum", "the labels"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bfloat16])
def test_a_weighted_loss_is_silent_in_both_usual_means(divisor: str, dtype: torch.dtype) -> None:
    """A weighted sum is divided by the sum of the weights or by the number of labels, whatever their type is."""

    def report(*pair: Tensor) -> Tensor:
        losses, weights = weighted(*pair)
        return losses.sum() / (weights.sum() if divisor == "their sum" else (weights > 0).sum())

    with predlog.Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
        for step, pair in enumerate(pairs(3)):
            mask = weights_of(*pair).to(dtype)
            recorder.compare(*pair[:2], step, shift=1, loss_mask=mask, reported_loss=report(*pair))
        recorder.flush()
        assert recorder.findings == ()
        assert "loss-differs-from-pair" not in recorder.undecided["text"]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_loss_that_is_that_of_the_pair_is_silent(name: str) -> None:
    """The mean over the supervised positions fits, in any type, and divided for accumulation."""
    assert found(HEALTHY[name], 5) == ([], "")


def masked(labels: Tensor, attended: Tensor) -> Tensor:
    return labels.masked_fill(attended == 0, -100)


FAULTS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "shifted once more": ("one more shift", lambda logits, labels, _: loss(logits, labels, 2), {}),
    "not shifted": ("one shift less", lambda logits, labels, _: loss(logits, labels, 0), {}),
    "four times": (
        "multiplied by the accumulation steps", lambda logits, labels, _: 4 * loss(logits, labels), {}
    ),
    "the sum": ("the sum", lambda logits, labels, _: loss(logits, labels, 1, "sum"), {}),
    "the sum over the samples": (
        "divided by another count", lambda logits, labels, _: loss(logits, labels, 1, "sum") / B, {}
    ),
    "the masked sum over all positions": (
        "divided by another count",
        lambda logits, labels, attended: loss(logits, masked(labels, attended), 1, "sum") / (B * T),
        {"loss_mask": lambda _logits, _labels, attended: attended},
    ),
    "padding left out by the loss": (
        "attention mask applied", lambda logits, labels, attended: loss(logits, masked(labels, attended)),
        {"attention_mask": lambda _logits, _labels, attended: attended},
    ),
    "the masked mean over all rows that have a label": (
        "divided by another count",
        lambda logits, labels, attended: loss(logits, masked(labels, attended), 1, "sum") / (B * (T - 1)),
        {"loss_mask": lambda _logits, _labels, attended: attended},
    ),
    "the weighted mean over all positions": (
        "divided by another count", lambda *pair: weighted(*pair)[0].sum() / (B * T), WEIGHTS,
    ),
    "the weighted sum": ("the sum", lambda *pair: weighted(*pair)[0].sum(), WEIGHTS),
    "the mask left out": (
        "loss mask left out", lambda logits, labels, _: loss(logits, labels),
        {"loss_mask": lambda _logits, _labels, attended: attended},
    ),
    "means of samples": (
        "mean of the samples' means",
        lambda logits, labels, attended: torch.stack([
            loss(one[None], ids[None]) for one, ids in zip(logits, masked(labels, attended), strict=True)
        ]).mean(),
        {"loss_mask": lambda _logits, _labels, attended: attended},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_explains_the_loss_is_named_with_both_numbers(name: str) -> None:
    """The one way of summing up the same rows that gives the reported loss is named, and no other."""
    explanation, report, how = FAULTS[name]
    findings, _ = found(report, **how)
    assert [one.evidence["explanation"] for one in findings] == [explanation]
    assert f"{findings[0].evidence['reported']:.6g}" in findings[0].message
    assert f"{findings[0].evidence['expected']:.6g}" in findings[0].message


def test_of_an_untrained_model_the_way_that_fits_better_counts() -> None:
    """Where two ways differ by less than the tolerance, the record neither clears the loss nor accuses it."""

    def of(recorded: float, one_more: float, reported: float) -> tuple[LossCheck, Any]:
        check = LossCheck()
        totals = Totals({"as recorded": Total(recorded, 1, recorded, 1), "one more": Total(one_more, 1, 0, 1)}, 0, {})
        return check, check.judge(totals, Reported(reported, 1e-7))

    check, verdict = of(5.564, 5.569, 5.569)
    assert (verdict, check.state) == (None, None)
    check, verdict = of(5.564, 5.569, 5.564)
    assert (verdict, check.state) == (CLEAN, "fits")
    check, verdict = of(5.564, 5.564, 5.564)  # such as a batch without padding, whose attention mask changes nothing
    assert (verdict, check.state) == (CLEAN, "fits")


@pytest.mark.parametrize("explanation", ["attention mask left out", "ignored labels counted"])
@pytest.mark.parametrize("shift", [0, 1])
def test_labels_that_only_the_record_ignores(explanation: str, shift: int) -> None:
    """Labels of padding, or of everything, that reach the loss are known by the inputs, shifted before or not."""
    with predlog.Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
        for step, (logits, ids, attended) in enumerate(pairs(3)):
            is_prompt = torch.arange(T) < 5
            labels = masked(ids, attended).masked_fill(is_prompt, -100)
            seen = ids.masked_fill(is_prompt, -100) if explanation.startswith("attention") else ids
            recorder.compare(
                logits, labels if shift else torch.cat([labels[:, 1:], torch.full((B, 1), -100)], 1), step, shift=shift,
                inputs=ids, attention_mask=attended, reported_loss=loss(logits, seen),
            )  # fmt: skip
        recorder.flush()
        (found,) = [one for one in recorder.findings if one.code == "loss-differs-from-pair"]
        assert found.evidence["explanation"] == explanation


def test_one_record_is_enough_only_where_an_explanation_fits_closely() -> None:
    """A loss with unknown terms may be within the tolerance of some sum by accident: one record does not accuse it."""

    def of(reported: float, precision: float = 1e-7) -> Any:
        totals = Totals({"as recorded": Total(30.0, 10, 30.0, 2), "one more": Total(50.0, 10, 0, 2)}, 0, {})
        return LossCheck().judge(totals, Reported(reported, precision))

    assert of(5.00001).evidence["explanation"] == "one more shift"
    assert of(5.003) is None
    assert of(5.00001, precision=2**-8) is None


def test_of_several_explanations_none_is_named() -> None:
    """Samples of four labels each: the sum divided by the samples is also four times the mean."""

    def explained(labels: int, samples: int, loss: float, **known: Any) -> Any:
        check, sums = LossCheck(), Total(2.5 * labels, labels, 2.5 * samples, samples)
        verdict = check.judge(Totals({"as recorded": sums}, 0, {"samples": samples}), Reported(loss, 1e-7, **known))
        return verdict and verdict.evidence["explanation"]  # type: ignore[union-attr]

    assert explained(32, 8, 10.0) is None
    assert explained(32, 7, 10.0) == "multiplied by the accumulation steps"
    assert explained(32, 8, 10.0, accumulate=2) == "divided by another count"
    assert explained(800, 8, 250.0) == "divided by another count"
    # Micro-batches of the same size: their mean is four times what the sum over all of them would be.
    assert explained(32, 7, 2.5, items=128, accumulate=4) == "mean over the micro-batch"


@pytest.mark.parametrize(
    ("loss", "known", "expected"),
    [
        (5.1, {"items": 8}, 2.5),  # a model that divides by the labels that it sees, and not by the trainer's number
        (5.1, {"items": 12}, 1.66667),
        (1.275, {"accumulate": 4}, 0.625),  # Lightning reports a loss that it has divided
    ],
)
def test_labels_that_the_loss_sees_are_named_however_it_is_divided(
    loss: float, known: dict[str, int], expected: float
) -> None:
    """Labels shifted once more are that, also by another divisor; a mask without effect explains nothing."""
    sums = {"as recorded": Total(20, 8, 5, 2), "attended": Total(20, 8, 5, 2), "one more": Total(35.7, 7, 10, 2)}
    found: Any = LossCheck().judge(Totals(sums, 0, {}), Reported(loss, 1e-7, **known))
    assert (found.evidence["explanation"], found.evidence["expected"]) == ("one more shift", pytest.approx(expected))
    divided = LossCheck().judge(Totals(sums, 0, {}), Reported(2.5, 1e-7, items=30))
    assert divided.evidence["explanation"] == "mean over the micro-batch"  # type: ignore[union-attr]


def test_a_loss_that_was_divided_by_an_unknown_number_is_explained_at_the_second_record() -> None:
    """Loops divide their loss before they report it: what it sees is known by that it fits closely, twice."""
    sums = {"as recorded": Total(20, 8, 5, 2), "one more": Total(35.7, 7, 10, 2)}
    check = LossCheck()
    assert check.judge(Totals(sums, 0, {}), Reported(1.275, 1e-7)) is None
    second: Any = check.judge(Totals(sums, 0, {}), Reported(1.275, 1e-7))
    assert (second.evidence["explanation"], second.evidence["expected"]) == ("one more shift", 0.625)
    assert isinstance(LossCheck().judge(Totals(sums, 0, {}), Reported(1.2755, 1e-7)), str)
    assert isinstance(LossCheck().judge(Totals(sums, 0, {}), Reported(1.275, 2**-8)), str)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_does_not_end_the_check(value: float, capsys: pytest.CaptureFixture[str]) -> None:
    """One overflow is reported in one line that accuses no label smoothing; the next losses are checked as before."""
    losses = iter([value])
    findings, _ = found(lambda logits, labels, _: next(losses, 4 * loss(logits, labels)), 3)
    assert [one.evidence["explanation"] for one in findings] == ["multiplied by the accumulation steps"]
    said = events.said(capsys)
    assert f"the reported loss is {value}" in said
    assert "not checked any more" not in said


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zero_times_nan_is_named(dtype: torch.dtype) -> None:
    """A NaN loss over rows that are finite comes of NaN under the mask, at the first record, whatever its type is."""

    def report(logits: Tensor, _labels: Tensor, attended: Tensor) -> Tensor:
        logits[attended == 0] = math.nan
        return torch.tensor(math.nan, dtype=dtype)

    findings, _ = found(report, 1, loss_mask=lambda _logits, _labels, attended: attended)
    assert [one.evidence["explanation"] for one in findings] == ["0 × NaN"]


def test_a_loss_that_nothing_explains_is_not_accused(capsys: pytest.CaptureFixture[str]) -> None:
    """With terms that predlog does not know the check is off, which one line reports: no finding guesses."""
    findings, _ = found(lambda logits, labels, _: loss(logits, labels) + 0.0137, 6)
    assert findings == []
    assert events.said(capsys).count("not checked any more") == 1


def test_a_loss_may_be_reported_after_the_pair(capsys: pytest.CaptureFixture[str]) -> None:
    """`report_loss` is for losses that overwrite their logits: the pairs after the first report are checked."""
    with predlog.Recorder(every=2, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
        for step, (logits, labels, _) in enumerate(pairs(8)):
            recorder.compare(logits, labels, step, shift=1)
            value = loss(logits, labels, 2)
            logits.zero_()
            recorder.report_loss(value, step)
        recorder.flush()
        assert [one.code for one in recorder.findings] == ["loss-differs-from-pair"]
    assert "loss is not checked" not in events.said(capsys)


@pytest.mark.parametrize(
    ("stream", "late", "says"),
    [
        ("text", 1, "its latest pair is that of step 3"),
        ("audio", 0, "no pair of it is recorded"),
        ("text", 0, ""),
    ],
)
def test_losses_that_belong_to_no_pair(stream: str, late: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A loss of the step before, or of another stream, is checked against nothing; after three one line says so."""
    with predlog.Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
        for step, (logits, labels, _) in enumerate(pairs(6)):
            recorder.compare(logits, labels, step, shift=1)
            if step >= late:
                recorder.report_loss(loss(logits, labels), step - late, stream=stream)
    lines = [line for line in events.said(capsys).splitlines() if "not checked" in line]
    assert len(lines) == bool(says)
    assert says in "".join(lines)


def test_the_default_recorder_takes_a_loss_too(tmp_path: Any) -> None:
    """`predlog.report_loss` is that of the default recorder, and the record keeps a loss that came with its pair."""
    predlog.configure(tmp_path / "run", every=1, console=False)
    logits, labels, _ = next(pairs(1))
    predlog.compare(logits, labels, 0, shift=1, reported_loss=loss(logits, labels))
    predlog.report_loss(3.0, 0)
    predlog.close()
    first = next(one for one in predlog.read(tmp_path / "run") if isinstance(one, predlog.Comparison))
    assert first.reported_loss == pytest.approx(loss(logits, labels).item())


def test_a_number_without_a_float_loses_no_pair(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's ints have no bound: the pair is recorded without such a loss, and one line says so."""
    logits, labels, _ = next(pairs(1))
    with predlog.Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
        recorder.compare(logits, labels, 0, shift=1, reported_loss=10**400)
        recorder.flush()
        assert recorder.stats()["refused"] == 0
    assert "reported_loss is too large for a float" in events.said(capsys)


@pytest.mark.parametrize("wrong", [torch.ones(3), "5.1", True, torch.tensor(2j)])
def test_what_is_no_number_is_refused(wrong: object, capsys: pytest.CaptureFixture[str]) -> None:
    """A loss per token is no loss of the pair: one line says what to pass, and the pair is recorded without it."""
    logits, labels, _ = next(pairs(1))
    with predlog.Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
        recorder.compare(logits, labels, 0, shift=1, reported_loss=wrong)
        recorder.compare(logits, labels, 1, shift=1)
        recorder.report_loss(wrong, 1)
        recorder.flush()
        assert recorder.stats()["written"] == 4
        assert recorder.findings == ()
    assert events.said(capsys).count("pass a number, or a tensor of one") == 2
