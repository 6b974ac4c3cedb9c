"""Trainings with nothing wrong in them, among them those that look as if there were."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import transformers
from torch import nn

from predlog.records.schema import Finding
from tests.cases import faults, loops, material, packed
from tests.cases.loops import BATCH, EOS, IGNORED, LENGTH, MASK, PAD, Batch, Pair, Setup
from tests.cases.passed import EVERYTHING, Passed, Witness


def repetitive() -> Setup:
    """Every token comes several times in a row, and so does its label."""

    def batch(generator: torch.Generator) -> Batch:
        ids = loops.packed_text(generator, LENGTH // 4)["ids"].repeat_interleave(4, 1)
        return {"ids": ids, "labels": ids.clone()}

    return replace(loops.llama(), batch=batch)


def periodic() -> Setup:
    """Repeat a short phrase again and again."""

    def batch(generator: torch.Generator) -> Batch:
        ids = loops.packed_text(generator, 6)["ids"].repeat(1, LENGTH // 6)
        return {"ids": ids, "labels": ids.clone()}

    return replace(loops.llama(), batch=batch)


def one_token_alone() -> Setup:
    """Take the same token everywhere: labels equal the inputs wherever one looks."""

    def batch(generator: torch.Generator) -> Batch:
        ids = torch.full((BATCH, LENGTH), 7)
        return {"ids": ids, "labels": ids.clone()}

    return replace(loops.llama(), batch=batch)


def mostly_padding(*, left: bool = False, end_pads: bool = False) -> Setup:
    """Short texts in long rows, padded on the right or on the left, with a token of its own or with the end token."""

    def batch(generator: torch.Generator) -> Batch:
        made = loops.padded_text(generator, 16)
        more = {
            "ids": torch.full((BATCH, 64), PAD), "labels": torch.full((BATCH, 64), IGNORED),
            "attention": torch.zeros(BATCH, 64, dtype=torch.long),
        }  # fmt: skip
        parts = (more, made) if left else (made, more)
        whole = {name: torch.cat([part[name] for part in parts], 1) for name in made}
        if left:  # as generation and TRL count
            whole["places"] = (whole["attention"].cumsum(1) - 1).masked_fill(whole["attention"] == 0, 1)
        return {**whole, "ids": whole["ids"].masked_fill(whole["ids"] == PAD, EOS)} if end_pads else whole

    return replace(loops.llama(), batch=batch)


def long_prompts(answer: int = 3) -> Setup:
    """Mask a prompt of 95 %, before a short answer, at the end of the row or somewhere in it."""

    def batch(generator: torch.Generator) -> Batch:
        ids = loops.packed_text(generator, 64)["ids"]
        labels = torch.full_like(ids, IGNORED)
        for row, start in enumerate(torch.randint(40, 64 - answer + 1, (BATCH,), generator=generator).tolist()):
            labels[row, start : start + answer] = ids[row, start : start + answer]
        return {"ids": ids, "labels": labels}

    return replace(loops.llama(), batch=batch)


def yes_or_no() -> Setup:
    """One supervised token a sample, which is one of two."""

    def batch(generator: torch.Generator) -> Batch:
        ids = loops.packed_text(generator, 24)["ids"]
        ids[:, -2] = torch.randint(5, 7, (BATCH,), generator=generator)
        ids[:, -1] = EOS
        labels = torch.full_like(ids, IGNORED)
        labels[:, -2] = ids[:, -2]
        return {"ids": ids, "labels": labels}

    return replace(loops.llama(), batch=batch)


def tagging(tags: int = 9) -> Setup:
    """Each token gets a tag: labels of another vocabulary, most of them the same."""
    model = transformers.BertForTokenClassification(
        transformers.BertConfig(  # type: ignore[call-arg]
            vocab_size=512, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
            max_position_embeddings=256, num_labels=tags,
        )
    )  # fmt: skip

    def batch(generator: torch.Generator) -> Batch:
        made = loops.padded_text(generator)
        # Whether a token begins a word, and how long it is: something that can be learnt.
        lengths = torch.tensor([len(piece) for piece in material.tokenizer().convert_ids_to_tokens(list(range(512)))])
        labels = lengths.clamp(max=tags - 1)[made["ids"]].masked_fill(made["labels"] == IGNORED, IGNORED)
        return {"ids": made["ids"], "labels": labels}

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        return [Pair(model(input_ids=batch["ids"]).logits, batch["labels"], batch["ids"])]

    return Setup(model, batch, forward, decode=material.tokenizer())


def small_vocabulary(size: int) -> Setup:
    """Learn very few symbols, with some order in them."""
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=size, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip

    def batch(generator: torch.Generator) -> Batch:
        ids = loops.packed_text(generator)["ids"] % size
        return {"ids": ids, "labels": ids.clone()}

    return replace(loops.llama(), model=model, batch=batch, decode=None)


def smoothed() -> Setup:
    """Label smoothing keeps the probabilities below what they could be."""
    setup = loops.llama()

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        return [replace(pair, smoothing=0.2) for pair in setup.forward(model, batch)]

    return replace(setup, forward=forward)


def tied() -> Setup:
    """Share large weights between head and embedding: untrained, the model predicts its own input."""
    setup = loops.llama(tie_word_embeddings=True, initializer_range=0.2)
    return replace(setup, rate=3e-4)


def two_tokens_ahead() -> Setup:
    """Predict the token after the next, as a second head does, where shift=2 says so."""
    setup = loops.llama()

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        return [replace(pair, shift=2, stream="next but one") for pair in setup.forward(model, batch)]

    return replace(setup, forward=forward)


def evaluated() -> Setup:
    """Evaluate the same batch at each step, beside the training."""
    setup = loops.llama()
    fixed = setup.batch(torch.Generator().manual_seed(99))

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        return [*setup.forward(model, batch), *(replace(pair, stream="eval/text") for pair in _frozen(model, fixed))]

    def _frozen(model: nn.Module, batch: Batch) -> list[Pair]:
        with torch.no_grad():
            return setup.forward(model, batch)

    return replace(setup, forward=forward)


def noise() -> Setup:
    """Codes without any order, as in the last codebooks of a codec: nothing is ever learnt, and nothing is wrong."""

    def batch(generator: torch.Generator) -> Batch:
        ids = torch.randint(4, 512, (BATCH, LENGTH), generator=generator)
        return {"ids": ids, "labels": ids.clone()}

    return replace(loops.llama(), batch=batch, decode=None)


def half_precision() -> Setup:
    """Train in bfloat16."""
    setup = loops.llama()
    return replace(setup, model=setup.model.to(torch.bfloat16))


def by_heart() -> Setup:
    """Know the data nearly by heart, as a pretrained model may."""
    return loops.little(loops.llama())


def chat() -> Setup:
    """End an answer with a token of its own, as chat templates do, and fill the row with the end token, masked."""

    def batch(generator: torch.Generator) -> Batch:
        made = loops.padded_text(generator)
        ids, labels = (made[name].masked_fill(made[name] == EOS, MASK) for name in ("ids", "labels"))
        return {**made, "ids": ids.masked_fill(ids == PAD, EOS), "labels": labels}

    return replace(loops.llama(), batch=batch)


def easy_batches() -> Setup:
    """Draw every seventh batch from one token alone, which is learnt at once."""

    def batch(generator: torch.Generator) -> Batch:
        made = loops.packed_text(generator)
        if torch.rand((), generator=generator) < 0.15:
            made = {name: torch.full_like(ids, 7) for name, ids in made.items()}
        return made

    return replace(loops.llama(), batch=batch)


def silences() -> Setup:
    """Hear silence in a fifth of the batches: one code in all frames."""
    setup = loops.musicgen()

    def batch(generator: torch.Generator) -> Batch:
        made = setup.batch(generator)
        if torch.rand((), generator=generator) < 0.2:
            made["ids"] = made["ids"].clamp(max=5).clamp(min=5)
            made["labels"] = made["ids"].masked_fill(made["labels"] == IGNORED, IGNORED)
            made["read"] = loops.shifted_right(made["ids"], material.CODES)
        return made

    return replace(setup, batch=batch)


def curriculum() -> Setup:
    """Change the data in the middle: other ids in another order."""
    drawn = 0

    def batch(generator: torch.Generator) -> Batch:
        nonlocal drawn
        drawn += 1
        made = loops.packed_text(generator)
        return made if drawn < 40 else {name: (ids * 7 + 5) % 508 + 4 for name, ids in made.items()}

    return replace(loops.llama(), batch=batch)


def contrastive() -> Setup:
    """Find each sample among those of its batch: the labels are their numbers, always the same."""
    torch.manual_seed(0)
    towers = nn.ModuleList([nn.Linear(16, 8), nn.Linear(16, 8)])

    def batch(generator: torch.Generator) -> Batch:
        seen = torch.randn(32, 16, generator=generator)
        return {"one": seen, "other": seen + 0.1 * torch.randn(32, 16, generator=generator)}

    def forward(model: Any, batch: Batch) -> list[Pair]:
        one, other = model[0](batch["one"]), model[1](batch["other"])
        return [Pair(one @ other.T, torch.arange(32), None, layout="t v, t")]

    return Setup(towers, batch, forward)


def marked_in_words() -> Setup:
    """End texts with a mark of ordinary tokens, as a chat template does for a tokenizer that does not know it."""

    def batch(generator: torch.Generator) -> Batch:
        made = loops.padded_text(generator)
        ids, labels = made["ids"], made["labels"]
        for row in range(BATCH):
            end = int((ids[row] == EOS).nonzero()[0])
            ids[row, end : end + 4] = labels[row, end : end + 4] = torch.tensor([40, 41, 42, 43])
        return faults.attended(made)

    return replace(loops.llama(), batch=batch)


def cut_to_length() -> Setup:
    """Cut documents at a length below the one that rows are padded to; none of them ends."""

    def batch(generator: torch.Generator) -> Batch:
        made = loops.packed_text(generator)
        made["ids"] = made["ids"].masked_fill(made["ids"] == EOS, 7)
        return {
            name: ids.masked_fill(torch.arange(LENGTH) >= LENGTH - 5, PAD if name == "ids" else IGNORED)
            for name, ids in made.items()
        }

    return replace(loops.llama(), batch=batch)


def few_cut_off() -> Setup:
    """Lose the answers to a few long prompts."""

    def batch(generator: torch.Generator) -> Batch:
        made = loops.padded_text(generator)
        made["labels"][:, :8] = IGNORED
        if torch.rand((), generator=generator) < 0.1:
            made["ids"][1] = loops.packed_text(generator)["ids"][0]
            made["labels"][1] = IGNORED
        return faults.attended(made)

    return replace(loops.llama(), batch=batch)


def packed_and_begun() -> Setup:
    """Pack texts that begin with the begin token, and end with the end token among the labels only."""

    def batch(generator: torch.Generator) -> Batch:
        made = faults.packed_without_ends(loops.padded_text(generator))
        made["ids"][:, ::12] = loops.BOS
        return made

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        return [Pair(model(input_ids=batch["ids"]).logits, batch["labels"], batch["ids"])]

    return replace(loops.llama(), batch=batch, forward=forward)


def packed_documents() -> Setup:
    """Rows cut from packed documents: end tokens are in the middle, if at all."""
    return replace(loops.llama(), batch=loops.packed_text)


def denoised() -> Setup:
    """Fill in what is masked, the end tokens that pad the row as well, as masked diffusion models learn answers."""
    setup = loops.bert()

    def batch(generator: torch.Generator) -> Batch:
        ids = loops.padded_text(generator)["ids"]
        ids = ids.masked_fill(ids == PAD, EOS)
        chosen = torch.rand(ids.shape, generator=generator) < torch.rand(BATCH, 1, generator=generator)
        attention = torch.ones_like(ids)
        return {
            "ids": ids.masked_fill(chosen, MASK), "labels": ids.masked_fill(~chosen, IGNORED), "attention": attention
        }  # fmt: skip

    return replace(setup, batch=batch)


def beside_sound() -> Setup:
    """Write words along the time of a sound: a token fills the time between them, as in Moshi."""

    def batch(generator: torch.Generator) -> Batch:
        words = loops.packed_text(generator)["ids"]
        fills = torch.rand(words.shape, generator=generator) < 0.7
        ids = words.masked_fill(fills, MASK)
        return {"ids": ids, "labels": ids.clone()}

    return replace(loops.llama(), batch=batch)


def answers(*prefix: int) -> Setup:
    """Answer after a prompt that is masked, with what is prefilled."""

    def batch(generator: torch.Generator) -> Batch:
        return loops.answered_text(generator, prefix=prefix)

    return replace(loops.llama(), batch=batch, decode=material.chat_tokenizer())


def documents_of_their_own() -> Setup:
    """Packed documents between begin and end tokens, without a label where one begins."""

    def batch(generator: torch.Generator) -> Batch:
        ids = torch.stack([torch.cat(_documents(generator))[:LENGTH] for _ in range(BATCH)])
        return {"ids": ids, "labels": ids.masked_fill(ids == loops.BOS, IGNORED)}

    return replace(loops.llama(), batch=batch)


def _documents(generator: torch.Generator) -> list[torch.Tensor]:
    chosen = torch.randint(len(material.documents()), (4,), generator=generator).tolist()
    return [torch.tensor([loops.BOS, *material.documents()[one][:14], EOS]) for one in chosen]


Make = Callable[[], Setup]
HEALTHY: dict[str, Make] = {
    **loops.MODELS,
    "packed documents": packed_documents,
    "repetitive": repetitive,
    "periodic": periodic,
    "one token alone": one_token_alone,
    "mostly padding": mostly_padding,
    "padding on the left": partial(mostly_padding, left=True),
    "prompts of 95 %": long_prompts,
    "one-token answers": partial(long_prompts, 1),
    "yes or no": yes_or_no,
    "tagging": tagging,
    "tagging with many tags": partial(tagging, 40),
    "two symbols": partial(small_vocabulary, 2),
    "five symbols": partial(small_vocabulary, 5),
    "label smoothing": smoothed,
    "large tied embeddings": tied,
    "two tokens ahead": two_tokens_ahead,
    "evaluation of one batch": evaluated,
    "noise": noise,
    "bfloat16": half_precision,
    "low loss": by_heart,
    "chat": chat,
    "easy batches": easy_batches,
    "silences": silences,
    "curriculum": curriculum,
    "contrastive": contrastive,
    "ends marked in words": marked_in_words,
    "cut to a length": cut_to_length,
    "a few answers cut off": few_cut_off,
    "packed and begun": packed_and_begun,
    "masked diffusion": denoised,
    "text beside sound": beside_sound,
    "answers": answers,
    "answers that are prefilled": partial(answers, 77),
    "packed documents without their first label": documents_of_their_own,
    **packed.HEALTHY,
}
# Padded with the token that begins and ends: what GPT-2's tokenizer is given for want of a padding token.
ENDS_PAD: dict[str, Make] = {"end token pads, on the left": partial(mostly_padding, left=True, end_pads=True)}


def found(
    make: Make, *, seed: int, steps: int, passed: Passed = EVERYTHING, rate: float = 1.0, **how: Any
) -> tuple[list[Finding], int]:
    """Train, log what is due, and return whatever was found, and the number of records judged."""
    return found_by_each(make, [passed], seed=seed, steps=steps, rate=rate, **how)[passed]


def found_by_each(
    make: Make, ways: Sequence[Passed], *, seed: int, steps: int, rate: float = 1.0, **how: Any
) -> dict[Passed, tuple[list[Finding], int]]:
    """Train, with a recorder for each of these ways, and return what each found."""
    torch.manual_seed(seed)
    setup = make()
    setup.rate *= rate
    recorders = {way: Witness(way, decode=setup.decode, **how) for way in ways}
    for _ in loops.train(setup, recorders.values(), range(steps), seed=seed):
        pass
    for recorder in recorders.values():
        recorder.close()
    return {way: (recorder.found, recorder.stats()["written"]) for way, recorder in recorders.items()}
