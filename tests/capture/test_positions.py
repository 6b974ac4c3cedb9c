"""What is known of positions: which labels count, which places are neighbours, and which labels cross a boundary."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import predlog
from predlog.capture import device
from predlog.capture.capture import capture
from predlog.capture.pair import to_pair
from predlog.errors import PairError
from predlog.findings.facts import Facts
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.snapshot import Snapshot
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window
from tests import events

WINDOW = Window()
LENGTHS = (5, 9, 2, 8)
T = sum(LENGTHS)


def ids(*shape: int) -> Tensor:
    return torch.randint(4, 90, shape, generator=torch.Generator().manual_seed(1))


def logits(*shape: int) -> Tensor:
    return torch.randn(*shape, 90, generator=torch.Generator().manual_seed(2))


def captured(rows: Any, labels: Any, **how: Any) -> list[tuple[dict[str, Any], Facts]]:
    return list(unpack(capture(rows, labels, window=WINDOW, **how)))


def on_a_device(rows: Tensor, labels: Tensor, shift: int = 0, inputs: Any = None, **known: Any) -> list[Any]:
    """Capture as on a device, with the operations that never wait."""
    sizes = capture(rows, labels, window=WINDOW, shift=shift, inputs=inputs, **known).sizes
    pair = to_pair(
        rows, labels, inputs, layout=None, shift=shift, ignore_index=-100, product=None, **known
    )  # fmt: skip
    to = device.packing(pair, sizes, WINDOW)
    packed = device.pack(pair, to, sizes, WINDOW)
    return list(unpack(Snapshot(sizes, lambda: device.to_numbers(to.views(packed), sizes, WINDOW))))


def packed_ids() -> Tensor:
    """Return the documents' numbers of one row of several documents."""
    return torch.cat([torch.full((n,), number) for number, n in enumerate(LENGTHS)])


def packed_places() -> Tensor:
    return torch.cat([torch.arange(n) for n in LENGTHS])


def alike(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields without those that weights change, or that are rounded otherwise on another device."""
    worst = [token["position"] for token in fields["worst"]]
    return {name: value for name, value in fields.items() if name not in {"loss", "entropy"}} | {"worst": worst}


def test_the_loss_of_a_sample_is_weighted_by_the_mask() -> None:
    """It is the sum of w times loss over the sum of w, on the CPU and elsewhere; matches count where w is above 0."""
    labels, mask = ids(2, 12), torch.rand(2, 12, generator=torch.Generator().manual_seed(3))
    mask[mask < 0.4] = 0
    rows = logits(2, 12)
    losses = torch.nn.functional.cross_entropy(rows.transpose(1, 2).double(), labels, reduction="none")
    wanted = (losses * mask).sum(-1) / mask.sum(-1)
    for ways in (captured, on_a_device):
        for number, (fields, _) in enumerate(ways(rows, labels, loss_mask=mask)):
            assert fields["loss"] == pytest.approx(wanted[number].item(), rel=1e-6)
            assert fields["matched"] == ((rows.argmax(-1) == labels) & (mask > 0))[number].sum()


def test_a_position_counts_where_its_label_is_not_ignored_and_its_mask_is_above_0() -> None:
    """Rows under a mask of 0 are not looked at: no token, no count and no NaN comes from them."""
    labels, mask = ids(2, 12), torch.rand(2, 12, generator=torch.Generator().manual_seed(3))
    mask[mask < 0.4] = 0
    labels[:, 3] = -100
    rows = logits(2, 12)
    rows[mask == 0] = math.nan
    folded = labels.masked_fill(mask == 0, -100)
    for given_mask in (mask, mask > 0, (mask > 0).long(), (mask > 0).numpy()):
        for ways in (captured, on_a_device):
            if ways is on_a_device and not isinstance(given_mask, Tensor):
                continue
            found = ways(rows, labels, loss_mask=given_mask)
            expected = captured(logits(2, 12), folded)
            assert [alike(fields) for fields, _ in found] == [alike(fields) for fields, _ in expected]
            assert all(facts.broken == 0 for _, facts in found)


@given(seed=st.integers(0, 2**32), shift=st.integers(0, 2), ignored=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_mask_is_the_same_as_labels_that_are_ignored_on_every_device(seed: int, shift: int, ignored: bool) -> None:
    """For any mask and shift, a masked pair has the records of the pair whose labels are ignored there."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(90, (2, 11), generator=generator)
    if ignored:
        labels[torch.rand(2, 11, generator=generator) < 0.3] = -100
    mask = torch.rand(2, 11, generator=generator) < 0.6
    rows = torch.randn(2, 11, 90, generator=generator)
    expected = captured(rows, labels.masked_fill(~mask, -100), shift=shift)
    for found in (
        captured(rows, labels, shift=shift, loss_mask=mask),
        on_a_device(rows, labels, shift, None, loss_mask=mask),
    ):
        assert [{**alike(one), "tokens": len(one["tokens"])} for one, _ in found] == [
            {**alike(one), "tokens": len(one["tokens"])} for one, _ in expected
        ]
        for (one, _), (other, _) in zip(found, expected, strict=True):
            for name in ("loss", "entropy"):
                assert one[name] == (other[name] if other[name] is None else pytest.approx(other[name], rel=1e-5)), name
        assert [facts.fingerprint for _, facts in found] == [facts.fingerprint for _, facts in expected]


@pytest.mark.parametrize(
    ("labels", "mask", "layout"),
    [
        ((2, 12), (2, 12), None), ((2, 12), (1, 12), None), ((2, 12), (12,), None), ((24,), (24,), None),
        ((24,), (2, 12), None), ((2, 3, 12), (2, 12), "b k t v, b k t"), ((2, 12, 3), (2, 12), "b t k v, b t k"),
        ((2, 12), (24,), None), ((2, 3, 12), (2, 1, 12), "b k t v, b k t"), ((2, 12, 3), (2, 12, 1), "b t k v, b t k"),
        ((3, 12), (12,), "t k v, k t"), ((12, 2), (2, 12), "t b v, t b"), ((12, 2), (12, 2), "t b v, t b"),
    ],
)  # fmt: skip
def test_shapes_that_belong_to_the_labels_are_taken(labels: Any, mask: Any, layout: Any) -> None:
    """What is known of positions has the labels' shape, or lacks the codebooks, or is [b, t], [1, t] or [t]."""
    rows = logits(12, 3) if layout == "t k v, k t" else logits(*labels)
    everything = captured(rows, ids(*labels), layout=layout, loss_mask=torch.ones(mask))
    nothing = captured(rows, ids(*labels), layout=layout, loss_mask=torch.zeros(mask))
    assert all(fields["supervised"] for fields, _ in everything)
    assert not any(fields["supervised"] for fields, _ in nothing)


def test_what_is_flat_as_the_labels_are_is_read_in_the_shape_of_the_inputs() -> None:
    """Flat labels beside inputs that are not are samples, and so is their mask."""
    inputs, mask = ids(2, 12), torch.zeros(2, 12)
    mask[1, :7] = 1
    how: dict[str, Any] = {"inputs": inputs, "position_ids": torch.arange(12).repeat(2)}
    found = captured(logits(24), inputs.flatten(), loss_mask=mask.flatten(), **how)
    assert [(fields["supervised"], facts.crossing) for fields, facts in found] == [(0, 0), (7, 0)]


def test_what_is_no_array_is_named_in_a_sentence() -> None:
    """A mask is one thing, position ids are several."""
    with pytest.raises(PairError, match="loss_mask is a list: pass a torch tensor"):
        captured(logits(2, 12), ids(2, 12), loss_mask=[[1] * 12] * 2)
    with pytest.raises(PairError, match=r"position_ids \[12\] are torch.float32: positions must be integers"):
        captured(logits(2, 12), ids(2, 12), position_ids=torch.ones(12))
    with pytest.raises(PairError, match="position_ids are a list: pass a torch tensor"):
        captured(logits(2, 12), ids(2, 12), position_ids=[[1] * 12] * 2)


def test_what_does_not_fit_the_labels_is_refused_with_both_shapes() -> None:
    """A mask of another size would be read at wrong places: it is refused, and nothing is guessed."""
    with pytest.raises(PairError, match=r"loss_mask \[2, 11\] and labels \[2, 12\] differ") as caught:
        captured(logits(2, 12), ids(2, 12), loss_mask=torch.ones(2, 11))
    assert caught.value.code == "layout-mismatch"


@pytest.mark.parametrize("shape", [(2, 1, 12, 12), (2, 12, 12), (1, 1, 1, 12), (2, 7)])
def test_an_attention_mask_over_pairs_of_positions_is_not_used_and_that_is_reported(shape: Any) -> None:
    """Only an attention mask of one value per position says what is padding; any other is named and left out."""
    snapshot = capture(logits(2, 12), ids(2, 12), window=WINDOW, attention_mask=torch.ones(shape))
    (problem,) = snapshot.sizes.unused
    assert str(list(shape)) in problem
    assert "[2, 12]" in problem


def test_what_is_not_used_is_reported_once_however_long_the_rows_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Batches that are padded to their own lengths have masks of other shapes at each step: one line says it."""
    with predlog.Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
        for step, length in enumerate((12, 13, 14)):
            mask = torch.ones(2, 1, length, length)
            recorder.compare(logits(2, length), ids(2, length), step, inputs=ids(2, length), attention_mask=mask)
    assert events.said(capsys).count("is not used") == 1


def test_position_ids_of_several_axes_are_not_used() -> None:
    """M-RoPE's position ids [3, b, t] don't say what is next to what."""
    snapshot = capture(logits(2, 12), ids(2, 12), window=WINDOW, position_ids=torch.zeros(3, 2, 12).long())
    assert "M-RoPE" in snapshot.sizes.unused[0]
    assert all(facts.crossing is None for _, facts in unpack(snapshot))


@pytest.mark.parametrize(
    "known",
    [
        {"position_ids": packed_places()}, {"document_ids": packed_ids()}, {"document_ids": packed_ids() % 2},
        {"document_ids": torch.tensor([0, 5, 14, 16, 24])}, {"document_ids": torch.tensor([5, 14, 16, 24])},
        {"document_ids": packed_ids(), "position_ids": packed_places()},
        {"document_ids": packed_ids().int(), "position_ids": packed_places().to(torch.uint8)},
        {"position_ids": packed_places().int()[None]}, {"document_ids": packed_ids().to(torch.int16)},
        {"document_ids": torch.tensor([[0, 5, 14, 16, 24, -1, -1]], dtype=torch.int32)},
    ],
)  # fmt: skip
@pytest.mark.parametrize("shift", [1, 0])
def test_labels_of_another_document_are_counted(known: dict[str, Tensor], shift: int) -> None:
    """However documents are named, a label is counted if it belongs to another one than the token of its row."""
    inputs = ids(1, T)
    labels = inputs if shift else torch.cat([inputs[:, 1:], torch.full((1, 1), -100)], 1)
    for ways in (captured, on_a_device):
        ((fields, facts),) = ways(logits(1, T), labels, shift=shift, inputs=inputs, **known)
        assert facts.crossing == 3
        assert facts.equal is not None
        assert facts.equal[1] == facts.compared[1] == T - len(LENGTHS)  # type: ignore[index]
        places = [token["document_position"] for token in fields["tokens"]]
        assert places == [packed_places()[token["position"]] for token in fields["tokens"]]


@pytest.mark.parametrize("ends", [[0, 20, 48], [0, 0, 0, 1, 1, 2], [0, 16, 9, 24], list(range(3)) * 7])
def test_lengths_that_are_not_of_this_row_say_nothing(ends: list[int]) -> None:
    """Lengths of a longer row, of which a process has a part, and numbers that are no lengths name no document."""
    x = ids(1, T)
    for ways in (captured, on_a_device):
        ((_, facts),) = ways(logits(1, T), x, shift=1, inputs=x, document_ids=torch.tensor(ends))
        assert facts.crossing is None


@pytest.mark.parametrize("shift", [1, 0])
def test_an_attention_mask_may_number_the_documents(shift: int) -> None:
    """Packing for attention within documents numbers them from 1 in the mask, 0 at padding; Longformer's 2 does not."""
    x, attended = ids(1, T + 4), torch.cat([packed_ids() + 1, torch.zeros(4).long()])
    labels = x.masked_fill(attended == 0, -100)
    if not shift:
        labels = torch.cat([labels[:, 1:], torch.full((1, 1), -100)], 1)
    for ways in (captured, on_a_device):
        ((_, facts),) = ways(logits(1, T + 4), labels, shift=shift, inputs=x, attention_mask=attended)
        assert (facts.crossing, facts.padding) == (3, 0)
        with_global = torch.ones(T + 4).long()
        with_global[0] = 2
        ((_, facts),) = ways(logits(1, T + 4), labels, shift=shift, inputs=x, attention_mask=with_global)
        assert facts.crossing is None


def test_positions_that_are_all_0_say_nothing() -> None:
    """They fill an argument that a model does not use: no row consists of documents of one token each."""
    x = ids(1, T)
    for ways in (captured, on_a_device):
        ((_, facts),) = ways(logits(1, T), x, shift=1, inputs=x, position_ids=torch.zeros(1, T).long())
        assert facts.crossing is None


def test_padding_with_positions_of_its_own_is_padding_and_no_document() -> None:
    """Generation's position ids are 1 at padding: its labels, and the one after it, are counted once, as padding."""
    x, attended = ids(2, 12), torch.ones(2, 12).long()
    attended[0, :4] = attended[1, 9:] = 0
    places = (attended.cumsum(-1) - 1).masked_fill(attended == 0, 1)
    for ways in (captured, on_a_device):
        (_, left), (_, right) = ways(
            logits(2, 12), x, shift=1, inputs=x, attention_mask=attended, position_ids=places
        )  # fmt: skip
        assert (left.crossing, left.padding, left.from_padding) == (0, 3, 1)
        assert (right.crossing, right.padding, right.from_padding) == (0, 3, 0)


def test_labels_that_are_ignored_where_a_document_begins_cross_nothing() -> None:
    """TRL's packing ignores the first token of each document: no label crosses."""
    inputs, places = ids(1, T), packed_places()
    labels = inputs.masked_fill(places == 0, -100)
    ((_, facts),) = captured(logits(1, T), labels, shift=1, inputs=inputs, position_ids=places)
    assert facts.crossing == 0


def test_a_row_that_reads_an_end_token_crosses_nothing() -> None:
    """Predicting what begins after an end is harmless."""
    inputs, places = ids(1, T), packed_places()
    inputs[0, :-1][places[1:] == 0] = 2
    ((_, facts),) = captured(
        logits(1, T), inputs, shift=1, inputs=inputs, position_ids=places, specials=SpecialTokens(eos=(2,))
    )
    assert facts.crossing == 0


def test_a_jump_ahead_has_no_neighbour_and_crosses_only_where_attention_is_contiguous() -> None:
    """Context parallelism's zigzag and PoSE jump ahead within a document; with cumulative lengths that is a fault."""
    places = torch.cat([torch.arange(10), torch.arange(100, 114)])
    inputs = ids(1, T)
    ((_, facts),) = captured(logits(1, T), inputs, shift=1, inputs=inputs, position_ids=places)
    assert facts.crossing == 0
    assert facts.compared is not None
    assert facts.compared[1] == T - 2
    ((_, facts),) = captured(
        logits(1, T), inputs, shift=1, inputs=inputs, position_ids=places, document_ids=torch.tensor([0, T])
    )
    assert facts.crossing == 1


def test_padding_is_known_by_the_attention_mask() -> None:
    """Labels at padding are counted, on either side, and the label after it, whose row reads padding."""
    inputs, attended = ids(2, 12), torch.ones(2, 12).long()
    attended[0, :4] = 0
    attended[1, 9:] = 0
    for ways in (captured, on_a_device):
        (_, left), (_, right) = ways(logits(2, 12), inputs, shift=1, inputs=inputs, attention_mask=attended)
        assert (left.padding, left.from_padding) == (3, 1)
        assert (right.padding, right.from_padding) == (3, 0)
    masked = inputs.masked_fill(attended == 0, -100)
    (_, left), (_, right) = captured(logits(2, 12), masked, shift=1, inputs=inputs, attention_mask=attended)
    assert (left.padding, left.from_padding) == (0, 1)
    assert (right.padding, right.from_padding) == (0, 0)


@pytest.mark.parametrize("wrong", [-1, 90, 9999])
def test_a_label_without_a_logit_is_neither_padding_nor_crosses_a_boundary(wrong: int) -> None:
    """Labels masked with -1 are out of range, which has a finding of its own."""
    x = ids(1, T)
    attended = torch.ones(1, T, dtype=torch.long)
    attended[:, -6:] = 0
    labels = torch.where(attended == 0, wrong, x)
    labels[:, [5, 14, 16]] = wrong
    how: dict[str, Any] = {"attention_mask": attended, "document_ids": packed_ids()[None], "shift": 1, "inputs": x}
    for found in (captured, on_a_device):
        ((_, facts),) = found(logits(1, T), labels, **how)
        assert (facts.padding, facts.crossing) == (0, 0)
        assert facts.out_of_range == 9
    ((_, facts),) = captured(logits(1, T), x, **how)
    assert (facts.padding, facts.crossing) == (6, 3)


def test_labels_flattened_beside_inputs_that_are_not_are_read_as_the_inputs_samples() -> None:
    """Flat logits and labels are as many samples as the inputs have rows."""
    inputs = ids(3, 8)
    labels = torch.cat([inputs[:, 1:], torch.full((3, 1), -100)], 1)
    found = captured(logits(24), labels.flatten(), inputs=inputs)
    expected = captured(logits(24).view(3, 8, 90), labels, inputs=inputs)
    assert [fields for fields, _ in found] == [fields for fields, _ in expected]
