"""`predlog.watch`: a loss in chunks is one pair; masks, positions and the loss are passed on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import predlog
from tests import events
from tests.integrations.test_watch import Model, batch, keeping, plain

V = 30


def cross_entropy(rows: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(rows.reshape(-1, V), labels.reshape(-1), reduction="sum")


def in_chunks(logits: Tensor, labels: Tensor, cut: Callable[[Tensor], Any]) -> Tensor:
    parts = [cross_entropy(*pair) for pair in zip(cut(logits), cut(labels), strict=True)]
    return torch.stack(parts).sum() / (labels != -100).sum()


class Head(nn.Module):
    """A model whose head is applied to each chunk of its hidden states."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head, self.other = nn.Embedding(V, 8), nn.Linear(8, V), nn.Linear(8, V)

    def hidden(self, idx: Tensor) -> Tensor:
        found: Tensor = self.embedding(idx).tanh()
        return found

    def forward(self, idx: Tensor, labels: Tensor, way: str) -> Tensor:
        hidden = self.hidden(idx)
        heads = [self.head, self.other if way == "two heads" else self.head]
        parts = zip(hidden.chunk(2, 1), labels.chunk(2, 1), heads, strict=True)
        if way == "checkpoint":
            losses = [
                checkpoint(lambda a, b, head=head: cross_entropy(head(a), b), *pair, use_reentrant=False)
                for *pair, head in parts
            ]
        else:
            losses = [cross_entropy(head(rows).float(), ids) for rows, ids, head in parts]
        return torch.stack(losses).sum()


def masked() -> Tensor:
    """Return labels [2, 24], of which the first chunk is ignored."""
    labels = batch(1, 2, 24)
    labels[:, :7] = -100
    return labels


CUTS: dict[str, Callable[[Tensor], Any]] = {
    "tensor_split": lambda one: one.tensor_split(4, 1),
    "split": lambda one: one.split(5, 1),
    "sizes": lambda one: one.split([6, 10, 8], 1),
    "chunk": lambda one: one.chunk(3, 1),
    "slices": lambda one: [one[:, at : at + 6] for at in range(0, 24, 6)],
    "narrow": lambda one: [one.narrow(1, at, 12) for at in (0, 12)],
}


@pytest.mark.parametrize("is_loss", [True, False])
@pytest.mark.parametrize("cut", CUTS)
def test_chunks_of_a_sequence_are_one_pair(cut: str, is_loss: bool) -> None:
    """However logits are cut along time, the record is that of the pair, but for matches, which chunks leave out."""
    logits, labels = torch.randn(2, 24, V).requires_grad_(), masked()
    with keeping() as (recorder, wanted):
        recorder.compare(list(CUTS[cut](logits)), labels, 0)
    module: Any = Model(lambda: in_chunks(logits * 1, labels, CUTS[cut]))
    if is_loss:
        del module.weight
    with keeping() as (recorder, kept), predlog.watch(module, recorder=recorder):
        module().backward()
    assert plain(kept) == plain(wanted)
    assert kept.codes == set()
    assert {one["supervised"] for one in kept.comparisons} == {17}


@pytest.mark.parametrize("way", ["one head", "checkpoint"])
def test_a_head_that_is_applied_to_each_chunk(way: str) -> None:
    """Chunks of hidden states are known, too, if one head makes all logits."""
    model, ids, labels = Head(), batch(0, 2, 24), masked()
    with keeping() as (recorder, kept), predlog.watch(model, recorder=recorder, inputs="idx"):
        model(ids, labels, way).backward()
    assert kept.seen == [(0, "text")]
    assert {one["supervised"] for one in kept.comparisons} == {17}
    assert all(
        token["input"] == int(ids[one["sample"], token["position"]])
        for one in kept.comparisons
        for token in one["tokens"]
    )


def test_two_heads_are_two_losses() -> None:
    """The halves of a sequence that different heads read are no chunks of one loss."""
    model = Head()
    with keeping() as (recorder, kept), predlog.watch(model, recorder=recorder):
        model(batch(0, 2, 24), masked(), "two heads").backward()
    assert kept.seen == [(0, "text"), (0, "loss 1")]


def test_rows_that_were_flattened_before_they_were_cut() -> None:
    """They are one sample of all rows."""
    logits, labels = torch.randn(2, 24, V).requires_grad_(), masked()
    model = Model(lambda: in_chunks((logits * 1).flatten(0, 1), labels.flatten(), lambda one: one.split(10)))
    with keeping() as (recorder, kept), predlog.watch(model, recorder=recorder):
        model().backward()
    (comparison,) = kept.comparisons
    assert (comparison["length"], comparison["supervised"]) == (48, 34)


def test_chunks_that_leave_a_gap(capfd: pytest.CaptureFixture[str]) -> None:
    """Parts that do not follow one another are not joined: a loss reports it once, and no part is recorded as all."""
    logits, labels = torch.randn(2, 24, V).requires_grad_(), masked()

    class Gap(nn.Module):
        def forward(self) -> Tensor:
            rows = logits * 1
            return cross_entropy(rows[:, :6], labels[:, :6]) + cross_entropy(rows[:, 12:], labels[:, 12:])

    loss = Gap()
    with keeping(strict=False) as (recorder, kept), predlog.watch(loss, recorder=recorder):
        for _ in range(2):
            loss().backward()
    assert kept.comparisons == []
    assert kept.codes == set()
    (line,) = (one for one in events.said(capfd).splitlines() if "several times" in one)
    assert line.startswith("predlog: step 0: Gap calls cross_entropy several times")


def test_losses_of_some_rows_less_are_recorded_each() -> None:
    """A head for the token after the next leaves out a few rows, and is no chunk."""
    logits, ids = torch.randn(2, 24, V).requires_grad_(), batch(0, 2, 24)
    model = Model(lambda: sum(cross_entropy((logits * 1)[:, :-lead], ids[:, lead:]) for lead in (1, 2)))
    with keeping() as (recorder, kept), predlog.watch(model, recorder=recorder):
        model().backward()
    assert kept.seen == [(0, "text"), (0, "loss 1")]


class Fused(torch.autograd.Function):
    """A head and loss that makes its gradients itself, chunk by chunk, as Liger's does."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, is_traced: bool) -> Tensor:
        losses: list[Tensor] = []
        gradients: list[Tensor] = []
        for rows, ids in zip(hidden.split(80), labels.split(80), strict=True):
            with torch.set_grad_enabled(is_traced):
                part = rows.detach().requires_grad_(is_traced)
                losses.append(cross_entropy(part @ weight.t(), ids))
            gradients += torch.autograd.grad(losses[-1], part) if is_traced else [torch.zeros_like(rows)]
        ctx.save_for_backward(torch.cat(gradients))
        return torch.stack(losses).detach().sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return ctx.saved_tensors[0] * gradient, None, None, None


@pytest.mark.parametrize("is_traced", [True, False])
def test_a_part_of_the_batch_without_labels_is_no_fault(is_traced: bool) -> None:
    """A fused loss sums up parts, of which nothing shows that they belong together: some hold prompts alone."""
    head = Head()
    labels = torch.cat([torch.full((80,), -100), batch(1, 1, 160).flatten()])
    apply: Any = Fused.apply
    module: Any = Model(lambda: apply(head.hidden(labels.clamp(min=0)), head.head.weight, labels, is_traced))
    with keeping() as (recorder, kept), predlog.watch(module, recorder=recorder):
        module().backward()
    assert [one["stream"] for one in kept.comparisons] == ["text", "loss 1", "loss 2"]
    assert recorder.findings == ()
    with keeping() as (recorder, kept):
        recorder.compare(torch.randn(80, V), labels[:80], 0)
    assert [one.code for one in recorder.findings] == ["nothing-supervised"]


def test_a_sum_over_no_rows_is_no_pair() -> None:
    """torchtune selects the rows with a label, chunk by chunk: where there are none, the sum is 0."""
    head, labels = Head(), masked()

    def forward() -> Tensor:
        hidden, losses = head.hidden(labels.clamp(min=0)), []
        for rows, ids in zip(hidden.tensor_split(4, 1), labels.tensor_split(4, 1), strict=True):
            losses.append(cross_entropy(head.head(rows[ids != -100]), ids[ids != -100]))
        return torch.stack(losses).sum()

    module: Any = Model(forward)
    with keeping() as (recorder, kept), predlog.watch(module, recorder=recorder):
        module().backward()
    assert [one["stream"] for one in kept.comparisons] == ["loss 1", "loss 2", "loss 3"]
    assert recorder.findings == ()


def test_chunks_of_a_call_that_raises_are_not_recorded() -> None:
    """The next call is recorded as if there had been none."""
    logits, labels = torch.randn(2, 24, V).requires_grad_(), masked()

    def forward(fails: bool) -> Any:
        losses = [cross_entropy(a, b) for a, b in zip((logits * 1).chunk(2, 1), labels.chunk(2, 1), strict=True)]
        if fails:
            raise ZeroDivisionError
        return sum(losses)

    model = Model(forward)
    with keeping() as (recorder, kept), predlog.watch(model, recorder=recorder):
        with pytest.raises(ZeroDivisionError):
            model(True)
        model(False)
    assert kept.seen == [(1, "text")]


def state(recorder: Any) -> str | None:
    assert recorder.flush()
    found: str | None = recorder._judge._lanes["text", None].loss.state
    return found


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, "fits"),
        ({"reduction": "sum"}, None),
        ({"label_smoothing": 0.1}, None),
        ({"weight": torch.linspace(0.5, 2, V)}, None),
        ({"ignore_index": 3}, "fits"),
    ],
)
def test_the_loss_is_checked_where_it_is_the_mean(how: dict[str, Any], expected: str | None) -> None:
    """What cross_entropy returns is held against the record from the first one on, if nothing else is in it."""
    logits, labels = torch.randn(2, 24, V).requires_grad_(), batch(0, 2, 24)
    model = Model(lambda: functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), **how))
    with keeping() as (recorder, kept), predlog.watch(model, recorder=recorder):
        model().backward()
        assert state(recorder) == expected
    assert kept.codes == set()


def test_masks_and_positions_of_the_forward() -> None:
    """They are passed by the names of the forward's parameters, cut as the rows are: a label across two documents."""
    ids = batch(0, 2, 24).clamp(min=3)
    places = torch.cat([torch.arange(10), torch.arange(14)]).expand(2, 24)
    logits = torch.randn(2, 24, V).requires_grad_()

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, idx: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
            return functional.cross_entropy(logits[:, :-1].reshape(-1, V), idx[:, 1:].reshape(-1))

    model = Packed()
    with (
        keeping(special_tokens={"eos": 1, "pad": 0}) as (recorder, kept),
        predlog.watch(model, recorder=recorder, inputs="idx"),
    ):
        for _ in range(3):
            model(ids, torch.ones_like(ids), position_ids=places)
    assert kept.codes == {"label-crosses-boundary"}


def test_masks_of_another_shape_are_not_used(capfd: pytest.CaptureFixture[str]) -> None:
    """A causal mask, or floats by the name of positions, change nothing and refuse nothing."""
    ids, logits = batch(0, 2, 24), torch.randn(2, 24, V).requires_grad_()

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, idx: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
            return functional.cross_entropy(logits[:, :-1].reshape(-1, V), idx[:, 1:].reshape(-1))

    model = Own()
    with keeping() as (recorder, kept), predlog.watch(model, recorder=recorder, inputs="idx"):
        model(ids, torch.ones(24, 24).tril(), position_ids=torch.randn(2, 24))
    assert kept.seen == [(0, "text")]
    assert kept.codes == set()
