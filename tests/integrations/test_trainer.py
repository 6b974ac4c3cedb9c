"""Hugging Face's Trainer: what the callback records is what the loss was given, and the training is the same."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.installed import release
from tests.integrations.needed import needed

needed("accelerate")
transformers = needed("transformers")
peft = needed("peft")

from transformers import Trainer, TrainingArguments  # noqa: E402 - what is needed is asked for first

from predlog import Comparison, Recorder, read  # noqa: E402
from predlog.errors import SettingError  # noqa: E402
from predlog.integrations.transformers import PredictionCallback, PredictionMixin  # noqa: E402
from tests import events  # noqa: E402
from tests.integrations import tiny  # noqa: E402
from tests.integrations.witness import Witness, check, codes, comparisons  # noqa: E402
from tests.versions.environments import lower_bounds  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


class Witnessed(Witness, Trainer):  # type: ignore[misc]
    """A trainer that remembers what its loss was given."""


def arguments(folder: Path, **more: Any) -> TrainingArguments:
    return TrainingArguments(
        str(folder), **{
            "max_steps": 7, "per_device_train_batch_size": 3, "logging_steps": 3, "report_to": [], "use_cpu": True,
            "learning_rate": 1e-3, "disable_tqdm": True, "save_strategy": "no", "seed": 1, **more,
        }
    )  # fmt: skip


def trained(folder: Path, callbacks: list[Any], model: Any = None, kind: Any = Witnessed, **more: Any) -> Any:
    samples = more.pop("samples", tiny.samples())
    trainer = kind(
        model=tiny.llama() if model is None else model,
        args=arguments(folder, **more),
        train_dataset=samples,
        eval_dataset=samples[:7],
        processing_class=tiny.tokenizer(),
        callbacks=callbacks,
    )
    trainer.train()
    return trainer


def lora() -> Any:
    torch.manual_seed(0)
    return peft.get_peft_model(tiny.llama(), peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))


# Its name until transformers 5.20 or so.
OLD_NAME = "gradient_checkpointing"
CHECKPOINTING = "activation_checkpointing" if hasattr(TrainingArguments, "activation_checkpointing") else OLD_NAME
VARIANTS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "plain": (tiny.llama, {}),
    "bf16": (tiny.llama, {"bf16": True}),
    "accumulating": (tiny.llama, {"gradient_accumulation_steps": 2}),
    "checkpointing": (tiny.llama, {CHECKPOINTING: True}),
    "evaluating": (tiny.llama, {"eval_strategy": "steps", "eval_steps": 3}),
    "compiled": (tiny.llama, {"torch_compile": True}),
    "lora": (lora, {}),
}
if release("torch") < (2, 6):
    del VARIANTS["compiled"]  # it compiles no cached property, and the loss function of transformers' models is one


# The compiler takes longer than all the others together.
EACH = [pytest.param(name, marks=pytest.mark.slow) if name == "compiled" else name for name in VARIANTS]


@pytest.mark.parametrize("variant", EACH)
def test_records_are_what_the_loss_was_given(tmp_path: Path, variant: str) -> None:
    """Ids and ranks are equal, probabilities nearly, nothing is found, no hook stays, and the weights are the same."""
    make, how = VARIANTS[variant]
    trainer = trained(tmp_path / "with", [PredictionCallback(console=False)], make(), **how)
    evaluated = sorted(step for stream, step in trainer.seen if stream == "eval")
    assert evaluated[:2] == ([3, 6] if variant == "evaluating" else [])
    check(tmp_path / "with", trainer.seen, {"train": [0, 3, 6], "eval": evaluated})
    assert {one.tokens[0].label_text is None for one in comparisons(tmp_path / "with")} == {False}
    assert not any(module._forward_hooks for module in trainer.model.modules() if variant != "checkpointing")
    without = trained(tmp_path / "without", [], make(), kind=Trainer, **how)
    ours, theirs = trainer.model.state_dict(), without.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def shifted(samples: list[dict[str, list[int]]]) -> list[dict[str, list[int]]]:
    return [one | {"labels": [*one["labels"][1:], -100]} for one in copy.deepcopy(samples)]


def masked(samples: list[dict[str, list[int]]]) -> list[dict[str, list[int]]]:
    return [one | {"labels": [-100] * len(one["labels"])} for one in copy.deepcopy(samples)]


FAULTS = [(shifted, "labels-shifted-twice"), (masked, "nothing-supervised")]


@pytest.mark.parametrize("variant", EACH)
@pytest.mark.parametrize(("fault", "code"), FAULTS)
def test_planted_faults_are_named(tmp_path: Path, variant: str, fault: Any, code: str) -> None:
    """Labels that the user has shifted already, or masked all, are named on the first record."""
    make, how = VARIANTS[variant]
    callbacks = [PredictionCallback(console=False)]
    trained(tmp_path, callbacks, make(), samples=fault(tiny.samples()), **{**how, "max_steps": 1})
    assert {one for one in codes(tmp_path) if one[0] == "train"} == {("train", 0, code)}


class Smoothed(PredictionMixin, Witness, Trainer):
    """As docs/frameworks/transformers.md has it."""


class Mixed(PredictionMixin, Trainer):
    """The same, where nobody looks on."""


def loss_of(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    rows, targets = outputs["logits"][:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    loss: torch.Tensor = torch.nn.functional.cross_entropy(rows, targets, reduction="sum") / num_items_in_batch
    return loss


@pytest.mark.parametrize("how", [{"label_smoothing_factor": 0.1}, {"compute_loss_func": loss_of}])
def test_labels_that_the_model_is_not_given(
    tmp_path: Path, how: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """With the mixin they are recorded; without it, one line names it, and the training goes on."""
    own = {name: how[name] for name in how if name == "compute_loss_func"}
    smoothing = {name: how[name] for name in how if name not in own}
    made, unmixed = (partial(kind, **own) for kind in (Smoothed, Witnessed))
    trainer = trained(tmp_path / "mixed", [PredictionCallback(console=False)], kind=made, **smoothing)
    check(tmp_path / "mixed", trainer.seen, {"train": [0, 3, 6]})
    capfd.readouterr()
    trained(tmp_path / "unmixed", [PredictionCallback(console=False)], kind=unmixed, **smoothing)
    assert not (tmp_path / "unmixed" / "predictions.jsonl").exists()
    told = [line for line in events.said(capfd).splitlines() if line.startswith("predlog: ")]
    assert len(told) == 1
    assert "PredictionMixin" in told[0]


class Plain(transformers.LlamaForCausalLM):  # type: ignore[misc, name-defined]
    """A model that gives tuples."""

    def forward(self, *given: Any, **named: Any) -> Any:
        """Return a tuple, the loss first where there is one."""
        return super().forward(*given, **named).to_tuple()


def test_tuples(tmp_path: Path) -> None:
    """Of a model that gives tuples the logits come after the loss, and first where it is not given its labels."""
    smoothed: dict[str, Any] = {"label_smoothing_factor": 0.1}
    for name, kind, how in (("loss", Trainer, {}), ("none", Mixed, smoothed)):
        trained(
            tmp_path / name,
            [PredictionCallback(console=False)],
            tiny.llama(Plain),
            kind,
            remove_unused_columns=False,
            **how,
        )
    ours, theirs = (
        [(one.step, one.matched, *(token.label_rank for token in one.tokens)) for one in comparisons(tmp_path / name)]
        for name in ("loss", "none")
    )
    assert [one[0] for one in ours] == [0, 0, 3, 3, 6, 6]
    assert ours[0][1] is not None
    assert ours[:2] == theirs[:2]  # then the weights differ
    assert codes(tmp_path / "loss") == codes(tmp_path / "none") == set()


def test_no_hook_is_called_on_steps_that_are_not_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight steps of two micro-batches, two are due: each calls its hooks once, the others call none."""
    calls: list[int] = []
    callback = PredictionCallback(every=4, console=False)
    receive = callback._hooks._receive

    def seen(forward: Any) -> bool:
        if forward.output is not None:
            calls.append(callback._state.global_step)
        return receive(forward)

    monkeypatch.setattr(callback._hooks, "_receive", seen)
    trained(tmp_path, [callback], max_steps=8, gradient_accumulation_steps=2)
    assert calls == [0, 4]


def test_a_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """A second `train()` is a second attempt, and its steps go on where the checkpoint stood."""
    trained(tmp_path, [PredictionCallback(console=False)], save_strategy="steps", save_steps=4, max_steps=4)
    trainer = Trainer(
        model=tiny.llama(),
        args=arguments(tmp_path, save_strategy="no"),
        train_dataset=tiny.samples(),
        processing_class=tiny.tokenizer(),
        callbacks=[PredictionCallback(console=False)],
    )
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    steps = {(one.attempt, one.step) for one in read(tmp_path, attempt="all") if isinstance(one, Comparison)}
    assert steps == {(1, 0), (1, 3), (2, 6)}


class Stumbling(Exception):  # noqa: N818 - it is what a user's code raises
    """What goes wrong in a training."""


@pytest.mark.parametrize("where", ["forward", "loss", "loader"])
def test_after_an_exception_no_hook_stays(tmp_path: Path, where: str) -> None:
    """Whatever raises at a step that is due passes through, and the next training starts from nothing."""

    class Stumbles(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
            if self.state.global_step == 3 and where == "forward":
                inputs = {**inputs, "input_ids": inputs["input_ids"] + 10_000}
            loss = super().compute_loss(model, inputs, *given, **named)
            if self.state.global_step == 3 and where == "loss":
                raise Stumbling
            return loss

    def collated(samples: Any) -> Any:
        if where == "loader" and samples[0]["input_ids"] is bad["input_ids"]:
            raise Stumbling
        return transformers.default_data_collator(samples)

    bad = tiny.samples()[10]
    model = tiny.llama()
    callback = PredictionCallback(console=False)
    trainer = Stumbles(
        model=model, args=arguments(tmp_path, per_device_train_batch_size=1, max_steps=30),
        train_dataset=tiny.samples()[:20], callbacks=[callback], data_collator=collated,
    )  # fmt: skip
    with pytest.raises((Stumbling, IndexError)):
        trainer.train()
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())
    assert callback._recorder is not None
    assert callback._recorder.flush()
    assert {one.step for one in comparisons(tmp_path)} >= {0}
    trained(tmp_path / "again", [callback], model, kind=Trainer)
    assert {one.step for one in comparisons(tmp_path / "again")} == {0, 3, 6}


def test_a_shift_that_the_model_contradicts_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever passes a shift that is not that of the model's own loss is reported so, once."""
    trained(tmp_path / "other", [PredictionCallback(shift=0, console=False)])
    (told,) = (line for line in events.said(capfd).splitlines() if "was passed" in line)
    assert told.startswith("predlog: shift=0 was passed, and the loss of LlamaForCausalLM shifts by 1: ")
    trained(tmp_path / "same", [PredictionCallback(shift=1, console=False)])
    assert "was passed" not in events.said(capfd)


def test_an_own_recorder_is_used_and_left_open(tmp_path: Path) -> None:
    """With `recorder=` nothing is made and nothing closed, and the recorder's own `every` counts as well."""
    with Recorder(tmp_path / "own", every=2, console=False) as recorder:
        trained(tmp_path, [PredictionCallback(every=3, recorder=recorder)])
        assert recorder.compare(torch.zeros(1, 3, 4), torch.zeros(1, 3).long(), 8) is not None
    assert {one.step for one in comparisons(tmp_path / "own")} == {0, 6, 8}
    assert not (tmp_path / "predictions.jsonl").exists()


def test_the_environment_counts_where_an_argument_is_not_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PREDLOG_DIR and PREDLOG_EVERY come before the trainer's own; a recorder that is passed has its own settings."""
    for name, value in {"DIR": tmp_path / "set", "EVERY": 2, "SAMPLES": 1, "CONSOLE": 0}.items():
        monkeypatch.setenv(f"PREDLOG_{name}", str(value))
    trained(tmp_path, [PredictionCallback()])
    assert [one.step for one in comparisons(tmp_path / "set")] == [0, 2, 4, 6]
    trained(tmp_path, [PredictionCallback(tmp_path / "passed", every=3, samples=2)])
    assert [one.step for one in comparisons(tmp_path / "passed")] == [0, 0, 3, 3, 6, 6]
    with Recorder(tmp_path / "own", every=3) as recorder:
        trained(tmp_path, [PredictionCallback(recorder=recorder, every=1)])
    assert [one.step for one in comparisons(tmp_path / "own")] == [0, 3, 6]
    monkeypatch.setenv("PREDLOG_DISABLE", "1")
    trained(tmp_path, [PredictionCallback(tmp_path / "off", every=1)])
    assert not (tmp_path / "off").exists()


@pytest.mark.parametrize(
    ("given", "says"), [({"evry": 3}, "evry"), ({"every": 0}, "every"), ({"samples": 0}, "samples")]
)
def test_arguments_that_make_no_sense_are_refused_at_once(given: dict[str, Any], says: str) -> None:
    """Before any training, by name."""
    with pytest.raises((TypeError, SettingError), match=says):
        PredictionCallback(**given)


def test_without_the_framework_the_command_to_run_is_told() -> None:
    """Importing the integration where transformers is not installed says which pip command installs it."""
    code = "import sys; sys.modules['transformers'] = None; import predlog.integrations.transformers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        "MissingExtraError: this needs transformers, which is not installed:"
        " pip install 'predlog[hf]', or in a clone of predlog pip install '.[hf]'"
    )


@pytest.mark.slow
@pytest.mark.parametrize("found", ["4.45.2", "4.46.0.dev0"])
def test_a_framework_that_is_too_old_is_refused_when_imported(found: str) -> None:
    """Before any training, with both versions and the pip command; what leads to the lowest release is taken for it."""
    code = f"import transformers; transformers.__version__ = {found!r}; import predlog.integrations.transformers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if found.startswith("4.46"):
        assert done.returncode == 0, done.stderr
        return
    assert done.stderr.splitlines()[-1].endswith(
        "OldPackageError: this needs transformers 4.46 or newer, and 4.45.2 is installed:"
        " pip install 'transformers>=4.46'"
    )
    assert lower_bounds(("hf",))["transformers"] == "4.46"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_processes(tmp_path: Path, way: str) -> None:
    """Under DDP and FSDP2, in both processes, with the Trainer and with TRL's, records are what the loss was given."""
    if way == "fsdp" and (release("transformers") < (5,) or release("torch") < (2, 8)):
        pytest.skip("FSDP2 on a CPU needs the accelerate of transformers 5, and torch 2.8")
    script = Path(__file__).parent / "distributed.py"
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    done = subprocess.run(
        [*launched, way, str(tmp_path)], capture_output=True, text=True, timeout=600, check=False,
        env=os.environ | {"PYTHONPATH": str(script.parent.parent.parent), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("as it should be") == 4
    assert done.stdout.count("both faults are named") == 4


def test_an_encoder_decoder_model_is_not_shifted(tmp_path: Path) -> None:
    """T5's labels are at the positions of its logits, and its decoder's inputs are known where the batch has them."""
    samples = [
        {"input_ids": one["input_ids"][:20], "labels": one["labels"], "decoder_input_ids": [2, *one["input_ids"][:-1]]}
        for one in tiny.samples()
    ]
    config = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 2}
    model = tiny.llama(transformers.T5ForConditionalGeneration, transformers.T5Config, **config)
    trainer = trained(tmp_path, [PredictionCallback(console=False)], model, samples=samples)
    seen = {
        key: (logits, labels, torch.tensor([one["decoder_input_ids"] for one in _found(samples, labels)]))
        for key, (logits, labels, _) in trainer.seen.items()
    }
    check(tmp_path, seen, {"train": [0, 3, 6]})
    assert {one.shift for one in comparisons(tmp_path)} == {0}


def _found(samples: list[dict[str, list[int]]], labels: torch.Tensor) -> list[dict[str, list[int]]]:
    return [next(one for one in samples if one["labels"] == row) for row in labels.tolist()]


def test_a_masked_model_is_not_shifted(tmp_path: Path) -> None:
    """BERT's labels are at the positions of its logits, where its inputs are masked."""
    samples = [
        one | {
            "labels": [token if at % 5 == 1 and token > 4 else -100 for at, token in enumerate(one["input_ids"])],
            "input_ids": [3 if at % 5 == 1 and token > 4 else token for at, token in enumerate(one["input_ids"])],
        }
        for one in tiny.samples()
    ]  # fmt: skip
    model = tiny.llama(transformers.BertForMaskedLM, transformers.BertConfig)
    trainer = trained(tmp_path, [PredictionCallback(console=False)], model, samples=samples)
    check(tmp_path, trainer.seen, {"train": [0, 3, 6]})
    assert {one.shift for one in comparisons(tmp_path)} == {0}
