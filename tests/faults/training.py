"""A training so small that its weights can be compared, bit by bit, with those of one without predlog."""

import hashlib
from collections.abc import Iterator

import torch
from torch.nn.functional import cross_entropy

from predlog import Recorder
from tests import events


class Training:
    """Steps of a model with dropout, so that a random number drawn by predlog would show in the weights."""

    samples = 2

    def __init__(self) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(3)
        self._model = torch.nn.Sequential(
            torch.nn.Embedding(50, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 50)
        )  # fmt: skip
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=0.5)
        self.steps = 0

    def step(self, recorder: Recorder | None = None) -> None:
        """Train one step, and compare it where there is a recorder."""
        _, labels = events.pair(self.steps, samples=self.samples)
        logits = self._model(labels.clamp(0))
        if recorder is not None:
            recorder.compare(logits, labels, self.steps, shift=1, inputs=labels)
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.steps += 1

    def fingerprint(self) -> str:
        """Return a digest of all weights' bytes."""
        data = b"".join(parameter.detach().numpy().tobytes() for parameter in self._model.parameters())
        return hashlib.sha256(data).hexdigest()


def fingerprints_without_predlog() -> Iterator[str]:
    """Yield the digest of the weights after 0 steps, 1, 2, ..."""
    training = Training()
    while True:
        yield training.fingerprint()
        training.step()
