"""Rules about masks speak where a mask is wrong, on every device, and not where it only looks so."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from predlog.capture import device
from predlog.capture.capture import capture
from predlog.capture.pair import to_pair
from predlog.capture.snapshot import Snapshot
from predlog.capture.unpack import unpack
from predlog.capture.window import Window
from predlog.findings import catalog
from predlog.findings.evidence import PROMPT_AFTER, PROMPT_AT, PROMPT_BEFORE, Evidence, Facts
from predlog.findings.judge import Judge
from predlog.findings.rule import Fault, Past, Verdict
from predlog.findings.special_tokens import SpecialTokens, of_tokenizer
from tests.cases import material
from tests.events import evidence, facts, shown

VOCABULARY = 90
PAD, BOS, EOS, IMAGE, HEADER, ROLE, NEWLINE = range(7)
SPECIALS = SpecialTokens(
    (PAD,), (EOS,), (BOS,), frozenset({PAD, BOS, EOS, IMAGE, HEADER}), VOCABULARY, prompt=(HEADER, ROLE, NEWLINE)
)
PAD_IS_EOS = SpecialTokens((EOS,), (EOS,), (BOS,), frozenset({BOS, EOS}), VOCABULARY)
ONE_FOR_ALL = SpecialTokens((EOS,), (EOS,), (EOS,), frozenset({EOS}), VOCABULARY)
NONE = SpecialTokens()
IGNORED = -100
Pair = dict[str, Any]
Way = Callable[..., list[Facts]]


def captured(labels: Tensor, **how: Any) -> list[Facts]:
    rows = torch.zeros(*labels.shape, VOCABULARY)
    return [one for _, one in unpack(capture(rows, labels, window=Window(), **how))]


def on_a_device(labels: Tensor, **how: Any) -> list[Facts]:
    """Capture as on a device, with the operations that never wait."""
    rows = torch.zeros(*labels.shape, VOCABULARY)
    sizes = capture(rows, labels, window=Window(), **how).sizes
    given = {name: value for name, value in how.items() if name not in {"specials", "declared", "inputs", "shift"}}
    pair = to_pair(
        rows, labels, how.get("inputs"), layout=None, shift=how.get("shift", 0), ignore_index=IGNORED, product=None,
        **given,
    )  # fmt: skip
    to = device.packing(pair, sizes, Window())
    packed = device.pack(pair, to, sizes, Window())
    numbers = Snapshot(sizes, lambda: device.to_numbers(to.views(packed), sizes, Window()))
    return [one for _, one in unpack(numbers)]


def found(make: Callable[[int], Pair], records: int = 12, way: Way = captured) -> set[str]:
    """Return the codes found in so many records of two samples."""
    judge = Judge()
    codes = set()
    for step in range(records):
        pair = make(step)
        judge.judge(step, "text", way(**pair), is_trained=True, declared=pair.get("declared", frozenset()))
        codes |= {one.code for one in judge.open}
    return codes


def text(step: int, *shape: int) -> Tensor:
    return torch.randint(10, VOCABULARY, shape, generator=torch.Generator().manual_seed(step))


def next_token(ids: Tensor, labels: Tensor, specials: SpecialTokens = SPECIALS, **more: Any) -> Pair:
    return {"labels": labels, "inputs": ids, "shift": 1, "specials": specials, **more}


def before_shifted(pair: Pair) -> Pair:
    """Return a pair whose labels were shifted before, as predlog gets it from a loss that does not shift."""
    places = {"position_ids": pair["position_ids"][:-1]} if "position_ids" in pair else {}
    return {**pair, "labels": pair["labels"][:, 1:], "inputs": pair["inputs"][:, :-1], "shift": 0, **places}


def lengths(step: int) -> list[int]:
    return torch.randint(14, 30, (2,), generator=torch.Generator().manual_seed(step)).tolist()


# --- pairs --------------------------------------------------------------------------------------------------------
def padded(
    step: int, pad: int = PAD, *, masks: str = "mask", specials: SpecialTokens = SPECIALS, ends: int = 1
) -> Pair:
    """Return one text per row, with end tokens, whose padding is masked by the attention mask, by id, or not at all."""
    ids = text(step, 2, 36)
    ids[:, 0] = BOS
    is_padding = torch.zeros_like(ids, dtype=torch.bool)
    for row, n in enumerate(lengths(step)):
        ids[row, n : n + ends] = EOS
        ids[row, n + ends :] = pad
        is_padding[row, n + ends :] = True
    masked = {"mask": is_padding, "id": ids == pad, "none": torch.zeros_like(is_padding)}[masks]
    return next_token(ids, ids.masked_fill(masked, IGNORED), specials)


def packed(step: int, *, ends: Sequence[int] = (EOS,), masked: int | None = None, **more: Any) -> Pair:
    """Return rows cut from one stream of texts with these tokens between."""
    ids = text(step, 2, 48)
    for row in range(2):
        at = 3 + step % 5
        while at < 46:
            ids[row, at : at + len(ends)] = torch.tensor(ends)
            at += 11 + (7 * step + row) % 9
    labels = ids.clone() if masked is None else ids.masked_fill(ids == masked, IGNORED)
    return next_token(ids, labels, **more)


def answered(
    step: int, off: int = 0, end_off: int = 0, *, prefix: Sequence[int] = (), specials: Any = SPECIALS
) -> Pair:
    """Return a prompt, the template's begin of an answer, what is prefilled, and an answer that is supervised."""
    ids = text(step, 2, 40)
    labels = torch.full_like(ids, IGNORED)
    for row, n in enumerate(lengths(step)):
        begin = n - 6
        ids[row, begin : begin + 3 + len(prefix)] = torch.tensor([HEADER, ROLE, NEWLINE, *prefix])
        begin += 3 + len(prefix)
        ids[row, n + 8] = EOS
        ids[row, n + 9 :] = PAD
        labels[row, begin + off : n + 9 + end_off] = ids[row, begin + off : n + 9 + end_off]
    return next_token(ids, labels, specials)


def masked_diffusion(step: int) -> Pair:
    """Return aligned labels of masked positions, among them the end tokens that pad the row, as in LLaDA's SFT."""
    pair = padded(step, EOS, masks="none", specials=PAD_IS_EOS)
    ids = pair["inputs"]
    rate = torch.rand(2, 1, generator=torch.Generator().manual_seed(step))
    chosen = torch.rand(ids.shape, generator=torch.Generator().manual_seed(step + 999)) < rate
    return {
        "labels": ids.masked_fill(~chosen, IGNORED), "inputs": ids.masked_fill(chosen, 88), "specials": PAD_IS_EOS,
    }  # fmt: skip


def text_beside_sound(step: int, specials: SpecialTokens) -> Pair:
    """Return text along the time of a sound: a token fills the time between words, another ends it, as in Moshi."""
    ids = torch.full((2, 60), IMAGE)
    for row in range(2):
        at = 1
        while at < 54:
            ids[row, at] = HEADER
            ids[row, at + 1 : at + 3] = text(step + at, 2)
            at += 5 + (step + at + row) % 7
    return next_token(ids, ids.clone(), specials)


def with_images(step: int, many: int, *, masked: bool) -> Pair:
    ids = text(step, 2, 48)
    for row in range(2):
        at = 5 + step % 9 + row
        ids[row, at : at + many] = IMAGE
    return next_token(ids, ids.masked_fill(ids == IMAGE, IGNORED) if masked else ids.clone())


def by_id(step: int, token: int, specials: SpecialTokens = SPECIALS) -> Pair:
    """Return texts in which a token that is thought to be padding occurs, and is masked."""
    ids = text(step, 2, 48)
    ids[:, 0] = BOS
    for row in range(2):
        ids[row, [7 + step % 3, 19 + step % 5, 33 + row]] = token
    return next_token(ids, ids.masked_fill(ids == token, IGNORED), specials)


def documents(step: int, **more: Any) -> Pair:
    """Return packed documents whose first label is ignored, as where TRL masks `position_ids == 0`."""
    ids = text(step, 2, 48)
    ids[:, [0, 12 + step % 4, 30 + step % 3]] = more.pop("begin", 50)
    labels = ids.clone()
    labels[:, [0, 12 + step % 4, 30 + step % 3]] = IGNORED
    places = torch.cat([torch.arange(n) for n in (12 + step % 4, 18 + step % 3 - step % 4, 18 - step % 3)])
    return next_token(ids, labels, **({"position_ids": places} if more.pop("knows", False) else {}), **more)


def turns(step: int) -> Pair:
    """Return a dialogue that is supervised but for the token that names the speaker, which follows a newline."""
    ids = text(step, 2, 48)
    for at in (6, 17 + step % 3, 31 + step % 4):
        ids[:, at], ids[:, at + 1] = NEWLINE, 60
    labels = ids.clone()
    labels[:, 1:][(ids[:, :-1] == NEWLINE) & (ids[:, 1:] == 60)] = IGNORED
    return next_token(ids, labels)


def unknown(step: int, every: int, specials: SpecialTokens, **more: Any) -> Pair:
    ids = text(step, 2, 48)
    ids[:, ::every] = 7
    return next_token(ids, ids.clone(), specials, **more)


UNKNOWN = SpecialTokens((PAD,), (EOS,), (BOS,), frozenset({PAD, BOS, EOS, 7}), VOCABULARY, unk=(7,))
ASKED = {"declared": frozenset({"completion_only_loss"})}
FAULTS: dict[str, tuple[str, Callable[[int], Pair]]] = {
    "padded with the end token, not masked": (
        "special-run-supervised", partial(padded, pad=EOS, masks="none", specials=PAD_IS_EOS),
    ),
    "padded with the token for all, not masked": (
        "special-run-supervised", partial(padded, pad=EOS, masks="none", specials=ONE_FOR_ALL),
    ),
    "padded with a token of unknown role": (
        "special-run-supervised",
        partial(padded, masks="none", specials=SpecialTokens(every=frozenset({PAD, EOS}), size=VOCABULARY)),
    ),
    "end token doubled": ("special-run-supervised", partial(padded, ends=2)),
    "end token doubled between texts": ("special-run-supervised", partial(packed, ends=(EOS, EOS))),
    "image tokens not masked": ("special-run-supervised", partial(with_images, many=9, masked=False)),
    "a word is the padding": ("masked-by-id", partial(by_id, token=44)),
    "the end token is the padding, in packed rows": (
        "masked-by-id", partial(packed, masked=EOS, specials=PAD_IS_EOS),
    ),
    "the answer's first token masked": ("answer-mask-off", partial(answered, off=1)),
    "the prompt's last token supervised": ("answer-mask-off", partial(answered, off=-1)),
    "the mask moved by one": ("answer-mask-off", partial(answered, off=-1, end_off=-1)),
    "the mask ends one early": ("eos-never-supervised", partial(answered, end_off=-1)),
    "a mask was asked for": (
        "prompt-supervised", lambda step: {**answered(step), **padded(step), **ASKED},
    ),
    "another tokenizer": ("unknown-supervised", partial(unknown, every=12, specials=UNKNOWN)),
}  # fmt: skip
HEALTHY: dict[str, Callable[[int], Pair]] = {
    "padded, masked": padded,
    "padded with the end token, masked": partial(padded, pad=EOS, specials=PAD_IS_EOS),
    "packed": packed,
    "one token ends and begins": partial(packed, ends=(EOS, EOS), specials=ONE_FOR_ALL),
    "ends and begins": partial(packed, ends=(EOS, BOS)),
    "masked diffusion": masked_diffusion,
    "masked diffusion, inputs unknown": lambda step: {**masked_diffusion(step), "inputs": None},
    "masked diffusion, shifted, inputs unknown": lambda step: {**masked_diffusion(step), "inputs": None, "shift": 1},
    "text beside sound": partial(
        text_beside_sound, specials=SpecialTokens((IMAGE,), (EOS,), (BOS,), SPECIALS.every, unk=(HEADER,))
    ),
    "text beside sound, roles unknown": partial(
        text_beside_sound, specials=SpecialTokens(every=SPECIALS.every, size=VOCABULARY)
    ),
    "text beside sound, the filler ends": partial(
        text_beside_sound, specials=SpecialTokens((IMAGE,), (IMAGE,), (BOS,), SPECIALS.every)
    ),
    "image tokens masked": partial(with_images, many=9, masked=True),
    "one image token masked": partial(with_images, many=1, masked=True),
    "documents begin alike": documents,
    "documents begin alike, positions known": partial(documents, knows=True),
    "documents begin with the begin token": partial(documents, begin=BOS),
    "documents begin with what ends them": partial(documents, begin=EOS, specials=ONE_FOR_ALL),
    "names of speakers masked": turns,
    "answers": answered,
    "prefilled <think>": partial(answered, prefix=(70,)),
    "prefilled answers of two tokens": partial(answered, prefix=(70, 71)),
    "nobody asked for a mask": lambda step: {**padded(step), "declared": frozenset({"num_iterations=4"})},
    "a mask was asked for and is there": lambda step: {**answered(step), **ASKED},
    "few unknown": partial(unknown, every=24, specials=UNKNOWN),
    "unknown ends and pads": partial(
        unknown, every=12, specials=SpecialTokens((7,), (7,), (7,), frozenset({7}), VOCABULARY, unk=(7,))
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", [captured, on_a_device])
@pytest.mark.parametrize("name", FAULTS)
def test_a_mask_that_is_wrong_is_named(name: str, way: Way) -> None:
    """The code that fits is found and no other, whether the labels are shifted here or were before."""
    code, make = FAULTS[name]
    assert found(make, way=way) == {code}
    if way is captured:
        assert found(lambda step: before_shifted(make(step))) == {code}


@pytest.mark.parametrize("way", [captured, on_a_device])
@pytest.mark.parametrize("name", HEALTHY)
def test_a_mask_that_only_looks_wrong_is_left_alone(name: str, way: Way) -> None:
    """No finding, in 20 records of two samples."""
    make = HEALTHY[name]
    assert found(make, 20, way=way) == set()
    if way is captured and make(0).get("shift") and make(0)["inputs"] is not None:
        assert found(lambda step: before_shifted(make(step)), 20) == set()
