"""Real text, a tokenizer trained on it, and models small enough to train in a second: nothing is downloaded."""

from functools import cache
from pydoc_data.topics import topics
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LENGTH = 48
# As TRL wants it where the loss is to see answers only: these are marked.
CHAT = (
    "{% for message in messages %}{% if message.role == 'assistant' %}<|a|>{% generation %}{{ message.content }}"
    "<|end|>{% endgeneration %}{% else %}<|u|>{{ message.content }}{% endif %}{% endfor %}"
)


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Train a tokenizer of 500 tokens on Python's language reference."""
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>", "<|pad|>", "<|u|>", "<|a|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    plain.train_from_iterator(topics.values(), trainer)
    plain.post_processor = processors.ByteLevel(trim_offsets=False)
    made = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|pad|>"
    )
    made.chat_template = CHAT
    return made


@cache
def texts() -> list[tuple[str, str]]:
    """Return titles of the reference and how their texts begin."""
    return [(name, " ".join(text.split())[:120]) for name, text in sorted(topics.items())]


@cache
def samples() -> list[dict[str, list[int]]]:
    """Return ids and labels: the title and the padding are not trained on, and labels are not shifted."""
    made = tokenizer()
    given = []
    for title, text in texts():
        prompt = [made.bos_token_id, *made.encode(title + ": ", add_special_tokens=False)]
        answer = [*made.encode(text, add_special_tokens=False)[: LENGTH - len(prompt) - 1], made.eos_token_id]
        padding = LENGTH - len(prompt) - len(answer)
        given.append(
            {
                "input_ids": prompt + answer + [made.pad_token_id] * padding,
                "attention_mask": [1] * (LENGTH - padding) + [0] * padding,
                "labels": [-100] * len(prompt) + answer + [-100] * padding,
            }
        )
    return given


def llama(kind: Any = LlamaForCausalLM, config: Any = LlamaConfig, **more: Any) -> Any:
    """Make a random model of 2 layers, always the same."""
    torch.manual_seed(0)
    made = config(
        **{
            "vocab_size": len(tokenizer()), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
            **more,
        }
    )  # fmt: skip
    return kind(made)
