"""A Trainer that splits the rows of samples over two processes, as `test_split_rows` starts it with torchrun.

Its model has no attention, since torch's context parallelism has none on CPUs.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import ParallelismConfig
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from transformers.loss.loss_utils import ForCausalLMLoss

from predlog.integrations.transformers import PredictionCallback
from tests.integrations.distributed import sharded

VOCABULARY, LENGTH = 40, 24


def samples() -> list[dict[str, list[int]]]:
    generator = torch.Generator().manual_seed(1)
    every = torch.randint(VOCABULARY, (16, LENGTH), generator=generator).tolist()
    return [{"input_ids": one, "labels": one} for one in every]


class Model(nn.Module):
    """A head on embeddings, with the loss of transformers' models."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.head = nn.Linear(16, VOCABULARY)
        self.loss_function = ForCausalLMLoss

    def forward(
        self, input_ids: Tensor, labels: Tensor, position_ids: Tensor | None = None,
        shift_labels: Tensor | None = None, num_items_in_batch: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        logits = self.head(self.embedding(input_ids))
        how: dict[str, Any] = {"shift_labels": shift_labels, "num_items_in_batch": num_items_in_batch}
        return {"loss": self.loss_function(logits, labels, VOCABULARY, **how), "logits": logits}


def main(folder: Path) -> None:
    torch.manual_seed(0)
    sharding: dict[str, Any] = {
        "fsdp": True, "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": "Embedding"},
    }  # fmt: skip
    arguments = TrainingArguments(
        str(folder), max_steps=3, per_device_train_batch_size=2, per_device_eval_batch_size=2, report_to=[],
        use_cpu=True, disable_tqdm=True, save_strategy="no", eval_strategy="steps", eval_steps=2,
        parallelism_config=ParallelismConfig(cp_size=2, dp_shard_size=1), **sharding,
    )  # fmt: skip
    callback = PredictionCallback(folder / "run", every=1, console=False, all_tokens=True)
    data: Any = samples()
    trainer = Trainer(
        model=Model(), args=sharded(arguments), train_dataset=data, eval_dataset=data[:2], callbacks=[callback]
    )
    trainer.train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
