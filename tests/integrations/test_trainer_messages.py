"""The Trainer's callback where there is nothing to compare, or something is in its way: one line, and all goes on."""

import copy
import gc
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.integrations.needed import needed
from tests.recorder.test_closing import program

needed("accelerate")
needed("transformers")
needed("peft")

from transformers import (  # noqa: E402 - after what is needed
    BertConfig,
    BertForPreTraining,
    BertForQuestionAnswering,
    Trainer,
    TrainerCallback,
)  # fmt: skip

from predlog import Comparison, Recorder, read  # noqa: E402
from predlog.integrations.transformers import PredictionCallback, PredictionMixin  # noqa: E402
from tests import events  # noqa: E402
from tests.integrations import tiny  # noqa: E402
from tests.integrations.test_trainer import arguments  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


class Classifier(nn.Module):
    """A plain module: a number of the batch, or classes; what it returns is up to the test."""

    def __init__(self, returned: str = "logits", classes: int = 4, *, is_float: bool = False) -> None:
        super().__init__()
        self.layer, self.returned, self.is_float = nn.Linear(3, classes), returned, is_float

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        found = self.layer(x)
        if self.is_float:
            loss = nn.functional.mse_loss(found.squeeze(-1), labels.float())
        else:
            loss = nn.functional.cross_entropy(found, labels)
        return {"loss": loss, self.returned: found}


def rows(*, is_float: bool = False) -> list[dict[str, Any]]:
    made = torch.Generator().manual_seed(0)
    return [{"x": torch.randn(3, generator=made), "labels": float(i % 4) if is_float else i % 4} for i in range(12)]


def train(folder: Path, model: Any, data: Any, kind: Any = Trainer, **more: Any) -> Any:
    callback = more.pop("callback", None) or PredictionCallback(console=False)
    trainer = kind(
        model=model, args=arguments(folder, **{"max_steps": 4, "logging_steps": 1, **more}), train_dataset=data,
        callbacks=[callback],
    )  # fmt: skip
    trainer.train()
    return trainer


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in events.said(capfd).splitlines() if line.startswith("predlog: ")]


def test_a_model_that_gives_no_logits(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line reports it, with what its forward returned and what to pass."""
    train(tmp_path, Classifier("output"), rows())
    (line,) = lines(capfd)
    assert line == (
        "predlog: Classifier gives no 'logits': its forward returned a dict with 'loss', 'output'. Return them as"
        " 'logits' beside 'loss', or call predlog.compare where you have the pair"
    )
    assert not (tmp_path / "predictions.jsonl").exists()


@pytest.mark.parametrize("returned", ["logits", "output"])
def test_labels_that_are_floats(returned: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A regression is no mistake: one line, no finding, and no question about a shift."""
    # The last batch of an epoch is smaller: the same cause.
    train(tmp_path, Classifier(returned, 1, is_float=True), rows(is_float=True)[:7], max_steps=6)
    (line,) = lines(capfd)
    assert "floats: nothing to compare" in line
    assert "shift" not in line
    assert not (tmp_path / "predictions.jsonl").exists()


def test_a_classifier_has_samples_of_one_label(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """[b, c] logits and [b] labels are b samples of one label each, and no shift is asked for."""
    train(tmp_path, Classifier(), rows())
    found = [one for one in read(tmp_path) if isinstance(one, Comparison)]
    assert {(one.step, one.sample, one.length) for one in found} == {(s, b, 1) for s in range(4) for b in range(2)}
    assert lines(capfd) == []


class Shaped(nn.Module):
    """Gives logits of a shape, and a loss that is its own."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape, self.weight = shape, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, labels: Any) -> dict[str, Tensor]:
        return {"loss": self.weight * 2, "logits": self.weight * torch.ones(len(x), *self.shape)}


@pytest.mark.parametrize(
    ("shape", "labels", "says"),
    [
        ((4,), [1, 0, 0, 1], "several labels of each sample: nothing to compare"),
        ((5, 8, 8), [[1] * 8] * 8, "further axes isn't known; pass layout=, if they are of tokens"),
        ((3, 7, 9), [[1] * 7] * 3, "further axes isn't known; pass layout=, such as 'b t k v, b t k'"),
        ((9, 5), [1, 2, 3], "as for a CTC loss: nothing to compare"),
        ((9, 5), [1] * 9, "pass shift="),
        ((9, 5), {"boxes": 1}, "labels are a list, no tensor"),
    ],
)
def test_labels_that_are_not_of_tokens(
    shape: Any, labels: Any, says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, and no finding, for several labels of a sample, images, characters of speech and boxes.

    A shift is asked for only where one would help.
    """
    data = [{"x": torch.ones(3), "labels": labels}] * 12
    trainer = Trainer(
        model=Shaped(*shape), args=arguments(tmp_path, max_steps=4, logging_steps=1), train_dataset=data,
        callbacks=[PredictionCallback(console=False)], data_collator=boxes if isinstance(labels, dict) else None,
    )  # fmt: skip
    trainer.train()
    (line,) = lines(capfd)
    assert says in line
    assert ("shift=" in line) == (says == "pass shift=")
    assert not (tmp_path / "predictions.jsonl").exists()


def boxes(rows: list[Any]) -> dict[str, Any]:
    return {"x": torch.stack([row["x"] for row in rows]), "labels": [row["labels"] for row in rows]}


def test_a_classifier_with_a_column_of_labels(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """[b, 1] labels of [b, c] logits are b samples of one label each, as [b] labels are."""
    train(tmp_path, Shaped(4), [{"x": torch.ones(3), "labels": [1]}] * 12)
    found = [one for one in read(tmp_path) if isinstance(one, Comparison)]
    assert {(one.step, one.sample, one.length) for one in found} == {(s, b, 1) for s in range(4) for b in range(2)}
    # The loss of this model is no cross-entropy, which is reported once.
    (line,) = [line for line in lines(capfd) if "same-batch" not in line]
    assert "is not the cross-entropy of the pair" in line


def test_a_model_that_names_its_logits_otherwise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The line shows what the forward returned, and does not claim that there are no logits at all."""
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    data = [{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4], "next_sentence_label": 1}] * 12
    train(tmp_path, BertForPreTraining(config), data)
    (line,) = lines(capfd)
    assert "gives no 'logits': its forward returned a dict with 'loss', 'prediction_logits'" in line


class Answering(PredictionMixin, Trainer):
    """With the mixin, though the model gets its labels."""


@pytest.mark.parametrize("kind", [Trainer, Answering])
def test_batches_without_labels(kind: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Question answering has no 'labels': one line reports it, and advises nothing that would not help."""
    model = BertForQuestionAnswering(
        BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    )
    data = [{"input_ids": [1, 2, 3, 4], "start_positions": 1, "end_positions": 2}] * 12
    train(tmp_path, model, data, kind)
    (line,) = lines(capfd)
    assert "the batches have no 'labels'" in line
    assert "PredictionMixin" not in line


class Taking(Trainer):
    """Computes the loss itself, of labels that it takes out of the batch."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: Any = False, num_items_in_batch: Any = None) -> Any:
        ids = inputs.pop("labels")
        out = model(**inputs)
        loss = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        return (loss, out) if return_outputs else loss


def test_labels_that_a_loss_takes_out_of_the_batch(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The batch is empty of labels when the model is called: one line says what helps, and claims no more."""
    train(tmp_path, tiny.llama(), tiny.samples(), Taking)
    (line,) = lines(capfd)
    assert "if a compute_loss of your own takes them out, train with a class of PredictionMixin" in line
    assert "the batches have no 'labels'" not in line


class Locked:
    """A tokenizer that can't be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def decode(self, ids: list[int], **_how: Any) -> str:
        return str(ids)

    def convert_ids_to_tokens(self, token: int) -> str:
        return str(token)


class Raising:
    """Whatever is asked of it raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("tokenizer", [Locked, Raising])
def test_a_tokenizer_that_cannot_be_copied(tokenizer: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The training goes on, and ids are recorded without texts: nobody asked for those."""
    trainer = Trainer(
        model=tiny.llama(), args=arguments(tmp_path, max_steps=1), train_dataset=tiny.samples(),
        callbacks=[PredictionCallback(console=False)],
    )  # fmt: skip
    trainer.callback_handler.processing_class = tokenizer()
    trainer.train()
    found = [one for one in read(tmp_path) if isinstance(one, Comparison)]
    assert found
    assert {token.label_text for one in found for token in one.tokens} == {None}
    assert "pass decode=" in lines(capfd)[-1]


class Stumbles(TrainerCallback):
    """Raises at the end of step 2."""

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Raise."""
        if state.global_step == 2:
            raise ZeroDivisionError


def test_when_the_training_raises_the_recorder_is_closed(tmp_path: Path) -> None:
    """A sweep of trainings that fail leaves no thread and no open file, and their files are whole."""
    before = threading.active_count()
    callbacks = []
    for number in range(4):
        callbacks.append(PredictionCallback(console=False))
        trainer = Trainer(
            model=tiny.llama(), args=arguments(tmp_path / str(number), logging_steps=1), train_dataset=tiny.samples(),
            callbacks=[callbacks[-1], Stumbles()],
        )  # fmt: skip
        with pytest.raises(ZeroDivisionError):
            trainer.train()
        assert threading.active_count() == before
        *_, last = read(tmp_path / str(number))
        assert getattr(last, "stats", None) is not None
    trainer.remove_callback(Stumbles)
    trainer.train()  # the same callback again
    assert threading.active_count() == before


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_the_callback_can_be_copied(how: str, when: str, tmp_path: Path) -> None:
    """Before, during and after a training, whatever it was made with; a copy is in no training, and can be in one."""
    lock = threading.Lock()
    copies: list[PredictionCallback] = []

    def copied() -> None:
        copies.append(copy.deepcopy(callback) if how == "deepcopy" else pickle.loads(pickle.dumps(callback)))

    class Copies(TrainerCallback):
        """Copies the other callback at step 1."""

        def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
            """Copy it."""
            if state.global_step == 1:
                copied()

    callback = PredictionCallback(console=False, decode=lambda one: f"{one}{lock.locked()}")
    if when == "before":
        copied()
    model = Classifier()
    trainer = Trainer(
        model=model, args=arguments(tmp_path / "first", max_steps=2, logging_steps=1), train_dataset=rows(),
        callbacks=[callback, *([Copies()] if when == "during" else [])],
    )  # fmt: skip
    trainer.train()
    if when == "after":
        copied()
    (other,) = copies
    assert other._model is None
    train(tmp_path / "second", model, rows(), callback=other)
    assert {one.step for one in read(tmp_path / "first") if isinstance(one, Comparison)} == {0, 1}
    assert {one.step for one in read(tmp_path / "second") if isinstance(one, Comparison)} == {0, 1, 2, 3}
    gc.collect()


def test_a_copy_with_a_recorder_of_ones_own_records_nothing(tmp_path: Path) -> None:
    """What is passed as `recorder=` is copied with the callback, so the copy records nothing."""
    with Recorder(tmp_path / "own", every=1, console=False) as recorder:
        train(tmp_path, Classifier(), rows(), callback=copy.deepcopy(PredictionCallback(recorder=recorder)))
    assert not (tmp_path / "own").exists()


def test_a_training_within_a_training(tmp_path: Path) -> None:
    """A callback that two nested trainings share records both, each in its folder, and closes both."""
    before = threading.active_count()
    callback = PredictionCallback(console=False)

    class Within(TrainerCallback):
        """Trains another model at step 2."""

        def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
            """Train it."""
            if state.global_step == 2:
                train(tmp_path / "inner", Classifier(), rows(), callback=callback)

    trainer = Trainer(
        model=Classifier(), args=arguments(tmp_path / "outer", max_steps=4, logging_steps=1), train_dataset=rows(),
        callbacks=[callback, Within()],
    )  # fmt: skip
    trainer.train()
    for name in ("inner", "outer"):
        assert {one.step for one in read(tmp_path / name) if isinstance(one, Comparison)} == {0, 1, 2, 3}
    assert threading.active_count() == before


class Large(Classifier):
    """Runs out of memory with more than two samples."""

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if len(x) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().forward(x, labels)


def test_a_training_that_begins_again_with_a_smaller_batch(tmp_path: Path) -> None:
    """`auto_find_batch_size` begins anew within the same `train`: that is a new attempt, and no thread is left."""
    before = threading.active_count()
    train(tmp_path, Large(), rows(), auto_find_batch_size=True, per_device_train_batch_size=4)
    assert {one.step for one in read(tmp_path) if isinstance(one, Comparison)} == {0, 1, 2, 3}
    assert threading.active_count() == before


class Popping(Trainer):
    """Gives its model no labels."""

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
        """Return a loss."""
        labels = inputs.pop("labels")
        return nn.functional.cross_entropy(model(**inputs)["logits"], labels)


class Unlabelled(Classifier):
    """May be called without labels."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": self.layer(x)}


class PoppingTooLate(Popping, PredictionMixin):
    """The order is wrong."""


@pytest.mark.parametrize(
    ("kind", "says"),
    [(Popping, "train with a class of PredictionMixin"), (PoppingTooLate, "before your trainer's class")],
)
def test_labels_that_the_trainer_keeps(kind: Any, says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The mixin is advised where it is not in use; where it is, but is not called, its place is."""
    train(tmp_path, Unlabelled(), rows(), kind, remove_unused_columns=False)
    (line,) = lines(capfd)
    assert says in line


@pytest.mark.slow
def test_a_callback_of_one_process_of_several_leaves_nothing_by_being_made(tmp_path: Path) -> None:
    """Its arguments are checked by a recorder that is dropped: at the exit that one reports and writes nothing."""
    made = f"PredictionCallback({str(tmp_path)!r}, console=False)"
    assert program(f"from predlog.integrations.transformers import PredictionCallback; {made}", 0, 2) == []
    assert not list(tmp_path.iterdir())
