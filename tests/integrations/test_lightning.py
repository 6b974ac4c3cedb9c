"""Real trainings with Lightning, and the callback's records of them."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import predlog
from predlog.errors import SettingError
from tests import ROOT, events
from tests.integrations.held import assert_held, same
from tests.integrations.launching import EXAMPLES, Edits, launched
from tests.integrations.needed import needed

needed("lightning")
needed("transformers")

from lightning.pytorch import Callback  # noqa: E402
from lightning.pytorch.loggers import CSVLogger  # noqa: E402

from predlog.integrations.lightning import PredictionCallback  # noqa: E402
from tests.integrations import writers  # noqa: E402
from tests.integrations.writers import IDS, STEPS, Writer, comparisons, findings, loader, trainer  # noqa: E402

pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in writers.MESSAGES]


class Manual(Writer):
    """Steps its optimizer by itself, each second batch."""

    automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        output = self.model(**batch)
        self.manual_backward(output.loss)
        if batch_idx % 2:
            optimizer = self.optimizers()
            optimizer.step()  # type: ignore[union-attr]
            optimizer.zero_grad()  # type: ignore[union-attr]
        return output


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
    assert isinstance([*predlog.read(tmp_path)][-1], predlog.records.Run)  # the attempt is closed


def test_the_training_is_the_same_without(tmp_path: Path) -> None:
    """Recording every step changes no bit of the weights."""
    models = Writer(), Writer(), Writer()
    callback = PredictionCallback(tmp_path, every=1, shift=1, console=False)
    callbacks: list[list[Callback]] = [[callback], [], []]
    for model, mine, ids in zip(models, callbacks, (IDS, IDS, IDS.flip(0)), strict=True):
        trainer(*mine, val_check_interval=4).fit(model, loader(ids), loader(ids[:4]))
    recorded, without, other = (model.state_dict() for model in models)
    assert len(comparisons(tmp_path)) == 2 * STEPS
    assert same(recorded, without)
    assert not same(other, without)


@pytest.mark.parametrize(
    ("labels", "code"),
    [(IDS.roll(-1, 1), "labels-shifted-twice"), (torch.full_like(IDS, -100), "nothing-supervised")],
)
def test_faults_are_named(tmp_path: Path, labels: Tensor, code: str) -> None:
    """Labels that the user has shifted before the model does, and labels that are all masked, are named."""
    callback = PredictionCallback(tmp_path, every=4, shift=1, console=False)
    trainer(callback).fit(Writer(), loader(IDS, labels), loader(IDS[:4], labels[:4]))
    assert findings(tmp_path) == {("train", code), ("eval", code)}


def test_the_wrong_shift_is_named(tmp_path: Path) -> None:
    """Without a word about the shift a pair is taken as `cross_entropy` would, and the raw one is found to be none."""
    trainer(PredictionCallback(tmp_path, every=4, console=False)).fit(Writer(), loader())
    assert findings(tmp_path) == {("train", "labels-are-inputs"), ("train", "loss-differs-from-pair")}


def test_manual_optimization(tmp_path: Path) -> None:
    """A module that steps its optimizer itself is recorded at the first batch of each of its steps."""
    callback, model = PredictionCallback(tmp_path, every=2, shift=1, console=False), Manual()
    trainer(callback).fit(model, loader())
    assert_held(comparisons(tmp_path), {step: model.seen[2 * step] for step in (0, 2, 4)})


class Failing(Writer):
    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        if batch_idx == 3:
            raise RuntimeError("out of luck")
        return super().training_step(batch)


def test_an_exception_closes_the_file(tmp_path: Path) -> None:
    """What was recorded before an exception is written and the attempt is ended; the exception is seen as it is."""
    callback = PredictionCallback(tmp_path, every=2, shift=1, console=False)
    with pytest.raises(RuntimeError, match="out of luck"):
        trainer(callback).fit(Failing(), loader())
    records = [*predlog.read(tmp_path)]
    assert [one.step for one in records if isinstance(one, predlog.Comparison)] == [0, 0, 2, 2]
    assert [one.event for one in records].count("predlog.run") == 2


def test_a_training_that_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """It counts on from the checkpoint's step, in a second attempt of the same file."""
    checkpoint, folder, model = tmp_path / "last.ckpt", tmp_path / "run", Writer()
    before = trainer(PredictionCallback(folder, every=4, shift=1, console=False))
    before.fit(model, loader())
    before.save_checkpoint(checkpoint)
    after = trainer(PredictionCallback(folder, every=4, shift=1, console=False), max_epochs=2)
    after.fit(Writer(), loader(), ckpt_path=checkpoint)
    steps = [(one.attempt, one.step) for one in comparisons(folder) if one.sample == 0]
    assert steps == [(1, 0), (1, 4), (1, 8), (2, 12), (2, 16), (2, 20)]
    assert comparisons(folder)[-1].context == {"epoch": 1}


def test_where_the_file_goes_and_how_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out, the folder is the logger's, or the trainer's own, and `every` is the trainer's; a dry run has none."""
    logger = CSVLogger(tmp_path / "logs")
    fits: dict[Path | None, dict[str, Any]] = {
        Path(logger.log_dir): {"logger": logger},
        tmp_path / "own": {"default_root_dir": tmp_path / "own"},
        None: {"fast_dev_run": True, "default_root_dir": tmp_path / "none"},
    }
    for folder, arguments in fits.items():
        callback = PredictionCallback(shift=1, console=False)
        trainer(callback, log_every_n_steps=6, **arguments).fit(Writer(), loader())
        assert callback.recorder is not None
        assert callback.recorder.directory == folder
        assert folder is None or [one.step for one in comparisons(folder)] == [0, 0, 6, 6]
    assert not (tmp_path / "none").exists()


def test_the_environment_counts_where_an_argument_is_not_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PREDLOG_DIR and PREDLOG_EVERY come before the trainer's own; a recorder that is passed has its own settings."""
    for name, value in {"DIR": tmp_path / "set", "EVERY": 6, "SAMPLES": 1, "CONSOLE": 0}.items():
        monkeypatch.setenv(f"PREDLOG_{name}", str(value))
    trainer(PredictionCallback(shift=1)).fit(Writer(), loader())
    assert [one.step for one in comparisons(tmp_path / "set")] == [0, 6]
    with predlog.Recorder(tmp_path / "own", every=4) as recorder:
        trainer(PredictionCallback(recorder=recorder, shift=1)).fit(Writer(), loader())
    assert [one.step for one in comparisons(tmp_path / "own")] == [0, 4, 8]


def test_a_recorder_of_ones_own(tmp_path: Path) -> None:
    """It records by its own settings and stays open; both it and settings for one are too much."""
    with predlog.Recorder(tmp_path, every=5, console=False) as recorder:
        trainer(PredictionCallback(recorder=recorder, shift=1)).fit(Writer(), loader())
        assert recorder.compare(torch.zeros(1, 4, 9), torch.ones(1, 4, dtype=torch.int64), 15, stream="mine")
    assert [one.step for one in comparisons(tmp_path)] == [0, 0, 5, 5, 10, 10]
    with pytest.raises(SettingError, match="not both"):
        PredictionCallback(tmp_path, recorder=recorder)


def test_several_validation_loaders(tmp_path: Path) -> None:
    """Each loader is a stream: `eval`, `eval/1`."""

    class Several(Writer):
        def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
            return self.model(**batch)

    callback = PredictionCallback(tmp_path, every=50, shift=1, console=False)
    trainer(callback).fit(Several(), loader(), [loader(IDS[:8]), loader(IDS[8:16])])
    for number, stream in enumerate(("eval", "eval/1")):
        found = comparisons(tmp_path, stream)
        assert [one.step for one in found] == [0, 0, STEPS, STEPS]
        assert found[0].tokens[0].label == int(IDS[8 * number, 1])


def test_validating_alone_records_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Only trainings are recorded, and nothing is reported: a validation by itself may be of any other model."""
    callback = PredictionCallback(tmp_path, every=1, shift=1, console=False)
    mine, model = trainer(callback), Writer()
    mine.validate(model, loader(IDS[:4]), verbose=False)
    assert callback.recorder is None
    mine.fit(model, loader())
    before = comparisons(tmp_path)
    mine.validate(model, loader(IDS[:4]), verbose=False)
    assert comparisons(tmp_path) == before
    assert comparisons(tmp_path, "eval") == []
    assert "predlog" not in events.said(capfd)


def test_without_lightning_the_import_says_what_to_install() -> None:
    """The module of a framework that is not there fails to import, with the command that installs it."""
    code = "import sys; sys.modules['lightning.pytorch'] = None; import predlog.integrations.lightning"
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert "this needs lightning, which is not installed: pip install 'predlog[lightning]'" in outcome.stderr


def test_the_documentations_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program of docs/frameworks/lightning.md runs as it is."""
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "lightning_text.py"), run_name="__main__")
    assert [one.step for one in comparisons(tmp_path / "runs" / "lightning")] == [0, 0, 5, 5, 10, 10, 15, 15]
    assert findings(tmp_path / "runs" / "lightning") == set()


TRAINER = "lightning.Trainer("
TWO: Edits = [(TRAINER, f"{TRAINER}accelerator='cpu', devices=2, strategy='ddp', ")]


@pytest.mark.slow
def test_two_processes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Under DDP global rank 0 records what its model saw, or all ranks do, in the same folder."""
    left_out = (
        ("max_epochs=1", "max_epochs=1, default_root_dir='runs/own'"),
        ('"runs/lightning", every=5', 'ranks="all", every=5'),
    )
    variants: dict[str, Edits] = {
        "one": TWO,
        "all": [*TWO, ("every=5,", 'every=5, ranks="all",')],
        "folder left out": [*left_out, *TWO],
    }
    for name, training in launched(tmp_path_factory, "lightning_text", variants).items():
        assert training.ranks == ({0} if name == "one" else {0, 1})
        for rank in training.ranks:
            pairs = training.pairs(rank)
            assert_held(training.comparisons(rank, "train"), {step: pairs[2 * step] for step in (0, 5)})
        assert training.findings == set()
