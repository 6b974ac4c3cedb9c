"""What the callback of Hugging Face's Trainer costs on steps that are not due: trainings without it and with it."""

import tempfile
from collections.abc import Iterator
from typing import Any

from torch.utils.benchmark import timer
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from predlog.integrations.transformers import PredictionCallback
from tests.benchmarks.harness import Row, Spread, duration
from tests.benchmarks.options import Options

_STEPS = 60
# Before it, the worker is busy with the first step, which is due.
_FROM = 10
_ROUNDS = 30
_SMALL: dict[str, Any] = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}


class _Clock(TrainerCallback):
    """Time steps that are not due, and count the hooks that are on the model when one begins."""

    def __init__(self) -> None:
        self.hooks = 0
        self.took = self._began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        if state.global_step == _FROM:
            self._began = timer()
        if state.global_step:
            self.hooks += sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in known["model"].modules())

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        if state.global_step == _STEPS:
            self.took = timer() - self._began


def trainer(_options: Options) -> Iterator[Row]:
    """Measure a Llama of 0.2 million parameters, whose steps are as short as they get."""
    samples = [{"input_ids": [*range(n, n + 64)], "labels": [*range(n, n + 64)]} for n in range(400)]
    times: dict[str, list[float]] = {"without": [], "with": []}
    hooks = 0
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(_ROUNDS + 1):
            # Whoever comes second finds a warmer machine: they take turns at that.
            for name, taken in sorted(times.items(), reverse=bool(round_ % 2)):
                clock = _Clock()
                callbacks = [PredictionCallback(folder, every=_STEPS, console=False)] if name == "with" else []
                _train(folder, samples, [*callbacks, clock])
                hooks += clock.hooks
                if round_:
                    taken.append(clock.took / (_STEPS - _FROM))
    ratios = [ours / plain for ours, plain in zip(times["with"], times["without"], strict=True)]
    plain = Spread.of(times["without"])
    yield Row(
        name="trainer-step", title="a Trainer's step that is not due, with the callback ÷ without",
        measured=Spread.of(ratios), at_most=1.02, note=f"{duration(plain.median)} a step",
        seconds={name: Spread.of(taken) for name, taken in times.items()},
    )  # fmt: skip
    yield Row(
        name="trainer-hooks", title="hooks on the model on steps that are not due",
        measured=Spread.exact(hooks), at_most=0,
    )  # fmt: skip


def _train(folder: str, samples: list[Any], callbacks: list[Any]) -> None:
    args = TrainingArguments(
        folder, max_steps=_STEPS, per_device_train_batch_size=4, use_cpu=True, disable_tqdm=True, save_strategy="no",
        report_to=[], logging_strategy="no",
    )  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**_SMALL, num_attention_heads=4))
    trainer = Trainer(model, args, train_dataset=samples, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
