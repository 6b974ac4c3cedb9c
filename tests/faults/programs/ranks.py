"""One process of a distributed training: real gradients are reduced, and predlog compares in some of the ranks."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import predlog
from tests.faults.telling import asked

VOCABULARY, LENGTH = 16, 12
# What `ranks=` is in each of the stages.
STAGES: dict[str, Any] = {
    "0": 0, "local": "local", "all": "all", "only rank 0 calls": "all", "counted": "all", "dies": "all",
    "restarts": "all",
}  # fmt: skip


class Training:
    """A model whose gradients are averaged over all ranks at every step."""

    def __init__(self) -> None:
        torch.manual_seed(dist.get_rank())
        self._model = DistributedDataParallel(torch.nn.Linear(8, VOCABULARY))
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=0.1)

    def step(self) -> tuple[Tensor, Tensor]:
        """Do a step, and give its logits and labels."""
        labels = torch.randint(VOCABULARY, (2, LENGTH))
        logits = self._model(torch.randn(2, LENGTH, 8))
        self._optimizer.zero_grad()
        cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
        self._optimizer.step()
        return logits, labels


def main(directory: str, stages: list[str], steps: int, dying: int) -> None:
    """Train through some stages, each in a folder of its own, and leave what was seen in a file of this rank's."""
    dist.init_process_group("gloo")
    seen = {stage: _train(stage, Path(directory) / stage, steps, dying) for stage in stages}
    predlog.close()
    dist.barrier()
    (Path(directory) / f"rank{dist.get_rank()}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


def _train(stage: str, directory: Path, steps: int, dying: int) -> dict[str, Any]:
    recorder = predlog.configure(directory, every=1, samples=1, console=False, ranks=STAGES[stage])
    training, rank = Training(), dist.get_rank()
    for step in range(steps):
        if step == dying:
            _die_perhaps(stage, rank)
        logits, labels = training.step()
        if stage != "only rank 0 calls" or rank == 0:
            predlog.compare(logits, labels, step)
    if stage == "counted":
        return _counted(training, steps)
    return {"flushed": predlog.flush(20), "stats": recorder.stats()}


def _die_perhaps(stage: str, rank: int) -> None:
    is_first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if stage in {"dies", "restarts"} and is_first:
        predlog.flush(20)
        dist.barrier()
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def _counted(training: Training, start: int) -> dict[str, Any]:
    """Count what compare and flush send to other ranks, and, to see that this can count, what an all_reduce does."""
    logits, labels = training.step()
    groups = len(dist.distributed_c10d._world.pg_map)
    before = _sequence_number()
    with CommDebugMode() as ours:
        for step in range(start, start + 10):
            predlog.compare(logits, labels, step)
        predlog.flush(20)
    between = _sequence_number()
    with CommDebugMode() as control:
        dist.all_reduce(torch.ones(1))
    return {
        "mode": ours.get_total_counts(), "control, mode": control.get_total_counts(), "numbered": between - before,
        "control, numbered": _sequence_number() - between,
        "groups": len(dist.distributed_c10d._world.pg_map) - groups,
    }  # fmt: skip


def _sequence_number() -> int:
    """Return the number of the group's latest collective, from whichever thread it came; the mode sees one thread."""
    group: Any = dist.distributed_c10d._get_default_group()
    return int(group._get_sequence_number_for_group())


if __name__ == "__main__":
    main(**asked())
