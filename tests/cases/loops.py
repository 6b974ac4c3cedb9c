"""Tiny random configurations of real models, how each makes its pairs, and a training loop around them."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
import transformers
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch users know

from predlog import Recorder
from tests.cases import material
from tests.cases.material import CODEBOOKS, CODES

BATCH, LENGTH, WIDTH = 4, 48, 64
PAD, BOS, EOS, MASK = range(4)
IGNORED = -100
Batch = dict[str, Tensor]
# What a batch may have beside ids and labels, and how `compare` calls it.
KNOWN = {"attention": "attention_mask", "places": "position_ids", "weights": "loss_mask"}


@dataclass(frozen=True)
class Pair:
    """A pair as it is passed, and as the loss sees it."""

    logits: Tensor
    labels: Tensor
    inputs: Tensor | None
    layout: str = "b t v, b t"
    shift: int = 0
    stream: str = "text"
    ignore_index: int = IGNORED
    smoothing: float = 0.0
    known: Mapping[str, Tensor] = field(default_factory=dict)  # masks and positions, by the names that `compare` has

    def loss(self) -> Tensor:
        """Return the mean loss, by the layout, the shift and the loss mask that the pair is passed with."""
        logits, labels = (side.strip() for side in self.layout.split(","))
        axes = dict(zip(labels.split(), self.labels.shape, strict=True))
        axes.pop("t")
        rows = rearrange(self.logits, f"{logits} -> {labels} v", **axes).movedim(labels.split().index("t"), 0)
        wanted = self.labels
        if "loss_mask" in self.known:
            wanted = wanted.masked_fill(self.known["loss_mask"] == 0, self.ignore_index)
        ids = wanted.movedim(labels.split().index("t"), 0)[self.shift :]
        rows = rows[: len(ids)]
        return F.cross_entropy(
            rows.flatten(0, -2), ids.flatten(), ignore_index=self.ignore_index, label_smoothing=self.smoothing
        )

    def has_loss(self) -> bool:
        """Whether each label that is not ignored has a logit: `cross_entropy` refuses others."""
        labels = self.labels[self.labels != self.ignore_index]
        vocabulary = self.logits.shape[-1] // (self.labels.shape[-1] if "(k v)" in self.layout else 1)
        return bool(((labels >= 0) & (labels < vocabulary)).all())


@dataclass
class Setup:
    """A model, where its batches come from, and how it makes pairs of them."""

    model: nn.Module
    batch: Callable[[torch.Generator], Batch]
    forward: Callable[[nn.Module, Batch], list[Pair]]
    decode: Any = None
    rate: float = 3e-3


Change = Callable[[Any], Any]
Reports = Callable[[Pair], Tensor | None]


def unchanged(thing: Any) -> Any:
    return thing


def its_loss(pair: Pair) -> Tensor | None:
    """Return the loss of a pair; None where there can be none."""
    return pair.loss().detach() if pair.has_loss() else None


@dataclass(frozen=True)
class Mistake:
    """What is done wrong: to the batch, to the pair that loss and log see, or to the one that the log alone sees.

    `reports` is the loss of the pair that the loss sees, as the trainer reports it.
    """

    batch: Change = unchanged
    pair: Change = unchanged
    logged: Change = unchanged
    reports: Reports = its_loss
    learns: bool = True
    rate: float = 1.0
    reseeded: bool = False
    weights: Callable[[nn.Module], None] = field(default=lambda _model: None)


RIGHT = Mistake()


def train(
    setup: Setup, recorders: Collection[Recorder], steps: range, *, seed: int = 0, mistake: Mistake = RIGHT
) -> Iterator[int]:
    """Train, log to each recorder what is due for it, and yield after each step; a mistake may stop the learning."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(setup.model.parameters(), lr=setup.rate * mistake.rate)
    mistake.weights(setup.model)
    for step in steps:
        if mistake.reseeded:
            generator.manual_seed(seed)
        due = [one for one in recorders if step % getattr(getattr(one, "passed", None), "every", 1) == 0]
        if not due and not mistake.learns:
            continue
        batch = mistake.batch(setup.batch(generator))
        pairs = [mistake.pair(pair) for pair in setup.forward(setup.model, batch)]
        reported = [mistake.reports(pair) for pair in pairs if due]
        for pair, loss in zip(map(mistake.logged, pairs), reported, strict=False):
            for recorder in due:
                recorder.compare(
                    pair.logits, pair.labels, step,
                    stream=pair.stream, layout=pair.layout, shift=pair.shift, inputs=pair.inputs,
                    ignore_index=pair.ignore_index, reported_loss=loss, **pair.known,
                )  # fmt: skip
        for recorder in due:
            recorder.flush(60)
        if mistake.learns:
            loss = torch.stack([pair.loss() for pair in pairs]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield step


# --- batches ------------------------------------------------------------------------------------------------------


def packed_text(generator: torch.Generator, length: int = LENGTH, batch: int = BATCH) -> Batch:
    """Packed documents: rows cut from one stream of text, every position supervised."""
    stream = material.stream_of_text()
    starts = torch.randint(len(stream) - length, (batch,), generator=generator).tolist()
    ids = torch.stack([stream[start : start + length] for start in starts])
    return {"ids": ids, "labels": ids.clone()}


def padded_text(generator: torch.Generator, length: int = LENGTH, batch: int = BATCH) -> Batch:
    """Whole documents between a begin and an end token, padded on the right, the padding ignored."""
    documents = material.documents()
    ids = torch.full((batch, length), PAD)
    labels = torch.full((batch, length), IGNORED)
    for row, one in enumerate(torch.randint(len(documents), (batch,), generator=generator).tolist()):
        document = [BOS, *documents[one][: length - 12], EOS]
        ids[row, : len(document)] = torch.tensor(document)
        labels[row, 1 : len(document)] = torch.tensor(document[1:])
    return {"ids": ids, "labels": labels, "attention": (ids != PAD).long()}


def answered_text(
    generator: torch.Generator, length: int = LENGTH, batch: int = BATCH, prefix: tuple[int, ...] = (), off: int = 0
) -> Batch:
    """Write a prompt, the begin of an answer as the chat template has it, perhaps prefilled, and an answer to learn."""
    documents = material.documents()
    ids = torch.full((batch, length), PAD)
    labels = torch.full((batch, length), IGNORED)
    for row, one in enumerate(torch.randint(len(documents), (batch,), generator=generator).tolist()):
        begin = [BOS, *documents[one][:8], *material.answer_begins(), *prefix]
        answer = [*documents[one][8 : length - len(begin)], EOS]
        ids[row, : len(begin) + len(answer)] = torch.tensor([*begin, *answer])
        labels[row, len(begin) : len(begin) + len(answer)] = torch.tensor(answer)
        if off > 0:
            labels[row, len(begin) : len(begin) + off] = IGNORED
        elif off < 0:
            labels[row] = labels[row].roll(off).where(labels[row].roll(off) == IGNORED, ids[row])
    return {"ids": ids, "labels": labels}


def _need(model: str) -> None:
    if not hasattr(transformers, model):
        pytest.skip(f"transformers {transformers.__version__} has no {model}")


def codes(generator: torch.Generator, length: int = LENGTH, batch: int = BATCH) -> Batch:
    """Rows of codes [b, t, k]; codebook k comes k steps late, as in MusicGen's delay pattern, and starts masked."""
    stream = material.stream_of_codes()
    starts = torch.randint(len(stream) - length, (batch,), generator=generator).tolist()
    ids = torch.full((batch, length, CODEBOOKS), CODES)
    labels = torch.full_like(ids, IGNORED)
    for row, start in enumerate(starts):
        for codebook in range(CODEBOOKS):
            late = stream[start : start + length - codebook, codebook]
            ids[row, codebook:, codebook] = late
            labels[row, codebook:, codebook] = late
    return {"ids": ids, "labels": labels}


def shifted_right(ids: Tensor, start: int) -> Tensor:
    """Return what a decoder reads: the ids one position later, behind a start token; ignored ones as padding."""
    read = ids.roll(1, 1)
    read[:, 0] = start
    return read.masked_fill(read == IGNORED, start)


# --- models -------------------------------------------------------------------------------------------------------


def llama(**config: Any) -> Setup:
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=512, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, **config,
        )
    )  # fmt: skip
    return Setup(model, padded_text, _causal, decode=material.tokenizer())


def gpt2() -> Setup:
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=512, n_positions=256, n_embd=WIDTH, n_layer=2, n_head=4, bos_token_id=BOS, eos_token_id=EOS
        )
    )
    return Setup(model, padded_text, _causal, decode=material.tokenizer())


def _causal(model: nn.Module, batch: Batch) -> list[Pair]:
    # What the model is called with is known of the pair, too.
    known = {name: batch[key] for key, name in KNOWN.items() if key in batch and name != "loss_mask"}
    logits = model(input_ids=batch["ids"], **known).logits
    if "weights" in batch:
        known["loss_mask"] = batch["weights"]
    return [Pair(logits, batch["labels"], batch["ids"], shift=1, known=known)]


def bert() -> Setup:
    model = transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=512, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=2 * WIDTH, max_position_embeddings=256,
        )
    )  # fmt: skip

    def batch(generator: torch.Generator) -> Batch:
        made = padded_text(generator)
        # 20 % of the positions: 80 % of them masked, 10 % replaced, 10 % left as they are.
        chance = torch.rand(made["ids"].shape, generator=generator)
        chosen = (chance < 0.2) & (made["labels"] != IGNORED)
        labels = made["ids"].masked_fill(~chosen, IGNORED)
        ids = made["ids"].masked_fill(chosen & (chance < 0.16), MASK)
        other = torch.randint(4, 512, ids.shape, generator=generator)
        ids = torch.where(chosen & (chance >= 0.16) & (chance < 0.18), other, ids)
        return {"ids": ids, "labels": labels, "attention": (made["ids"] != PAD).long()}

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        logits = model(input_ids=batch["ids"], attention_mask=batch["attention"]).logits
        return [Pair(logits, batch["labels"], batch["ids"], known={"attention_mask": batch["attention"]})]

    return Setup(model, batch, forward, decode=material.tokenizer())


def t5() -> Setup:
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(  # type: ignore[call-arg]
            vocab_size=512, d_model=WIDTH, d_kv=16, d_ff=2 * WIDTH, num_layers=2, num_heads=4,
            decoder_start_token_id=PAD, pad_token_id=PAD,
        )
    )  # fmt: skip
    return Setup(model, _prompted, _encoder_decoder, decode=material.tokenizer())


def whisper() -> Setup:
    config = transformers.WhisperConfig(
        vocab_size=512, d_model=WIDTH, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=2 * WIDTH, decoder_ffn_dim=2 * WIDTH, num_mel_bins=16,
        max_source_positions=32, max_target_positions=128, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS,
        decoder_start_token_id=BOS, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)

    def batch(generator: torch.Generator) -> Batch:
        made = _prompted(generator)
        made["read"] = shifted_right(made["labels"], BOS)
        made["features"] = torch.randn(BATCH, 16, 64, generator=generator)
        return made

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        logits = model(input_features=batch["features"], decoder_input_ids=batch["read"]).logits
        return [Pair(logits, batch["labels"], batch["read"])]

    return Setup(model, batch, forward, decode=material.tokenizer())


def _prompted(generator: torch.Generator) -> Batch:
    made = padded_text(generator)
    labels = torch.cat([made["labels"][:, 1:], torch.full((BATCH, 1), IGNORED)], 1)
    return {"ids": made["ids"][:, :16], "labels": labels, "read": shifted_right(labels, PAD)}


def _encoder_decoder(model: nn.Module, batch: Batch) -> list[Pair]:
    logits = model(input_ids=batch["ids"], decoder_input_ids=batch["read"]).logits
    return [Pair(logits, batch["labels"], batch["read"])]


def musicgen() -> Setup:
    model = transformers.MusicgenForCausalLM(
        transformers.MusicgenDecoderConfig(
            vocab_size=CODES, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, ffn_dim=2 * WIDTH,
            num_codebooks=CODEBOOKS, pad_token_id=CODES, bos_token_id=CODES, max_position_embeddings=256,
        )
    )  # fmt: skip

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        logits = model(input_ids=rearrange(batch["read"], "b t k -> (b k) t")).logits
        return [Pair(logits, batch["labels"], batch["read"], "(b k) t v, b t k", stream="audio")]

    return Setup(model, _read_codes, forward)


def _read_codes(generator: torch.Generator) -> Batch:
    made = codes(generator)
    return {**made, "read": shifted_right(made["ids"], CODES)}


def dia() -> Setup:
    encoder = {
        "vocab_size": 512, "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 4, "head_dim": 16, "intermediate_size": 2 * WIDTH,
    }  # fmt: skip
    decoder = {
        **encoder, "vocab_size": CODES + 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
        "cross_num_attention_heads": 4, "cross_head_dim": 16, "cross_num_key_value_heads": 4,
        "cross_hidden_size": WIDTH, "num_channels": CODEBOOKS, "pad_token_id": CODES, "bos_token_id": CODES + 1,
        "eos_token_id": CODES + 2,
    }  # fmt: skip
    _need("DiaForConditionalGeneration")
    model = transformers.DiaForConditionalGeneration(
        transformers.DiaConfig(encoder_config=encoder, decoder_config=decoder, delay_pattern=list(range(CODEBOOKS)))
    )

    def batch(generator: torch.Generator) -> Batch:
        return {**_read_codes(generator), "text": packed_text(generator, 16)["ids"]}

    def forward(model: nn.Module, batch: Batch) -> list[Pair]:
        logits = model(input_ids=batch["text"], decoder_input_ids=batch["read"]).logits
        return [Pair(logits, batch["labels"], batch["read"], "(b k) t v, b t k", stream="audio")]

    return Setup(model, batch, forward)


def higgs() -> Setup:
    """Text and audio in one row: a text, then frames of eight codebooks, at the places of an audio token."""
    _need("HiggsAudioV2ForConditionalGeneration")
    text, frames = 24, LENGTH
    audio = 510
    model = transformers.HiggsAudioV2ForConditionalGeneration(
        transformers.HiggsAudioV2Config(
            vocab_size=512, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=16, max_position_embeddings=2048, num_codebooks=CODEBOOKS,
            codebook_size=CODES + 2, audio_token_id=audio, audio_bos_token_id=508, audio_delay_token_id=509,
            audio_stream_bos_id=CODES, audio_stream_eos_id=CODES + 1, pad_token_id=PAD, bos_token_id=BOS,
            eos_token_id=EOS,
        ),
        use_text_head=True,
    )  # fmt: skip

    def batch(generator: torch.Generator) -> Batch:
        written = packed_text(generator, text)["ids"].clamp(max=507)
        sound = codes(generator, frames)
        audio_ids = torch.full((BATCH, text, CODEBOOKS), IGNORED)
        return {
            "ids": torch.cat([written, torch.full((BATCH, frames), audio)], 1),
            "text_labels": torch.cat([written, torch.full((BATCH, frames), IGNORED)], 1),
            "frames": sound["ids"],
            "audio_ids": torch.cat([audio_ids.clamp(min=CODES), sound["ids"]], 1),
            "audio_labels": torch.cat([audio_ids, sound["labels"]], 1),
        }

    def forward(model: Any, batch: Batch) -> list[Pair]:
        everywhere = torch.ones(batch["frames"].shape[:2], dtype=torch.bool)
        hidden = model.model(
            input_ids=batch["ids"], audio_input_ids=batch["frames"], audio_input_ids_mask=everywhere
        ).last_hidden_state
        return [
            Pair(model.text_lm_head(hidden), batch["text_labels"], batch["ids"], shift=1),
            Pair(
                model.audio_lm_head(hidden), batch["audio_labels"], batch["audio_ids"], "b t (k v), b t k", 1, "audio"
            ),
        ]

    return Setup(model, batch, forward, decode={"text": material.tokenizer()})


MODELS: dict[str, Callable[[], Setup]] = {
    "llama": llama, "gpt2": gpt2, "bert": bert, "t5": t5, "whisper": whisper, "musicgen": musicgen, "dia": dia,
    "higgs": higgs,
}  # fmt: skip


def made(name: str, seed: int = 0) -> Setup:
    torch.manual_seed(seed)
    return MODELS[name]()


def little(setup: Setup) -> Setup:
    """Draw all batches from eight, so that a tiny model can learn them by heart."""
    made = [setup.batch(torch.Generator().manual_seed(number)) for number in range(8)]

    def batch(generator: torch.Generator) -> Batch:
        return made[int(torch.randint(len(made), (), generator=generator))]

    return replace(setup, batch=batch)
