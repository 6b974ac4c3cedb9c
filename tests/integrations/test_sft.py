"""TRL's SFTTrainer, whose head is fused with its loss: rows of logits that nobody made are shown as if they were."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integrations.needed import needed

datasets = needed("datasets")
trl = needed("trl")
peft = needed("peft")
transformers = needed("transformers")

from predlog.integrations.transformers import PredictionCallback, PredictionMixin  # noqa: E402
from tests import events  # noqa: E402
from tests.integrations import tiny  # noqa: E402
from tests.integrations.old_names import named  # noqa: E402
from tests.integrations.test_trainer import CHECKPOINTING  # noqa: E402
from tests.integrations.witness import Twice, check, codes, comparisons  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


class Witnessed(Twice, trl.SFTTrainer):  # type: ignore[misc, name-defined]
    """A trainer that remembers what logits there would be."""


def texts() -> Any:
    return datasets.Dataset.from_dict({"text": [f"{title}: {text}" for title, text in tiny.texts()]})


def answers() -> Any:
    return datasets.Dataset.from_dict(
        {"prompt": [f"{title}: " for title, _ in tiny.texts()], "completion": [text for _, text in tiny.texts()]}
    )


def chats() -> Any:
    return datasets.Dataset.from_dict(
        {
            "messages": [
                [{"role": "user", "content": title}, {"role": "assistant", "content": text}]
                for title, text in tiny.texts()
            ]
        }
    )


# The first versions have a collator of transformers', which makes labels of its own; users who had some passed another.
HAS_COLLATOR = trl.trainer.sft_trainer.DataCollatorForLanguageModeling.__module__.startswith("trl.")
# Until 1.10 or so there were logits.
HAS_LOGITS = not {"add_fused_lm_head", "_patch_chunked_ce_lm_head"} & {*vars(trl.trainer.sft_trainer)}
# Since then the head returns what it knows of each label; in between there was neither.
IS_COUNTED = HAS_LOGITS or "add_fused_lm_head" in {*vars(trl.trainer.sft_trainer)}
VARIANTS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "default": (texts, {}, {}),
    "bf16": (texts, {"bf16": True}, {}),
    "prompt and completion": (answers, {}, {}),
    "lora": (texts, {}, {"peft_config": peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"])}),
    "packing": (texts, {"packing": True, "max_length": 64}, {}),
    "assistant only": (chats, {"assistant_only_loss": True}, {}),
}


def collated() -> dict[str, Any]:
    """Return what a trainer is made with that trains on the labels of its data."""
    return {} if HAS_COLLATOR else {"data_collator": transformers.DataCollatorForSeq2Seq(tiny.tokenizer())}


def trained(folder: Path, callbacks: list[Any], kind: Any, data: Any, **more: Any) -> Any:
    how = more.pop("how", {})
    torch.manual_seed(0)
    trainer = kind(
        model=tiny.llama(),
        args=trl.SFTConfig(
            str(folder), **named(trl.SFTConfig, **{
                "max_steps": 7, "per_device_train_batch_size": 3, "logging_steps": 3, "report_to": [], "bf16": False,
                "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "max_length": 48, "seed": 1,
                CHECKPOINTING: False, **more,
            })
        ),
        train_dataset=data,
        processing_class=tiny.tokenizer(),
        callbacks=callbacks,
        **how,
    )  # fmt: skip
    trainer.train()
    return trainer


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_are_those_of_the_logits_that_nobody_made(tmp_path: Path, variant: str) -> None:
    """Ids and ranks are equal to those of a forward that makes logits, nothing is found, the weights are the same."""
    make, more, how = VARIANTS[variant]
    if unknown := {*named(trl.SFTConfig, **more)} - {*trl.SFTConfig.__dataclass_fields__}:
        pytest.skip(f"this TRL has no {unknown}")
    trainer = trained(tmp_path / "with", [PredictionCallback(console=False)], Witnessed, make(), how=how, **more)
    check(tmp_path / "with", trainer.seen, {"train": [0, 3, 6]}, counted=IS_COUNTED)
    assert not any(module._forward_hooks for module in trainer.model.modules())
    assert all(one.tokens[0].label_text is not None for one in comparisons(tmp_path / "with"))
    without = trained(tmp_path / "without", [], trl.SFTTrainer, make(), how=how, **more)
    ours, theirs = trainer.model.state_dict(), without.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def double(samples: Any) -> Any:
    """Return the ids and labels of texts, already shifted by the user."""
    made = tiny.tokenizer()
    ids = [made.encode(text)[:40] for text in samples["text"]]
    return datasets.Dataset.from_dict({"input_ids": ids, "labels": [[*one[1:], -100] for one in ids]})


def none(samples: Any) -> Any:
    """Return ids of which none is trained on, but for those of the first text: TRL refuses to start with none."""
    made = tiny.tokenizer()
    ids = [made.encode(text)[:40] for text in samples["text"]]
    return datasets.Dataset.from_dict({"input_ids": ids, "labels": [[-100] * len(one) for one in ids]})


PLAIN = {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_steps": 1}
FAULTS = [(double, "labels-shifted-twice"), (none, "nothing-supervised")]


@pytest.mark.parametrize("variant", ["default", "bf16", "lora"])
@pytest.mark.parametrize(("fault", "code"), FAULTS)
def test_planted_faults_are_named(tmp_path: Path, variant: str, fault: Any, code: str) -> None:
    """Labels that the user has shifted already, or masked all, are named on the first record."""
    make, more, how = VARIANTS[variant]
    callbacks = [PredictionCallback(console=False)]
    trained(tmp_path, callbacks, trl.SFTTrainer, fault(make()), how=how | collated(), **{**more, **PLAIN})
    assert codes(tmp_path) == {("train", 0, code)}


def test_evaluations_are_recorded(tmp_path: Path) -> None:
    """The first batch of each evaluation is in its own stream, and is what a forward with logits gives."""
    data = texts()
    how = {"eval_dataset": data.select(range(9))}
    more = {"eval_strategy": "steps", "eval_steps": 3, "per_device_eval_batch_size": 3, "max_steps": 6}
    trainer = trained(tmp_path, [PredictionCallback(console=False)], Witnessed, data, how=how, **more)
    check(tmp_path, trainer.seen, {"train": [0, 3], "eval": [3, 6]}, counted=IS_COUNTED)


class Smoothed(PredictionMixin, Witnessed):
    """As docs/frameworks/transformers.md has it."""


def test_a_smoothed_loss(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """TRL's forward for its metrics has labels, but no gradients: with the mixin that of the loss is recorded."""
    trainer = trained(
        tmp_path / "mixed", [PredictionCallback(console=False)], Smoothed, texts(), label_smoothing_factor=0.1
    )
    check(tmp_path / "mixed", trainer.seen, {"train": [0, 3, 6]})
    capfd.readouterr()
    trained(
        tmp_path / "not", [PredictionCallback(console=False)], Witnessed, texts(), label_smoothing_factor=0.1,
        max_steps=1,
    )  # fmt: skip
    assert not (tmp_path / "not" / "predictions.jsonl").exists()
    told = [line for line in events.said(capfd).splitlines() if line.startswith("predlog: ")]
    assert len(told) == 1
    assert "PredictionMixin" in told[0]
