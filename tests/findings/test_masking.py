"""Rules about masks speak where a mask is wrong, on every device, and not where it only looks so."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from torch import Tensor

from predlog.capture import device
from predlog.capture.capture import capture
from predlog.capture.pair import to_pair
from predlog.errors import PairError
from predlog.findings import catalog
from predlog.findings.evidence import PROMPT_AFTER, PROMPT_AT, PROMPT_BEFORE, Evidence
from predlog.findings.facts import Facts, Shown
from predlog.findings.judge import Judge
from predlog.findings.rule import Fault, Past
from predlog.findings.special_tokens import PerStream, SpecialTokens, of_tokenizer
from predlog.numbers.snapshot import Snapshot
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window
from tests.cases import material
from tests.events import evidence, facts

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
    return next_token(ids, labels, **({"position_ids": places} if more.pop("knows", False) else {}), **more)  # type: ignore[arg-type]


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


def unknown_runs(step: int) -> Pair:
    """Return texts in which two characters in a row are unknown to the tokenizer."""
    ids = text(step, 2, 48)
    ids[:, [9 + step % 7, 10 + step % 7]] = 7
    return next_token(ids, ids.clone(), UNKNOWN)


def left(step: int) -> Pair:
    """Return texts padded on the left, everything in them supervised but for their first token."""
    ids, labels = text(step, 2, 48), torch.full((2, 48), IGNORED)
    ids[:, -1] = EOS
    for row, n in enumerate(lengths(step)):
        ids[row, :n] = PAD
        labels[row, n + 1 :] = ids[row, n + 1 :]
    return next_token(ids, labels)


UNKNOWN = SpecialTokens((PAD,), (EOS,), (BOS,), frozenset({PAD, BOS, EOS, 7}), VOCABULARY, unk=(7,))
# Padding that is a word of the tokenizer; roles alone, without a tokenizer; the end of a turn, which was added.
WORD_PADS = SpecialTokens((44,), (EOS,), (BOS,), frozenset({44, BOS, EOS}), VOCABULARY, added=frozenset({BOS, EOS}))
ROLES = SpecialTokens((PAD,), (EOS,), (BOS,), frozenset({PAD, BOS, EOS}))
TURNS_END = SpecialTokens(
    (PAD,), (), (BOS,), frozenset({PAD, BOS}), VOCABULARY, prompt=SPECIALS.prompt, added=frozenset({EOS, HEADER})
)
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
    "a word is the padding, and declared so": ("masked-by-id", partial(by_id, token=44, specials=WORD_PADS)),
    "a word is the padding, roles alone": ("masked-by-id", partial(by_id, token=44, specials=ROLES)),
    "the answer's first token masked": ("answer-mask-off", partial(answered, off=1)),
    "the mask moved by one": ("answer-mask-off", partial(answered, off=-1, end_off=-1)),
    "the mask moved by one, a token was added that ends turns": (
        "answer-mask-off", partial(answered, off=-1, end_off=-1, specials=TURNS_END),
    ),
    "the mask moved by one, answers begin alike": (
        "answer-mask-off", partial(answered, off=-2, end_off=-1, prefix=(70,)),
    ),
    "a mask was asked for, padded on the left": ("prompt-supervised", lambda step: {**left(step), **ASKED}),
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
    "answers from the template's last token on": partial(answered, off=-1),
    "prefilled <think>": partial(answered, prefix=(70,)),
    "prefilled answers of two tokens": partial(answered, prefix=(70, 71)),
    "nobody asked for a mask": lambda step: {**padded(step), "declared": frozenset({"num_iterations=4"})},
    "a mask was asked for and is there": lambda step: {**answered(step), **ASKED},
    "one image token masked, roles alone": partial(by_id, token=IMAGE, specials=ROLES),
    "one image token masked, which the tokenizer lacks": partial(
        by_id, token=VOCABULARY - 1, specials=SpecialTokens((PAD,), (EOS,), (BOS,), ROLES.every, VOCABULARY - 1)
    ),
    "characters in a row are unknown": unknown_runs,
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


# Each row: the code, the evidence that just suffices, the evidence that just does not, and what went before.
def several(count: int, *others: Facts, **fields: Any) -> Evidence:
    return evidence(*[facts(**fields)] * count, *others)


def written(*labels: int) -> tuple[Shown, ...]:
    return tuple(Shown(at, label, label, None, -0.1, -0.1, (None, None, None)) for at, label in enumerate(labels))


RUN = {"special_run": (2, 2, 2, 1, 0, 1)}
PADDING = {"special_run": (2, 9, 9, 1, 9, 1)}
FEW = 4


def holed(token: int, count: int, after: int, labels: int = 0, others: int = 0, **fields: Any) -> Facts:
    return facts(holes=(token, count, labels, after, others), **fields)


def begun(where: int, first: int, **fields: Any) -> Facts:
    return facts(answer=(where, first), **fields)


def answers(where: int, count: int = 8, varied: int = 8, **fields: Any) -> Evidence:
    return evidence(*(begun(where, 40 + number % varied, **fields) for number in range(count)))


def asked(*samples: Facts, options: Sequence[str] = ("assistant_only_loss",)) -> Evidence:
    return evidence(*samples, declared=frozenset(options))


WHOLE = {"span": (0, 99), "supervised": 100}
UNK = SpecialTokens((0,), (2,), (1,), frozenset({0, 1, 2, 3}), unk=(3,))
ALSO = SpecialTokens((3,), (2,), (1,), frozenset({1, 2, 3}), unk=(3,))
THRESHOLDS: list[tuple[str, list[Evidence], list[Evidence], Past]] = [
    ("special-run-supervised", [several(4, **RUN)], [several(3, **RUN)], Past(0)),
    ("special-run-supervised", [several(8, *[facts()] * 8, **RUN)], [several(7, *[facts()] * 9, **RUN)], Past(0)),
    (
        "special-run-supervised",
        [several(4, *[facts()] * 12, **PADDING)],
        [several(4, *[facts()] * 13, **PADDING)],
        Past(0),
    ),
    (  # one token that ends and begins
        "special-run-supervised",
        [several(FEW, special_run=(2, 3, 3, 1, 0, 1), specials=ONE_FOR_ALL)],
        [several(FEW, special_run=(2, 2, 2, 1, 0, 1), specials=ONE_FOR_ALL)],
        Past(0),
    ),
    (  # two runs of several lengths, or three
        "special-run-supervised",
        [several(FEW, special_run=(2, 5, 2, 2, 0, 1))],
        [several(FEW, special_run=(2, 5, 2, 3, 0, 1))],
        Past(0),
    ),
    (  # all that the sample has
        "special-run-supervised",
        [several(FEW, special_run=(2, 99, 99, 1, 99, 1))],
        [several(FEW, special_run=(2, 100, 100, 1, 100, 1))],
        Past(0),
    ),
    ("special-run-supervised", [several(FEW, **PADDING)], [several(FEW, **PADDING, padding=8)], Past(0)),
    (  # labels that are not the next inputs
        "special-run-supervised",
        [several(FEW, **RUN, equal=(2, 98, 1))],
        [several(FEW, **RUN, equal=(2, 97, 1))],
        Past(0),
    ),
    (  # inputs unknown: long spans of labels are those of the next token
        "special-run-supervised",
        [several(FEW, special_run=(2, 2, 2, 1, 0, 12), equal=None)],
        [several(FEW, special_run=(2, 2, 2, 1, 0, 13), equal=None)],
        Past(0),
    ),
    (  # the same without a shift: enough samples, since a model that fills in what is masked may have long spans, too
        "special-run-supervised",
        [several(16, special_run=(2, 2, 2, 1, 0, 12), equal=None, shift=0)],
        [several(15, special_run=(2, 2, 2, 1, 0, 12), equal=None, shift=0)],
        Past(0),
    ),
    (  # a quarter of the other labels repeat the one before, or more do
        "special-run-supervised",
        [several(FEW, **RUN, tokens=written(5, 5, 6, 7, 8))],
        [several(FEW, **RUN, tokens=written(5, 5, 6, 6, 7))],
        Past(0),
    ),
    (
        "masked-by-id",
        [evidence(*(holed(44, 2, after) for after in (50, 51, 50, 52)))],
        [evidence(*(holed(44, 2, after) for after in (50, 51, 52)))],
        Past(0),
    ),
    (
        "masked-by-id",
        [evidence(*(holed(44, 2, after) for after in (50, 51, 50, 52)))],
        [evidence(*(holed(44, 2, after) for after in (50, 51, 50, 50)))],
        Past(0),
    ),
    (  # other ids at places like these
        "masked-by-id",
        [evidence(*(holed(44, 2, after, others=after % 2) for after in range(50, 54)))],
        [evidence(*(holed(44, 2, after, others=after > 50) for after in range(50, 54)))],
        Past(0),
    ),
    (
        "masked-by-id",
        [evidence(*(holed(44, 2, after) for after in range(50, 54)))],
        [evidence(*(holed(44, 2 - (after == 50), after) for after in range(50, 54)))],
        Past(0),
    ),
    (
        "masked-by-id",
        [evidence(*(holed(44, 2, after) for after in range(50, 54)))],
        [evidence(*(holed(44, 2, after, labels=after == 50) for after in range(50, 54)))],
        Past(0),
    ),
    *(  # the end token, but no other special one, nor one without a logit
        (
            "masked-by-id",
            [evidence(*(holed(2, 2, after) for after in range(50, 54)))],
            [evidence(*(holed(token, 2, after) for after in range(50, 54)))],
            Past(0),
        )
        for token in (0, 1, 512, -200)
    ),
    (  # tokens unknown: the id that padding has where nobody has said which
        "masked-by-id",
        [evidence(*(holed(0, 4, after, specials=NONE) for after in range(50, 54)))],
        [evidence(*(holed(9, 4, after, specials=NONE) for after in range(50, 54)))],
        Past(0),
    ),
    (
        "masked-by-id",
        [evidence(*(holed(40, 2, after, start=(9 if after > 51 else 40, 3)) for after in range(50, 54)))],
        [evidence(*(holed(40, 2, after, start=(9 if after > 52 else 40, 3)) for after in range(50, 54)))],
        Past(0),
    ),
    ("answer-mask-off", [answers(PROMPT_BEFORE)], [answers(PROMPT_AT)], Past(0)),
    ("answer-mask-off", [answers(PROMPT_BEFORE)], [answers(PROMPT_BEFORE, 7)], Past(0)),
    (
        "answer-mask-off",
        [answers(PROMPT_AFTER, eos=0, follower=2)],
        [evidence(*answers(PROMPT_AFTER, eos=0, follower=2).samples, begun(PROMPT_AFTER, 40, eos=1))],
        Past(0),
    ),
    (
        "answer-mask-off",
        [answers(PROMPT_AFTER, eos=0, follower=2)],
        [answers(PROMPT_AFTER, eos=0, follower=9)],
        Past(0),
    ),
    ("answer-mask-off", [answers(PROMPT_BEFORE, 8, 4)], [answers(PROMPT_BEFORE, 8, 3)], Past(0)),
    (
        "answer-mask-off",
        [evidence(*(begun(PROMPT_BEFORE, 40 + number) for number in range(9)), facts())],
        [evidence(*(begun(PROMPT_BEFORE, 40 + number) for number in range(8)), facts())],
        Past(0),
    ),
    (
        "answer-mask-off",
        [answers(PROMPT_BEFORE)],
        [evidence(*answers(PROMPT_BEFORE).samples, begun(PROMPT_AT, 40))],
        Past(0),
    ),
    ("prompt-supervised", [asked(*[facts(**WHOLE)] * 4)], [asked(*[facts(**WHOLE)] * 3)], Past(0)),  # type: ignore[arg-type]
    (
        "prompt-supervised",
        [asked(*[facts(**WHOLE)] * 4)],  # type: ignore[arg-type]
        [asked(*[facts(**WHOLE)] * 4, facts(span=(1, 99), supervised=99))],  # type: ignore[arg-type]
        Past(0),
    ),
    (
        "prompt-supervised",
        [asked(*[facts(span=(0, 99), supervised=90)] * 4)],
        [asked(*[facts(span=(0, 99), supervised=89)] * 4)],
        Past(0),
    ),
    (
        "prompt-supervised",
        [asked(*[facts(**WHOLE)] * 4, options=["prompt column"])],  # type: ignore[arg-type]
        [asked(*[facts(**WHOLE)] * 4, options=["num_iterations=2"])],  # type: ignore[arg-type]
        Past(0),
    ),
    ("unknown-supervised", [several(4, unk=5, specials=UNK)], [several(4, unk=4, specials=UNK)], Past(0)),
    ("unknown-supervised", [several(4, unk=50, specials=UNK)], [several(3, unk=50, specials=UNK)], Past(0)),
    ("unknown-supervised", [several(4, unk=50, specials=UNK)], [several(4, unk=50, specials=ALSO)], Past(0)),
    (
        "unknown-supervised",
        [several(4, unk=50, pad=5, specials=UNK)],
        [several(4, unk=50, pad=6, specials=UNK)],
        Past(0),
    ),
    (
        "unknown-supervised",
        [several(4, unk=4, supervised=64, specials=UNK)],
        [several(4, unk=4, supervised=63, specials=UNK)],
        Past(0),
    ),
]  # fmt: skip


def templated(template: str) -> tuple[str, ...]:
    tokenizer = material.tokenizer().__class__(tokenizer_object=material.tokenizer()._tokenizer, bos_token="<s>")
    tokenizer.chat_template = template
    known = of_tokenizer(tokenizer)
    assert known is not None
    return tuple(tokenizer.convert_ids_to_tokens(list(known.prompt)))


TURNS = "{% for one in messages %}<s>{{ one.role }}\n{{ one.content }}</s>\n{% endfor %}"
BEGIN = "{% if add_generation_prompt %}<s>assistant\n"


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (TURNS + BEGIN + "{% endif %}", "<s>assistantĊ"),
        (TURNS + BEGIN + "<think>\n{% endif %}", "<s>assistantĊ"),  # which an answer in a chat does not begin with
        (TURNS, "</s>Ċ<s>assistantĊ"),  # nothing is added to ask for an answer
        (TURNS + BEGIN + "{% else %}</s>{% endif %}", "</s>Ċ<s>assistantĊ"),  # a chat that asks for none is ended
        ("{% for one in messages %}{{ one.role[:1] }}:{{ one.content }}|{% endfor %}", "|a:"),
        ("{{ raise_exception('roles must alternate') }}", ""),
        (TURNS.replace("<s>", "{{ messages | length }}") + BEGIN + "{% endif %}", ""),
        (TURNS + "{% if add_generation_prompt %}" + "long " * 40 + "{% endif %}", ""),
    ],
)
def test_the_prompt_of_an_answer_is_that_of_the_chat_template(template: str, prompt: str) -> None:
    """What the template adds to ask for an answer and an answer begins with; nothing if that can't be found out."""
    assert "".join(templated(template)) == prompt


def test_what_is_unknown_to_a_plain_tokenizer_is_known() -> None:
    """Of the roles, a tokenizer of `tokenizers` has this one."""
    words = Tokenizer(WordLevel({"?": 0, "a": 1}, unk_token="?"))
    known = of_tokenizer(words)
    assert known is not None
    assert known.unk == (0,)
    assert of_tokenizer(Tokenizer(BPE())).unk == ()  # type: ignore[union-attr]


def test_nothing_supervised_names_the_causes_of_codebooks_and_completions() -> None:
    """Templates mask no codes and no completions; what does is named."""
    (rule,) = (rule for rule in catalog.RULES if rule.code == "nothing-supervised")

    def fix(declared: frozenset[str] = frozenset(), **fields: Any) -> str:
        verdict = rule.judge([evidence(*[facts(supervised=0, **fields)] * 2, declared=declared)], Past(0))
        assert isinstance(verdict, Fault)
        return f"{verdict.what}: {verdict.fix}"

    assert "template" in fix()
    for text_of, cause in (
        (fix(codebook=0), "delay"),
        (fix(is_weighed=True), "loss mask of 0"),
        (fix(is_weighed=True), "mask_truncated_completions"),
        (fix(frozenset({"generated completions"})), "mask_truncated_completions"),
    ):
        assert cause in text_of
        assert "template" not in text_of


@pytest.mark.parametrize(
    ("pad", "names", "does_not"),
    [((0,), "ends one token early", "masking the padding"), ((2,), "masking the padding masks it too", "Otherwise"),
     ((), "Otherwise the mask of the labels ends one token early", "is another")],
)  # fmt: skip
def test_a_mask_that_ends_one_early_is_told_from_one_by_id(pad: tuple[int, ...], names: str, does_not: str) -> None:
    """If the padding is another token, masking by id can't be the cause."""
    (rule,) = (rule for rule in catalog.RULES if rule.code == "eos-never-supervised")
    specials = SpecialTokens(pad, (2,), (1,), frozenset({1, 2, *pad}))
    verdict = rule.judge([several(16, eos=0, follower=2, specials=specials)], Past(0))
    assert isinstance(verdict, Fault)
    assert names in verdict.fix
    assert does_not not in verdict.fix


def test_updates_on_one_batch_are_no_fault_where_the_run_asks_for_them() -> None:
    """GRPO's inner iterations repeat a batch; what else a run declares silences nothing."""

    def codes(*declared: str) -> set[str]:
        return found(lambda _step: {**padded(0), "declared": frozenset(declared)})

    assert codes() == codes("num_generations=4") == {"same-batch"}
    assert codes("num_iterations=8") == codes("num_ppo_epochs=4", "x") == set()


def test_codes_are_ignored_per_stream() -> None:
    """A stream's own codes, by its name or the last part of it, and no other's; also refusals and the loss."""
    judge = Judge(PerStream(by_name={"audio": frozenset({"same-batch", "length-mismatch"}), "text": frozenset()}))
    for stream in ("audio", "eval/audio", "text", "other"):
        for step in range(6):
            judge.judge(step, stream, captured(**padded(0)), is_trained=True)
        judge.refuse(7, stream, "length-mismatch", "", {})
    assert {(one.stream, one.code) for one in judge.open} == {
        (stream, code) for stream in ("text", "other") for code in ("same-batch", "length-mismatch")
    }


def test_rows_that_placeholders_add_are_not_cut_off_as_a_prefix() -> None:
    """Where one image token becomes many rows inside the row, labels that are expanded likewise are asked for."""
    with pytest.raises(PairError) as raised:
        capture(torch.zeros(2, 604, VOCABULARY), text(0, 2, 29), window=Window(), shift=1)
    assert "placeholders inside the row" in str(raised.value)
    assert "cut" not in str(raised.value)
