"""Real trainings with Lightning, and the callback's records of them."""

import gc
import runpy
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch users know
from torch.utils.data import DataLoader

import predlog
from predlog.errors import SettingError
from tests.frameworks import texts
from tests.frameworks.held import Pair, assert_held, same
from tests.frameworks.launching import EXAMPLES, ROOT, Edits, launched
from tests.frameworks.needed import needed

lightning = needed("lightning")
transformers = needed("transformers")

from lightning.pytorch import Callback, LightningModule, Trainer  # noqa: E402
from lightning.pytorch.loggers import CSVLogger  # noqa: E402

from predlog.integrations.lightning import PredictionCallback  # noqa: E402

pytestmark = [
    # The batches are 4 rows that are there already.
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    # So few steps are an epoch that a logger, which is not used, would see none of them.
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
    # The file's records are in the logger's folder already, when the same trainer is asked again.
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]

LENGTH, STEPS = 48, 12
IDS = texts.rows(4 * STEPS, LENGTH)


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

    def training_step(self, batch: Any) -> Any:
        return self.model(**batch)

    def validation_step(self, batch: Any) -> Any:
        return self.model(**batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


class Attributes(Writer):
    """Returns its loss alone, and keeps the pair of the training, not of the validation."""

    last_logits: Tensor
    last_labels: Tensor

    def training_step(self, batch: Any) -> Any:
        output = self.model(**batch)
        self.last_logits, self.last_labels = output.logits, batch["labels"]
        return output.loss

    def validation_step(self, batch: Any) -> Any:
        self.model(**batch)


class Shifted(Writer):
    """Shifts by itself, as a pair for `cross_entropy`, and returns it in a dict of its own names."""

    def training_step(self, batch: Any) -> Any:
        logits = self.model(input_ids=batch["input_ids"]).logits[:, :-1]
        labels = batch["input_ids"][:, 1:]
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss, "scores": logits, "targets": labels}


class Manual(Writer):
    """Steps its optimizer by itself, each second batch."""

    automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        output = self.model(**batch)
        self.manual_backward(output.loss)
        if batch_idx % 2:
            optimizer = self.optimizers()
            optimizer.step()  # type: ignore[union-attr]
            optimizer.zero_grad()  # type: ignore[union-attr]
        return output


def loader(labels: Tensor = IDS, ids: Tensor = IDS) -> DataLoader[Any]:
    return DataLoader(
        [{"input_ids": one, "labels": other} for one, other in zip(ids, labels, strict=True)],  # type: ignore[arg-type]
        batch_size=4,
    )


def trainer(*callbacks: Callback, **arguments: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False}
    always = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 1}
    return Trainer(callbacks=[*callbacks], **{**quiet, **always, **arguments})


def comparisons(folder: Path, stream: str = "train") -> list[predlog.Comparison]:
    records = predlog.read(folder, all_attempts=True)
    return [one for one in records if isinstance(one, predlog.Comparison) and one.stream == stream]


def findings(folder: Path) -> set[tuple[str, str]]:
    return {(one.stream, one.code) for one in predlog.read(folder) if isinstance(one, predlog.Finding)}


@pytest.mark.parametrize("accumulated", [1, 2])
def test_records_equal_what_the_model_gave(tmp_path: Path, accumulated: int) -> None:
    """The first micro-batch of each step that is due, and the first batch of each validation run, sanity check too."""
    callback, model = PredictionCallback(tmp_path, every=4, shift=1, console=False), Writer()
    trainer(callback, accumulate_grad_batches=accumulated, val_check_interval=6).fit(model, loader(), loader(IDS[:8]))
    forwards = iter(model.seen)
    sanity = [next(forwards) for _ in range(2)]
    trained = [next(forwards) for _ in range(6)]
    first = [next(forwards) for _ in range(2)]
    trained += [next(forwards) for _ in range(6)]
    second = [next(forwards) for _ in range(2)]
    assert next(forwards, None) is None
    due = range(0, STEPS // accumulated, 4)
    assert_held(comparisons(tmp_path), {step: trained[step * accumulated] for step in due})
    runs = {0: sanity[0], 6 // accumulated: first[0], 12 // accumulated: second[0]}
    assert_held(comparisons(tmp_path, "eval"), runs)
    assert findings(tmp_path) == set()
    assert [one.context for one in comparisons(tmp_path)][-1] == {"epoch": 0}
    assert callback.recorder is not None
    assert callback.recorder.stats()["pending"] == 0
