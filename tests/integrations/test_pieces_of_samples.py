"""Lightning's callback and `watch` where each process has a piece of each sample: the batch says where it belongs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import predlog
from predlog import Comparison, Recorder
from tests.integrations.needed import needed

lightning = needed("lightning.pytorch")

from predlog.integrations.lightning import PredictionCallback  # noqa: E402 - what is needed is asked for first

LENGTH, VOCABULARY = 16, 30
# Where two processes have head and tail of a sample, or one piece each.
SPLITS = {"head and tail": [[*range(4), *range(12, 16)], [*range(4, 12)]], "one piece": [[*range(8)], [*range(8, 16)]]}


class Model(nn.Module):
    """A head on embeddings; its labels are shifted already, as transformers' models take them beside `labels`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.head = nn.Linear(8, VOCABULARY)
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, input_ids: Tensor, shift_labels: Tensor, row_index: Tensor | None = None) -> Tensor:
        self.logits: Tensor = self.head(self.embedding(input_ids))
        loss: Tensor = self.criterion(self.logits.flatten(0, 1), shift_labels.flatten())
        return loss


class Twice(Model):
    """A model with a second loss, of other rows than its index says."""

    def forward(self, input_ids: Tensor, shift_labels: Tensor, row_index: Tensor | None = None) -> Tensor:
        loss = super().forward(input_ids, shift_labels, row_index)
        loss += self.criterion(self.logits[:, 1:].flatten(0, 1), shift_labels[:, 1:].flatten())
        return loss


def batch(rows: list[int]) -> dict[str, Tensor]:
    """Return what a process has of the same two samples: their inputs, shifted labels, and where these belong."""
    ids = torch.randint(VOCABULARY, (2, LENGTH + 1), generator=torch.Generator().manual_seed(3))
    labels = ids[:, 1:].clone()
    labels[:, -1] = -100
    return {"input_ids": ids[:, rows], "shift_labels": labels[:, rows], "row_index": torch.tensor(rows)}


class Module(lightning.LightningModule):  # type: ignore[name-defined, misc] # it is asked for when it is needed
    """Trains it. That its step returns other labels, too, as Hugging Face's batches have, changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def training_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": self.model(**batch), "logits": self.model.logits, "labels": batch["shift_labels"] * 0}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fitted(folder: Path, data: dict[str, Tensor], **how: Any) -> None:
    trainer = lightning.Trainer(
        max_steps=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[PredictionCallback(folder, every=1, console=False, **how)],
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader([data], batch_size=None))  # type: ignore[arg-type] # a list is a dataset, too


def watched(folder: Path, data: dict[str, Tensor], model: Any = None, **how: Any) -> None:
    model = Model() if model is None else model
    recorder = Recorder(folder, every=1, console=False, **how)
    with recorder, predlog.watch(model, recorder=recorder, inputs="input_ids"):
        model(**data)


def comparisons(folder: Path) -> list[Comparison]:
    return [one for one in predlog.read(folder) if isinstance(one, Comparison)]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", SPLITS)
@pytest.mark.parametrize("way", [fitted, watched])
def test_pieces_join_to_the_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[..., None], kind: str
) -> None:
    """What `shift_labels` and `row_index` say is recorded on each process, and read as the whole samples."""
    for rank, rows in enumerate(SPLITS[kind]):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", str(rank))
        way(tmp_path / "parts", batch(rows))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    whole, model = batch([*range(LENGTH)]), Model()
    model(**whole)
    with Recorder(tmp_path / "whole", every=1, console=False) as recorder:
        recorder.compare(model.logits, whole["shift_labels"], 0, inputs=whole["input_ids"])
    found, known = comparisons(tmp_path / "parts"), comparisons(tmp_path / "whole")
    assert len(found) == len(known) == 2
    for one, other in zip(found, known, strict=True):
        assert (one.missing_rows, one.shift, one.supervised, one.length) == (0, 0, LENGTH - 1, LENGTH)
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        for token, expected in zip(one.tokens, other.tokens, strict=True):
            for name in ("position", "label", "input", "prediction", "label_rank"):
                assert getattr(token, name) == getattr(expected, name), name


def test_a_loss_of_other_rows_is_not_recorded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`watch` records no loss as a whole sample whose rows the index of the call may not be of, and says what to do."""
    watched(tmp_path, batch(SPLITS["one piece"][0]), Twice())
    assert {one.stream for one in comparisons(tmp_path)} == {"text"}
    assert "row_index is not known to be that of the rows of this loss" in capfd.readouterr().err
