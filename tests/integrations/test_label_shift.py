"""How the labels lead the logits: what a model's own loss does, held against the loss itself, or a line that asks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.integrations.needed import needed

needed("accelerate")
transformers = needed("transformers")

from transformers import LlamaForTokenClassification, Trainer  # noqa: E402
from transformers.modeling_outputs import CausalLMOutput  # noqa: E402
from transformers.models.auto import modeling_auto  # noqa: E402

from predlog.integrations._hf import label_shift  # noqa: E402
from predlog.integrations.transformers import PredictionCallback  # noqa: E402
from tests import events  # noqa: E402
from tests.integrations import tiny  # noqa: E402
from tests.integrations.test_trainer import trained  # noqa: E402
from tests.integrations.witness import check, codes, comparisons  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")

BART = {"d_model": 64, "decoder_layers": 2, "decoder_ffn_dim": 128, "decoder_attention_heads": 4}


class Own(transformers.LlamaForCausalLM):  # type: ignore[misc, name-defined]
    """A model whose loss is its own, and forgets to shift."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **more: Any) -> Any:
        """Return logits and the loss of a model that is asked to copy."""
        logits = self.lm_head(self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)
        loss = None if labels is None else functional.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1))
        return CausalLMOutput(loss=loss, logits=logits)


def unlike_any(logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), labels.roll(-1, 1).flatten())


def bart() -> Any:
    return tiny.llama(transformers.BartForCausalLM, transformers.BartConfig, **BART)


@pytest.mark.parametrize("make", [bart, lambda: tiny.llama(Own)], ids=["bart", "own"])
def test_a_causal_model_that_does_not_shift(tmp_path: Path, make: Any) -> None:
    """Where the loss takes the labels as they are, so does the record, and the mistake of raw labels has its name."""
    trainer = trained(tmp_path / "raw", [PredictionCallback(console=False)], make(), max_steps=1)
    assert {one.shift for one in comparisons(tmp_path / "raw")} == {0}
    assert codes(tmp_path / "raw") == {("train", 0, "labels-are-inputs")}
    shifted = [one | {"labels": [*one["labels"][1:], -100]} for one in tiny.samples()]
    trainer = trained(tmp_path / "shifted", [PredictionCallback(console=False)], make(), samples=shifted)
    check(tmp_path / "shifted", trainer.seen, {"train": [0, 3, 6]})


def test_a_loss_function_that_nobody_knows(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a loss function of the user's own nothing is guessed: one line asks for `shift=`."""
    model = tiny.llama()
    monkeypatch.setattr(type(model), "loss_function", staticmethod(unlike_any))
    trained(tmp_path, [PredictionCallback(console=False)], model)
    assert not (tmp_path / "predictions.jsonl").exists()
    told = [line for line in events.said(capfd).splitlines() if line.startswith("predlog: ")]
    assert len(told) == 1
    assert "pass shift=" in told[0]


class Bare(torch.nn.Module):
    """A model that is none of transformers', without a configuration."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(500, 500)

    def forward(self, input_ids: Any, labels: Any = None, attention_mask: Any = None) -> Any:
        """Return the loss and the logits, as a tuple."""
        logits = self.table(input_ids)
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()), logits


def test_a_model_without_a_configuration(tmp_path: Path) -> None:
    """A plain module is recorded as any model is."""
    trained(tmp_path, [PredictionCallback(console=False)], Bare(), kind=Trainer)
    found = comparisons(tmp_path)
    assert {(one.step, one.shift) for one in found} == {(0, 1), (3, 1), (6, 1)}
    assert all(token.input is not None for one in found for token in one.tokens)
    assert codes(tmp_path) == set()


def test_a_forward_without_a_source_is_not_guessed() -> None:
    """What can't be read is not taken for what the class comes from."""
    made: dict[str, Any] = {"Llama": transformers.LlamaForCausalLM}
    exec("class Made(Llama):\n    def forward(self, labels):\n        loss = labels", made)
    assert label_shift.shift(tiny.llama(made["Made"])) is None


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("loss = f(logits[..., :-1, :].reshape(-1, v), labels[..., 1:].reshape(-1))", 1),
        ("loss=f(logits[:,:-1].reshape(-1,v),labels[:,1:].reshape(-1))", 1),
        ("labels = labels.to(logits.device)\nloss = f(logits.view(-1, v), labels.view(-1))", 0),
        ("labels = labels.roll(-1, 1)\nloss = f(logits.view(-1, v), labels.view(-1))", None),
        ("loss = f(logits[:, images:-1].flatten(0, 1), labels[:, 1:].flatten())", None),
        ("loss = f(logits[:, :-1].flatten(0, 1), labels.flatten())", None),
        ("loss = self.nobody_knows(logits, labels)", None),
    ],
)
def test_how_a_loss_is_read(text: str, known: int | None) -> None:
    """A shift is reported where the text leaves no doubt, and not otherwise."""
    assert label_shift._read(None, text) == known


def test_a_token_classifier() -> None:
    """Its labels are of the tokens that it reads, so they don't lead: no shift is asked for."""
    assert label_shift.shift(tiny.llama(LlamaForTokenClassification)) == 0


# Which losses of transformers' causal models are not those of `self.loss_function`, and do not shift.
UNSHIFTED = {
    "BartForCausalLM", "BigBirdPegasusForCausalLM", "BlenderbotForCausalLM", "BlenderbotSmallForCausalLM",
    "CpmAntForCausalLM", "MBartForCausalLM", "MarianForCausalLM", "MvpForCausalLM", "PLBartForCausalLM",
    "PegasusForCausalLM", "TrOCRForCausalLM", "WhisperForCausalLM", "XLNetLMHeadModel",
}  # fmt: skip


@pytest.mark.slow
def test_how_all_causal_models_shift() -> None:
    """Of all of transformers' causal models the shift is 1, but of those that do without, and of the few unknown."""
    known: Any = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    names = {name for value in known for name in ([value] if isinstance(value, str) else value)}
    found: dict[int | None, set[str]] = {}
    for name in names:
        kind = getattr(transformers, name)
        model = object.__new__(kind)
        torch.nn.Module.__init__(model)
        model.config = transformers.PreTrainedConfig()
        model.loss_type = "ForCausalLM"  # as their names have it
        found.setdefault(label_shift.shift(model), set()).add(name)
    assert found[0] == UNSHIFTED
    assert len(found[1]) >= 150
    assert len(found[None]) <= 6
