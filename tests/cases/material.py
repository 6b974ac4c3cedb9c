"""What the models of the bench learn from: real text, and codes of a sound, both made here."""

import math
from functools import cache
from pydoc_data.topics import topics

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<s>", "</s>", "<mask>"]
CODEBOOKS, CODES = 8, 64


def fresh_tokenizer() -> Tokenizer:
    """Return a byte-level BPE of 512 tokens, trained on the Python language reference; always a new one."""
    return Tokenizer.from_str(_trained())


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Return that tokenizer as transformers has it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=fresh_tokenizer(), pad_token="<pad>", bos_token="<s>", eos_token="</s>", mask_token="<mask>"
    )


@cache
def _trained() -> str:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(topics.values(), trainer)
    return made.to_str()


@cache
def chat_tokenizer() -> PreTrainedTokenizerFast:
    """Return the same tokenizer with a chat template."""
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer().backend_tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        mask_token="<mask>",
    )  # fmt: skip
    made.chat_template = (
        "{% for one in messages %}<mask>{{ one.role }}\n{{ one.content }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<mask>assistant\n{% endif %}"
    )
    return made


@cache
def answer_begins() -> list[int]:
    """Return the ids with which the chat template begins an answer."""
    ids: list[int] = tokenizer()("<mask>assistant\n", add_special_tokens=False)["input_ids"]
    return ids


@cache
def documents() -> list[list[int]]:
    """Return the ids of the paragraphs of the reference, without special tokens."""
    paragraphs = [part for text in topics.values() for part in text.split("\n\n") if len(part) > 40]
    ids: list[list[int]] = tokenizer()(paragraphs, add_special_tokens=False)["input_ids"]
    return ids


@cache
def stream_of_text() -> Tensor:
    """Return all documents as one row of ids, each ended by the end token."""
    end = tokenizer().eos_token_id
    return torch.tensor([token for document in documents() for token in (*document, end)])


@cache
def stream_of_codes() -> Tensor:
    """Return codes [time, codebook] of a sound: plucked strings that play the text, a letter a note.

    The strings are Karplus and Strong's (Computer Music Journal 7:2, 1983). Frames of 64 samples are coded by residual
    vector quantisation, each codebook by k-means over what the ones before have left, as neural codecs do.
    """
    frames = _plucked("".join(topics.values())[:6000]).view(-1, 64)
    generator = torch.Generator().manual_seed(0)
    codes = []
    for _ in range(CODEBOOKS):
        centres = frames[torch.randperm(len(frames), generator=generator)[:CODES]].clone()
        for _ in range(8):
            nearest = torch.cdist(frames, centres).argmin(-1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, frames)
            centres = sums / torch.bincount(nearest, minlength=CODES).clamp(1).unsqueeze(-1)
        nearest = torch.cdist(frames, centres).argmin(-1)
        codes.append(nearest)
        frames = frames - centres[nearest]
    return torch.stack(codes, -1)


def _plucked(text: str, rate: int = 4000, length: int = 256) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    sound = torch.zeros(len(text) * length + 4 * length)
    for at, letter in enumerate(text):
        if letter.isspace():
            continue
        period = round(rate / (110 * 2 ** ((ord(letter) % 24) / 12)))
        string = torch.rand(period, generator=generator) * 2 - 1
        periods = math.ceil(4 * length / period)
        note = []
        for _ in range(periods):
            note.append(string)
            string = 0.498 * (string + string.roll(-1))
        sound[at * length : (at + 4) * length] += torch.cat(note)[: 4 * length]
    return sound
