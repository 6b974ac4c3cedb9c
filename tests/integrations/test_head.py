"""Models that give no logits: what their rows would be is known from their heads, or it is reported that it is not."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from tests import ROOT, events
from tests.integrations.needed import needed

needed("accelerate")
transformers = needed("transformers")

from transformers import Trainer  # noqa: E402
from transformers.modeling_outputs import CausalLMOutputWithPast  # noqa: E402
from transformers.models.auto import modeling_auto  # noqa: E402

from predlog.integrations._hf.head import _changes, head_of  # noqa: E402
from predlog.integrations.transformers import PredictionCallback  # noqa: E402
from tests.integrations import tiny  # noqa: E402
from tests.integrations.test_trainer import trained  # noqa: E402
from tests.integrations.witness import Twice, check, comparisons  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")

SCALED: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Gemma2": {"final_logit_softcapping": 0.5, "head_dim": 16},
    "Granite": {"logits_scaling": 0.25},
    "Cohere": {"logit_scale": 3.0},
    "GPTNeoX": {},
    "Phi": {},  # its head has a bias
}


class Witnessed(Twice, Trainer):  # type: ignore[misc]
    """A trainer that remembers what logits there would be."""


def fused(kind: Any) -> Any:
    """Return a class whose loss takes hidden states, as Liger's does; without labels it gives logits."""

    class Fused(kind):  # type: ignore[misc]
        def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **more: Any) -> Any:
            if labels is None:
                return super().forward(input_ids=input_ids, attention_mask=attention_mask, **more)
            more.pop("num_items_in_batch", None)
            hidden = self.base_model(input_ids=input_ids, attention_mask=attention_mask, **more)[0]
            loss = functional.cross_entropy(
                self.get_output_embeddings()(hidden[:, :-1]).flatten(0, 1), labels[:, 1:].flatten()
            )
            return CausalLMOutputWithPast(loss=loss)

    return Fused


class Older(transformers.LlamaPreTrainedModel):  # type: ignore[misc, name-defined]
    """Keeps logits as the models of transformers 4.46 do, and makes none if it has labels."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = transformers.LlamaModel(config)
        self.lm_head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> Any:
        """Return the head."""
        return self.lm_head

    def forward(self, input_ids: Any = None, labels: Any = None, num_logits_to_keep: int = 0, **more: Any) -> Any:
        """Return logits, or a loss."""
        outputs = self.model(input_ids=input_ids, attention_mask=more.get("attention_mask"))
        hidden_states = outputs[0]
        if labels is None:
            logits = self.lm_head(hidden_states[:, -num_logits_to_keep:, :])
            return CausalLMOutputWithPast(logits=logits)
        rows = self.lm_head(hidden_states[:, :-1])
        return CausalLMOutputWithPast(loss=functional.cross_entropy(rows.flatten(0, 1), labels[:, 1:].flatten()))


def test_the_slice_of_older_models_is_understood(tmp_path: Path) -> None:
    """In training it keeps all positions, so rows are those of the full logits."""
    trainer = trained(tmp_path, [PredictionCallback(console=False)], tiny.llama(Older), Witnessed)
    check(tmp_path, trainer.seen, {"train": [0, 3, 6]}, counted=False)


@pytest.mark.parametrize("name", SCALED)
def test_a_head_is_understood(tmp_path: Path, name: str) -> None:
    """Models that scale or cap their logits give the same ranks and probabilities as their full logits."""
    kind, config = getattr(transformers, f"{name}ForCausalLM"), getattr(transformers, f"{name}Config")
    model = tiny.llama(fused(kind), config, **SCALED[name])
    trainer = trained(tmp_path, [PredictionCallback(console=False)], model, Witnessed)
    check(tmp_path, trainer.seen, {"train": [0, 3, 6]}, counted=False)


class Strange(transformers.LlamaForCausalLM):  # type: ignore[misc, name-defined]
    """A model that does to its logits what nobody knows of."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **more: Any) -> Any:
        """Cap the logits in a way of its own."""
        more.pop("num_items_in_batch", None)
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, **more)
        hidden_states = outputs.last_hidden_state
        logits = self.lm_head(hidden_states)
        logits = logits.asinh() * 7
        if labels is None:
            return CausalLMOutputWithPast(logits=logits)
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss)


def test_what_is_not_understood_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Ids and ranks are shown all the same, and one line says that probabilities are left out, and why."""
    trainer = trained(tmp_path, [PredictionCallback(console=False)], tiny.llama(Strange), Witnessed)
    found = comparisons(tmp_path)
    assert {one.step for one in found} == {0, 3, 6}
    for one in found:
        logits, labels, _ = (tensor[one.sample] for tensor in trainer.seen["train", one.step])
        for token in one.tokens:
            row = logits[token.position - 1]
            assert (token.label, token.prediction) == (labels[token.position], row.argmax())
            assert token.label_rank == 1 + (row > row[token.label]).sum()
            assert token.label_logprob is None
            assert token.prediction_logprob is None
        assert one.nonfinite == 0
    told = [line for line in events.said(capfd).splitlines() if line.startswith("predlog: ")]
    assert len(told) == 1
    assert "logits = logits.asinh() * 7" in told[0]
    assert "probabilities are left out" in told[0]


@pytest.mark.parametrize(
    "line",
    [
        "logits[..., self.images] = -1e9", "logits.mul_(7)", "logits += self.prior", "scores = logits * 7",
        "loss = self.loss_function(logits / self.temperature, labels)",
    ],
)  # fmt: skip
def test_logits_that_are_changed_in_passing(line: str) -> None:
    """Whatever else a `forward` does to its logits, in place or on their way to the loss, is not overlooked."""
    text = f"def forward(self):\n    logits = self.lm_head(hidden_states)\n    {line}\n"
    assert list(_changes(text, {"lm_head"}))[1:] == [(line, "logits", "unknown")]
    quiet = text.replace(line, "loss = self.loss_function(logits=logits, labels=labels, vocab_size=3)")
    assert len(list(_changes(quiet, {"lm_head"}))) == 1


def test_hidden_states_that_are_changed_in_passing() -> None:
    """What is done to hidden states where they are is not overlooked either."""
    text = "    hidden_states = outputs[0]\n    hidden_states += self.extra\n    logits = self.lm_head(hidden_states)"
    assert [(which, change) for _, which, change in _changes(text, {"lm_head"})] == [
        ("hidden", ""), ("hidden", "unknown"), ("head", "")
    ]  # fmt: skip


def test_heads_that_are_no_linear_layers_are_refused() -> None:
    """Of a head with more to it than a linear layer no rows are made up."""
    bert = tiny.llama(transformers.BertLMHeadModel, transformers.BertConfig, is_decoder=True)
    assert head_of(bert) == "there is more to its head than a linear layer"
    llama = tiny.llama()
    llama.set_output_embeddings(torch.nn.Sequential(torch.nn.Linear(64, 500)))
    assert head_of(llama) == "its head is a Sequential, not a plain linear layer"
    decoder = tiny.llama(transformers.ElectraForCausalLM, transformers.ElectraConfig, is_decoder=True)
    assert head_of(decoder) == "its head reads something other than its hidden states"


@pytest.mark.slow
def test_how_many_heads_are_understood() -> None:
    """As many of transformers' causal models as docs/frameworks/transformers.md says, and none raises."""
    counts = Counter[str]()
    known: Iterable[Any] = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    names = {name for value in known for name in ([value] if isinstance(value, str) else value)}
    for name in sorted(names):
        kind = getattr(transformers, name)
        try:
            with torch.device("meta"):
                model = kind(kind.config_class())
        except Exception:  # noqa: BLE001 - its configuration has no defaults, or it wants another package
            continue
        head = head_of(model)
        counts["made"] += 1
        counts["known" if not isinstance(head, str) and head.scale is not None else "other"] += 1
    page = (ROOT / "docs" / "frameworks" / "transformers.md").read_text()
    assert f"Of the {counts['made']} causal language models" in page
    assert f"{counts['known']} are understood" in page


def test_a_loss_that_works_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loss writes its gradients over the logits, as Liger's does, rows are projected anew."""

    def destructive(source: torch.Tensor, target: torch.Tensor, **how: Any) -> torch.Tensor:
        loss = plain(source, target, **how)
        source.data.zero_()
        return loss

    plain = functional.cross_entropy
    monkeypatch.setattr(functional, "cross_entropy", destructive)
    trainer = trained(tmp_path, [PredictionCallback(console=False)], kind=Witnessed, max_steps=1)
    check(tmp_path, trainer.seen, {"train": [0]}, counted=False)
