"""Two processes train together, and each holds its own records against what its loss was given; a test starts this."""

import sys
from pathlib import Path
from typing import Any

import torch
import trl
from test_sft import texts
from transformers import Trainer, TrainingArguments

from predlog.integrations.transformers import PredictionCallback
from tests.frameworks import tiny
from tests.frameworks.witness import Twice, Witness, check

WAYS: dict[str, dict[str, Any]] = {
    "ddp": {},
    "fsdp": {
        "fsdp": True,
        "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": "LlamaDecoderLayer"},
    },
}
STEPS = {"train": [0, 2, 4]}


class Witnessed(Witness, Trainer):  # type: ignore[misc]
    """A trainer that remembers what its loss was given."""


class Fused(Twice, trl.SFTTrainer):  # type: ignore[misc]
    """The same of TRL."""


def main(way: str, folder: Path) -> None:
    how: dict[str, Any] = {
        "max_steps": 5, "per_device_train_batch_size": 2, "logging_steps": 2, "report_to": [], "use_cpu": True,
        "disable_tqdm": True, "save_strategy": "no", "seed": 1, **WAYS[way],
    }  # fmt: skip
    for kind in ("trainer", "sft"):
        torch.manual_seed(0)
        directory = folder / kind
        callbacks = [PredictionCallback(directory, ranks="all", console=False)]
        if kind == "trainer":
            trainer: Any = Witnessed(
                model=tiny.llama(), args=TrainingArguments(str(folder), **how), train_dataset=tiny.samples(),
                processing_class=tiny.tokenizer(), callbacks=callbacks,
            )  # fmt: skip
        else:
            args = trl.SFTConfig(str(folder), bf16=False, max_length=48, activation_checkpointing=False, **how)
            trainer = Fused(
                model=tiny.llama(), args=args, train_dataset=texts(), processing_class=tiny.tokenizer(),
                callbacks=callbacks,
            )  # fmt: skip
        trainer.train()
        assert (way == "fsdp") == any(type(one).__name__ == "DTensor" for one in trainer.model.parameters())
        rank = trainer.args.process_index
        name = "predictions.jsonl" if rank == 0 else f"predictions-rank{rank}.jsonl"
        check(directory / name, trainer.seen, STEPS, counted=kind == "trainer")
        print(f"{kind} {rank}: as it should be", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
