"""The hooks on a user's model: what users do to it while they are there, and forwards that are none of a step."""

import copy
import gc
import io
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integrations.needed import needed

needed("accelerate")
transformers = needed("transformers")

from transformers import Trainer, TrainerCallback  # noqa: E402

from predlog import Recorder  # noqa: E402
from predlog.integrations._hf.hooks import Forward, Hooks  # noqa: E402
from predlog.integrations.transformers import PredictionCallback  # noqa: E402
from tests import events  # noqa: E402
from tests.integrations import tiny  # noqa: E402
from tests.integrations.test_head import fused  # noqa: E402
from tests.integrations.test_trainer import Witnessed, arguments, trained  # noqa: E402
from tests.integrations.witness import check, comparisons  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


def hooks(model: Any) -> int:
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules())


def test_evaluations_outside_of_a_training(tmp_path: Path) -> None:
    """With a recorder of one's own, `evaluate()` before and after `train()` is as without predlog, and not recorded."""
    with Recorder(tmp_path / "own", every=1, console=False) as recorder:
        trainer = Trainer(
            model=tiny.llama(), args=arguments(tmp_path), train_dataset=tiny.samples(),
            eval_dataset=tiny.samples()[:7], callbacks=[PredictionCallback(recorder=recorder)],
        )  # fmt: skip
        trainer.evaluate()
        trainer.train()
        trainer.evaluate()
        assert hooks(trainer.model) == 0
    assert {(one.stream, one.step) for one in comparisons(tmp_path / "own")} == {("train", at) for at in (0, 3, 6)}


class CallsOff(TrainerCallback):
    """Calls off the evaluation that is due."""

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> Any:
        """Say no."""
        control.should_evaluate = False
        return control


class Predicts(TrainerCallback):
    """Predicts a batch in the midst of a training."""

    trainer: Any

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Predict."""
        if state.global_step == 1:
            self.trainer.predict(tiny.samples()[:3])


@pytest.mark.parametrize("other", [CallsOff, Predicts])
def test_what_comes_to_no_evaluation(tmp_path: Path, other: Any) -> None:
    """Where an evaluation is called off, or it is a prediction, no batch of the training is taken for its first."""
    one = other()
    trainer = Witnessed(
        model=tiny.llama(), args=arguments(tmp_path, eval_strategy="steps", eval_steps=4),
        train_dataset=tiny.samples(), eval_dataset=tiny.samples()[:7],
        callbacks=[PredictionCallback(console=False), one],
    )  # fmt: skip
    one.trainer = trainer
    trainer.train()
    # Those of transformers 5 evaluate at the end too.
    evaluated = [one["step"] for one in trainer.state.log_history if "eval_loss" in one]
    assert evaluated == [] if other is CallsOff else evaluated[:1] == [4]
    check(tmp_path, trainer.seen, {"train": [0, 3, 6], "eval": evaluated})


class Copies(TrainerCallback):
    """Saves and copies the model while hooks are on it."""

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **known: Any) -> None:
        """Save and copy."""
        if state.global_step == 3:
            self.file = io.BytesIO()
            torch.save(model, self.file)
            self.copy = copy.deepcopy(model)


def test_a_model_is_saved_and_copied_while_hooks_are_on_it(tmp_path: Path) -> None:
    """Both work, and a forward of the copy, or of what is loaded, is seen by nobody."""
    copies = Copies()
    callback = PredictionCallback(console=False)
    trainer = trained(tmp_path, [callback, copies])
    check(tmp_path, trainer.seen, {"train": [0, 3, 6]})
    seen: list[Any] = []
    callback._hooks._receive = lambda forward: bool(seen.append(forward))  # type: ignore[func-returns-value]
    copies.file.seek(0)
    one = {name: torch.tensor([ids]) for name, ids in tiny.samples()[0].items()}
    losses = [model(**one).loss for model in (copies.copy, torch.load(copies.file, weights_only=False))]
    assert losses[0] == losses[1]
    assert seen == []


class Hooked(TrainerCallback):
    """Puts a hook of its own behind those that are there."""

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **known: Any) -> None:
        """Put it on."""
        if state.global_step == 3:
            model.register_forward_hook(lambda *_: None, always_call=True)


class Stumbles(Trainer):
    """Its step 3 has an id that is none."""

    error: type[BaseException] | None = None

    def compute_loss(self, model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
        """Return a loss, or raise."""
        if self.state.global_step == 3:
            inputs = {**inputs, "input_ids": inputs["input_ids"] + 10_000}
        return super().compute_loss(model, inputs, *given, **named)


def test_an_exception_is_the_one_that_was_raised(tmp_path: Path) -> None:
    """Also where hooks of others come after predlog's, whose last goes with the next forward then."""
    model = tiny.llama()
    trainer = Stumbles(
        model=model, args=arguments(tmp_path), train_dataset=tiny.samples(),
        callbacks=[PredictionCallback(console=False), Hooked()],
    )  # fmt: skip
    with pytest.raises(IndexError):
        trainer.train()
    assert hooks(model) == 2
    model(torch.zeros(1, 3).long(), labels=torch.zeros(1, 3).long())
    assert hooks(model) == 1


def test_a_forward_that_is_interrupted(tmp_path: Path) -> None:
    """After Ctrl-C in a forward, what the user does with the model is none of the training's, and no hook stays."""
    model = tiny.llama()

    def interrupt(*_: Any) -> None:
        if callback._state.global_step == 3:
            raise KeyboardInterrupt

    callback = PredictionCallback(console=False)
    mine = model.lm_head.register_forward_hook(interrupt)
    trainer = Trainer(model=model, args=arguments(tmp_path), train_dataset=tiny.samples(), callbacks=[callback])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    mine.remove()
    ids = torch.tensor([tiny.samples()[0]["input_ids"]])
    model(ids, labels=ids)
    assert hooks(model) == 0
    model.generate(ids[:, :4], max_new_tokens=2, do_sample=False)
    assert callback._recorder is not None
    assert callback._recorder.flush()
    assert {one.step for one in comparisons(tmp_path)} == {0}


def test_replicas_in_threads_are_told_apart() -> None:
    """What one replica was called with is never set beside what another gave."""
    seen: list[Forward] = []
    both = threading.Barrier(2, timeout=60)

    class Echo(torch.nn.Module):
        def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            both.wait()  # both have begun
            return ids + labels

    model = Echo()
    on = Hooks(lambda forward: bool(seen.append(forward)))  # type: ignore[func-returns-value]
    on.attach(model, None, "ids")
    replicas = [model._replicate_for_data_parallel() for _ in range(2)]  # type: ignore[no-untyped-call]
    threads = [
        threading.Thread(target=replica, args=(torch.full((1,), at),), kwargs={"labels": torch.full((1,), 10 * at)})
        for at, replica in enumerate(replicas, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(one.output) for one in seen) == [11, 22]
    assert all(one.arguments["ids"] + one.arguments["labels"] == one.output for one in seen)
    on.remove()
    assert hooks(model) == 0


class Blind(Trainer):
    """A trainer that asks its model without gradients, as those do that go without."""

    def compute_loss(self, model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
        """Return a loss of which nothing is learned."""
        with torch.no_grad():
            loss: Any = super().compute_loss(model, inputs, *given, **named)
        return loss.requires_grad_() * 1  # older trainers scale it in place, which a leaf does not allow


def test_what_has_no_gradients_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where no forward of a training has gradients, none is recorded, and one line says so."""
    trained(tmp_path, [PredictionCallback(console=False)], kind=Blind)
    assert not (tmp_path / "predictions.jsonl").exists()
    told = [line for line in events.said(capfd).splitlines() if line.startswith("predlog: ")]
    assert len(told) == 1
    assert "without gradients" in told[0]


def test_nothing_of_the_model_is_kept(tmp_path: Path) -> None:
    """When a training has ended, the callback holds neither the model nor a part of it."""
    callback = PredictionCallback(console=False)
    trainer = trained(tmp_path, [callback], tiny.llama(fused(transformers.LlamaForCausalLM)), kind=Trainer)
    gone = [weakref.ref(trainer.model), weakref.ref(trainer.model.lm_head.weight)]
    del trainer
    gc.collect()
    assert [one() for one in gone] == [None, None]
    assert {one.step for one in comparisons(tmp_path)} == {0, 3, 6}
