"""Faults that were reported: as each was written, it is named."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch users know

from predlog.capture import device
from predlog.capture.capture import capture
from predlog.capture.pair import to_pair
from predlog.findings.judge import Judge
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.snapshot import Snapshot
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window

WINDOW = Window()


def judged(judge: Judge, step: int, logits: Tensor, labels: Tensor, **how: object) -> list[str]:
    facts = [one for _, one in unpack(capture(logits, labels, window=WINDOW, **how))]  # type: ignore[arg-type]
    return [one.code for one in judge.judge(step, "audio", facts, is_trained=False)]


@pytest.mark.parametrize(("every", "by"), [(1, 20), (10, 100)])
def test_codebooks_that_are_copied_are_found_however_seldom_they_are_logged(every: int, by: int) -> None:
    """A model that was calm at one logged step, and then copies, has learnt to copy."""
    torch.manual_seed(0)
    judge = Judge()
    found = []
    for step in range(0, by, every):
        codes = torch.randint(0, 66, (8, 200))
        logits = min(12.0, 0.6 * step) * F.one_hot(codes.t(), 66).float() + 0.1 * torch.randn(200, 8, 66)
        found += judged(judge, step, logits, codes, layout="t k v, k t", shift=1, inputs=codes)
    assert set(found) == {"copying-inputs"}


def test_heads_that_are_off_by_one_codebook_are_found() -> None:
    """Predictions that fit another codebook are sure and wrong."""
    torch.manual_seed(0)
    judge = Judge()
    found = []
    for step in range(0, 700, 10):
        codes = torch.randint(0, 64, (60, 15))
        logits = 0.1 * torch.randn(60, 15, 64)
        logits[:, :-1] += min(8.0, 0.02 * step) * F.one_hot(codes[:, 1:], 64).float()
        found += judged(judge, step, logits, codes, layout="t k v, t k")
    assert set(found) == {"sure-and-wrong"}


def shifted_twice(length: int, end: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Return a pair of four samples whose labels end with a token that is no input, and its inputs."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(0, 64, (4, length), generator=generator)
    labels = torch.cat([ids[:, 2:], torch.full((4, 1), end), torch.full((4, 5), -100)], 1)
    logits = torch.randn(4, length + 4, 65, generator=generator)
    return logits, labels, torch.cat([ids, torch.zeros(4, 4, dtype=torch.int64)], 1)


@pytest.mark.parametrize("length", [12, 30, 45, 60])
@pytest.mark.parametrize("form", ["rows", "flat", "flat labels"])
def test_short_samples_that_are_shifted_twice_are_found(length: int, form: str) -> None:
    """An end token that stands only in the labels equals no input and proves nothing, in whatever form it comes."""
    logits, labels, inputs = shifted_twice(length)
    if form != "rows":
        logits, labels = logits.flatten(0, 1), labels.flatten()
    inputs = inputs.flatten() if form == "flat" else inputs
    snapshot = capture(logits, labels, inputs=inputs, window=WINDOW)
    assert snapshot.sizes.is_flat == (form == "flat")
    assert snapshot.sizes.samples == (1 if form == "flat" else 2)
    assert judged(Judge(), 0, logits, labels, inputs=inputs) == ["labels-shifted-twice"]


def test_an_end_token_that_is_no_input_is_not_compared_on_any_device() -> None:
    """The counts are the same on the CPU and elsewhere."""
    logits, labels, inputs = shifted_twice(30)
    pair = to_pair(logits, labels, inputs, layout=None, shift=0, ignore_index=-100, product=None)
    sizes = capture(logits, labels, inputs=inputs, window=WINDOW).sizes
    to = device.packing(pair, sizes, WINDOW)
    packed = device.pack(pair, to, sizes, WINDOW)
    for snapshot in (
        Snapshot(sizes, lambda: device.to_numbers(to.views(packed), sizes, WINDOW)),
        capture(logits, labels, inputs=inputs, window=WINDOW),
    ):
        for _, facts in unpack(snapshot):
            assert facts.equal is not None
            assert facts.compared is not None
            assert facts.lone is not None
            assert (facts.equal[2], facts.compared[2] - facts.lone[2]) == (28, 28)


@pytest.mark.parametrize("eos", [(), (64,)])
def test_what_is_left_out_is_only_an_end_token(eos: tuple[int, ...]) -> None:
    """Labels inside a text that are no input are compared, unless they are known to end one; so are several ids."""
    specials = SpecialTokens(eos=eos, every=frozenset(eos))
    logits, labels, inputs = shifted_twice(30)
    labels[:, 10] = 64

    def found(labels: Tensor) -> tuple[int, ...]:
        facts = [one for _, one in unpack(capture(logits, labels, inputs=inputs, window=WINDOW, specials=specials))]
        return tuple(
            one.compared[2] - one.equal[2] - (one.lone[2] if one.lone else 0)
            for one in facts
            if one.compared and one.equal
        )

    assert found(labels) == ((0, 0) if eos else (2, 2))
    labels[:, 10] = 63
    inputs[inputs == 63] = 1
    assert all(one >= 2 for one in found(labels))


@pytest.mark.parametrize("ignored", [True, False])
def test_how_many_labels_of_a_codebook_vary_is_counted(ignored: bool) -> None:
    """A codebook of one value has none that varies, also beside ignored labels; a text is not counted."""
    codes = torch.randint(0, 60, (2, 3, 20), generator=torch.Generator().manual_seed(1))
    codes[:, 1] = 7
    if ignored:
        codes[:, :, :4] = -100
    logits = torch.randn(2, 3, 20, 64)
    facts = [one for _, one in unpack(capture(logits, codes, layout="b k t v, b k t", window=WINDOW))]
    assert [bool(one.varied) for one in facts] == [True, False, True] * 2
    (text, _) = [one for _, one in unpack(capture(logits[:, 0], codes[:, 0], window=WINDOW))]
    assert text.varied is None
