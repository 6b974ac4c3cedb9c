"""Mistakes that people were seen to make, each in the real code of the models that can have it, and what names it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from predlog.findings.catalog import LOSS
from predlog.records.schema import Finding
from tests.cases import loops, material, packed
from tests.cases.loops import BOS, EOS, IGNORED, MASK, PAD, Batch, Change, Mistake, Pair, Setup
from tests.cases.material import CODES
from tests.cases.passed import EVERYTHING, Passed, Witness

CAUSAL = ("llama", "gpt2", "higgs")
DECODERS = ("t5", "whisper", "musicgen", "dia")
TEXT = ("llama", "gpt2", "t5", "whisper")
EVERY = tuple(loops.MODELS)
LONG = 100
# What a code is found by, beside logits and labels.
NEEDS = {
    "labels-are-inputs": ("inputs",), "labels-shifted-twice": ("inputs",), "bos-doubled": ("inputs",),
    "eos-never-supervised": ("inputs",), "copying-inputs": ("inputs",), "label-crosses-boundary": ("positions",),
    "answers-truncated": ("inputs",), "end-missing": ("inputs",), "end-only-in-labels": ("inputs",),
    "bos-inside": ("inputs",), "masked-by-id": ("inputs",), "answer-mask-off": ("inputs",),
    "prompt-supervised": ("inputs",), LOSS: ("positions",),
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A mistake, the code that must name it and no other, and the logged step by which it must be there.

    It can only be named where what it `needs` is passed; left out, that is what its code needs. With `differs`, the log
    shows another pair than the loss sees, so where the reported loss is known that names it, too. What `also` names is
    true as well, and so is `nothing-trained` where the mistake stops the learning.
    Any of the codes in `otherwise` names it, too. `records` are how many it takes once it is learnt. `setup` makes its
    model if it is none of `loops.MODELS`. With `prepared`, the model first learns that many steps without the mistake,
    from little data that it can learn by heart, and is not logged unless `watched`: it comes pretrained.
    """

    name: str
    code: str
    models: tuple[str, ...]
    mistake: Mistake
    by: int = 0
    prepared: int = 0
    little: bool = False
    watched: bool = False
    special_tokens: Any = None
    declared: frozenset[str] = frozenset()
    needs: tuple[str, ...] | None = None
    differs: bool = False
    also: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    records: int = 0
    setup: Callable[[], Setup] | None = None

    def can_be_named(self, passed: Passed) -> bool:
        """Whether what it needs is passed."""
        return passed.has(NEEDS.get(self.code, ()) if self.needs is None else self.needs)

    def steps(self, passed: Passed) -> int:
        """Return how many steps it may take: what must be learnt is a matter of steps, the rest one of records."""
        steps = self.by + 12 + self.records * (passed.every - 1)
        return steps if self.mistake.learns and self.by >= LONG else steps * passed.every

    def codes(self, passed: Passed) -> set[str]:
        """Return the codes that may name it."""
        return {self.code, *self.otherwise, *([LOSS] if self.differs and passed.positions else ())}

    def true_as_well(self) -> set[str]:
        """Return the codes that are true, but don't name it."""
        still = () if self.mistake.learns else ("nothing-trained",)
        return {*still, *self.also}

    def is_named(self, found: Collection[Finding], passed: Passed = EVERYTHING) -> bool:
        """Whether it is named, and nothing else is found but what is true as well."""
        codes, names = {one.code for one in found}, self.codes(passed)
        return bool(codes & names) and codes <= names | self.true_as_well()


def shifted_once_more(pair: Pair) -> Pair:
    labels = pair.labels.roll(-1, 1)
    labels[:, -1] = IGNORED
    return replace(pair, labels=labels)


def of_the_neighbour(pair: Pair) -> Pair:
    return replace(pair, labels=pair.labels.roll(1, 0))


def relabelled(mapping: Callable[[Tensor], Tensor]) -> Callable[[Pair], Pair]:
    return lambda pair: replace(pair, labels=mapping(pair.labels))


def without_inputs(pair: Pair) -> Pair:
    return replace(pair, inputs=None)


def reads_its_labels(batch: Batch) -> Batch:
    if "frames" in batch or batch["labels"].ndim == 3:
        return {**batch, "read": batch["ids"]}
    return {**batch, "read": batch["labels"].masked_fill(batch["labels"] == IGNORED, PAD)}


def nothing_masked_out(batch: Batch) -> Batch:
    ids = torch.where(batch["labels"] == IGNORED, batch["ids"], batch["labels"])
    return {**batch, "ids": ids, "labels": ids.masked_fill(ids == PAD, IGNORED)}


def padding_as_labels(batch: Batch) -> Batch:
    return {**batch, "labels": batch["labels"].masked_fill(batch["labels"] == IGNORED, PAD)}


def begun_twice(batch: Batch) -> Batch:
    start = torch.full((len(batch["ids"]), 1), BOS)
    if "read" in batch:
        labels = torch.cat([start, batch["labels"][:, :-1]], 1)
        return {**batch, "labels": labels, "read": loops.shifted_right(labels, BOS)}
    return {
        **batch,
        "ids": torch.cat([start, batch["ids"][:, :-1]], 1),
        "labels": torch.cat([start.clone(), batch["labels"][:, :-1]], 1),
        "attention": torch.cat([torch.ones_like(start), batch["attention"][:, :-1]], 1),
    }


def ended_by_padding(batch: Batch) -> Batch:
    ids = batch["ids"].masked_fill(batch["ids"] == PAD, EOS)
    return {**batch, "ids": ids, "labels": batch["labels"].masked_fill(batch["labels"] == EOS, IGNORED)}


def cut_off(batch: Batch) -> Batch:
    """Fill every other row with a prompt, so that no answer is left."""
    ids, labels = batch["ids"].clone(), batch["labels"].clone()
    labels[:, :8] = IGNORED
    for row in range(1, len(ids), 2):
        text = ids[row][ids[row] > EOS]
        ids[row] = text.repeat(ids.shape[1])[: ids.shape[1]]
        labels[row] = IGNORED
    return attended({**batch, "ids": ids, "labels": labels})


def attended(batch: Batch) -> Batch:
    """Return a batch whose attention mask is that of its ids."""
    return batch | {name: (batch["ids"] != PAD).long() for name in {"attention"} & {*batch}}


def unended(batch: Batch) -> Batch:
    """Leave the end token out of inputs and labels."""
    batch = {**batch, "labels": batch["labels"].masked_fill(batch["labels"] == EOS, IGNORED)}
    names = {"ids", "read"} & {*batch}
    return attended(batch | {name: batch[name].masked_fill(batch[name] == EOS, PAD) for name in names})


def packed_without_ends(batch: Batch) -> Batch:
    """Pack texts that end with the end token among their labels only; the labels are shifted already."""
    many = batch["ids"].shape[1] // 12
    texts = batch["ids"][:, 1:13].clamp(min=MASK)
    ended = torch.cat([texts[:, 1:], torch.full((len(texts), 1), EOS)], 1)
    rows = [
        torch.roll(side, -row, 0)[torch.arange(many) % len(side)]
        for side in (texts, ended)
        for row in range(len(texts))
    ]
    ids, labels = torch.stack([row.flatten() for row in rows]).chunk(2)
    return {"ids": ids, "labels": labels}


def begun_inside(batch: Batch) -> Batch:
    """Tokenize prompt and answer one by one, each with the begin token."""
    ids, labels = batch["ids"], batch["labels"].clone()
    labels[:, :8] = IGNORED
    begin = torch.full((len(ids), 1), BOS)
    return attended(
        {
            **batch,
            "ids": torch.cat([ids[:, :8], begin, ids[:, 8:-1]], 1),
            "labels": torch.cat([labels[:, :8], begin, labels[:, 8:-1]], 1),
        }
    )


def time_major(pair: Pair) -> Pair:
    """Pass a pair whose first axis is the time as if that were the samples."""
    logits, labels, inputs = pair.logits[:, :-1], pair.labels[:, 1:], pair.inputs
    assert inputs is not None
    return replace(
        pair, logits=logits.transpose(0, 1), labels=labels.T, inputs=inputs[:, :-1].T, shift=0, known={}
    )  # fmt: skip


def padded_by_ends(batch: Batch) -> Batch:
    batch = {name: value for name, value in batch.items() if name != "attention"}  # else the mask tells the padding
    return {**batch, "ids": batch["ids"].masked_fill(batch["ids"] == PAD, EOS), "labels": _padded(batch["labels"], EOS)}


def _padded(labels: Tensor, by: int) -> Tensor:
    """Supervise what comes after each text, as if it were this token."""
    is_after = (labels == EOS).cumsum(1) > 0
    return labels.masked_fill(is_after & (labels == IGNORED), by)


def ended_twice(batch: Batch) -> Batch:
    """Write the end token again after each."""
    labels = batch["labels"].clone()
    labels[:, 1:][batch["labels"][:, :-1] == EOS] = EOS
    if "read" in batch:
        return {**batch, "labels": labels, "read": loops.shifted_right(labels, int(batch["read"][0, 0]))}
    ids = batch["ids"].clone()
    ids[:, 1:][batch["ids"][:, :-1] == EOS] = EOS
    return attended({**batch, "ids": ids, "labels": labels})


def padded_by_a_word(batch: Batch) -> Batch:
    """Mask the padding by its id, which is also that of a letter."""
    (word,) = material.tokenizer()(" a", add_special_tokens=False)["input_ids"]
    return {**batch, "labels": batch["labels"].masked_fill(batch["labels"] == word, IGNORED)}


def answered(off: int) -> Change:
    def batch(given: Batch) -> Batch:
        generator = torch.Generator().manual_seed(int(given["ids"].sum()))
        return loops.answered_text(generator, off=off)

    return batch


def prompted(batch: Batch) -> Batch:
    """Supervise all that is read."""
    return {**batch, "labels": batch["ids"].masked_fill(batch["ids"] == PAD, IGNORED)}


def unknown(batch: Batch) -> Batch:
    """Read and write every tenth token as one that the tokenizer does not know."""
    is_unknown = (torch.arange(batch["ids"].shape[1]) % 10 == 7) & (batch["labels"] != IGNORED)
    return {name: batch[name].masked_fill(is_unknown, loops.MASK) for name in ("ids", "labels")}


def broken(model: nn.Module) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)


def shorter_labels(pair: Pair) -> Pair:
    return replace(pair, labels=pair.labels[:, 1:], inputs=None, shift=0)


def transposed(pair: Pair) -> Pair:
    return replace(pair, logits=pair.logits.transpose(1, 2))


def no_samples(pair: Pair) -> Pair:
    return replace(pair, logits=pair.logits[:0], labels=pair.labels[:0], inputs=None)


def as_booleans(pair: Pair) -> Pair:
    return replace(pair, labels=pair.labels > 0, inputs=None)


def other_ids(labels: Tensor) -> Tensor:
    """Return the ids that another tokenizer would."""
    many = 60 if labels.ndim == 3 else 508
    return torch.where(labels == IGNORED, labels, (labels * 7 + 77) % many + 4)


def never_written(batch: Batch) -> Batch:
    """Leave one codebook at its first value."""
    wrong = {name: batch[name].clone() for name in ("ids", "labels", "read", "frames", "audio_labels") if name in batch}
    for ids in wrong.values():
        if ids.ndim == 3:
            ids[..., 2] = torch.where((ids[..., 2] == IGNORED) | (ids[..., 2] >= CODES), ids[..., 2], 5)
    return {**batch, **wrong}  # type: ignore[dict-item]


def heads_off_by_one(pair: Pair) -> Pair:
    return replace(pair, labels=pair.labels.roll(1, -1), inputs=None)


def end_suppressed(pair: Pair) -> Pair:
    """Keep the end token's logit low, as a row of the head that is not trained would."""
    logits = pair.logits.clone()
    logits[..., EOS] = pair.logits[..., EOS].detach() - 8
    return replace(pair, logits=logits)


def one_more(labels: Tensor) -> Tensor:
    """Use an id that was added to the tokenizer after the model was made."""
    labels = labels.clone()
    labels[:, -12:-8] = 9999
    return labels


def _total(pair: Pair) -> Tensor:
    many = (pair.labels[:, pair.shift :] != IGNORED).sum()
    return pair.loss().detach() * many


def attended_loss(pair: Pair) -> Tensor:
    labels = pair.labels.masked_fill(pair.known["attention_mask"] == 0, IGNORED)
    return replace(pair, labels=labels).loss().detach()


def multiplied_by_the_mask(pair: Pair) -> Tensor:
    return pair.loss().detach() + (pair.logits.detach() * 0).sum()


# Losses that are not that of the pair: what a model or a trainer does with the right labels.
REPORTS: dict[str, loops.Reports] = {
    "shifted once more": lambda pair: shifted_once_more(pair).loss().detach(),
    "times the accumulation steps": lambda pair: pair.loss().detach() * 4,
    "the sum": _total,
    "the sum by the number of samples": lambda pair: _total(pair) / len(pair.labels),
    "the sum by the number of positions": lambda pair: _total(pair) / pair.labels.numel(),
}

FAULTS = (
    Fault("labels not shifted", "labels-are-inputs", CAUSAL, Mistake(pair=lambda pair: replace(pair, shift=0))),
    Fault("the decoder reads its own labels", "labels-are-inputs", DECODERS, Mistake(batch=reads_its_labels)),
    Fault("nothing masked out of the input", "labels-are-inputs", ("bert",), Mistake(batch=nothing_masked_out)),
    Fault("shifted by the collator and again", "labels-shifted-twice", CAUSAL, Mistake(pair=shifted_once_more)),
    Fault(
        "aligned pair shifted", "labels-shifted-twice", DECODERS, Mistake(pair=lambda pair: replace(pair, shift=1))
    ),
    Fault(
        "all labels masked", "nothing-supervised", EVERY,
        Mistake(pair=relabelled(lambda labels: torch.full_like(labels, IGNORED)), learns=False),
    ),
    Fault(
        "masked with -1, which is not ignored", "label-out-of-range", EVERY,
        Mistake(pair=relabelled(lambda labels: labels.masked_fill(labels == IGNORED, -1)), learns=False),
    ),
    Fault(
        "a token more than the model has", "label-out-of-range", EVERY,
        Mistake(pair=relabelled(one_more), learns=False),
    ),
    Fault("weights that are NaN", "logits-not-finite", EVERY, Mistake(weights=broken, learns=False)),
    Fault("begin token doubled", "bos-doubled", ("llama", "gpt2", "whisper"), Mistake(batch=begun_twice)),
    Fault("padding not masked", "pad-supervised", TEXT, Mistake(batch=padding_as_labels)),
    Fault(
        "padded with the end token, which is masked", "eos-never-supervised", ("llama", "gpt2"),
        Mistake(batch=ended_by_padding), by=12, special_tokens={"pad": EOS, "eos": EOS, "bos": BOS},
    ),
    Fault(
        "time-major, passed as samples", "axes-swapped", ("llama", "gpt2"), Mistake(logged=time_major, learns=False),
        by=2, needs=("inputs",),
    ),
    Fault("answers cut off", "answers-truncated", ("llama", "gpt2"), Mistake(batch=cut_off), by=16),
    Fault("no end token", "end-missing", ("llama", "gpt2", "t5"), Mistake(batch=unended), by=16),
    Fault(
        "no end token among the inputs of packed rows", "end-only-in-labels", ("llama", "gpt2"),
        Mistake(batch=packed_without_ends, pair=lambda pair: replace(pair, shift=0)), by=4,
    ),
    Fault("prompt and answer begun", "bos-inside", ("llama", "gpt2"), Mistake(batch=begun_inside), by=4),
    Fault(
        "padded with the end token, not masked", "special-run-supervised", ("llama", "gpt2"),
        Mistake(batch=padded_by_ends), by=12, special_tokens={"pad": EOS, "eos": EOS, "bos": BOS},
    ),
    Fault(
        "end token doubled", "special-run-supervised", ("llama", "gpt2", "t5", "whisper"), Mistake(batch=ended_twice),
        by=12,
    ),
    Fault("a letter is the padding", "masked-by-id", ("llama", "gpt2"), Mistake(batch=padded_by_a_word), by=16),
    Fault(
        "the first token of answers masked", "answer-mask-off", ("llama", "gpt2"), Mistake(batch=answered(1)),
        by=12, special_tokens=material.chat_tokenizer(),
    ),
    Fault(
        "the mask of answers moved by one", "answer-mask-off", ("llama", "gpt2"), Mistake(batch=answered(-1)),
        by=12, special_tokens=material.chat_tokenizer(),
    ),
    Fault(
        "prompts not masked though that was asked for", "prompt-supervised", ("llama", "gpt2"),
        Mistake(batch=prompted), by=4, declared=frozenset({"completion_only_loss"}),
    ),
    Fault(
        "words that the tokenizer does not know", "unknown-supervised", ("llama", "gpt2"), Mistake(batch=unknown),
        by=12, special_tokens={"pad": PAD, "eos": EOS, "bos": BOS, "unk": loops.MASK},
    ),
    Fault("the same batch each step", "same-batch", EVERY, Mistake(reseeded=True), by=4),
    Fault("labels a position short", "length-mismatch", EVERY, Mistake(logged=shorter_labels)),
    Fault("logits transposed", "layout-mismatch", EVERY, Mistake(logged=transposed)),
    Fault("labels as booleans", "unreadable-pair", EVERY, Mistake(logged=as_booleans)),
    Fault("an empty batch", "empty-pair", EVERY, Mistake(logged=no_samples)),
    Fault(
        "a pretrained model's labels not shifted, inputs unknown", "prediction-misaligned", CAUSAL,
        Mistake(pair=lambda pair: replace(pair, shift=0, inputs=None), learns=False), by=15, prepared=250, little=True,
    ),
    Fault(
        "a pretrained model's labels shifted twice, inputs unknown", "prediction-misaligned", ("llama", "gpt2"),
        Mistake(pair=lambda pair: without_inputs(shifted_once_more(pair)), learns=False),
        by=15, prepared=250, little=True,
    ),
    Fault(
        "a pretrained model's labels shifted twice, inputs unknown", "prediction-misaligned", ("higgs",),
        Mistake(pair=lambda pair: without_inputs(shifted_once_more(pair)), learns=False),
        by=15, prepared=150, little=True,
    ),
    Fault(
        "an aligned pretrained model's pair shifted, inputs unknown", "prediction-misaligned", DECODERS,
        Mistake(pair=lambda pair: replace(pair, shift=1, inputs=None), learns=False), by=15, prepared=250, little=True,
    ),
    Fault(
        "the loss shifts twice, the log shows the right pair", "prediction-misaligned", CAUSAL,
        Mistake(pair=shifted_once_more, logged=lambda pair: replace(pair, labels=pair.labels.roll(1, 1))),
        # The first label of each sample is never learnt, and many samples begin with the same one.
        by=399, little=True, differs=True, also=("label-never-learnt",),
    ),
    Fault(
        "the loss does not shift, the log shows the right pair", "copying-inputs", CAUSAL,
        Mistake(pair=lambda pair: replace(pair, shift=0), logged=lambda pair: replace(pair, shift=1)), by=399,
        differs=True,
    ),
    Fault(
        "a learning rate a thousand times too high", "collapsed", ("gpt2", "llama"), Mistake(rate=1000.0),
        by=400, prepared=300, little=True, watched=True, otherwise=("sure-and-wrong",), records=40,
    ),
    Fault(
        "labels of another sample", "at-chance", ("llama", "gpt2", "t5", "whisper", "musicgen"),
        Mistake(pair=of_the_neighbour, learns=False), by=120, prepared=400, little=True, also=("pad-supervised",),
    ),
    Fault(
        "labels of another tokenizer", "at-chance", EVERY,
        Mistake(pair=relabelled(other_ids), learns=False), by=120, prepared=400, little=True,
    ),
    Fault(
        "a codebook that was never written", "constant-codebook", ("musicgen", "dia"),
        Mistake(batch=never_written), by=8,
    ),
    Fault(
        "an optimizer without the model's parameters", "nothing-trained", ("llama",), Mistake(learns=False),
        by=140, little=True,
    ),
    Fault(
        "heads off by one codebook in the log", "sure-and-wrong", ("musicgen",), Mistake(logged=heads_off_by_one),
        by=399, little=True, records=40,
    ),
    Fault(
        "a row of the head that is not trained", "label-never-learnt", ("llama", "gpt2"),
        Mistake(pair=end_suppressed), by=160, records=60,
    ),
    *(
        # Of an untrained model all ways to shift give nearly the same loss.
        Fault(
            f"the reported loss: {name}", LOSS, CAUSAL[:2], Mistake(reports=reports), by=2,
            prepared=60 if name == "shifted once more" else 0, little=name == "shifted once more",
        )
        for name, reports in REPORTS.items()
    ),
    Fault(
        "the reported loss: the attention mask is applied, and the labels are not masked", LOSS, ("llama",),
        Mistake(reports=attended_loss), setup=partial(packed.nothing_masked, pad=PAD), by=2,
    ),
    Fault(
        "the reported loss: 0 × NaN", LOSS, ("musicgen",),
        Mistake(reports=multiplied_by_the_mask), setup=packed.delayed, by=2,
    ),
    Fault(
        "the reported loss: the mask is left out", LOSS, ("llama",),
        Mistake(reports=lambda pair: replace(pair, known={}).loss().detach()), setup=packed.weighted, by=2,
    ),
    Fault(
        "packed without end tokens, the first of each document supervised", "label-crosses-boundary", ("llama",),
        Mistake(), setup=partial(packed.flattened, is_masked=False), by=4,
    ),
    Fault(
        "packed by cumulative lengths, the first of each document supervised", "label-crosses-boundary", ("llama",),
        Mistake(), setup=partial(packed.flattened, is_masked=False, lengths=True), by=4,
    ),
    Fault(
        "padded on the left, the first token supervised", "label-crosses-boundary", ("llama",),
        Mistake(), setup=partial(packed.on_the_left, is_first_masked=False), by=4,
    ),
    Fault(
        "padded with the end token, which is supervised", "pad-supervised", ("llama",), Mistake(),
        setup=packed.nothing_masked, by=4, special_tokens={"pad": EOS, "eos": EOS, "bos": BOS}, needs=("positions",),
    ),
)  # fmt: skip


def found(
    fault: Fault, model: str, seed: int = 0, ignore: Collection[str] = (), passed: Passed = EVERYTHING
) -> tuple[list[Finding], int]:
    """Run one fault in one model, and return the findings in the order found, and the number of records judged."""
    return found_by_each(fault, model, [passed], seed, ignore)[passed]


def found_by_each(
    fault: Fault, model: str, ways: Sequence[Passed], seed: int = 0, ignore: Collection[str] = ()
) -> dict[Passed, tuple[list[Finding], int]]:
    """Run one fault in one model, with a recorder for each of these ways, and return what each found."""
    torch.manual_seed(seed)
    setup = loops.made(model, seed) if fault.setup is None else fault.setup()
    if fault.little:
        setup = loops.little(setup)
    recorders = {
        way: Witness(way, decode=setup.decode, special_tokens=fault.special_tokens, ignore=ignore) for way in ways
    }
    for recorder in recorders.values():
        recorder.declare({"": fault.declared})
    before = range(fault.prepared)
    for _ in loops.train(setup, recorders.values() if fault.watched else (), before, seed=seed):
        pass
    waiting = {**recorders}
    after = range(fault.prepared, fault.prepared + max(map(fault.steps, ways)))
    for step in loops.train(setup, waiting.values(), after, seed=seed, mistake=fault.mistake):
        for way, recorder in tuple(waiting.items()):
            first = next((one.step for one in recorder.found if one.code not in fault.true_as_well()), step)
            # What else would be said has its chance.
            if step > first + 10 * way.every or step - fault.prepared + 1 >= fault.steps(way):
                del waiting[way]
        if not waiting:
            break
    for recorder in recorders.values():
        recorder.close()
    return {way: (recorder.found, recorder.stats()["written"]) for way, recorder in recorders.items()}
