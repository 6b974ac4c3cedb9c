"""A training in a process of its own, whose texts are hostile: it records one step for each line that it is told."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from predlog.recorder.recorder import Recorder
from tests.reported import HOSTILE


class Training:
    """The process, and the steps that it has recorded."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.serve.training", str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def step(self, number: int) -> None:
        """Record a step, and return when it is written."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == f"{number}\n"

    def end(self) -> None:
        """Close the recorder and end."""
        self._process.communicate(timeout=60)


@contextmanager
def training(folder: Path) -> Iterator[Training]:
    """Begin a training, and end it."""
    begun = Training(folder)
    try:
        yield begun
    finally:
        begun.end()


def _train(folder: str) -> None:
    vocabulary = len(HOSTILE)
    with Recorder(folder, every=1, samples=2, console=False, decode=HOSTILE.__getitem__, all_tokens=True) as recorder:
        for line in sys.stdin:
            step = int(line)
            generator = torch.Generator().manual_seed(step)
            labels = torch.randint(vocabulary, (2, 24), generator=generator)
            logits = torch.randn(2, 24, vocabulary, generator=generator)
            stream = HOSTILE[0] if step % 2 else "text"
            recorder.compare(logits, labels, step, stream=stream, shift=0, note=HOSTILE[step % vocabulary])
            recorder.flush()
            sys.stdout.write(line)
            sys.stdout.flush()


if __name__ == "__main__":
    _train(sys.argv[1])
