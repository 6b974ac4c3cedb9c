"""Four processes record shards of the same pairs; one of them is killed at a moment that a seed chooses, many times.

`python -m tests.reading.killed FOLDER TRIALS` prints a line of JSON for each trial: the rank killed, and the exit
statuses of all. With `gloo` as a third argument, the processes are one group and reduce their loss in each step, as
tensor-parallel training does: the loss of one ends the others.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from predlog import Recorder, Shard

RANKS, STEPS, VOCABULARY = 4, 40, 40


def train(folder: Path, rank: int, tells: int, *, reduces: bool = False) -> None:
    """Record the shard of a rank, and write a byte for each step; with `reduces`, until another has gone."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(RANKS))
    size = VOCABULARY // RANKS
    if reduces:
        folder.mkdir(parents=True, exist_ok=True)
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    with Recorder(folder, every=1, console=False, ranks="all", queue=4 * STEPS) as recorder:
        for step in range(STEPS):
            torch.manual_seed(step)
            labels, logits = torch.randint(VOCABULARY, (1, 6)), torch.randn(1, 6, VOCABULARY)
            part = logits[..., rank * size : (rank + 1) * size]
            recorder.compare(part, labels, step, inputs=labels.roll(1, -1), shard=Shard(rank * size, of=VOCABULARY))
            os.write(tells, b".")
            if reduces and not reduced(part):
                break


def reduced(part: torch.Tensor) -> bool:
    """Reduce over all processes what a loss needs, and return whether all were there."""
    peaks, total = part.amax(-1), part.exp().sum(-1)
    try:
        dist.all_reduce(peaks, dist.ReduceOp.MAX)
        dist.all_reduce(total)
    except RuntimeError:  # another process has gone
        return False
    return True


def trial(folder: Path, chosen: random.Random, *, reduces: bool) -> tuple[int, list[int]]:
    """Kill one of the processes, and return its rank, and how each has ended; 0 is as it should be."""
    victim, moment = chosen.randrange(RANKS), chosen.randrange(STEPS)
    heard, tells = os.pipe()
    null = os.open(os.devnull, os.O_WRONLY)
    children = []
    for rank in range(RANKS):
        child = os.fork()
        if not child:
            status = 1
            try:
                train(folder, rank, tells if rank == victim else null, reduces=reduces)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    os.close(tells)
    os.close(null)
    for _ in range(moment + 1):
        os.read(heard, 1)
    os.kill(children[victim], signal.SIGKILL)
    os.close(heard)
    return victim, [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def main() -> None:
    """Kill as often as is asked for."""
    folder, trials, reduces = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["gloo"]
    torch.set_num_threads(1)
    chosen = random.Random(trials)
    for number in range(trials):
        victim, statuses = trial(folder / str(number), chosen, reduces=reduces)
        sys.stdout.write(json.dumps({"victim": victim, "statuses": statuses}) + "\n")


if __name__ == "__main__":
    main()
