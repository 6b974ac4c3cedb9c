"""Where the Lightning callback finds its pair, and what it says where there is none."""

import inspect
import weakref
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch users know

import predlog
from tests.integrations import texts
from tests.integrations.held import assert_held, same
from tests.integrations.needed import needed

needed("lightning")
transformers = needed("transformers")

from predlog import Recorder  # noqa: E402
from predlog.integrations import transformers as trainers  # noqa: E402
from predlog.integrations.lightning import PredictionCallback  # noqa: E402
from predlog.recorder.recorder import PASSED_ON  # noqa: E402
from tests import events  # noqa: E402
from tests.integrations import writers  # noqa: E402
from tests.integrations.writers import IDS, STEPS, Writer, comparisons, findings, loader, trainer  # noqa: E402

pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in writers.MESSAGES]


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


def test_a_pair_from_attributes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A loss alone is returned; attributes that are named hold the pair, and inputs come from the batch."""
    callback = PredictionCallback(tmp_path, every=5, shift=1, console=False, logits="last_logits", labels="last_labels")
    model = Attributes()
    trainer(callback).fit(model, loader())
    assert_held(comparisons(tmp_path), {step: model.seen[step] for step in (0, 5, 10)})
    assert findings(tmp_path) == set()
    assert "PredictionCallback" not in events.said(capfd)


def test_what_is_left_from_the_training_is_no_pair_of_the_validations(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Attributes that a step doesn't set anew are not recorded as its own, and that is reported once."""
    callback = PredictionCallback(tmp_path, every=5, shift=1, console=False, logits="last_logits")
    trainer(callback, val_check_interval=4, num_sanity_val_steps=0).fit(Attributes(), loader(), loader(IDS[:4]))
    assert len(comparisons(tmp_path)) == 6
    assert comparisons(tmp_path, "eval") == []
    (line,) = said(capfd)
    assert line.startswith(
        "predlog: PredictionCallback, step 4: 'eval' is not recorded, since 'last_logits' can't be found:"
        " validation_step returned nothing, and Attributes did not set 'last_logits' in this step. Return a dict with"
    )


def said(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in events.said(capfd).splitlines() if line.startswith("predlog: PredictionCallback")]


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
        " not laid out as the labels [4, 47]. Return 'input_ids' from the step, laid out as the labels, or pass"
        " inputs=None"
    )


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
    assert "'train' is not recorded: after training_step the optimizer has changed the weight of a Projection" in line


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
            batch["decoder_input_ids"] = self.model._shift_right(batch["labels"])  # type: ignore[operator]
            return self.model(**batch)

    trainer(PredictionCallback(tmp_path, every=5, console=False)).fit(Translator(), loader())
    for one in comparisons(tmp_path):
        first = IDS[4 * one.step + one.sample]
        assert [token.input for token in one.tokens[:5]] == [0, *first[:4].tolist()]
    assert findings(tmp_path) == set()


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


@pytest.mark.parametrize("callback", [PredictionCallback, trainers.PredictionCallback])
def test_callbacks_take_what_a_recorder_takes(callback: type[Any]) -> None:
    """Both callbacks spell out what they pass on, with a recorder's own defaults, but for the trainer's tokenizer."""
    ours, theirs = (inspect.signature(one).parameters for one in (Recorder, callback))
    assert {name for name in PASSED_ON if theirs[name].default != ours[name].default} <= {"decode"}
    assert not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in theirs.values())
