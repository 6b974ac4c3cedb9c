"""A Lightning module that trains a tiny model on text, and how tests have it trained."""

from pathlib import Path
from typing import Any

import torch
import transformers
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

import predlog
from tests.integrations import texts
from tests.integrations.held import Pair

LENGTH, STEPS = 48, 12
IDS = texts.rows(4 * STEPS, LENGTH)
# What Lightning says of trainings as small as these, and of the torch that it runs with.
MESSAGES = (
    "The '.*_dataloader' does not have many workers",
    "The number of training batches .* is smaller than the logging interval",
    "You defined a `validation_step` but have no `val_dataloader`",
    "`isinstance.treespec, LeafSpec.` is deprecated",
)


class Writer(LightningModule):
    """A Hugging Face model whose output is returned as it is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=texts.VOCABULARY,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
            )
        )
        self.seen: list[Pair] = []
        self.model.register_forward_hook(self.see, with_kwargs=True)

    def see(self, _model: nn.Module, _arguments: Any, given: dict[str, Tensor], output: Any) -> None:
        """Keep what goes in and out, for the reference."""
        pair = (output.logits, given.get("labels", given["input_ids"]), given["input_ids"])
        self.seen.append(tuple(one.detach().clone() for one in pair))  # type: ignore[arg-type]

    def returned(self, output: Any) -> Any:
        return output

    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        return self.returned(self.model(**batch))

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        return self.model(**batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def loader(ids: Tensor = IDS, labels: Tensor | None = None) -> DataLoader[Any]:
    both = zip(ids, ids if labels is None else labels, strict=True)
    return DataLoader([{"input_ids": one, "labels": other} for one, other in both], batch_size=4)  # type: ignore[arg-type]


def trainer(*callbacks: Callback, **arguments: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False}
    always = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 1}
    return Trainer(callbacks=[*callbacks], **{**quiet, **always, **arguments})


def comparisons(folder: Path, stream: str = "train") -> list[predlog.Comparison]:
    records = predlog.read(folder, attempt="all")
    return [one for one in records if isinstance(one, predlog.Comparison) and one.stream == stream]


def findings(folder: Path) -> set[tuple[str, str]]:
    return {(one.stream, one.code) for one in predlog.read(folder) if isinstance(one, predlog.Finding)}
