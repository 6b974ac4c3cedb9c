"""TRL's trainers that learn from preferences and rewards: what the callback records is what their loss was given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.installed import release
from tests.integrations.needed import needed

datasets = needed("datasets")
trl = needed("trl")
peft = needed("peft")
transformers = needed("transformers")

from predlog.integrations.transformers import PredictionCallback  # noqa: E402
from tests.integrations import tiny  # noqa: E402
from tests.integrations.old_names import named  # noqa: E402
from tests.integrations.witness import codes, comparisons  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


def preferences() -> Any:
    titles, texts = zip(*tiny.texts()[:16], strict=True)
    return datasets.Dataset.from_dict(
        {"prompt": [f"{one}:" for one in titles], "chosen": list(texts), "rejected": [one[::-1] for one in texts]}
    )


def judgements() -> Any:
    titles, texts = zip(*tiny.texts()[:16], strict=True)
    rated = [at % 2 == 0 for at in range(len(titles))]
    return datasets.Dataset.from_dict(
        {"prompt": [f"{one}:" for one in titles], "completion": list(texts), "label": rated}
    )


def lengths(completions: Any, **_: Any) -> list[float]:
    return [float(len(one)) for one in completions]


def policy(kind: Any, config: Any, data: Any, folder: Path, how: dict[str, Any], **more: Any) -> Any:
    made = config(
        str(folder), max_steps=2, per_device_train_batch_size=2, logging_steps=1, report_to=[], bf16=False,
        use_cpu=True, disable_tqdm=True, save_strategy="no", **named(config, activation_checkpointing=False), **more,
    )  # fmt: skip
    return kind(
        model=tiny.llama(), args=made, train_dataset=data, processing_class=tiny.tokenizer(),
        callbacks=[PredictionCallback(console=False)], **how,
    )  # fmt: skip


def dpo(folder: Path) -> Any:
    return policy(trl.DPOTrainer, trl.DPOConfig, preferences(), folder, {"ref_model": tiny.llama()})


def kto(folder: Path) -> Any:
    return policy(trl.KTOTrainer, trl.KTOConfig, judgements(), folder, {"ref_model": tiny.llama()})


def grpo(folder: Path) -> Any:
    adapter = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    return policy(
        trl.GRPOTrainer, trl.GRPOConfig, preferences().select_columns(["prompt"]), folder,
        {"reward_funcs": lengths, "peft_config": adapter},
        num_generations=2, max_completion_length=6, temperature=0.5, beta=0.1, gradient_accumulation_steps=2,
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(trl, "GRPOTrainer"), reason="this TRL has no GRPO, and its others pass no labels")
@pytest.mark.skipif(release("transformers") < (5,), reason="the TRL of its day computes these losses from logits alone")
@pytest.mark.parametrize("make", [dpo, kto, grpo])
def test_what_a_policy_is_trained_on(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    """Neither a reference's forward, nor one without gradients, is recorded, and probabilities are the loss's own.

    KTO sets texts beside answers that are none of theirs before it looks at those it learns from, and GRPO asks its
    reference, which is the same model without its adapter, before its policy.
    """
    trainer = make(tmp_path)
    seen: dict[int, Any] = {}

    def see(_model: Any, _arguments: Any, named: dict[str, Any], output: Any) -> None:
        if torch.is_grad_enabled() and named.get("labels") is not None:
            seen.setdefault(trainer.state.global_step, (named["labels"], output.log_probs.detach()))

    model = trainer.model
    (model.get_base_model() if hasattr(model, "get_base_model") else model).register_forward_hook(see, with_kwargs=True)
    trainer.train()
    found = comparisons(tmp_path)
    assert {one.step for one in found} == {0, 1}
    for one in found:
        labels, log_probabilities = (rows[one.sample] for rows in seen[one.step])
        assert one.length == len(labels)
        assert one.shift == 1
        for token in one.tokens:
            assert token.label == labels[token.position]
            assert token.label_logprob == pytest.approx(float(log_probabilities[token.position - 1]), abs=2e-5)
    assert not any(code.startswith("labels-") for _, _, code in codes(tmp_path))
