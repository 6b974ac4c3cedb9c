"""What a trainer's loss was given, seen without predlog, and what the records must say of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from predlog import Comparison, Finding, read
from tests import reference

Seen = dict[tuple[str, int], tuple[Tensor, Tensor, Tensor]]


class Witness:
    """Keep logits, labels and ids of the first micro-batch of each step and evaluation, for a class of trainer."""

    seen: Seen
    state: Any

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
        """Return the trainer's loss."""
        key = "train" if model.training else "eval", self.state.global_step
        inputs = dict(inputs)
        labels, ids = inputs.get("labels"), inputs["input_ids"]
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **more)  # type: ignore[misc]
        self.seen = getattr(self, "seen", {})
        if key not in self.seen:
            self.seen[key] = tuple(one.detach().clone() for one in (outputs.logits, labels, ids))
        return (loss, outputs) if return_outputs else loss


class Twice(Witness):
    """The same for a trainer without logits: the model is asked for them in a forward of its own."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
        """Return the trainer's loss."""
        key = "train" if model.training else "eval", self.state.global_step
        self.seen = getattr(self, "seen", {})
        if key not in self.seen:
            with torch.no_grad():
                logits = model(
                    **{name: one for name, one in inputs.items() if name != "labels"}, use_cache=False
                ).logits
            torch.clear_autocast_cache()  # of weights without gradients, which older releases give to the next forward
            self.seen[key] = tuple(one.detach().clone() for one in (logits, inputs["labels"], inputs["input_ids"]))
        return super(Witness, self).compute_loss(model, inputs, return_outputs=return_outputs, **more)  # type: ignore[misc]


def comparisons(directory: Path) -> list[Comparison]:
    """Return the comparisons of a run."""
    return [one for one in read(directory) if isinstance(one, Comparison)]


def codes(directory: Path) -> set[tuple[str, int, str]]:
    """Return stream, step and code of what was found in a run."""
    return {(one.stream, one.step, one.code) for one in read(directory) if isinstance(one, Finding)}


def check(directory: Path, seen: Seen, steps: dict[str, list[int]], *, counted: bool = True) -> None:
    """Hold the records of a run against what its loss was given: the same steps, ids and ranks, and no finding.

    `counted` says that all supervised predictions were counted, not only those shown.
    """
    assert codes(directory) == set()
    found = comparisons(directory)
    assert {stream: sorted({one.step for one in found if one.stream == stream}) for stream in steps} == steps
    for one in found:
        logits, labels, ids = (tensor[one.sample] for tensor in seen[one.stream, one.step])
        wanted = reference.comparison(
            logits.tolist(), labels.tolist(), shift=one.shift, ignore_index=-100, inputs=ids.tolist()
        )
        where = (one.stream, one.step, one.sample)
        assert (where, one.length, one.supervised) == (where, wanted["length"], wanted["supervised"])
        assert one.matched == (wanted["matched"] if counted else None)
        assert one.loss == (pytest.approx(wanted["loss"], rel=1e-5, abs=2e-5) if counted else None)
        assert one.entropy == (pytest.approx(wanted["entropy"], rel=1e-5, abs=2e-5) if counted else None)
        assert len(one.tokens) == len(wanted["tokens"])
        for token, true in zip(one.tokens, wanted["tokens"], strict=True):
            for name in ("slot", "position", "label", "prediction", "match", "label_rank", "input"):
                assert (where, token.position, name, getattr(token, name)) == (
                    where,
                    token.position,
                    name,
                    true[name],
                )
            for name in ("label_logprob", "prediction_logprob"):
                assert getattr(token, name) == pytest.approx(true[name], abs=2e-5)
