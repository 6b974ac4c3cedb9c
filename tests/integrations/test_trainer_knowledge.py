"""What the Trainer's callback passes beside the pair: masks, positions, what a decoder read, and the model's loss."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.integrations.needed import needed

needed("accelerate")
transformers = needed("transformers")

from transformers import Trainer  # noqa: E402 - what is needed is asked for first
from transformers.modeling_outputs import CausalLMOutput  # noqa: E402

from predlog import Finding, Recorder, read  # noqa: E402
from predlog.integrations._hf import label_shift  # noqa: E402
from predlog.integrations.transformers import PredictionCallback, PredictionMixin  # noqa: E402
from tests import events  # noqa: E402
from tests.integrations import tiny  # noqa: E402
from tests.integrations.test_trainer import arguments, loss_of  # noqa: E402
from tests.integrations.witness import codes, comparisons  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


def train(folder: Path, model: Any, samples: Any, kind: Any = Trainer, collator: Any = None, **more: Any) -> str | None:
    """Train, and return what is known of the reported loss."""
    with Recorder(folder, every=1, console=False, decode=tiny.tokenizer()) as recorder:
        trainer = kind(
            model=model, args=arguments(folder, **{"max_steps": 3, "logging_steps": 1, **more}),
            train_dataset=samples, data_collator=collator, callbacks=[PredictionCallback(recorder=recorder)],
        )  # fmt: skip
        trainer.train()
        assert recorder.flush()
        return recorder._judge._lanes["train", None].loss.state


def named(folder: Path) -> set[str]:
    return {code for _, _, code in codes(folder)}


def unmasked() -> list[dict[str, Any]]:
    """Return samples whose labels are the ids, ten of padding among them."""
    cut = [[*one["input_ids"][:20], *[tiny.tokenizer().pad_token_id] * 10] for one in tiny.samples()]
    return [{"input_ids": ids, "labels": list(ids), "attention_mask": [1] * 20 + [0] * 10} for ids in cut]


# --- masks and positions ------------------------------------------------------------------------------------------


def test_padding_is_known_from_the_attention_mask(tmp_path: Path) -> None:
    """Labels that the mask marks as padding are named even where the id of the padding is that of the end."""
    samples = [
        {name: [1 if name != "attention_mask" and at == 2 else at for at in ids] for name, ids in one.items()}
        for one in unmasked()
    ]
    assert train(tmp_path, tiny.llama(), samples) == "fits"
    assert "pad-supervised" in named(tmp_path)


def flattened(*, masks: bool) -> Callable[[Any], Any]:
    """Return transformers' collator for rows without padding; it may be made to forget the documents' first labels."""
    collator = transformers.DataCollatorWithFlattening(return_flash_attn_kwargs=True, return_position_ids=True)

    def collate(samples: Any) -> Any:
        batch = collator([{name: one[name] for name in ("input_ids", "labels")} for one in samples])
        if not masks:
            batch["labels"] = batch["input_ids"].clone()
        return batch

    return collate


@pytest.mark.parametrize("masks", [True, False])
def test_rows_without_padding(tmp_path: Path, masks: bool) -> None:
    """Where documents begin is known of the cumulative lengths and the positions; only labels across them are named."""
    length = [{"input_ids": one["input_ids"][5:17], "labels": one["input_ids"][5:17]} for one in tiny.samples()]
    state = train(tmp_path, tiny.llama(), length, collator=flattened(masks=masks), remove_unused_columns=False)
    assert state == "fits"
    assert named(tmp_path) == (set() if masks else {"label-crosses-boundary"})


class MasksByItself(transformers.LlamaForCausalLM):  # type: ignore[misc, name-defined]
    """Its loss leaves out what the attention mask marks, as that of LLaVA and of Qwen2-Audio."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **more: Any) -> Any:
        """Return the loss and the logits."""
        logits = super().forward(input_ids=input_ids, attention_mask=attention_mask).logits
        shift_attention_mask = attention_mask[..., 1:]
        shift_logits = logits[..., :-1, :][shift_attention_mask.to(logits.device) != 0].contiguous()
        shift_labels = labels[..., 1:][shift_attention_mask.to(labels.device) != 0].contiguous()
        return CausalLMOutput(loss=functional.cross_entropy(shift_logits, shift_labels), logits=logits)


def test_a_loss_that_leaves_out_the_padding(tmp_path: Path) -> None:
    """If the model's own loss leaves it out, padding among the labels is no fault, and is not shown as supervised."""
    assert train(tmp_path, tiny.llama(MasksByItself), unmasked()) == "fits"
    assert named(tmp_path) == set()
    assert {one.supervised for one in comparisons(tmp_path)} == {19}


def qwen2_audio() -> Any:
    text = {
        "vocab_size": len(tiny.tokenizer()), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "model_type": "qwen2",
    }  # fmt: skip
    audio = {"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    torch.manual_seed(0)
    config = transformers.Qwen2AudioConfig(
        text_config=text, audio_config={"model_type": "qwen2_audio_encoder", **audio}, audio_token_index=3
    )
    return transformers.Qwen2AudioForConditionalGeneration(config)


def test_qwen2_audio(tmp_path: Path) -> None:
    """The same with the model that was reported, on text."""
    if label_shift.mask(qwen2_audio()) is None:
        pytest.skip("the loss of this release does not leave out the padding")
    samples = [one | {"input_ids": [max(at, 4) if at == 3 else at for at in one["input_ids"]]} for one in unmasked()]
    assert train(tmp_path, qwen2_audio(), samples) == "fits"
    assert "pad-supervised" not in named(tmp_path)


def test_a_decoder_that_starts_with_padding(tmp_path: Path) -> None:
    """T5's first decoder input is its padding, so a mask of what is no padding leaves it out: that is no fault."""
    config = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 2}
    model = tiny.llama(transformers.T5ForConditionalGeneration, transformers.T5Config, **config)
    samples = [
        {"input_ids": ids[:20], "labels": ids[1:20], "decoder_attention_mask": [0, *[1] * 18]}
        for ids in (one["input_ids"] for one in tiny.samples())
    ]
    assert train(tmp_path, model, samples) == "fits"
    assert named(tmp_path) == set()


@pytest.mark.parametrize(
    ("text", "is_masked"),
    [
        ("loss = f(logits[..., :-1, :].reshape(-1, v), labels[..., 1:].reshape(-1))", False),
        ("mask = attention_mask[:, -(n - 1) :]\nshift_labels = labels[..., 1:][mask.to(labels.device) != 0]", True),
        ("labels = labels.masked_fill(attention_mask == 0, -100)\nloss = self.loss_function(logits, labels)", True),
        ("labels[attention_mask == 0] = -100", True),
        ("active = attention_mask.view(-1) == 1\nother = torch.where(\n    active, labels.view(-1), x)", True),
        ("loss = (loss * attention_mask[:, 1:].reshape(-1)).sum() / attention_mask[:, 1:].sum()", True),
        ("labels = labels.masked_fill(labels == self.config.pad_token_id, -100)", False),
        ("out = self.model(ids, attention_mask=attention_mask)\nloss = self.loss_function(out[0], labels)", False),
        ("loss = self.loss_function(logits[:, :-1], labels[:, 1:], attention_mask=attention_mask)", False),
    ],
)
def test_how_a_mask_is_read(text: str, is_masked: bool) -> None:
    """A loss leaves out the padding where its text shows it, and not because it passes the mask on."""
    assert (label_shift._read_mask(text, "attention_mask") is not None) == is_masked


# --- the loss -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_loss_of_the_model_fits(tmp_path: Path, accumulate: int) -> None:
    """The loss that the model returns is that of the record, also divided by the labels of all micro-batches."""
    assert train(tmp_path, tiny.llama(), tiny.samples(), gradient_accumulation_steps=accumulate) == "fits"
    assert named(tmp_path) == set()


def mixtral(**more: Any) -> Any:
    config = {"num_local_experts": 2, "num_experts_per_tok": 1, "output_router_logits": True, **more}
    return tiny.llama(transformers.MixtralForCausalLM, transformers.MixtralConfig, **config)


def test_the_loss_of_a_router_is_subtracted(tmp_path: Path) -> None:
    """What a mixture of experts adds to its loss is no difference."""
    assert train(tmp_path, mixtral(router_aux_loss_coef=0.5), tiny.samples()) == "fits"
    assert named(tmp_path) == set()


class Deaf(transformers.LlamaForCausalLM):  # type: ignore[misc, name-defined]
    """Takes `shift_labels`, and shifts the labels nevertheless."""

    def forward(self, input_ids: Any = None, labels: Any = None, attention_mask: Any = None, **more: Any) -> Any:
        """Return the loss and the logits."""
        return super().forward(input_ids=input_ids, labels=labels, attention_mask=attention_mask)


@pytest.mark.parametrize(
    ("model", "found"), [(Deaf, {"loss-differs-from-pair"}), (transformers.LlamaForCausalLM, set())]
)
def test_labels_that_a_model_shifts_again(tmp_path: Path, model: Any, found: set[str]) -> None:
    """A model that does not use `shift_labels` is named on its loss."""
    samples = [one | {"labels": [*one["labels"][1:], -100]} for one in tiny.samples()]
    samples = [one | {"shift_labels": one["labels"]} for one in samples]
    state = train(
        tmp_path, tiny.llama(model), samples, collator=transformers.default_data_collator, remove_unused_columns=False
    )
    assert named(tmp_path) == found
    assert state == ("one more shift" if found else "fits")


class Mixed(PredictionMixin, Trainer):
    """A trainer that passes its labels on."""


def lost(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """Return the mean over the micro-batch, whatever the others have."""
    return loss_of(outputs, labels, num_items_in_batch) * num_items_in_batch / (labels[:, 1:] != -100).sum()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("loss", "state"), [(loss_of, "fits"), (lost, "mean over the micro-batch")])
def test_a_loss_of_the_users_own(tmp_path: Path, loss: Any, state: str) -> None:
    """With the mixin, what compute_loss_func returns is held against the record, from the first one on."""

    def make(**more: Any) -> Any:
        return Mixed(compute_loss_func=loss, **more)

    found = train(tmp_path, tiny.llama(), tiny.samples(), make, gradient_accumulation_steps=2, max_steps=2)
    assert found == state
    assert named(tmp_path) == (set() if state == "fits" else {"loss-differs-from-pair"})


def test_smoothed_labels_are_not_checked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line says that label smoothing makes another loss."""
    assert train(tmp_path, tiny.llama(), tiny.samples(), Mixed, label_smoothing_factor=0.1) is None
    told = [line for line in events.said(capfd).splitlines() if line.startswith("predlog: ")]
    assert told == ["predlog: the reported loss is not checked: label_smoothing_factor=0.1 changes it"]


# --- labels that no forward survives, and what a decoder read -----------------------------------------------------


@pytest.mark.parametrize("label", [-1, 10_000])
def test_labels_that_the_forward_refuses(tmp_path: Path, label: int) -> None:
    """The error is the model's own, and the file names the labels."""
    samples = [one | {"labels": [label if at == -100 else at for at in one["labels"]]} for one in tiny.samples()]
    with pytest.raises(IndexError, match="out of bounds"):
        train(tmp_path, tiny.llama(), samples)
    (finding,) = (one for one in read(tmp_path) if isinstance(one, Finding))
    assert finding.code == "label-out-of-range"
    assert finding.evidence["lowest" if label < 0 else "highest"] == label
    assert finding.step == 0


def test_another_error_names_no_labels(tmp_path: Path) -> None:
    """A forward that fails for another reason leaves no record."""
    samples = [one | {"input_ids": [10_000, *one["input_ids"][1:]]} for one in tiny.samples()]
    with pytest.raises(IndexError):
        train(tmp_path, tiny.llama(), samples)
    assert not list(tmp_path.glob("predictions*"))


def whisper() -> Any:
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    more = {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_source_positions": 20}
    return tiny.llama(
        transformers.WhisperForConditionalGeneration, transformers.WhisperConfig, **sizes, **more,
        num_mel_bins=8, decoder_start_token_id=0, bos_token_id=0, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip


@pytest.mark.parametrize("is_doubled", [True, False])
def test_what_a_decoder_read(tmp_path: Path, is_doubled: bool) -> None:
    """A batch without decoder inputs has those that the model makes; a start token that the labels have is doubled."""
    torch.manual_seed(0)
    start = [0] if is_doubled else []
    samples = [
        {"input_features": torch.randn(8, 40), "labels": [*start, *one["input_ids"][1:20], 1]} for one in tiny.samples()
    ]
    assert train(tmp_path, whisper(), samples) == "fits"
    assert all(token.input is not None for one in comparisons(tmp_path) for token in one.tokens)
    assert named(tmp_path) == ({"bos-doubled"} if is_doubled else set())
