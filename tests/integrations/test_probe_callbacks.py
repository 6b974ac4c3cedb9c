"""The probe batch and the samples' ids in the callbacks, with trainings of both frameworks, and in `watch`."""

import gc
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import predlog
from tests.events import told
from tests.integrations.held import same
from tests.integrations.needed import needed

needed("accelerate")
needed("transformers")
needed("lightning")

from lightning.pytorch import LightningModule  # noqa: E402 - what is needed is asked for first
from torch.utils.data import DataLoader  # noqa: E402
from transformers import Trainer, TrainingArguments  # noqa: E402

from predlog.integrations import lightning as for_lightning  # noqa: E402
from predlog.integrations import transformers as for_trainers  # noqa: E402
from tests.integrations import writers  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")
ROWS = torch.randint(3, 30, (24, 10), generator=torch.Generator().manual_seed(0))
SAMPLES = [{"input_ids": row, "labels": row, "id": number} for number, row in enumerate(ROWS)]
PROBE = {"input_ids": ROWS[:3], "labels": ROWS[:3], "id": ["a", "b", "c"]}
STEPS = 6


class Model(nn.Module):
    """A model with dropout, batch norm and a part that stays in evaluation mode, as the Trainer takes it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.dropout = nn.Embedding(30, 16), nn.Dropout(0.3)
        self.norm, self.frozen, self.head = nn.BatchNorm1d(16), nn.BatchNorm1d(16), nn.Linear(16, 30)
        self.fails = False
        self.modes: list[bool] = []

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, id: object = None) -> dict[str, Tensor]:  # noqa: A002 - as the column
        self.frozen.training = False
        if self.fails and not self.training:
            raise RuntimeError("no evaluation today")
        hidden = self.dropout(self.embedding(input_ids)).mT
        logits = self.head((self.norm(hidden) + self.frozen(hidden)).mT)
        if labels is None:
            return {"logits": logits}
        return {"loss": functional.cross_entropy(logits[:, :-1].mT, labels[:, 1:]), "logits": logits}


class Lit(LightningModule):
    """The same for Lightning."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.logged: list[str] = []

    def training_step(self, batch: Any, _number: int = 0) -> Any:
        return self.model(**batch)

    def validation_step(self, batch: Any, _number: int = 0) -> Any:
        found = self.model(**batch)
        self.log("val_loss", found["loss"])
        return found

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(kind: str, folder: Path, *, model: Model | None = None, lit: Any = None, **more: Any) -> Any:
    """Train in one of the frameworks, and return the weights and the random states after it."""
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002 - the global state is what it is about
    how: dict[str, Any] = {"every": 2, "console": False, "shift": 1, "sample_ids": "id", **more}
    if kind == "trainer":
        made = Model() if model is None else model
        arguments = TrainingArguments(
            str(folder), max_steps=STEPS, per_device_train_batch_size=4, report_to=[], use_cpu=True, seed=1,
            disable_tqdm=True, save_strategy="no", remove_unused_columns=False, learning_rate=0.01,
        )  # fmt: skip
        callback: Any = for_trainers.PredictionCallback(folder, **how)
        Trainer(model=made, args=arguments, train_dataset=SAMPLES, callbacks=[callback]).train()
        weights = made.state_dict()
    else:
        module = Lit() if lit is None else lit
        module.model = module.model if model is None else model
        torch.manual_seed(1)
        callback = for_lightning.PredictionCallback(folder, **how)
        writers.trainer(callback).fit(module, DataLoader(SAMPLES, batch_size=4))  # type: ignore[arg-type]
        weights = module.model.state_dict()
    return weights, (torch.get_rng_state(), random.getstate(), np.random.get_state())  # noqa: NPY002 - as above


def comparisons(folder: Path, stream: str) -> list[predlog.Comparison]:
    return [one for one in predlog.read(folder) if isinstance(one, predlog.Comparison) and one.stream == stream]


KINDS = pytest.mark.parametrize("kind", ["trainer", "lightning"])


@KINDS
def test_a_probe_is_recorded_and_changes_no_bit(tmp_path: Path, kind: str) -> None:
    """Its samples are recorded under their ids every so many steps; weights and random states are as without it."""
    with_probe = train(kind, tmp_path / "a", probe=PROBE, probe_every=3, samples=3)
    without = train(kind, tmp_path / "b", samples=3)
    assert same(with_probe[0], without[0])
    assert torch.equal(with_probe[1][0], without[1][0])
    assert with_probe[1][1] == without[1][1]
    assert np.array_equal(with_probe[1][2][1], without[1][2][1])
    found = comparisons(tmp_path / "a", "probe")
    assert [(one.step, one.sample_id) for one in found] == [(step, name) for step in (0, 3) for name in "abc"]
    assert comparisons(tmp_path / "b", "probe") == []
    pairs = [comparisons(tmp_path / folder, "train") for folder in ("a", "b")]
    assert [(one.step, one.sample_id, one.loss) for one in pairs[0]] == [
        (one.step, one.sample_id, one.loss) for one in pairs[1]
    ]
    assert not [one for one in predlog.read(tmp_path / "a") if isinstance(one, predlog.Finding)]


@KINDS
def test_a_probe_is_in_evaluation_mode(tmp_path: Path, kind: str) -> None:
    """At the first step the record is what the untrained model gives in evaluation mode, for these very samples."""
    train(kind, tmp_path, probe=PROBE, samples=3)
    model = Model().eval()
    logits = model(PROBE["input_ids"])["logits"].detach()
    for number, one in enumerate(comparisons(tmp_path, "probe")):
        wanted = functional.cross_entropy(logits[number, :-1], ROWS[number, 1:])
        assert one.loss == pytest.approx(float(wanted), abs=1e-5)
        assert one.reported_loss is not None


@KINDS
def test_ids_of_the_batch_are_followed(tmp_path: Path, kind: str) -> None:
    """The ids in the batch are kept, and a followed sample is shown wherever it comes."""
    train(kind, tmp_path, every=1, follow=(5, "17"), samples=1)
    found = comparisons(tmp_path, "train")
    for one in found:
        assert one.sample_id is not None
        assert one.tokens[-1].label == int(ROWS[int(one.sample_id), -1])
    assert {"5", "17"} <= {one.sample_id for one in found}
    assert len({one.step for one in found}) == STEPS
    assert len(found) in {STEPS, STEPS + 1}  # both may be in one batch


@KINDS
def test_a_probe_that_raises_is_reported_once(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A forward that raises in evaluation mode costs the probe, one line says so, and the training is the same."""
    model = Model()
    model.fails = True
    failing = train(kind, tmp_path / "a", probe=PROBE, probe_every=1, model=model)
    assert same(failing[0], train(kind, tmp_path / "b")[0])
    assert comparisons(tmp_path / "a", "probe") == []
    (line,) = [line for line in told(capfd) if "probe" in line]
    assert "step 0" in line
    assert "RuntimeError: no evaluation today" in line
    assert "the training goes on" in line


@KINDS
@pytest.mark.parametrize(
    ("batch", "words"),
    [({"input_ids": ROWS[:2]}, "labels"), ([ROWS[:2]], "mapping"), ({"input_ids": "text", "labels": None}, "raised")],
)
def test_a_batch_that_is_no_pair_is_reported(
    tmp_path: Path, kind: str, batch: Any, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A probe without labels, or of another kind, is reported in one line, and the training is recorded."""
    train(kind, tmp_path, probe=batch, probe_every=1)
    assert comparisons(tmp_path, "probe") == []
    assert comparisons(tmp_path, "train")
    (line,) = [line for line in told(capfd) if "probe" in line]
    assert kind == "lightning" or words in line


@KINDS
def test_a_missing_name_is_reported(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Where the batch has nothing under the name that the user gave, one line says so, and nothing is guessed."""
    train(kind, tmp_path, sample_ids="document")
    assert {one.sample_id for one in comparisons(tmp_path, "train")} == {None}
    (line,) = [line for line in told(capfd) if "'document'" in line]
    assert "samples have no ids" in line


def test_a_trainer_that_takes_the_ids_out(tmp_path: Path) -> None:
    """With the mixin the ids are those of the batch, also where the trainer's own loss takes them out of it."""

    class Own(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
            return super().compute_loss(model, {k: v for k, v in inputs.items() if k != "id"}, *rest, **more)

    class Mixed(for_trainers.PredictionMixin, Own):
        pass

    arguments = TrainingArguments(
        str(tmp_path), max_steps=2, per_device_train_batch_size=4, report_to=[], use_cpu=True, disable_tqdm=True,
        save_strategy="no", remove_unused_columns=False,
    )  # fmt: skip
    callback = for_trainers.PredictionCallback(every=1, shift=1, console=False, sample_ids="id")
    Mixed(model=Model(), args=arguments, train_dataset=SAMPLES, callbacks=[callback]).train()
    found = comparisons(tmp_path, "train")
    assert len(found) == 4
    assert all(one.tokens[-1].label == int(ROWS[int(one.sample_id or -1), -1]) for one in found)


def test_what_a_validation_step_leaves_is_put_back(tmp_path: Path) -> None:
    """Figures that it logs, attributes that it sets, and its own `log`, are as they were after a probe."""

    class Noting(Lit):
        def validation_step(self, batch: Any, _number: int = 0) -> Any:
            self.logged.append("a step")
            self.last = batch
            return super().validation_step(batch)

    module = Noting()
    train("lightning", tmp_path, probe=PROBE, lit=module)
    assert len(comparisons(tmp_path, "probe")) == 2
    assert module.logged == []
    assert not hasattr(module, "last")
    assert "log" not in vars(module)


def test_a_module_without_a_step_for_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where no validation_step is, training_step is called; never in manual optimization, where it changes weights."""

    class Training(Lit):
        validation_step = LightningModule.validation_step

    class Manual(Training):
        automatic_optimization = False

        def training_step(self, batch: Any, _number: int = 0) -> Any:
            found = super().training_step(batch)
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(found["loss"])
            optimizer.step()
            return found

    train("lightning", tmp_path / "a", probe=PROBE, lit=Training())
    assert len(comparisons(tmp_path / "a", "probe")) == 2
    with_probe = train("lightning", tmp_path / "b", probe=PROBE, lit=Manual())
    assert same(with_probe[0], train("lightning", tmp_path / "c", lit=Manual())[0])
    assert comparisons(tmp_path / "b", "probe") == []
    (line,) = [line for line in told(capfd) if "probe" in line]
    assert "manual" in line


def test_sharded_weights_are_not_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where each process has a part of the weights, a forward of one alone would wait for ever: one line says so."""
    model = Model()
    model.head.weight.ds_id = 0  # type: ignore[attr-defined] # as DeepSpeed marks them
    train("trainer", tmp_path, probe=PROBE, model=model)
    assert comparisons(tmp_path, "probe") == []
    assert len([line for line in told(capfd) if "collective" in line]) == 1


def test_the_batch_is_not_kept_on_its_device_after_the_training(tmp_path: Path) -> None:
    """The callback's own batch is as it was: the forward got copies."""
    probe = {name: value.clone() if isinstance(value, Tensor) else value for name, value in PROBE.items()}
    train("trainer", tmp_path, probe=probe)
    gc.collect()
    assert all(one is PROBE["id"] or torch.equal(one, ROWS[:3]) for one in probe.values())  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["list", "tensor"])
def test_watch_takes_ids_by_the_name_of_a_parameter(tmp_path: Path, given: str) -> None:
    """`watch(model, sample_ids="id")` keeps what the forward gets under that name, of all its losses."""
    model = Model()
    ids: Any = torch.tensor([3, 4, 5]) if given == "tensor" else ["3", "4", "5"]
    recorder = predlog.Recorder(tmp_path, every=1, console=False, strict=True, follow=("5",))
    with recorder, predlog.watch(model, sample_ids="id", recorder=recorder):
        model(ROWS[:3], labels=ROWS[:3], id=ids)
    assert [one.sample_id for one in comparisons(tmp_path, "text")] == ["3", "5"]


def test_watch_says_where_there_is_no_such_parameter(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A name that the call does not have is reported with those that it has."""
    model = Model()
    recorder = predlog.Recorder(tmp_path, every=1, console=False)
    with recorder, predlog.watch(model, sample_ids="document", recorder=recorder):
        model(ROWS[:3], labels=ROWS[:3])
    (line,) = [line for line in told(capfd) if "document" in line]
    assert "labels" in line
