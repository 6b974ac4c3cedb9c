"""Have Hugging Face's Trainer train what the callback can't record, or until it raises, and tell what that left."""

import gc
import tempfile
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

import predlog
from predlog.integrations.transformers import PredictionCallback, PredictionMixin
from tests.faults.telling import asked, tell


class Model(nn.Module):
    """A plain module of eleven classes, of which the labels may be of any form, and that returns any form, too."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.kind = nn.Linear(3, 11), kind

    def forward(self, x: Tensor, labels: Tensor | None = None, **_more: Any) -> dict[str, Any]:
        found = self.layer(x)
        if labels is None or "no labels" in self.kind:
            loss = found.mean()
        elif self.kind == "floats":
            loss = nn.functional.mse_loss(found[:, 0], labels)
        else:
            loss = nn.functional.cross_entropy(found, labels)
        return {"loss": loss, "logits": found, **_RETURNED.get(self.kind, {})} if self.kind != "no logits" else {
            "loss": loss, "output": found,
        }  # fmt: skip


_RETURNED: dict[str, dict[str, Any]] = {"logits are a text": {"logits": "none"}, "logits are missing": {"logits": None}}


class Mixed(PredictionMixin, Trainer):
    """The trainer that is advised where labels are kept from the model."""


class _Small:
    """A tokenizer that has no texts for half of the ids."""

    all_special_ids: ClassVar[list[int]] = []

    def decode(self, ids: list[int], **_how: Any) -> str:
        return str(ids)

    def convert_ids_to_tokens(self, token: int) -> str | None:
        return str(token) if token < 6 else None

    def __len__(self) -> int:
        return 6


class _Locked(_Small):
    """One that can't be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class _Stumbles(TrainerCallback):
    """Raises at the end of step 2."""

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Raise."""
        if state.global_step == 2:
            raise ZeroDivisionError


def _rows(kind: str) -> list[dict[str, Any]]:
    made = torch.Generator().manual_seed(0)
    labels: dict[str, Any] = {"floats": lambda at: at / 4, "probabilities": lambda _at: [1 / 11] * 11}
    label = labels.get(kind, lambda at: at % 11)
    name = "start_positions" if kind.startswith("no labels") else "labels"
    return [{"x": torch.randn(3, generator=made), name: label(at)} for at in range(22)]


def _trainer(folder: str, kind: str, steps: int, *callbacks: Any) -> Any:
    arguments = TrainingArguments(
        folder, max_steps=steps, per_device_train_batch_size=3, logging_steps=1, report_to=[], use_cpu=True, seed=1,
        disable_tqdm=True, save_strategy="no", remove_unused_columns=False,
    )  # fmt: skip
    made = (Mixed if "mixin" in kind else Trainer)(
        model=Model(kind), args=arguments, train_dataset=_rows(kind), callbacks=[*callbacks]
    )
    if "tokenizer" in kind:
        made.callback_handler.processing_class = _Locked() if "copied" in kind else _Small()
    return made


def _trained(kind: str, steps: int) -> dict[str, Any]:
    """Train with the callback and without; return what was written to stderr, and what differs."""
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()) as said, redirect_stdout(StringIO()):
        trainers = [_trainer(folder, kind, steps, *more) for more in ([], [PredictionCallback(console=False)])]
        for one in trainers:
            one.train()
        records = [*predlog.read(folder)] if Path(folder, "predictions.jsonl").exists() else []
    weights = [one.model.layer.weight for one in trainers]
    return {
        "kind": kind,
        "lines": [line for line in said.getvalue().splitlines() if line.startswith("predlog: ")],
        "weights": not torch.equal(*weights),
        "steps": len({one.step for one in records if isinstance(one, predlog.Comparison)}),
        "findings": sum(isinstance(one, predlog.Finding) and one.level == "error" for one in records),
    }


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _left(many: int) -> Iterator[tuple[str, int]]:
    """Let trainings raise, and yield what they leave; all trainers are kept, as a notebook or a sweep keeps them."""
    kept, whole = [], 0
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        _trainer(f"{folder}/first", "classes", 1).train()  # what is opened once, by whatever is not predlog
        threads, descriptors = threading.active_count(), _descriptors()
        for number in range(many):
            place = f"{folder}/{number}"
            kept.append(_trainer(place, "classes", 4, PredictionCallback(console=False), _Stumbles()))
            with suppress(ZeroDivisionError):
                kept[-1].train()
            (*_, last) = predlog.read(place)
            whole += isinstance(last, predlog.Run) and last.stats is not None
        gc.collect()
        yield "threads left", threading.active_count() - threads
        yield "descriptors left", _descriptors() - descriptors
        yield "files without their last line", many - whole


def main(kinds: list[str], steps: int, many: int) -> None:
    """Train each kind; then let trainings raise."""
    tell("done", trained=[_trained(kind, steps) for kind in kinds], left=[*_left(many)])


if __name__ == "__main__":
    main(**asked())
