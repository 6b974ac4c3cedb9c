"""What the Lightning callback passes beside the pair: masks, positions and the loss, by their names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from tests.integrations import texts
from tests.integrations.needed import needed

needed("lightning")
needed("transformers")

from predlog import Recorder  # noqa: E402 - what is needed is asked for first
from predlog.integrations.lightning import PredictionCallback  # noqa: E402
from tests.integrations import writers  # noqa: E402
from tests.integrations.writers import Writer, comparisons, findings, trainer  # noqa: E402

pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in writers.MESSAGES]

READ = 30


class Padded(Writer):
    """Trains on rows of which the last part is padding, and masks the loss or not."""

    masks = True

    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        logits = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        labels = batch["input_ids"][:, 1:]
        losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        weights = batch["attention_mask"][:, 1:].flatten() if self.masks else torch.ones_like(losses)
        found = {"weights": batch["attention_mask"][:, 1:]} if self.masks else {}
        return {
            "loss": (losses * weights).sum() / weights.sum(), "logits": logits, "labels": labels,
            "input_ids": batch["input_ids"][:, :-1], "attention_mask": batch["attention_mask"][:, :-1], **found,
        }  # fmt: skip


def padded(**more: Any) -> DataLoader[dict[str, Tensor]]:
    rows = texts.rows(24, writers.LENGTH)
    mask = torch.ones(writers.LENGTH).long()
    mask[READ:] = 0
    return DataLoader([{"input_ids": row * mask, "attention_mask": mask, **more} for row in rows], batch_size=4)  # type: ignore[arg-type]


def fitted(folder: Path, module: Any, loader: Any, accumulate: int = 1, **how: Any) -> str | None:
    """Train, and return what is known of the reported loss."""
    with Recorder(folder, every=1, console=False, special_tokens={"pad": 0}) as recorder:
        callback = PredictionCallback(recorder=recorder, **how)
        trainer(callback, max_steps=3, accumulate_grad_batches=accumulate).fit(module, loader)
        assert recorder.flush()
        state: str | None = recorder._judge._lanes["train", None].loss.state
        return state


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_loss_of_a_step_fits(tmp_path: Path, accumulate: int) -> None:
    """It is held against the record, also where Lightning has divided it by the number of micro-batches."""
    assert fitted(tmp_path, Writer(), writers.loader(), accumulate, shift=1) == "fits"
    assert findings(tmp_path) == set()


class Manual(Writer):
    """Optimizes by itself, after every second batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        step = super().training_step(batch, batch_idx)
        loss = step["loss"] / 2
        self.manual_backward(loss)
        if batch_idx % 2:
            optimizer: Any = self.optimizers()
            optimizer.step()
            optimizer.zero_grad()
        return {**step, "loss": loss.detach()}


def test_a_module_that_optimizes_by_itself_may_divide_its_loss(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """How many batches make a step is then not the trainer's to know."""
    assert fitted(tmp_path, Manual(), writers.loader(), shift=1) == "fits"
    assert "not checked" not in capfd.readouterr().err


@pytest.mark.parametrize("masks", [True, False])
def test_padding_is_known_from_the_attention_mask(tmp_path: Path, masks: bool) -> None:
    """Padding that the loss counts is named; where the mask of the loss is passed by its name, nothing is."""
    module = Padded()
    module.masks = masks
    assert fitted(tmp_path, module, padded(), loss_mask="weights") == "fits"
    assert {code for *_, code in findings(tmp_path)} == (set() if masks else {"pad-supervised"})
    assert {one.supervised for one in comparisons(tmp_path)} == {READ - 1 if masks else writers.LENGTH - 1}


def test_what_does_not_fit_is_left_out(tmp_path: Path) -> None:
    """Values by the same names that mean something else refuse no pair, and neither does a loss of several numbers."""
    other = {"loss_mask": torch.ones(3), "position_ids": torch.randn(writers.LENGTH), "document_ids": torch.ones(5, 5)}
    module = Writer()
    step = module.training_step

    def training_step(batch: Any, batch_idx: int = 0) -> Any:
        pair = {name: batch[name] for name in ("input_ids", "labels")}
        return {**step(pair), **pair}

    module.training_step = training_step  # type: ignore[method-assign]
    rows = [{"input_ids": row, "labels": row, **other} for row in texts.rows(24, writers.LENGTH)]
    assert fitted(tmp_path, module, DataLoader(rows, batch_size=4), shift=1) == "fits"  # type: ignore[arg-type]
    assert {one.step for one in comparisons(tmp_path)} == {0, 1, 2}
    assert findings(tmp_path) == set()
