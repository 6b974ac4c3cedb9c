"""Rows of several documents, and rows that are padded, with what a trainer knows of each position."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from tests.cases import loops, material
from tests.cases.loops import BATCH, BOS, EOS, IGNORED, LENGTH, MASK, PAD, Batch, Pair, Setup
from tests.integrations.needed import needed


def drawn(generator: torch.Generator, number: int, *, shortest: int = 8, longest: int = 40) -> list[list[int]]:
    """Draw documents without special tokens, cut to a length that is drawn, too."""
    documents = material.documents()
    which = torch.randint(len(documents), (number,), generator=generator).tolist()
    lengths = torch.randint(shortest, longest, (number,), generator=generator).tolist()
    return [documents[one][:length] for one, length in zip(which, lengths, strict=True)]


# --- packed -------------------------------------------------------------------------------------------------------


def flattened(*, is_masked: bool = True, ends: bool = False, lengths: bool = False) -> Setup:
    """Flatten documents into one row, as transformers' DataCollatorWithFlattening does.

    With `lengths`, it is the cumulative lengths that are known. Without `is_masked`, the first token of each document
    is a label of the last one of the document before.
    """
    how = {"return_flash_attn_kwargs": True} if lengths else {}
    collate = transformers.DataCollatorWithFlattening(**how)

    def batch(generator: torch.Generator) -> Batch:
        documents = [[*one, EOS] if ends else one for one in drawn(generator, 8)]
        made = collate([{"input_ids": one} for one in documents])
        labels = made["labels"] if is_masked else made["input_ids"].clone()
        found = {"ids": made["input_ids"], "labels": labels, "places": made["position_ids"]}
        if lengths:
            found["lengths"] = made["cu_seq_lens_q"]
        return found

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        logits = model(input_ids=batch["ids"], position_ids=batch["places"]).logits
        known = {"document_ids": batch["lengths"]} if lengths else {"position_ids": batch["places"]}
        return [Pair(logits, batch["labels"], batch["ids"], shift=1, known=known)]

    return replace(loops.llama(), batch=batch, forward=forward)


def streamed(*, begins: bool = False, resets: bool = False) -> Setup:
    """Cut rows from one stream of documents, each ended by the end token and read once.

    With `resets`, positions begin again at each document.
    """
    text = _texts(begins=begins)

    def batch(_generator: torch.Generator) -> Batch:
        ids = torch.tensor([[next(text) for _ in range(LENGTH)] for _ in range(BATCH)])
        made = {"ids": ids, "labels": ids.clone()}
        if resets:
            made["places"] = places(ids)
        return made

    return replace(loops.llama(), batch=batch)


def _texts(*, begins: bool) -> Iterator[int]:
    while True:
        for document in material.documents():
            yield from ([BOS] if begins else [])
            yield from (*document, EOS)


def places(ids: Tensor) -> Tensor:
    """Return the position of each token in its document, where each ends with the end token."""
    index = torch.arange(ids.shape[1]).expand_as(ids)
    begins = torch.cat([torch.ones(len(ids), 1, dtype=torch.bool), ids[:, :-1] == EOS], 1)
    return index - (index * begins).cummax(1).values


def one_epoch(samples: int = 10_000) -> Setup:
    """See each of many samples once: windows of text that all begin elsewhere."""
    stream = material.stream_of_text()
    order = torch.randperm(len(stream) - LENGTH, generator=torch.Generator().manual_seed(0))[:samples].tolist()
    starts = iter(order * 2)  # a second epoch, if the training is longer

    def batch(_generator: torch.Generator) -> Batch:
        ids = torch.stack([stream[start : start + LENGTH] for start in (next(starts) for _ in range(BATCH))])
        return {"ids": ids, "labels": ids.clone()}

    return replace(loops.llama(), batch=batch)


# --- padded -------------------------------------------------------------------------------------------------------


def left_padded(generator: torch.Generator, *, is_first_masked: bool) -> Batch:
    """Return texts without a begin token, padded on the left; all of their tokens are labels, or all but the first."""
    ids, labels = torch.full((BATCH, LENGTH), PAD), torch.full((BATCH, LENGTH), IGNORED)
    for row, document in enumerate(drawn(generator, BATCH)):
        text = torch.tensor([*document, EOS])
        ids[row, -len(text) :] = text
        labels[row, -len(text) + is_first_masked :] = text[int(is_first_masked) :]
    attended = (ids != PAD).long()
    return {"ids": ids, "labels": labels, "attention": attended, "places": (attended.cumsum(1) - 1).clamp(min=0)}


def on_the_left(*, is_first_masked: bool = True) -> Setup:
    """Pad on the left, with positions that begin where the text does."""
    return replace(loops.llama(), batch=partial(left_padded, is_first_masked=is_first_masked))


def nothing_masked(*, pad: int = EOS) -> Setup:
    """Have all tokens as labels, the padding on the right included."""

    def batch(generator: torch.Generator) -> Batch:
        made = loops.padded_text(generator)
        ids = made["ids"].masked_fill(made["ids"] == PAD, pad)
        return {**made, "ids": ids, "labels": ids.clone()}

    return replace(loops.llama(), batch=batch)


def weighted() -> Setup:
    """Mask prompts in the loss and not in the labels, as verl and Megatron do; the mask holds weights."""

    def batch(generator: torch.Generator) -> Batch:
        made = loops.padded_text(generator)
        weights = (made["labels"] != IGNORED).float()
        weights[:, :8] = 0
        return {**made, "labels": made["ids"].clone(), "weights": weights}

    return replace(loops.llama(), batch=batch)


# --- chats --------------------------------------------------------------------------------------------------------


def _with_added(*added: str) -> Any:
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=material.fresh_tokenizer(), pad_token="</s>", bos_token="<s>", eos_token="</s>"
    )
    made.add_special_tokens({"additional_special_tokens": list(added)})
    return made


@cache
def chat_tokenizer() -> Any:
    """Return a base model's tokenizer, whose end token pads, with ChatML's tokens added."""
    return _with_added("<|im_start|>", "<|im_end|>")


@cache
def thinking_tokenizer() -> Any:
    """Return a tokenizer with ChatML's tokens and those around thoughts."""
    return _with_added("<|im_start|>", "<|im_end|>", "<think>", "</think>")


def chatml(*, answers_only: bool = True) -> Setup:
    """Train on chats in ChatML, whose tokens were added to a base tokenizer; its end token is never written."""
    tokenizer = chat_tokenizer()
    return _chat(
        tokenizer, "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", "{}<|im_end|>\n",
        answers_only=answers_only,
    )  # fmt: skip


def prefilled() -> Setup:
    """Begin each answer with `<think>`, which the template has written already: it belongs to the prompt."""
    tokenizer = thinking_tokenizer()
    return _chat(
        tokenizer, "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n",
        "{}\n</think>\n\n{}<|im_end|>\n", answers_only=True,
    )  # fmt: skip


def _chat(tokenizer: Any, prompt: str, answer: str, *, answers_only: bool) -> Setup:
    setup = loops.llama()
    setup.model.resize_token_embeddings(len(tokenizer), mean_resizing=False)  # type: ignore[operator]
    words = _words()

    def text(generator: torch.Generator, longest: int) -> str:
        start = int(torch.randint(len(words) - 30, (), generator=generator))
        length = int(torch.randint(3, longest, (), generator=generator))
        return " ".join(words[start : start + length])

    def batch(generator: torch.Generator) -> Batch:
        rows = []
        for _ in range(BATCH):
            asked = tokenizer.encode(prompt.format(text(generator, 8)), add_special_tokens=False)
            parts = [text(generator, 12) for _ in range(answer.count("{}"))]
            said = tokenizer.encode(answer.format(*parts), add_special_tokens=False)
            rows.append((asked, said))
        longest = max(len(asked) + len(said) for asked, said in rows)
        ids, labels = torch.full((BATCH, longest), EOS), torch.full((BATCH, longest), IGNORED)
        attended = torch.zeros(BATCH, longest, dtype=torch.long)
        for row, (asked, said) in enumerate(rows):
            whole = torch.tensor([*asked, *said])
            ids[row, : len(whole)] = whole
            attended[row, : len(whole)] = 1
            first = len(asked) if answers_only else 0
            labels[row, first : len(whole)] = whole[first:]
        return {"ids": ids, "labels": labels, "attention": attended}

    return replace(setup, batch=batch, decode=tokenizer)


@cache
def _words() -> list[str]:
    text = material.tokenizer().decode(material.stream_of_text()[:20000].tolist(), skip_special_tokens=True)
    return str(text).split()


# --- transformers' own collators ----------------------------------------------------------------------------------


def masked_language_model() -> Setup:
    """Mask tokens as transformers' own collator does."""
    collate = transformers.DataCollatorForLanguageModeling(material.tokenizer(), mlm_probability=0.2)

    def batch(generator: torch.Generator) -> Batch:
        torch.manual_seed(int(torch.randint(1 << 30, (), generator=generator)))
        documents = drawn(generator, BATCH, shortest=30)
        made = collate([{"input_ids": [BOS, *one, EOS]} for one in documents])
        return {"ids": made["input_ids"], "labels": made["labels"], "attention": made["attention_mask"]}

    return replace(loops.bert(), batch=batch)


def translation() -> Setup:
    """Collate sources and targets as transformers' DataCollatorForSeq2Seq does, for T5."""
    setup = loops.t5()
    collate = transformers.DataCollatorForSeq2Seq(material.tokenizer(), setup.model)

    def batch(generator: torch.Generator) -> Batch:
        sources = drawn(generator, BATCH)
        made = collate([{"input_ids": one, "labels": [*one[::2], EOS]} for one in sources])
        return {
            "ids": made["input_ids"], "labels": made["labels"], "read": made["decoder_input_ids"],
            "attention": made["attention_mask"],
        }  # fmt: skip

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        logits = model(
            input_ids=batch["ids"], attention_mask=batch["attention"], decoder_input_ids=batch["read"]
        ).logits
        return [Pair(logits, batch["labels"], batch["read"])]

    return replace(setup, batch=batch, forward=forward)


def speech() -> Setup:
    """Collate transcripts as the recipes for Whisper do: the model shifts the labels for its decoder by itself."""
    setup = loops.whisper()
    prefix = [BOS, MASK]  # a start token, and one for the language or the task

    def batch(generator: torch.Generator) -> Batch:
        rows = [torch.tensor([*prefix[1:], *one, EOS]) for one in drawn(generator, BATCH, longest=30)]
        labels = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
        features = torch.randn(BATCH, 16, 64, generator=generator)
        return {"labels": labels, "read": loops.shifted_right(labels, BOS), "features": features, "ids": labels}

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        output = model(input_features=batch["features"], labels=batch["labels"])
        return [Pair(output.logits, batch["labels"], batch["read"])]

    return replace(setup, batch=batch, forward=forward)


# --- codes --------------------------------------------------------------------------------------------------------


def delayed() -> Setup:
    """Codes in a delay pattern whose logits are NaN where the loss has no weight, as audiocraft's and Moshi's are."""
    setup = loops.musicgen()

    def batch(generator: torch.Generator) -> Batch:
        made = setup.batch(generator)
        return {**made, "labels": made["ids"].clamp(max=material.CODES - 1), "counts": made["labels"] != IGNORED}

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        (pair,) = setup.forward(model, batch)
        mask = batch["counts"].movedim(-1, 1).flatten(0, 1).unsqueeze(-1)  # (b k) t 1
        # The rows are those of the model where they count: gradients elsewhere are 0.
        logits = torch.where(mask, pair.logits, torch.nan)
        return [replace(pair, logits=logits, known={"loss_mask": batch["counts"]})]

    return replace(setup, batch=batch, forward=forward)


# --- adapters -----------------------------------------------------------------------------------------------------


def adapted() -> Setup:
    """Train an adapter of PEFT's on a model that is good already."""
    peft = needed("peft")
    setup = loops.little(loops.llama())
    for _ in loops.train(setup, (), range(200)):
        pass
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it reads names that transformers has deprecated
        setup.model = peft.get_peft_model(setup.model, config)
    return replace(setup, rate=1e-3)


HEALTHY: dict[str, Callable[[], Setup]] = {
    "flattened": flattened,
    "flattened, with end tokens, nothing masked": partial(flattened, is_masked=False, ends=True),
    "flattened, by cumulative lengths": partial(flattened, lengths=True),
    "streaming": streamed,
    "streaming, with begin tokens": partial(streamed, begins=True, resets=True),
    "streaming, positions that begin again": partial(streamed, resets=True),
    "each sample once": one_epoch,
    "padding on the left, positions known": on_the_left,
    "masked by weights": weighted,
    "ChatML on a base tokenizer": chatml,
    "ChatML, everything supervised": partial(chatml, answers_only=False),
    "prefilled thoughts": prefilled,
    "masked by the collator": masked_language_model,
    "translation": translation,
    "speech": speech,
    "delay pattern of NaN": delayed,
    "an adapter on a good model": adapted,
}
