"""Rows of logits that nobody made: projected from hidden states, or lying in chunks along time."""

import itertools
import re
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

import predlog
from predlog import Projection, Recorder
from predlog.capture.capture import capture
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window
from predlog.records.schema import Comparison
from tests.benchmarks.memory import peak_of

CPU = torch.device("cpu")


@pytest.fixture(params=["cpu", "device"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take either way: that of the CPU, or the list of operations that any other device gets."""
    if request.param == "device":
        monkeypatch.setattr("predlog.capture.capture._NEAR", frozenset())
    return str(request.param)


def recorded(logits: object, labels: Tensor, **how: Any) -> tuple[Comparison, ...]:
    window = {name: how.pop(name) for name in ("samples", "score") if name in how}
    with Recorder(every=1, console=False, strict=True, **{"score": False, **window}) as recorder:
        future = recorder.compare(logits, labels, 0, **how)
        assert future is not None, recorder.findings
        return tuple(msgspec.structs.replace(one, recorder=None, timestamp="", seq=0) for one in future.result(10))


def assert_same(found: tuple[Comparison, ...], wanted: tuple[Comparison, ...]) -> None:
    """All is equal, but for the last bits of sums that were taken over rows that lie elsewhere."""
    assert [bare(one) for one in found] == [bare(one) for one in wanted]
    assert logprobs(found) == pytest.approx(logprobs(wanted), abs=1e-5)
    for one, other in zip(found, wanted, strict=True):
        assert [token.position for token in one.worst] == [token.position for token in other.worst]
        for name in ("loss", "entropy"):
            value, expected = getattr(one, name), getattr(other, name)
            assert value == (None if expected is None else pytest.approx(expected, rel=1e-5, abs=1e-5)), name


def bare(one: Comparison) -> Comparison:
    tokens = [msgspec.structs.replace(token, label_logprob=0, prediction_logprob=0) for token in one.tokens]
    return msgspec.structs.replace(one, tokens=tuple(tokens), worst=(), loss=None, entropy=None)


def logprobs(found: tuple[Comparison, ...]) -> list[float | None]:
    return [value for one in found for token in one.tokens for value in (token.label_logprob, token.prediction_logprob)]


def small(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return whole numbers so small that sums of their products are exact in every type."""
    return torch.randint(-2, 3, shape).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("bias", "scale", "softcap"), [(False, 1.0, None), (True, 0.25, None), (False, 1.0, 30.0), (True, 2, 15)]
)
def test_a_projection_gives_what_its_logits_give(
    path: str, dtype: torch.dtype, bias: bool, scale: float, softcap: float | None
) -> None:
    """Every number of every token is that of the logits that the model would have made."""
    torch.manual_seed(0)
    hidden, weight = small(3, 12, 8, dtype=dtype), small(50, 8, dtype=dtype)
    biases = small(50, dtype=dtype) if bias else None
    labels = torch.randint(50, (3, 12))
    labels[0, :4] = -100
    labels[1] = -100
    logits = functional.linear(hidden, weight, biases) * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    projection = Projection(hidden, weight, biases, scale=scale, softcap=softcap)
    for shift in (0, 1):
        found = recorded(projection, labels, shift=shift, inputs=labels.clamp(min=0))
        assert_same(found, recorded(logits, labels, shift=shift, inputs=labels.clamp(min=0)))
        assert [len(one.tokens) for one in found] == [8, 0]
        assert found[0].vocabulary == 50


LAYOUTS = {"b t v, b t": (2, 9, 6), "t v, t": (9, 6), "b v t, b t": (2, 6, 9), "t b v, t b": (9, 2, 6)}


@given(st.sampled_from(sorted(LAYOUTS)), st.lists(st.integers(1, 8), max_size=4), st.booleans())
def test_chunks_are_one(layout: str, cuts: list[int], far: bool) -> None:
    """However logits are cut along time, in whatever layout, the records are those of the whole."""
    logits = torch.randn(LAYOUTS[layout])
    axes = layout.partition(",")[0].split()
    labels = torch.randint(6, [size for name, size in zip(axes, logits.shape, strict=True) if name != "v"])
    axis = axes.index("t")
    edges = [0, *sorted(set(cuts)), 9]
    chunks = [logits.narrow(axis, start, stop - start) for start, stop in itertools.pairwise(edges)]
    with pytest.MonkeyPatch.context() as patched:
        if far:
            patched.setattr("predlog.capture.capture._NEAR", frozenset())
        for shift in (0, 1):
            how: dict[str, Any] = {"layout": layout, "shift": shift}
            assert_same(recorded(chunks, labels, **how), recorded(logits, labels, **how))


def test_what_is_overwritten_afterwards_is_not_seen(path: str) -> None:
    """Losses that work in place may destroy logits, hidden states and weights as soon as `compare` returns."""
    torch.manual_seed(1)
    hidden, weight, labels = small(2, 12, 8), small(50, 8), torch.randint(50, (2, 12))
    logits = hidden @ weight.T
    wanted = recorded(logits.clone(), labels)
    with Recorder(every=1, console=False, strict=True, score=False) as recorder:
        futures = [
            recorder.compare(given, labels, 0, stream=str(number))
            for number, given in enumerate([logits, Projection(hidden, weight), list(logits.split(5, 1))])
        ]
        for tensor in (logits, hidden, weight, labels):
            tensor.fill_(-7)
        for future in futures:
            assert future is not None
            assert_same(
                tuple(
                    msgspec.structs.replace(one, recorder=None, timestamp="", stream="text", seq=0)
                    for one in future.result(10)
                ),
                wanted,
            )


def test_only_the_rows_shown_are_projected(path: str) -> None:
    """Memory and work are those of the rows shown, whatever the length of the batch; the accuracy is left out."""
    hidden, weight, labels = torch.randn(4, 2000, 16), torch.randn(5000, 16), torch.randint(5000, (4, 2000))
    recorder = Recorder(every=1, console=False, strict=True, samples=2)
    with recorder:
        recorder.compare(Projection(hidden, weight), labels, 0)
        taken = peak_of(lambda: recorder.compare(Projection(hidden, weight), labels, 1), CPU)
        future = recorder.compare(Projection(hidden, weight), labels, 2)
        assert future is not None
        assert [one.matched for one in future.result(10)] == [None, None]
    rows = 2 * 10 * 5000 * 4
    assert rows < taken < 6 * rows  # all of them would be 800 times as many
    assert torch.is_grad_enabled()


def test_gradients_do_not_reach_it() -> None:
    """What is trained keeps no graph of it, and gets no gradient."""
    hidden, weight = torch.randn(1, 6, 4, requires_grad=True), torch.nn.Parameter(torch.randn(9, 4))
    recorded(Projection(hidden, weight), torch.randint(9, (1, 6)))
    assert hidden.grad is None
    assert weight.grad is None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda hidden, weight: Projection(hidden, weight.T), "50 wide|8 wide"),
        (lambda hidden, weight: Projection(hidden, weight[0]), r"a head's weight \[8\] must be \[vocabulary, width\]"),
        (lambda hidden, weight: Projection(hidden, weight, weight[0]), r"weight \[50, 8\] and bias \[8\] must be"),
        (lambda hidden, weight: Projection(hidden, weight.int()), "weight .* is torch.int32: it must be of floating"),
        (lambda hidden, weight: Projection(hidden, weight, scale=weight), "scale is of type Tensor"),
        (lambda hidden, weight: Projection(hidden, weight, softcap=0), "softcap=0 must be above 0, or None"),
        (lambda hidden, weight: Projection(hidden[:, :5], weight), "length-mismatch|5 rows of logits for 12 labels"),
        (lambda hidden, weight: Projection("hidden", weight), "hidden are a str"),
        (lambda hidden, weight: [hidden, hidden[:1]], r"chunks of logits must differ in their time \(axis 1\) only"),
        (lambda hidden, weight: [hidden.double(), hidden], "chunks of logits must differ in their time"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(make: Any, says: str) -> None:
    """A head, or chunks, that do not fit are a finding with the shapes, and no exception."""
    hidden, weight = torch.randn(2, 12, 8), torch.randn(50, 8)
    with Recorder(every=1, console=False) as recorder:
        assert recorder.compare(make(hidden, weight), torch.zeros(2, 12).long(), 0) is None
        recorder.flush()
        (found,) = recorder.findings
    assert re.search(says, f"{found.code} {found.message}"), found.message


def returned(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return what a fused head returns of rows [..., v] and their labels, 0 where there is none, as TRL's does."""
    known = labels >= 0
    logs = logits.double().log_softmax(-1)
    return {
        "label_logprob": logs.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1).float() * known,
        "entropy": -(logs.exp() * logs).sum(-1).float() * known,
        "match": (logits.argmax(-1) == labels) & known,
    }


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("is_cut", [False, True])
def test_what_a_fused_head_has_returned_is_what_its_logits_give(path: str, shift: int, is_cut: bool) -> None:
    """Loss, entropy, matches and worst tokens are those of the logits, though only the rows shown are projected."""
    torch.manual_seed(4)
    hidden, weight, labels = torch.randn(3, 40, 8), torch.randn(50, 8), torch.randint(50, (3, 40))
    labels[0, :9] = labels[1, 20:] = -100
    logits = hidden @ weight.T
    labels[:, shift:40:3] = logits.argmax(-1)[:, : 40 - shift : 3]  # some are predicted
    rows = hidden[:, : 40 - shift] if is_cut else hidden
    ids = torch.cat([labels[:, shift:], torch.full((3, shift), -100)], 1)[:, : rows.shape[1]]
    known = returned(logits[:, : rows.shape[1]], ids)
    how: dict[str, Any] = {"shift": shift, "inputs": labels.clamp(min=0), "samples": 3, "score": True}
    found = recorded(Projection(rows, weight, **known), labels, **how)
    wanted = recorded(logits, labels, **how)
    assert_same(found, wanted)
    assert [one.matched for one in found] == [one.matched for one in wanted] != [0, 0, 0]
    assert all(one.loss is not None and len(one.worst) == 5 for one in found)


def test_what_was_returned_is_that_of_the_samples_chosen(path: str) -> None:
    """Whichever samples are shown, by their places, each has its own numbers."""
    torch.manual_seed(9)
    hidden, weight, labels = torch.randn(6, 12, 8), torch.randn(50, 8), torch.randint(50, (6, 12))
    logits = hidden @ weight.T
    for places in ((1, 4), (0, 3, 4), (5,)):
        how: dict[str, Any] = {"score": True, "samples": places}
        found = recorded(Projection(hidden, weight, **returned(logits, labels)), labels, **how)
        assert [one.sample for one in found] == list(places)
        assert_same(found, recorded(logits, labels, **how))


def test_a_loss_that_was_returned_needs_no_scale(path: str) -> None:
    """With scale=None the probabilities of the tokens shown are null, and the loss is what the head has returned."""
    torch.manual_seed(5)
    hidden, weight, labels = torch.randn(2, 12, 8), torch.randn(50, 8), torch.randint(50, (2, 12))
    logits = hidden @ weight.T / 3
    found = recorded(Projection(hidden, weight, scale=None, **returned(logits, labels)), labels, score=True)
    wanted = recorded(logits, labels, score=True)
    assert [one.loss for one in found] == pytest.approx([one.loss for one in wanted], abs=1e-5)
    assert [one.matched for one in found] == [one.matched for one in wanted]
    assert set(logprobs(found)) == {None}


def test_what_was_not_returned_is_not_known(path: str) -> None:
    """Without entropies and matches there is a loss alone; without a score none; and no columns of all tokens."""
    torch.manual_seed(6)
    hidden, weight, labels = torch.randn(2, 12, 8), torch.randn(50, 8), torch.randint(50, (2, 12))
    known = returned(hidden @ weight.T, labels)
    alone = Projection(hidden, weight, label_logprob=known["label_logprob"])
    (one, _) = recorded(alone, labels, score=True)
    assert one.loss == pytest.approx(-known["label_logprob"][0].mean().item(), abs=1e-5)
    assert (one.matched, one.entropy) == (None, None)
    (one, _) = recorded(Projection(hidden, weight, **known), labels, score=False)
    assert (one.loss, one.matched, one.worst) == (None, None, ())
    with Recorder(every=1, console=False, strict=True, all_tokens=True) as recorder:
        future = recorder.compare(Projection(hidden, weight, **known), labels, 0)
        assert future is not None
        assert [each.all_tokens for each in future.result(10)] == [None, None]


def test_predictions_that_were_not_returned_are_no_evidence(path: str) -> None:
    """A row that does not match may have predicted its input, so the rules get no count of copies."""
    torch.manual_seed(8)
    hidden, weight, labels = torch.randn(2, 12, 8), torch.randn(50, 8), torch.randint(50, (2, 12))
    logits = hidden @ weight.T
    for rows, known in ((logits, True), (Projection(hidden, weight, **returned(logits, labels)), False)):
        facts = [one for _, one in unpack(capture(rows, labels, inputs=logits.argmax(-1), window=Window()))]
        assert [one.copied is not None for one in facts] == [known, known]


def test_a_loss_mask_weighs_what_was_returned(path: str) -> None:
    """The loss is Σ w · loss / Σ w, and what has no weight is neither counted nor shown."""
    torch.manual_seed(7)
    hidden, weight, labels = torch.randn(2, 12, 8), torch.randn(50, 8), torch.randint(50, (2, 12))
    mask = torch.randint(3, (2, 12)).float()
    logits = hidden @ weight.T
    how: dict[str, Any] = {"score": True, "loss_mask": mask}
    assert_same(
        recorded(Projection(hidden, weight, **returned(logits, labels)), labels, **how),
        recorded(logits, labels, **how),
    )


def test_a_row_that_is_not_finite_has_no_loss(path: str) -> None:
    """One NaN among the supervised log-probabilities, and the loss of its sample is null; another's is not."""
    hidden, weight, labels = small(2, 12, 8), small(50, 8), torch.randint(50, (2, 12))
    known = returned(hidden @ weight.T, labels)
    known["label_logprob"][0, 5] = float("nan")
    found = recorded(Projection(hidden, weight, **known), labels, score=True)
    assert [one.loss is None for one in found] == [True, False]


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({"entropy": torch.zeros(2, 12)}, "entropy of a Projection need its label_logprob"),
        ({"label_logprob": torch.zeros(2, 11)}, r"label_logprob \[2, 11\] .* one value for each row .*: \[2, 12\]"),
        ({"label_logprob": torch.zeros(2, 12).long()}, "is torch.int64: it must be of floating point"),
        ({"label_logprob": torch.zeros(2, 12), "match": torch.zeros(2, 12)}, "is torch.float32: it must be booleans"),
        ({"label_logprob": torch.zeros(2, 12), "entropy": torch.zeros(2, 12).bool()}, "must be of floating point"),
    ],
)  # fmt: skip
def test_what_a_head_cannot_have_returned_is_said(known: dict[str, Any], says: str) -> None:
    """Numbers that do not fit their rows are a finding with the shapes, and no exception."""
    with Recorder(every=1, console=False) as recorder:
        projection = Projection(torch.randn(2, 12, 8), torch.randn(50, 8), **known)
        assert recorder.compare(projection, torch.zeros(2, 12).long(), 0) is None
        recorder.flush()
        (found,) = recorder.findings
    assert re.search(says, found.message), found.message


def test_it_is_a_public_name() -> None:
    """`predlog.Projection` is where people look for it."""
    assert predlog.Projection is Projection


def test_of_a_scale_that_is_not_known_probabilities_are_left_out(path: str) -> None:
    """With scale=None predictions and ranks are the head's, log-probabilities null, and all is finite."""
    torch.manual_seed(2)
    hidden, weight, labels = small(2, 12, 8), small(50, 8), torch.randint(50, (2, 12))
    found = recorded(Projection(hidden, weight, scale=None), labels)
    wanted = recorded(hidden @ weight.T, labels)
    assert [bare(one) for one in found] == [bare(one) for one in wanted]
    assert set(logprobs(found)) == {None}
    assert {one.nonfinite for one in found} == {0}


def test_what_is_not_finite_is_counted_all_the_same(path: str) -> None:
    """A hidden state that is no number makes a row that is none, whatever is known of the scale."""
    hidden = small(1, 12, 8)
    hidden[0, 0] = float("nan")
    (found,) = recorded(Projection(hidden, small(50, 8), scale=None), torch.randint(50, (1, 12)))
    assert found.nonfinite == 2
    assert found.tokens[0].label_rank is None


def test_under_autocast_rows_are_projected_in_its_type(path: str) -> None:
    """The caller's autocast decides, as it would for the model's own head; of float64, which it leaves alone, not."""
    torch.manual_seed(3)
    hidden, weight, labels = torch.randn(2, 12, 8), torch.randn(20000, 8), torch.randint(20000, (2, 12))
    bias = torch.randn(20000)
    with torch.autocast("cpu", torch.bfloat16):
        for one in (None, bias):
            logits = functional.linear(hidden, weight, one)
            assert logits.dtype == torch.bfloat16
            assert_same(recorded(Projection(hidden, weight, one), labels), recorded(logits, labels))
        double = hidden.double() @ weight.double().T
        assert_same(recorded(Projection(hidden.double(), weight.double()), labels), recorded(double, labels))
    assert_same(recorded(Projection(hidden, weight), labels), recorded(hidden @ weight.T, labels))
