"""The ids around the first and the last label: in the order of the text, bounded, the same on every device."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from predlog.capture import device
from predlog.capture.capture import capture
from predlog.capture.pair import to_pair
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.snapshot import Snapshot
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window
from predlog.records.window import Excerpt

IGNORED = -100
NOTHING = SpecialTokens()


def excerpts(
    labels: Tensor, inputs: Tensor | None, shift: int, characters: int = 400, beyond: int = 0, **known: Any
) -> list[Excerpt | None]:
    """Return the excerpts of a pair, which must be the same on the CPU path and the device path."""
    logits = torch.zeros(*labels.shape, 60)
    how: dict[str, Any] = {"shift": shift, "inputs": inputs, **known}
    window = Window(samples=4, text=characters, beyond=beyond)
    snapshot = capture(logits, labels, window=window, specials=NOTHING, **how)
    found: list[Excerpt | None] = [fields["window"] for fields, _ in unpack(snapshot)]
    pair = to_pair(logits, labels, ignore_index=IGNORED, product=None, **{"layout": None, **how})
    to = device.packing(pair, snapshot.sizes, window)
    packed = device.pack(pair, to, snapshot.sizes, window)
    there = Snapshot(snapshot.sizes, lambda: device.to_numbers(to.views(packed), snapshot.sizes, window))
    assert [fields["window"] for fields, _ in unpack(there)] == found
    return found


def expected(labels: list[int], inputs: list[int] | None, shift: int, begin: int, end: int) -> list[tuple[int, bool]]:
    """Return the whole text, one place after the other: the label where there is one, or else the input."""
    lead = shift or 1
    of_place = {row + lead: labels[row + shift] for row in range(len(labels) - shift)}
    asked = {place: label for place, label in of_place.items() if label != IGNORED}
    if inputs is None:
        return [(asked[place], True) for place in sorted(asked)]
    text: list[tuple[int, bool]] = []
    for place in range(min([begin, *asked]), max([end, *(place + 1 for place in asked)])):
        if place in asked:
            text.append((asked[place], True))
            # Where labels end, what the model read in place of the last one.
            if place + 1 not in asked and place < end and inputs[place] != asked[place]:
                text.append((inputs[place], False))
        elif place < len(inputs):
            text.append((inputs[place], False))
    return text


@settings(max_examples=300)
@given(
    st.integers(1, 24).flatmap(
        lambda length: st.tuples(
            st.lists(st.sampled_from([IGNORED, IGNORED, 1, 2, 3, 4]), min_size=length, max_size=length),
            st.lists(st.integers(1, 4), min_size=length, max_size=length),
        )
    ),
    st.integers(0, 2),
    st.booleans(),
)
def test_the_text_is_that_of_labels_and_inputs(
    rows: tuple[list[int], list[int]], shift: int, knows_inputs: bool
) -> None:
    """Every place has its label, or else its input, whatever is masked and however far the labels are ahead."""
    labels, inputs = rows
    if len(labels) <= shift:
        return
    ids = torch.tensor([inputs]) if knows_inputs else None
    attended = torch.ones(1, len(labels), dtype=torch.int64)
    (found,) = excerpts(torch.tensor([labels]), ids, shift, attention_mask=attended)
    text = expected(labels, inputs if knows_inputs else None, shift, 0, len(labels))
    if found is None:
        assert text == []
        return
    assert [*zip(found.ids, map(bool, found.is_asked), strict=True)] == text
    asked = [place for place, (_, is_asked) in enumerate(text) if is_asked]
    assert (found.first, found.last) == ((asked[0], asked[-1] + 1) if asked else (len(text), len(text)))
    assert found.knows_inputs == knows_inputs
    if knows_inputs:
        assert not found.left_out
    else:
        # What was read, and is not known, is counted, but for what follows the last label.
        lead, off = shift or 1, (shift or 1) - shift
        places = [at + off for at, label in enumerate(labels) if label != IGNORED and at + off >= lead]
        assert sum(found.left_out.values()) == places[-1] + 1 - len(places) if places else not found.left_out


@given(st.integers(0, 3000), st.integers(2, 3000), st.integers(0, 700), st.integers(1, 40), st.integers(0, 20))
def test_a_long_text_is_cut_around_its_ends(prompt: int, answer: int, rest: int, characters: int, beyond: int) -> None:
    """So many ids are kept as characters may be shown, on each side of both ends; the others are counted."""
    length = prompt + answer + rest
    ids = torch.arange(1, length + 1)[None]
    labels = ids.clone()
    labels[:, :prompt] = labels[:, prompt + answer :] = IGNORED
    (found,) = excerpts(labels, ids, 1, characters, beyond, attention_mask=torch.ones_like(ids))
    assert found is not None
    most = characters + beyond
    first, last = max(prompt, 1), prompt + answer  # the very first token has no row
    places = {*range(max(first - most, 0), min(first + most, last)), *range(max(last - most, first), last)}
    places |= set(range(last, min(last + most, length)))
    assert found.ids == [place + 1 for place in sorted(places)]
    at = 0
    for place, one in enumerate(found.ids):
        at += found.left_out.get(place, 0)
        assert one == at + 1
        at += 1


def test_padding_is_no_part_of_the_text() -> None:
    """What the mask of the attention leaves out is neither before the prompt nor behind the answer."""
    ids = torch.tensor([[0, 0, 5, 6, 7, 8, 0, 0, 0]])
    labels = torch.tensor([[IGNORED] * 4 + [7, 8] + [IGNORED] * 3])
    (found,) = excerpts(labels, ids, 1, attention_mask=(ids > 0).long())
    assert found is not None
    assert (found.ids, found.first, found.last, found.left_out) == ([5, 6, 7, 8], 2, 4, {})


def test_codebooks_have_no_text() -> None:
    """Codes are no text, so nothing of them is kept."""
    labels = torch.randint(50, (2, 3, 8))
    assert excerpts(labels, None, 0, layout="b k t v, b k t") == [None] * 6


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    """Without a decoder no ids are copied."""
    assert excerpts(torch.randint(50, (2, 8)), None, 0, characters=0) == [None] * 2
