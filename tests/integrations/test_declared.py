"""What a trainer's options declare reaches the rules, from real arguments of Transformers and TRL."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from predlog import Recorder
from tests.integrations.needed import needed

datasets = needed("datasets")
trl = needed("trl")
transformers = needed("transformers")

from predlog.integrations._hf.declared import declared  # noqa: E402
from predlog.integrations.transformers import PredictionCallback  # noqa: E402
from tests.integrations import tiny  # noqa: E402
from tests.integrations.test_sft import answers, trained  # noqa: E402
from tests.integrations.witness import codes  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


def of(args: Any, **trainer: Any) -> dict[str, set[str]]:
    return {stream: set(options) for stream, options in declared(args, SimpleNamespace(**trainer)).items()}


@pytest.mark.parametrize(
    ("options", "trainer", "asked"),
    [
        ({}, {}, set()),
        ({"assistant_only_loss": True}, {}, {"assistant_only_loss"}),
        ({"completion_only_loss": True}, {}, {"completion_only_loss"}),
        ({"completion_only_loss": False}, {"columns": ["prompt", "completion"]}, set()),
        ({}, {"columns": ["prompt", "completion"]}, {"prompt column"}),
        ({}, {"columns": ["prompt", "chosen", "rejected"]}, set()),
        ({}, {"columns": ["messages"]}, set()),
        ({}, {"columns": ["prompt", "completion"], "completion_only_loss": False}, set()),
        ({}, {"completion_only_loss": True}, {"completion_only_loss"}),
    ],
)
def test_what_asks_for_a_mask_is_declared_of_the_callbacks_streams(
    tmp_path: Path, options: dict[str, Any], trainer: dict[str, Any], asked: set[str]
) -> None:
    """TRL's options, and a column of prompts beside one of answers unless the options say no."""
    columns = trainer.pop("columns", None)
    if columns is not None:
        trainer["train_dataset"] = datasets.Dataset.from_dict({name: ["x"] for name in columns})
    args = trl.SFTConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, **options)
    assert of(args, **trainer) == {"": set(), "train": asked, "eval": asked}


def test_several_updates_on_one_batch_are_declared_of_every_stream(tmp_path: Path) -> None:
    """With GRPO's `num_iterations` above 1; one update is none of several."""
    usual = {"output_dir": str(tmp_path), "report_to": [], "use_cpu": True, "bf16": False}
    several = {"num_iterations=4", "generated completions"}
    assert of(trl.GRPOConfig(num_iterations=4, **usual))[""] == several
    assert of(trl.GRPOConfig(**usual))[""] == {"generated completions"}
    assert of(transformers.TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)) == {
        "": set(), "train": set(), "eval": set()
    }  # fmt: skip


class Raises:
    """Options that can't be read."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_options_that_cannot_be_read_declare_nothing() -> None:
    """Neither what raises nor what is of another kind."""
    assert declared(Raises(), None) == {}
    assert of(SimpleNamespace(num_iterations="4", completion_only_loss="yes", assistant_only_loss=1)) == {
        "": set(), "train": set(), "eval": set()
    }  # fmt: skip


def test_what_is_declared_holds_for_its_stream() -> None:
    """Of every stream, or of one, until it is declared anew; pairs that are passed by hand have it, too."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 20, 50, generator=generator), torch.randint(50, (2, 20), generator=generator)
    logits.requires_grad_()

    def codes(options: dict[str, frozenset[str]]) -> set[tuple[str, str]]:
        with Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
            recorder.declare({"": frozenset({"num_iterations=2"})})
            recorder.declare(options)
            for step in range(6):
                recorder.compare(logits, labels, step, stream="policy")
                recorder.compare_due(logits, labels, step, stream="train")
            recorder.flush(60)
            return {(one.stream, one.code) for one in recorder.findings}

    both = {("policy", "same-batch"), ("train", "same-batch")}
    assert codes({}) == both
    assert codes({"": frozenset({"num_iterations=2"})}) == set()
    assert codes({"policy": frozenset({"num_iterations=2"})}) == {("train", "same-batch")}


def unmasked(samples: list[dict[str, Any]]) -> Any:
    made = tiny.tokenizer().pad([{"input_ids": one["input_ids"]} for one in samples], return_tensors="pt")
    made["labels"] = made["input_ids"].masked_fill(made["attention_mask"] == 0, -100)
    return made


@pytest.mark.parametrize("is_masked", [True, False])
def test_a_collator_that_ignores_the_mask_is_named(tmp_path: Path, is_masked: bool) -> None:
    """The trainer is asked to mask prompts; its own collator does, and another does not."""
    how = {} if is_masked else {"data_collator": unmasked}
    trained(
        tmp_path, [PredictionCallback(console=False)], trl.SFTTrainer, answers(), completion_only_loss=True, how=how
    )
    assert {code for _, _, code in codes(tmp_path)} == (set() if is_masked else {"prompt-supervised"})
