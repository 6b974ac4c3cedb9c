"""Fine-tune a model of two streams, text and eight audio codebooks, with LoRA, on one process or several.

    torchrun --nproc_per_node=2 docs/examples/two_streams.py --log_steps 10 --output_dir runs/two_streams
    python docs/examples/two_streams.py --mistake unshifted

The model is HiggsAudioV2ForConditionalGeneration of transformers, tiny and with random weights, so that nothing is
downloaded: each sample is a topic of the Python language reference as text, then as "speech", which is made up. The
lines of predlog are marked; the rest is what such a trainer looks like without it. Needs transformers and peft.
"""

import argparse
import os
import random
from pydoc_data.topics import topics

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch users know
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import pad_sequence
from transformers import HiggsAudioV2Config, HiggsAudioV2ForConditionalGeneration, PreTrainedTokenizerFast

import predlog

IGNORED = -100
CODEBOOKS, CODES = 8, 64
STREAM_BOS, STREAM_EOS = CODES, CODES + 1  # begin and end of the speech, in each codebook
SPECIAL = ["<pad>", "<bos>", "<eos>", "<audio_bos>", "<audio>", "<audio_eos>"]
PAD, BOS, EOS, AUDIO_BOS, AUDIO, AUDIO_EOS = range(len(SPECIAL))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of 384 tokens on the topics: it takes a fifth of a second."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(topics.values(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")


class TwoStreams(HiggsAudioV2ForConditionalGeneration):
    """The model with the logits of both streams; its own `forward` returns only those of the audio."""

    def forward(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return text logits [b, t, v] and audio logits [b, t, k · v], none of them shifted."""
        hidden = self.model(**inputs, use_cache=False).last_hidden_state
        return self.text_lm_head(hidden), self.audio_lm_head(hidden)


def make_model(vocabulary: int) -> nn.Module:
    """Build the model, and put LoRA on its attention; the heads are trained without LoRA."""
    config = HiggsAudioV2Config(
        vocab_size=vocabulary, hidden_size=64, intermediate_size=128, num_hidden_layers=2, head_dim=16,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.1,
        num_codebooks=CODEBOOKS, codebook_size=CODES + 2, audio_stream_bos_id=STREAM_BOS,
        audio_stream_eos_id=STREAM_EOS, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS, audio_token_id=AUDIO,
        audio_bos_token_id=AUDIO_BOS, audio_delay_token_id=AUDIO,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )  # fmt: skip
    attention, heads = ["q_proj", "k_proj", "v_proj", "o_proj"], ["text_lm_head", "audio_lm_head"]
    lora = LoraConfig(r=8, target_modules=attention, modules_to_save=heads)
    return get_peft_model(TwoStreams(config, use_text_head=True), lora)


def speak(text: Tensor) -> Tensor:
    """Make up speech for text [n]: codes [n + 9, k] in delay pattern, codebook k begins and ends k frames later."""
    tone = (text[0] + 5 * torch.arange(len(text))) % CODES
    frames = [F.pad((2 * k + 1) * tone % CODES, (1 + k, 0), value=STREAM_BOS) for k in range(CODEBOOKS)]
    return torch.stack([F.pad(one, (0, CODEBOOKS - k), value=STREAM_EOS) for k, one in enumerate(frames)], dim=-1)


def make_sample(tokenizer: PreTrainedTokenizerFast, draw: random.Random) -> tuple[Tensor, ...]:
    """Return ids [t], their labels, codes [t, k] and theirs: prompt, text, speech. The prompt is not learnt."""
    title, length = draw.choice(sorted(topics)), draw.randint(16, 32)
    prompt = torch.tensor([BOS, *tokenizer.encode(f"{title}: ")])
    text = torch.tensor(tokenizer.encode(topics[title].partition("\n\n")[2])[:length])
    speech = speak(text)
    ids = torch.cat([prompt, text, torch.tensor([AUDIO_BOS] + [AUDIO] * len(speech) + [AUDIO_EOS, EOS])])
    labels = ids.masked_fill(ids == AUDIO, IGNORED)
    labels[: len(prompt)] = IGNORED
    codes = F.pad(speech, (0, 0, len(prompt) + len(text) + 1, 2), value=STREAM_EOS)
    return ids, labels, codes, codes.masked_fill(codes >= CODES, IGNORED)


def make_batch(tokenizer: PreTrainedTokenizerFast, size: int, draw: random.Random) -> dict[str, Tensor]:
    """Pad samples to one length, on the right."""
    columns = zip(*(make_sample(tokenizer, draw) for _ in range(size)), strict=True)
    names = {"ids": PAD, "labels": IGNORED, "codes": STREAM_EOS, "code_labels": IGNORED}
    return {
        name: pad_sequence(column, batch_first=True, padding_value=padding)
        for (name, padding), column in zip(names.items(), columns, strict=True)
    }


def loss_of(logits: Tensor, labels: Tensor, shift: int) -> Tensor:
    """Return the mean loss of the labels that are not ignored: logits [b, t, v], labels [b, t]."""
    rows, targets = logits[:, : labels.shape[1] - shift], labels[:, shift:]
    return F.cross_entropy(rows.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def audio_loss_of(logits: Tensor, labels: Tensor, shift: int) -> Tensor:
    """Return the mean of the codebooks' losses: logits [b, t, k · v], labels [b, t, k]."""
    codebooks = zip(logits.unflatten(-1, (CODEBOOKS, -1)).unbind(2), labels.unbind(2), strict=True)
    return torch.stack([loss_of(*codebook, shift) for codebook in codebooks]).mean()


def train(arguments: argparse.Namespace, rank: int, processes: int) -> None:
    """Train, and save the adapter with the heads."""
    torch.manual_seed(arguments.seed)
    tokenizer = make_tokenizer()
    adapted = make_model(len(tokenizer))
    model = DistributedDataParallel(adapted) if processes > 1 else adapted
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=arguments.lr)
    draw = random.Random(arguments.seed * processes + rank)
    # Labels are at the positions of the ids, so the losses have to shift: the row of a position predicts the next one.
    shift = 0 if arguments.mistake == "unshifted" else 1

    predlog.configure(arguments.output_dir, every=arguments.log_steps, decode={"text": tokenizer})  # predlog: 1

    for step in range(arguments.steps):
        batch = make_batch(tokenizer, arguments.batch_size, draw)
        ids, labels, codes, code_labels = batch["ids"], batch["labels"], batch["codes"], batch["code_labels"]
        text_logits, audio_logits = model(
            input_ids=ids, attention_mask=(ids != PAD).long(), audio_input_ids=codes, audio_input_ids_mask=ids == AUDIO
        )
        predlog.compare(text_logits, labels, step, shift=shift, inputs=ids)  # predlog: 2
        predlog.compare(  # predlog: 3
            audio_logits, code_labels, step, stream="audio", layout="b t (k v), b t k", shift=shift, inputs=codes
        )
        text_loss = loss_of(text_logits, labels, shift)
        audio_loss = audio_loss_of(audio_logits, code_labels, shift)
        optimizer.zero_grad()
        (text_loss + arguments.audio_weight * audio_loss).backward()
        optimizer.step()
        if rank == 0 and step % arguments.log_steps == 0:
            print(f"step {step}: text loss {text_loss.item():.3f}, audio loss {audio_loss.item():.3f}", flush=True)

    if rank == 0:
        adapted.save_pretrained(arguments.output_dir, save_embedding_layers=False)


def main() -> None:
    """Read the arguments, and join the other processes if torchrun has started several."""
    parser = argparse.ArgumentParser(description="Fine-tune a tiny model of text and audio with LoRA.")
    parser.add_argument("--steps", type=int, default=100, help="training steps (100)")
    parser.add_argument("--log_steps", type=int, default=10, help="log the steps that this divides (10)")
    parser.add_argument("--batch_size", type=int, default=8, help="samples a step and process (8)")
    parser.add_argument("--lr", type=float, default=1e-2, help="learning rate (0.01)")
    parser.add_argument("--audio_weight", type=float, default=1.0, help="of the audio loss in the sum (1)")
    parser.add_argument("--output_dir", default="runs/two_streams", help="of log and adapter (runs/two_streams)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (0)")
    parser.add_argument("--mistake", choices=["unshifted"], help="leave the shift out of both losses")
    arguments = parser.parse_args()
    if "RANK" not in os.environ:
        train(arguments, rank=0, processes=1)
        return
    dist.init_process_group("gloo")
    train(arguments, dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
