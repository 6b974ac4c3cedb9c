"""Every layout of a pair becomes the same canonical views, and what does not fit is reported in words."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from predlog.capture.layout import canonical
from predlog.capture.tensors import as_tensor
from predlog.errors import PairError

B, T, K, V = 2, 5, 3, 7
LOGITS = torch.randn(B, K, T, V)
LABELS = torch.randint(V, (B, K, T))

LAYOUTS: dict[str, tuple[Tensor, Tensor]] = {
    "b k t v, b k t": (LOGITS, LABELS),
    "b t k v, b t k": (LOGITS.transpose(1, 2), LABELS.transpose(1, 2)),
    "(b k) t v, b t k": (LOGITS.flatten(0, 1), LABELS.transpose(1, 2)),
    "(b k) t v, b k t": (LOGITS.flatten(0, 1), LABELS),
    "b t (k v), b t k": (LOGITS.transpose(1, 2).flatten(2, 3), LABELS.transpose(1, 2)),
    "b v t k, b k t": (LOGITS.permute(0, 3, 2, 1), LABELS),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("contiguous", [True, False])
def test_every_layout_gives_the_same_views(layout: str, contiguous: bool) -> None:
    """Whatever the layout, logits come out as [b, k, t, v] and labels as [b, k, t]."""
    logits, labels = LAYOUTS[layout]
    if contiguous:
        logits, labels = logits.contiguous(), labels.contiguous()
    pair = canonical(logits, labels, labels, layout)
    assert torch.equal(pair.logits, LOGITS)
    assert torch.equal(pair.labels, LABELS)
    assert pair.inputs is not None
    assert torch.equal(pair.inputs, LABELS)
    assert pair.has_codebooks


@pytest.mark.parametrize(
    ("layout", "logits", "labels"),
    [
        (None, LOGITS[:, 0], LABELS[:, 0]),
        ("b t v, b t", LOGITS[:, 0], LABELS[:, 0]),
        ("b v t, b t", LOGITS[:, 0].transpose(1, 2), LABELS[:, 0]),
        ("t b v, b t", LOGITS[:, 0].transpose(0, 1), LABELS[:, 0]),
        ("(b t) v, b t", LOGITS[:, 0].reshape(B * T, V), LABELS[:, 0]),
    ],
)
def test_pairs_without_codebooks(layout: str | None, logits: Tensor, labels: Tensor) -> None:
    """Without codebooks there is one, and the pair says that it is none."""
    pair = canonical(logits, labels, None, layout)
    assert torch.equal(pair.logits, LOGITS[:, :1])
    assert torch.equal(pair.labels, LABELS[:, :1])
    assert not pair.has_codebooks


@pytest.mark.parametrize("layout", [None, "t v, t"])
def test_a_single_sequence(layout: str | None) -> None:
    """Two axes and one are one sample."""
    pair = canonical(LOGITS[0, 0], LABELS[0, 0], None, layout)
    assert pair.logits.shape == (1, 1, T, V)
    assert pair.labels.shape == (1, 1, T)


def test_codebooks_before_time() -> None:
    """A single sequence of codebooks, as audio models have it."""
    pair = canonical(LOGITS[0].transpose(0, 1), LABELS[0], None, "t k v, k t")
    assert torch.equal(pair.logits, LOGITS[:1])
    assert torch.equal(pair.labels, LABELS[:1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_never_copy(layout: str) -> None:
    """A canonical view lies in the memory of what was handed, so nothing is read or allocated."""
    logits, labels = (side.contiguous() for side in LAYOUTS[layout])
    pair = canonical(logits, labels, None, layout)
    assert pair.logits.untyped_storage().data_ptr() == logits.untyped_storage().data_ptr()
    assert pair.labels.untyped_storage().data_ptr() == labels.untyped_storage().data_ptr()


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ("b t v", "not a pair of patterns"),
        ("b t v, b t, b", "not a pair of patterns"),
        ("b t x, b t", "may hold each of the axes"),
        ("b t t v, b t", "may hold each of the axes"),
        ("b t v, b t v", "the labels need t"),
        ("b t v, b", "the labels need t"),
        ("b t v, b t k", "need the labels' axes"),
        ("b t k v, b t", "need the labels' axes"),
        ("b t v, (b t)", "without parentheses"),
        (7, "not a pair of patterns"),
    ],
)
def test_a_senseless_layout_is_explained(layout: str, says: str) -> None:
    """The message repeats the layout and says what is wrong with it."""
    with pytest.raises(PairError, match="layout") as raised:
        canonical(LOGITS[:, 0], LABELS[:, 0], None, layout)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("logits", "labels", "layout"),
    [
        ((2, 5, 7), (2, 4), None),
        ((2, 5, 7), (3, 5), None),
        ((2, 5, 7), (2, 5, 1), None),
        ((2, 3, 5, 7), (2, 3, 5), None),
        ((7, 5, 7), (2, 5, 3), "(b k) t v, b t k"),
        ((2, 5, 8), (2, 5, 3), "b t (k v), b t k"),
        ((2, 5, 7), (2, 5), "b t k v, b t k"),
    ],
)
def test_a_pair_that_does_not_fit_shows_both_shapes(
    logits: tuple[int, ...], labels: tuple[int, ...], layout: str | None
) -> None:
    """The message has the shapes, and for an open layout examples of one."""
    with pytest.raises(PairError) as raised:
        canonical(torch.zeros(logits), torch.zeros(labels), None, layout)
    assert str(list(logits)) in str(raised.value)
    assert str(list(labels)) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_inputs_have_the_labels_shape() -> None:
    """Inputs of another shape are refused with both shapes."""
    with pytest.raises(PairError, match=r"inputs \[2, 4\].*labels \[2, 5\]"):
        canonical(torch.zeros(2, 5, 7), torch.zeros(2, 5), torch.zeros(2, 4), None)


@given(st.text(alphabet="btkvx ,()", max_size=16))
def test_any_text_is_a_layout_or_explained(layout: str) -> None:
    """No string does anything but fit or raise PairError."""
    try:
        pair = canonical(LOGITS[:, 0], LABELS[:, 0], None, layout)
    except PairError:
        return
    assert pair.logits.ndim == 4


def test_tensor_subclasses_with_a_dispatch_of_their_own_are_refused() -> None:
    """Reading a distributed or fake tensor could issue a collective, so it is refused by name."""

    class Fancy(Tensor):
        @classmethod
        def __torch_dispatch__(cls, func: object, types: object, args: object = (), kwargs: object = None) -> object:  # type: ignore[override]
            raise AssertionError("read")

    with pytest.raises(PairError, match="logits are a Fancy"):
        as_tensor("logits", torch.zeros(2).as_subclass(Fancy))


def test_parameters_and_plain_subclasses_are_read() -> None:
    """A subclass that only carries a name is a tensor like any other."""

    class Named(Tensor):
        pass

    named = torch.zeros(2).as_subclass(Named)
    assert as_tensor("logits", named) is named
    assert as_tensor("logits", torch.nn.Parameter(torch.zeros(2))).shape == (2,)


@pytest.mark.parametrize(
    ("shapes", "shift", "code", "says"),
    [
        (((4, 1, 512), (4, 1)), 1, "length-mismatch", "at shift=1 no row has a label"),
        (((4, 20, 512), (4, 20)), -1, "length-mismatch", "0 or more"),
        (((4, 19, 512), (4, 20)), 0, "length-mismatch", "if the last row were cut off, pass shift=1"),
        (((4, 18, 512), (4, 20)), 1, "length-mismatch", "pass the labels of the last 18 positions"),
        (((4, 21, 512), (4, 20)), 0, "length-mismatch", "cut the last row off the logits"),
        (((4, 200, 30), (4, 12)), 0, "length-mismatch", "as for a CTC loss"),
        (((200, 4, 30), (4, 12)), 0, "length-mismatch", "as for a CTC loss"),
        (((48, 4, 512), (4, 48)), 0, "layout-mismatch", "layout='t b v, b t' would fit"),
        (((4, 512, 48), (4, 48)), 0, "layout-mismatch", "layout='b v t, b t' would fit"),
        (((4, 48, 512), (192,)), 0, "layout-mismatch", "labels.view(4, 48)"),
        (((2, 48, 512), (4, 48)), 0, "layout-mismatch", "not of the same samples: 2 against 4"),
        (((0, 8, 1026), (0, 8)), 0, "empty-pair", "hold nothing to compare"),
    ],
)
def test_a_pair_that_does_not_fit_says_what_would(shapes: Any, shift: int, code: str, says: str) -> None:
    """A refusal has the code of its finding, both shapes, and the fix."""
    logits, labels = shapes
    with pytest.raises(PairError) as refused:
        canonical(torch.zeros(logits), torch.zeros(labels, dtype=torch.long), None, None, shift)
    assert refused.value.code == code
    assert str(list(logits)) in str(refused.value)
    assert str(list(labels)) in str(refused.value)
    assert says in str(refused.value)
