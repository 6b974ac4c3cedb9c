"""Begins and ends of texts in whole pairs: what is named, what stays open, and what is healthy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import predlog
from predlog import Recorder
from predlog.findings.special_tokens import special_tokens

PAD, BOS, EOS, TURN, LINE = 0, 1, 2, 3, 4
SPECIAL = {"pad": PAD, "bos": BOS, "eos": EOS}
LENGTH = 64


def codes(pairs: Iterator[dict[str, Any]], special: Any = None, folder: Path | None = None) -> list[str]:
    """Record pairs, one a step, and return the codes that are open at the end."""
    with Recorder(folder, every=1, console=False, special_tokens=special, sinks=[lambda _l, _n, event: event]) as made:
        for step, pair in enumerate(pairs):
            labels = pair["labels"]
            made.compare(torch.randn(*labels.shape, 300), **pair, step=step)
        made.flush(60)
        return [one.code for one in made.findings]


def text(generator: torch.Generator, length: int) -> list[int]:
    return torch.randint(10, 300, (length,), generator=generator).tolist()


def between(generator: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high, (), generator=generator))


def rows(
    steps: int, *, end: tuple[int, ...] = (), pad: int = PAD, side: str = "right", masked_after: int = 0,
    prompt: tuple[int, int] = (6, 7), sides: tuple[str, ...] = ("inputs",), begin: tuple[int, ...] = (BOS,),
    between_both: tuple[int, ...] = (), answer: tuple[int, int] = (8, 40), length: int = LENGTH,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield batches of a prompt, which is masked, and an answer that ends as asked for, padded to a length."""
    generator = torch.Generator().manual_seed(5)
    for _ in range(steps):
        ids, labels, mask = [], [], []  # type: ignore[var-annotated]
        for _ in range(2):
            asked = [*begin, *text(generator, between(generator, *prompt))]
            own = [*between_both, *text(generator, between(generator, *answer)), *end][: length - len(asked)]
            padding = length - len(asked) - len(own)
            shown = [*own[: len(own) - masked_after], *[-100] * masked_after]
            parts = [[pad] * padding, [-100] * padding, [0] * padding]
            whole = [[*asked, *own], [*[-100] * len(asked), *shown], [1] * (len(asked) + len(own))]
            for to, left, right in zip((ids, labels, mask), parts, whole, strict=True):
                to.append([*left, *right] if side == "left" else [*right, *left])
        known = {"inputs": torch.tensor(ids)} if "inputs" in sides else {}
        if "mask" in sides:
            known["attention_mask"] = torch.tensor(mask)
        yield {"labels": torch.tensor(labels), "shift": 1, **known}


def answers(steps: int, share: float, *, cut: str = "prompt", pad: int = 0, mask: bool = False) -> Iterator[Any]:
    """Yield batches of which a share of the samples has a prompt that fills the row."""
    generator = torch.Generator().manual_seed(3)
    for step in range(steps):
        inputs = torch.randint(10, 300, (2, 70), generator=generator)
        labels = torch.full((2, 70), -100)
        for row in range(2):
            end = between(generator, 40, 67)
            if torch.rand((), generator=generator) >= share and step:
                labels[row, end - 12 : end] = inputs[row, end - 12 : end]
            elif cut == "prompt":
                continue
            inputs[row, end:] = pad
        attended = {"attention_mask": (inputs != pad).long()} if mask else {}
        yield {"labels": labels, "inputs": inputs, "shift": 1, **attended}


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_answers_that_were_cut_off_stay_open(tmp_path: Path, share: float, mask: bool) -> None:
    """As long as such samples keep coming nothing is gone, and the file has it open at its end."""
    found = codes(answers(64, share, mask=mask), folder=tmp_path)
    assert "answers-truncated" in found
    records = [one for one in predlog.read(tmp_path) if isinstance(one, predlog.Finding)]
    assert {one.code for one in records} == {"nothing-supervised", "answers-truncated"}
    assert [one.code for one in records if one.level == "info"] == []


def test_answers_that_are_no_longer_cut_off_are_gone(tmp_path: Path) -> None:
    """After 64 samples in a row with labels both findings are gone."""

    def pairs() -> Iterator[Any]:
        yield from answers(40, 0.6)
        for pair in answers(80, 0.0):
            if (pair["labels"] != -100).any():
                yield pair

    assert codes(pairs(), folder=tmp_path) == []
    gone = {one.code for one in predlog.read(tmp_path) if isinstance(one, predlog.Finding) and one.level == "info"}
    assert gone == {"nothing-supervised", "answers-truncated"}


def test_samples_without_labels_of_any_length_are_no_answers_cut_off() -> None:
    """Chats without an answer are as short as others."""
    assert "answers-truncated" not in codes(answers(64, 0.3, cut="anywhere"))


def test_a_few_answers_may_be_cut_off() -> None:
    """Less than a tenth of the samples is left alone, also over many records."""
    pairs = list(answers(150, 0.04))[1:]
    assert codes(iter(pairs)) == []


@pytest.mark.parametrize("sides", [("inputs",), ("mask",), ("inputs", "mask")])
@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_without_an_end_are_named(side: str, sides: tuple[str, ...]) -> None:
    """With inputs or with an attention mask, padded on either side."""
    assert codes(rows(12, side=side, sides=sides), SPECIAL) == ["end-missing"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_no_end_where_the_attention_mask_is_known(side: str) -> None:
    """Texts without an end, padded with the end token, have none; their mask is not to blame."""
    special = {**SPECIAL, "pad": EOS}
    assert codes(rows(12, pad=EOS, side=side, sides=("inputs", "mask")), special) == ["end-missing"]
    ended = rows(12, pad=EOS, side=side, sides=("inputs", "mask"), end=(EOS,), masked_after=1)
    assert codes(ended, special) == ["eos-never-supervised"]


def test_the_end_of_a_turn_that_the_mask_leaves_out_is_named() -> None:
    """A special token after the last label, which is no end token, is what the model does not learn to write."""
    with Recorder(every=1, console=False, special_tokens={**SPECIAL, "unk": TURN}, sinks=[lambda _l, _n, e: e]) as made:
        for step, pair in enumerate(rows(12, end=(TURN,), masked_after=1)):
            made.compare(torch.randn(*pair["labels"].shape, 300), **pair, step=step)
        made.flush(60)
        assert "end with special token 3" in made.findings[0].message
        assert "ends one token early" in made.findings[0].message


HEALTHY: dict[str, dict[str, Any]] = {
    "ended": {"end": (EOS,)},
    "ended, padded on the left": {"end": (EOS,), "side": "left"},
    "ended, then a line feed": {"end": (EOS, LINE)},
    "ended, then a line feed that is masked": {"end": (EOS, LINE), "masked_after": 1},
    "padded with the end token": {"end": (EOS,), "pad": EOS, "sides": ("inputs", "mask")},
    "a mark of ordinary tokens": {"end": (40, 41, 42)},
    "a mark of one token that nobody declared": {"end": (TURN,)},
    "cut to the row": {"answer": (80, 90)},
    "cut, and padded to a multiple of 8": {"answer": (50, 51), "length": 60},
    "answers of three tokens": {"answer": (3, 4)},
    "completions cut at a number of tokens": {"prompt": (4, 20), "answer": (16, 17)},
    "completions cut at a number of tokens, padded on the left": {
        "prompt": (4, 20),
        "answer": (16, 17),
        "side": "left",
        "sides": ("inputs", "mask"),
    },
    "no inputs and no mask": {"sides": ()},
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_ends_are_left_alone(name: str) -> None:
    """Whatever ends a text, or is no end: nothing is reported."""
    assert codes(rows(24, **HEALTHY[name]), SPECIAL) == []


def test_without_an_end_token_in_the_vocabulary_nothing_is_known() -> None:
    """A base model's tokenizer may have no special tokens."""
    assert codes(rows(24), None) == []
    assert codes(rows(24), {"text": {}}) == []


@pytest.mark.parametrize(
    ("stop", "end", "found"),
    [
        (EOS, (TURN, LINE), ["end-missing"]), ([EOS], (TURN,), ["end-missing"]), ([EOS, TURN], (TURN, LINE), []),
        (TURN, (TURN, LINE), []), (EOS, (TURN, LINE, EOS), []), (EOS, (40, 41), []),
    ],
)  # fmt: skip
def test_generation_must_stop_where_texts_end(stop: Any, end: tuple[int, ...], found: list[str]) -> None:
    """The ids at which generation stops are an int or a list; one of them among the last labels suffices."""
    special = {**SPECIAL, "eos": [EOS, TURN], "stop": stop}
    assert codes(rows(12, end=end), special) == found


def test_a_stop_is_special() -> None:
    """What generation stops at is a role of its own, which no tokenizer has."""
    made = special_tokens({"pad": 0, "stop": [7, 8]})
    assert (made.stop, made.every) == ((7, 8), frozenset({0, 7, 8}))
    assert made.stopping_at((9,)) is made
    assert special_tokens({"eos": 2}).stopping_at((9,)).stop == (9,)


def test_an_answer_that_begins_again_is_named() -> None:
    """Prompt and answer, each with the begin token; where the row does not begin with it, it may be meant."""
    assert codes(rows(4, end=(EOS,), between_both=(BOS,)), SPECIAL) == ["bos-inside"]
    assert codes(rows(4, end=(EOS,), between_both=(BOS,), side="left"), SPECIAL) == ["bos-inside"]
    assert codes(rows(9, end=(EOS,), between_both=(BOS,), begin=()), SPECIAL) == []
    assert codes(rows(9, end=(EOS,), between_both=(BOS,)), {"pad": PAD, "bos": BOS, "eos": [EOS, BOS]}) == []


def packed(steps: int, *, read: bool = False, begin: tuple[int, ...] = (), known: bool = False) -> Iterator[Any]:
    """Yield rows of packed texts whose labels, shifted already, end with the end token."""
    generator = torch.Generator().manual_seed(7)
    for _ in range(steps):
        inputs: list[int] = []
        labels: list[int] = []
        places: list[int] = []
        while len(inputs) < LENGTH:
            own = [*begin, *text(generator, between(generator, 8, 16)), *([EOS] if read else [])]
            inputs += own
            labels += [*own[1:], EOS if not read else -100]
            places += range(len(own))
        cut = [torch.tensor([one[:LENGTH]]) for one in (inputs, labels, places)]
        more: dict[str, Tensor] = {"position_ids": cut[2]} if known else {}
        yield {"inputs": cut[0], "labels": cut[1], **more}


def test_an_end_that_no_packed_row_reads_is_named() -> None:
    """Where nothing parts the texts that a row reads, it is a fault; a begin token or known positions part them."""
    assert codes(packed(6), SPECIAL) == ["end-only-in-labels"]
    assert codes(packed(12, read=True), SPECIAL) == []
    assert codes(packed(12, begin=(BOS,)), SPECIAL) == []
    assert codes(packed(12, begin=(17,)), SPECIAL) == []
    assert "end-only-in-labels" not in codes(packed(12, known=True), SPECIAL)
    assert codes(rows(12, end=(EOS,)), SPECIAL) == []
