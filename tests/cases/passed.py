"""What a recorder is passed of the pairs of a case: all that is known of them, or less."""

import itertools
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from predlog import Recorder
from predlog.records.schema import Comparison, Finding

POSITIONS = ("loss_mask", "position_ids", "document_ids", "attention_mask", "reported_loss", "items", "accumulate")


@dataclass(frozen=True)
class Passed:
    """Which steps are recorded, and whether a recorder is passed inputs, and masks, positions and the reported loss."""

    every: int = 1
    inputs: bool = True
    positions: bool = True

    def __str__(self) -> str:
        with_inputs, with_positions = ("with" if one else "without" for one in (self.inputs, self.positions))
        return f"every={self.every}, {with_inputs} inputs, {with_positions} masks and positions"

    def has(self, needs: tuple[str, ...]) -> bool:
        """Whether all of these are passed."""
        return all(getattr(self, name) for name in needs)


EVERYTHING = Passed()
ALL = [Passed(*one) for one in itertools.product((1, 10), (True, False), (True, False))]


class Witness(Recorder):
    """A recorder that is passed less, waits for each of its records, and remembers what was ever found."""

    def __init__(self, passed: Passed = EVERYTHING, **how: Any) -> None:
        super().__init__(every=passed.every, console=False, sinks=[lambda _l, _n, event: event], **how)
        self.passed = passed
        self.found: list[Finding] = []

    def compare(
        self, /, logits: object, labels: object, step: int, **how: Any
    ) -> Future[tuple[Comparison, ...]] | None:
        """Record a pair with less, and wait."""
        if step % self.passed.every:
            return None
        return self._waited(super().compare(logits, self._less(labels, how), step, **how))  # type: ignore[no-any-return]

    def compare_due(
        self, /, logits: object, labels: object, step: int, **how: Any
    ) -> Future[tuple[Comparison, ...]] | None:
        """Record a pair with less, and wait."""
        return self._waited(super().compare_due(logits, self._less(labels, how), step, **how))  # type: ignore[no-any-return]

    def report_due_loss(self, loss: object, step: object, **how: Any) -> None:
        """Report a loss, unless that is not known, and wait."""
        if self.passed.positions:
            super().report_due_loss(loss, step, **how)
            self._waited(None)

    def close(self, timeout: float = 60.0) -> bool:
        """Close, and look once more."""
        done = super().close(timeout)
        self._waited(None)
        return done

    def _less(self, labels: Any, how: dict[str, Any]) -> Any:
        """Take out of the arguments what is not passed, and return the labels, masked by a loss mask that is not."""
        if not self.passed.inputs:
            how.pop("inputs", None)
        if not self.passed.positions:
            mask = how.get("loss_mask")
            if isinstance(mask, Tensor):
                labels = torch.where(mask > 0, labels, how.get("ignore_index", -100))
            for name in POSITIONS:
                how.pop(name, None)
        return labels

    def _waited(self, future: Any) -> Any:
        self.flush(60)
        self.found += [one for one in self.findings if one not in self.found]
        return future
