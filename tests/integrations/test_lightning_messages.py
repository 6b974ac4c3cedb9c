"""Lightning's callback where steps jump or stand, values are no tensors, or what holds it is copied."""

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import predlog
from tests.integrations.needed import needed

lightning = needed("lightning")

from lightning.pytorch import Callback, LightningModule, Trainer  # noqa: E402 - after what is needed

from predlog import Recorder  # noqa: E402
from predlog.integrations.lightning import PredictionCallback  # noqa: E402
from tests import events  # noqa: E402
from tests.integrations import writers  # noqa: E402

pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in (*writers.MESSAGES, "You defined a")]


class Model(LightningModule):
    """Learns nothing much, and returns what the test wants."""

    def __init__(self, returned: Any = None, optimizers: int = 1, *, is_raw: bool = False) -> None:
        super().__init__()
        self.layer, self.returned, self.count, self.is_raw = nn.Linear(3, 5), returned or {}, optimizers, is_raw
        self.automatic_optimization = optimizers == 1 and not is_raw

    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        logits = self.layer(batch["x"])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten().long())
        if not self.automatic_optimization:
            self.manual_backward(loss)
            found = self.optimizers(use_pl_optimizer=not self.is_raw)
            for one in found if isinstance(found, list) else [found]:
                one.step()
        return {"loss": loss, "logits": logits.detach(), **self.returned}

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        return {"logits": self.layer(batch["x"]), **self.returned}

    def configure_optimizers(self) -> Any:
        made = [torch.optim.SGD(self.parameters(), 0.01) for _ in range(self.count)]
        return made if self.count > 1 else made[0]


class Accumulating(Model):
    """Steps its optimizer once, after the last batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        logits = self.layer(batch["x"])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
        self.manual_backward(loss)
        if batch_idx + 1 == self.trainer.num_training_batches:
            self.optimizers().step()  # type: ignore[union-attr]
        return {"loss": loss, "logits": logits.detach()}


def loader(count: int = 20, dtype: torch.dtype = torch.int64) -> DataLoader[Any]:
    made = torch.Generator().manual_seed(0)
    rows = [{"x": torch.randn(4, 3, generator=made), "labels": torch.arange(4).to(dtype)} for _ in range(2 * count)]
    return DataLoader(rows, batch_size=2)  # type: ignore[arg-type]


def trainer(callback: Any, **how: Any) -> Trainer:
    return Trainer(
        **{
            "max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
            "enable_progress_bar": False, "enable_model_summary": False, "callbacks": [callback], **how,
        }
    )  # fmt: skip


def steps(folder: Path, stream: str = "train") -> list[int]:
    found = [one for one in predlog.read(folder) if isinstance(one, predlog.Comparison)]
    return sorted({one.step for one in found if one.stream == stream})


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in events.said(capfd).splitlines() if line.startswith("predlog: ")]


@pytest.mark.parametrize("is_own", [False, True])
def test_steps_that_jump(is_own: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With three manual optimizers the steps are 0, 3, 6 …: one is due whenever a multiple of `every` was passed."""
    with Recorder(tmp_path, every=10, console=False) as recorder:
        how: dict[str, Any] = (
            {"recorder": recorder} if is_own else {"directory": tmp_path, "every": 10, "console": False}
        )
        trainer(PredictionCallback(**how)).fit(Model(optimizers=3), loader())
    assert steps(tmp_path) == [0, 12, 21, 30, 42, 51]
    assert lines(capfd) == []


def test_a_step_that_never_moves_is_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Raw optimizers leave Lightning's step at 0: one line says that one of twenty batches was recorded."""
    trainer(PredictionCallback(tmp_path, every=10, console=False)).fit(Model(is_raw=True), loader())
    assert steps(tmp_path) == [0]
    (line,) = lines(capfd)
    assert "global_step stayed 0 for all 20 batches" in line


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_step_that_moves_is_not_reported(epochs: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A validation after each batch, or accumulation by hand over all batches, is not a step that stays."""
    trainer(PredictionCallback(tmp_path, every=10, console=False), max_epochs=epochs, limit_train_batches=1).fit(
        Model(), loader(), loader(2)
    )
    trainer(PredictionCallback(tmp_path / "accumulated", every=10, console=False)).fit(Accumulating(), loader(epochs))
    assert lines(capfd) == []


@pytest.mark.parametrize("returned", [{"logits": "abc"}, {"logits": None}, {"labels": "abc"}])
def test_values_that_are_no_tensors(returned: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line, for the training and all validations, says what the value is, and not that it can't be found."""
    callback = PredictionCallback(tmp_path, every=1, console=False)
    validations = [loader(2), loader(2)]
    trainer(callback, num_sanity_val_steps=0).fit(Model(returned), loader(3), validations)
    if "labels" in returned:  # the batch has them
        assert lines(capfd) == []
        return
    (line,) = lines(capfd)
    assert "'logits' of what training_step returned is" in line
    assert "can't be found" not in line


def test_labels_that_are_floats(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line, no finding."""
    callback = PredictionCallback(tmp_path, every=1, console=False)
    trainer(callback, num_sanity_val_steps=0).fit(Model(), loader(3, torch.float32), loader(2, torch.float32))
    (line,) = lines(capfd)
    assert "floats: nothing to compare" in line


class Classifies(Model):
    """One label for each sample, and a shift that was meant for something else."""

    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        logits, labels = self.layer(batch["x"][:, 0]), batch["labels"][:, 0]
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits, "labels": labels}


def test_a_classifier_has_samples_of_one_label(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """[b, c] logits and [b] labels, of b samples in the batch, are b samples of one label each."""
    trainer(PredictionCallback(tmp_path, every=1, console=False)).fit(Classifies(), loader(2))
    found = [one for one in predlog.read(tmp_path) if isinstance(one, predlog.Comparison)]
    assert [(one.step, one.sample, one.length) for one in found] == [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1)]
    assert lines(capfd) == []


class Copies(Callback):
    """Copies another callback in the middle of a training."""

    def __init__(self, callback: Any, copied: Any) -> None:
        self.callback, self.copied, self.made = callback, copied, []  # type: ignore[var-annotated]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Copy it."""
        if batch_idx == 1:
            self.made.append(self.copied(self.callback))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one)), copy.copy])
def test_the_callback_and_its_trainer_can_be_copied(copied: Any, tmp_path: Path) -> None:
    """During a training and after it; a copy is in no training, and records the one that it is given."""
    lock = threading.Lock()
    callback = PredictionCallback(every=1, console=False, decode=lambda one: f"{one}{lock.locked()}")
    copies = Copies(callback, copied)
    trainer(copies, default_root_dir=str(tmp_path / "first"), callbacks=[callback, copies]).fit(Model(), loader(3))
    (during,) = copies.made
    after = copied(callback)
    for number, one in enumerate((during, after)):
        assert one.recorder is None
        trainer(one, default_root_dir=str(tmp_path / str(number))).fit(Model(), loader(3))
        assert steps(tmp_path / str(number)) == [0, 1, 2]
    assert steps(tmp_path / "first") == [0, 1, 2]


class Within(Callback):
    """Fits another model, with the same callback."""

    def __init__(self, callback: Any, folder: Path) -> None:
        self.callback, self.folder = callback, folder

    def on_train_batch_end(self, trainer_: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Fit it."""
        if batch_idx == 1:
            trainer(self.callback, default_root_dir=str(self.folder)).fit(Model(), loader(3))


def test_a_fit_within_a_fit(tmp_path: Path) -> None:
    """A callback that nested fits share records both, each in its folder, and closes both."""
    before = threading.active_count()
    callback = PredictionCallback(every=1, console=False)
    within = Within(callback, tmp_path / "inner")
    trainer(within, default_root_dir=str(tmp_path / "outer"), callbacks=[within, callback]).fit(Model(), loader(4))
    assert steps(tmp_path / "inner") == [0, 1, 2]
    assert steps(tmp_path / "outer") == [0, 1, 2, 3]
    assert threading.active_count() == before


class Hostile(dict[str, Tensor]):
    """A batch whose own code raises."""

    def get(self, *_: Any) -> Any:
        """Raise."""
        raise RuntimeError("hostile")


def test_what_a_batch_raises_ends_no_training(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line reports it, once for each cause; each pair counts as refused, and a finding says that it is lost."""
    rows = [{"x": torch.randn(4, 3), "labels": torch.arange(4)} for _ in range(6)]
    data: Any = DataLoader(rows, batch_size=2, collate_fn=lambda one: Hostile(torch.utils.data.default_collate(one)))  # type: ignore[arg-type]
    trainer(PredictionCallback(tmp_path, every=1, console=False)).fit(Model(), data)
    line, held_back, summary = lines(capfd)
    assert "RuntimeError: hostile" in line
    assert "2 more lines were held back" in held_back
    assert "capture-failed" in summary
    *_, last = predlog.read(tmp_path)
    assert isinstance(last, predlog.Run)
    assert last.stats is not None
    assert last.stats["refused"] == 3
