"""Where the text of a row begins and ends, with an attention mask and without, on the CPU path and the device path."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from predlog.capture import device
from predlog.capture.capture import capture
from predlog.capture.pair import to_pair
from predlog.findings.facts import Text
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.snapshot import Snapshot
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window

WINDOW = Window(samples=4)
PAD, BOS, EOS = 0, 1, 2
KNOWN = SpecialTokens(pad=(PAD,), eos=(EOS,), bos=(BOS,), every=frozenset({PAD, BOS, EOS}))
ENDS_PAD = SpecialTokens(pad=(EOS,), eos=(EOS,), every=frozenset({EOS}))
ENDS = SpecialTokens(eos=(EOS,), every=frozenset({EOS}))
NOTHING = SpecialTokens()


def texts(
    labels: Tensor, inputs: Tensor | None = None, specials: SpecialTokens = NOTHING, shift: int = 1, **known: Any
) -> list[Text | None]:
    """Return the texts of a pair, which must be the same on the CPU path and the device path."""
    logits = torch.zeros(*labels.shape, 60)
    how: dict[str, Any] = {"shift": shift, "inputs": inputs, **known}
    snapshot = capture(logits, labels, window=WINDOW, specials=specials, **how)
    found = [facts.text for _, facts in unpack(snapshot)]
    pair = to_pair(logits, labels, layout=None, ignore_index=-100, product=None, **how)
    to = device.packing(pair, snapshot.sizes, WINDOW)
    packed = device.pack(pair, to, snapshot.sizes, WINDOW)
    there = Snapshot(snapshot.sizes, lambda: device.to_numbers(to.views(packed), snapshot.sizes, WINDOW))
    assert [facts.text for _, facts in unpack(there)] == found
    return found


def one(inputs: list[int], supervised: range, specials: SpecialTokens = NOTHING, **known: Any) -> Text:
    """Return the text of a row whose labels at `supervised` are the inputs there."""
    ids = torch.tensor([inputs])
    labels = torch.full_like(ids, -100)
    labels[0, supervised.start : supervised.stop] = ids[0, supervised.start : supervised.stop]
    (text,) = texts(labels, ids, specials, **known)
    assert text is not None
    return text


@pytest.mark.parametrize(
    ("inputs", "supervised", "specials", "span"),
    [
        ([5, 6, 7, 8, 9, 9, 9], range(2, 4), NOTHING, (0, 4)),  # three of any id without a label are padding
        ([5, 6, 7, 8, 4, 9, 9], range(2, 4), NOTHING, (0, 7)),  # two are not
        ([5, 6, 7, 8, 9, 9, 9], range(2, 6), NOTHING, (0, 7)),  # nor is what has labels
        ([5, 6, 7, 8, 9, 9, 9, 9, 9], range(2, 6), NOTHING, (0, 6)),
        ([9, 9, 9, 5, 6, 7, 8], range(5, 7), NOTHING, (3, 7)),
        ([9, 9, 4, 5, 6, 7, 8], range(5, 7), NOTHING, (0, 7)),
        ([9, 9, 9, 5, 6, 7, 8], range(5, 7), KNOWN, (0, 7)),  # images: padding is known, and is another token
        ([5, 6, 7, 8, 9, 9, 9], range(2, 4), KNOWN, (0, 7)),
        ([5, 6, 7, EOS, EOS, EOS, EOS], range(2, 4), KNOWN, (0, 4)),
        ([PAD, PAD, 4, 5, 6, 7, 8], range(5, 7), KNOWN, (2, 7)),
        ([PAD, 4, 5, 6, 7, 8], range(4, 6), KNOWN, (0, 6)),  # what a decoder begins with
        ([5, 6, 7, 8, PAD], range(2, 4), KNOWN, (0, 4)),
        ([5, 6, 7, EOS, PAD], range(2, 4), KNOWN, (0, 4)),
        ([5, 6, 7, EOS, EOS, EOS, EOS], range(2, 4), ENDS_PAD, (0, 4)),
        ([5, 6, 7, EOS, EOS, EOS, EOS], range(2, 3), ENDS_PAD, (0, 4)),  # the first may end the text
        ([5, 6, 7, EOS, EOS, EOS, EOS], range(2, 4), ENDS, (0, 4)),
        ([EOS, EOS, EOS, 5, 6, 7, EOS], range(5, 7), ENDS_PAD, (3, 7)),
        ([5, 6, 7, 8, EOS], range(2, 5), ENDS_PAD, (0, 5)),
        ([7] * 6, range(2, 6), NOTHING, (0, 6)),
        ([7, 7], range(1), KNOWN, (0, 2)),
    ],
)  # fmt: skip
def test_padding_is_recognised_from_a_run(
    inputs: list[int], supervised: range, specials: SpecialTokens, span: tuple[int, int]
) -> None:
    """A run of one input at an end of the row is padding if it is known to pad, or if it is long and has no label."""
    text = one(inputs, supervised, specials)
    assert (text.begin, text.end) == span


def test_an_attention_mask_is_believed() -> None:
    """With a mask nothing is guessed, and no inputs are needed."""
    labels = torch.full((3, 6), -100)
    labels[:, 3] = 7
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    found = texts(labels, torch.full((3, 6), 9), attention_mask=mask)
    assert [(text.begin, text.end, text.used) for text in found if text] == [(0, 4, 4), (2, 6, 4), (0, 0, 0)]
    assert [text.used for text in texts(labels, attention_mask=mask) if text] == [4, 4, 0]


def test_without_inputs_and_mask_nothing_is_known_of_padding() -> None:
    """Labels alone do not tell where a text ends: what follows may be masked."""
    (text,) = texts(torch.tensor([[-100, 4, 5, -100]]))
    assert text == Text(0, -1, 1, 2, -1, 4, 0, -1, (-1, -1), -1, (4, 5))
    assert text.used == -1


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_labels_have_the_position_of_the_input_that_they_are(shift: int) -> None:
    """The first and the last label are counted as inputs, also of labels that were shifted before."""
    ids = torch.arange(3, 13)[None]
    labels = ids.roll(-1, 1) if shift == 0 else ids.clone()
    labels[:, : 3 - (shift == 0)] = -100
    labels[:, 8:] = -100
    (text,) = texts(labels, ids, shift=shift)
    assert text is not None
    assert (text.first, text.last) == (3, 8 if shift == 0 else 7)
    assert (text.head, text.opening) == (6, 3)
    assert text.tail == tuple(ids[0, text.last - 2 : text.last + 1].tolist())


def test_the_last_labels_are_those_that_follow_one_another() -> None:
    """A label further up does not belong to the end of the text."""
    ids = torch.arange(3, 12)[None]
    labels = ids.clone()
    labels[:, 6] = -100
    assert [text.tail for text in texts(labels, ids) if text] == [(10, 11)]
    labels[:, 1:] = -100
    assert [text.tail for text in texts(labels, ids) if text] == [()]


def test_ends_inside_a_row_and_what_follows_them() -> None:
    """Labels that end a text before the last, whether an input does, and the extremes of the inputs after them."""
    ids = torch.tensor([[5, 6, 7, 20, 8, 9, 30, 4]])
    labels = torch.tensor([[6, 7, EOS, 8, 9, EOS, 4, EOS]])
    (text,) = texts(labels, ids, ENDS, shift=0)
    assert text is not None
    assert (text.inner, text.ended, text.after) == (2, 0, (20, 30))
    (text,) = texts(labels, torch.where(ids == 8, EOS, ids), ENDS, shift=0)
    assert text is not None
    assert text.ended > 0
    (text,) = texts(labels, ids, NOTHING, shift=0)
    assert text is not None
    assert (text.inner, text.ended) == (0, -1)
    (text,) = texts(labels * 256, ids * 256, SpecialTokens(eos=(EOS * 256,)), shift=0)  # of ids whose bytes overlap
    assert text is not None
    assert (text.inner, text.after) == (2, (20 * 256, 30 * 256))


def test_documents_are_counted() -> None:
    """If positions are known, so is how many texts a row has."""
    ids = torch.arange(3, 12)[None]
    (text,) = texts(ids, ids, position_ids=torch.tensor([[0, 1, 2, 0, 1, 0, 1, 2, 3]]))
    assert text is not None
    assert text.documents == 3
    (text,) = texts(ids, ids, document_ids=torch.tensor([0, 4, 9]))
    assert text is not None
    assert text.documents == 2


def test_a_classifier_has_rows_of_one_label() -> None:
    """One position is a text as well."""
    (text,) = texts(torch.tensor([[3]]), torch.tensor([[5]]), KNOWN, shift=0)
    assert text is not None
    assert (text.begin, text.end, text.tail) == (0, 1, (3,))


def test_codebooks_have_no_text() -> None:
    """A delay pattern has other begins and ends."""
    codes = torch.randint(0, 60, (2, 4, 9))
    snapshot = capture(torch.zeros(2, 4, 9, 60), codes, window=WINDOW, layout="b k t v, b k t", inputs=codes)
    assert {facts.text for _, facts in unpack(snapshot)} == {None}


@given(
    rows=st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=3),
    ignored=st.integers(0, 2**18), shift=st.integers(0, 2),
    specials=st.sampled_from([NOTHING, KNOWN, ENDS, ENDS_PAD]),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_any_rows(rows: list[list[int]], ignored: int, shift: int, specials: SpecialTokens) -> None:
    """Whatever the ids: what has a label is never padding, unless it is known to pad, and both paths agree."""
    ids = torch.tensor(rows)
    hidden = torch.tensor([ignored >> at & 1 for at in range(ids.numel())]).view(ids.shape).bool()
    labels = ids.masked_fill(hidden, -100)
    found = texts(labels, ids, specials, shift)
    for text, row in zip(found, labels, strict=True):
        assert text is not None
        assert 0 <= text.begin < text.end <= ids.shape[1]
        assert text.tail == () or text.tail[-1] == row[row != -100][-1]
        if text.last >= 0 and shift:
            assert text.begin <= text.first <= text.last < text.end
