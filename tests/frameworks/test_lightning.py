"""Real trainings with Lightning, and the callback's records of them."""

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

# What Lightning says of trainings as small as these, and of the torch that it runs with.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        "The '.*_dataloader' does not have many workers",
        "The number of training batches .* is smaller than the logging interval",
        "You defined a `validation_step` but have no `val_dataloader`",
        "`isinstance.treespec, LeafSpec.` is deprecated",
    )
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

    def returned(self, output: Any) -> Any:
        return output

    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        return self.returned(self.model(**batch))

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        return self.model(**batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


class Attributes(Writer):
    """Returns its loss alone, and keeps the pair of the training, not of the validation."""

    last_logits: Tensor
    last_labels: Tensor

    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        output = self.model(**batch)
        self.last_logits, self.last_labels = output.logits, batch["labels"]
        return output.loss

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        self.model(**batch)


class Shifted(Writer):
    """Shifts by itself, as a pair for `cross_entropy`, and returns it in a dict of its own names."""

    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        logits = self.model(input_ids=batch["input_ids"]).logits[:, :-1]
        labels = batch["input_ids"][:, 1:]
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss, "scores": logits, "targets": labels}


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


def loader(ids: Tensor = IDS, labels: Tensor | None = None) -> DataLoader[Any]:
    both = zip(ids, ids if labels is None else labels, strict=True)
    return DataLoader([{"input_ids": one, "labels": other} for one, other in both], batch_size=4)  # type: ignore[arg-type]


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


def test_a_pair_from_attributes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A loss alone is returned; attributes that are named hold the pair, and inputs come from the batch."""
    callback = PredictionCallback(tmp_path, every=5, shift=1, console=False, logits="last_logits", labels="last_labels")
    model = Attributes()
    trainer(callback).fit(model, loader())
    assert_held(comparisons(tmp_path), {step: model.seen[step] for step in (0, 5, 10)})
    assert findings(tmp_path) == set()
    assert "PredictionCallback" not in capfd.readouterr().err


def test_what_is_left_from_the_training_is_no_pair_of_the_validations(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Attributes that a step doesn't set anew are not recorded as its own, and that is said once."""
    callback = PredictionCallback(tmp_path, every=5, shift=1, console=False, logits="last_logits")
    trainer(callback, val_check_interval=4, num_sanity_val_steps=0).fit(Attributes(), loader(), loader(IDS[:4]))
    assert len(comparisons(tmp_path)) == 6
    assert comparisons(tmp_path, "eval") == []
    (line,) = said(capfd)
    assert line.startswith(
        "predlog: PredictionCallback, step 4: 'eval' is not recorded, since 'last_logits' can't be found:"
        " validation_step returned nothing, and Attributes has left 'last_logits' as before. Return a dict with"
    )


def said(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capfd.readouterr().err.splitlines() if line.startswith("predlog: PredictionCallback")]


@pytest.mark.parametrize(
    ("returned", "described"),
    [
        (lambda output: output.loss, "a loss only"),
        (lambda output: {"loss": output.loss, "text": "abc"}, "a dict with 'loss', 'text'"),
        (lambda output: {"loss": output.loss, "logits": print}, "a dict with 'loss', 'logits'"),
    ],
)
def test_where_there_is_no_pair(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], returned: Any, described: str
) -> None:
    """One line says once what was returned and what to do, and the training goes on as without."""
    models = Writer(), Writer()
    for model in models:
        model.returned = returned  # type: ignore[method-assign]
    trainer(PredictionCallback(tmp_path, every=1, console=False)).fit(models[0], loader())
    (line,) = said(capfd)
    assert line.startswith(
        "predlog: PredictionCallback, step 0: 'train' is not recorded, since 'logits' can't be found: training_step"
        f" returned {described}, and Writer has no such attribute. Return a dict with"
    )
    trainer().fit(models[1], loader())
    assert same(models[0].state_dict(), models[1].state_dict())
    assert not (tmp_path / "predictions.jsonl").exists()


def test_a_pair_that_is_aligned(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Names of the user's own, the shift of `cross_entropy`; inputs laid out otherwise than labels are left out."""
    callback = PredictionCallback(tmp_path, every=5, console=False, logits="scores", labels="targets")
    model = Shifted()
    trainer(callback).fit(model, loader())
    found = comparisons(tmp_path)
    pairs = {step: model.seen[step] for step in (0, 5, 10)}
    for one in found:
        assert {token.input for token in one.tokens} == {None}
        assert [token.label for token in one.tokens[:5]] == pairs[one.step][1][one.sample][1:6].tolist()
        assert one.shift == 0
    assert findings(tmp_path) == set()
    (line,) = said(capfd)
    assert line == (
        "predlog: PredictionCallback, step 0: 'train' is recorded without inputs: the batch's 'input_ids' [4, 48] are"
        " not laid out as the labels [4, 47]. Return those that are under this name, or pass inputs=None"
    )


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
    assert findings(tmp_path) == {("train", "labels-are-inputs")}


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


def test_a_recorder_of_ones_own(tmp_path: Path) -> None:
    """It records by its own settings and stays open; both it and settings for one are too much."""
    with predlog.Recorder(tmp_path, every=5, console=False) as recorder:
        trainer(PredictionCallback(recorder=recorder, shift=1)).fit(Writer(), loader())
        assert recorder.compare(torch.zeros(1, 4, 9), torch.ones(1, 4, dtype=torch.int64), 15, stream="mine")
    assert [one.step for one in comparisons(tmp_path)] == [0, 0, 5, 5, 10, 10]
    with pytest.raises(SettingError, match="not both"):
        PredictionCallback(tmp_path, recorder=recorder)


class Kept(Writer):
    """Keeps no logits, and asks at the next batch whether anybody else does."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bool] = []
        self.last: weakref.ref[Tensor] | None = None

    def see(self, *_arguments: Any) -> None:
        pass

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.kept.append(self.last is not None and self.last() is not None)

    def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
        output = super().training_step(batch)
        self.last = weakref.ref(output.logits)
        return output


def test_nothing_is_kept_alive(tmp_path: Path) -> None:
    """When a step has ended, its logits are gone."""
    model = Kept()
    trainer(PredictionCallback(tmp_path, every=1, shift=1, console=False)).fit(model, loader())
    assert len(comparisons(tmp_path)) == 2 * STEPS
    assert model.kept == [False] * STEPS


def test_what_an_object_of_the_users_raises(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A property that raises costs the record, not the training."""

    class Odd(Attributes):
        @property
        def odd(self) -> Any:
            raise RuntimeError("odd")

    callback = PredictionCallback(tmp_path, every=1, console=False, logits="odd")
    model = Odd()
    trainer(callback).fit(model, loader())
    assert len(model.seen) == STEPS
    assert all("RuntimeError: odd" in line for line in said(capfd))


def test_a_projection_comes_too_late(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The weight that hidden states would be projected with has been changed by the optimizer when a step has ended."""

    class Projecting(Writer):
        def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
            output = self.model(**batch, output_hidden_states=True)
            projection = predlog.Projection(output.hidden_states[-1], self.model.lm_head.weight)
            return {"loss": output.loss, "logits": projection}

    trainer(PredictionCallback(tmp_path, every=1, shift=1, console=False)).fit(Projecting(), loader())
    (line,) = said(capfd)
    assert "'train' is not recorded: a Projection's weight is the optimizer's next one behind training_step" in line


def test_of_an_encoder_decoder_the_decoders_inputs(tmp_path: Path) -> None:
    """A batch's `input_ids` are what the encoder reads; records have what the decoder does."""

    class Translator(Writer):
        def __init__(self) -> None:
            super().__init__()
            self.model = transformers.T5ForConditionalGeneration(
                transformers.T5Config(
                    vocab_size=texts.VOCABULARY, d_model=32, d_kv=16, d_ff=32, num_layers=1, num_heads=2,
                    decoder_start_token_id=0,
                )
            )  # fmt: skip

        def training_step(self, batch: Any, batch_idx: int = 0) -> Any:
            batch["decoder_input_ids"] = self.model._shift_right(batch["labels"])
            return self.model(**batch)

    trainer(PredictionCallback(tmp_path, every=5, console=False)).fit(Translator(), loader())
    for one in comparisons(tmp_path):
        first = IDS[4 * one.step + one.sample]
        assert [token.input for token in one.tokens[:5]] == [0, *first[:4].tolist()]
    assert findings(tmp_path) == set()


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


def test_validating_alone_records_nothing(tmp_path: Path) -> None:
    """Only trainings are recorded: a validation by itself would stand at a step of another training."""
    callback = PredictionCallback(tmp_path, every=1, shift=1, console=False)
    trainer(callback).validate(Writer(), loader(IDS[:4]), verbose=False)
    assert callback.recorder is None
    assert not (tmp_path / "predictions.jsonl").exists()


def test_without_lightning_the_import_says_what_to_install() -> None:
    """The module of a framework that is not there fails to import, with the command that installs it."""
    code = "import sys; sys.modules['lightning.pytorch'] = None; import predlog.integrations.lightning"
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert "this needs lightning, which is not installed: pip install 'predlog[lightning]'" in outcome.stderr


def test_the_documentations_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program of docs/lightning.md runs as it is."""
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "lightning_text.py"), run_name="__main__")
    assert [one.step for one in comparisons(tmp_path / "runs" / "lightning")] == [0, 0, 5, 5, 10, 10, 15, 15]
    assert findings(tmp_path / "runs" / "lightning") == set()


TRAINER = "lightning.Trainer(max_epochs=1, "
TWO: Edits = [(TRAINER, f"{TRAINER}accelerator='cpu', devices=2, strategy='ddp', ")]


def test_two_processes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Under DDP global rank 0 records what its model saw, or all ranks do."""
    variants: dict[str, Edits] = {"one": TWO, "all": [*TWO, ("every=5,", 'every=5, ranks="all",')]}
    for name, training in launched(tmp_path_factory, "lightning_text", variants).items():
        assert training.ranks == ({0} if name == "one" else {0, 1})
        for rank in training.ranks:
            pairs = training.pairs(rank)
            assert_held(training.comparisons(rank, "train"), {step: pairs[2 * step] for step in (0, 5)})
        assert training.findings == set()
