"""What the command line decides: where the benchmarks run, and with how many threads."""

from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, slots=True)
class Options:
    """Where the benchmarks run, and where the plot of `scaling` goes, if anywhere."""

    device: torch.device
    threads: int
    plot: Path | None = None

    def stated(self, target: float) -> float | None:
        """Return a target that is stated for the CPU and one thread; None anywhere else."""
        return target if self.device.type == "cpu" and self.threads == 1 else None
