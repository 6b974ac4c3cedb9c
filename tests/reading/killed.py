"""Four processes record shards of the same pairs; one of them is killed at a moment that a seed chooses, many times.

`python -m tests.reading.killed FOLDER TRIALS` prints a line of JSON for each trial: the rank killed, and the exit
statuses of all.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

import torch

from predlog import Recorder, Shard

RANKS, STEPS, VOCABULARY = 4, 40, 40


def train(folder: Path, rank: int, tells: int) -> None:
    """Record the shard of a rank, and write a byte for each step."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(RANKS))
    size = VOCABULARY // RANKS
    with Recorder(folder, every=1, console=False, ranks="all", queue=4 * STEPS) as recorder:
        for step in range(STEPS):
            torch.manual_seed(step)
            labels, logits = torch.randint(VOCABULARY, (1, 6)), torch.randn(1, 6, VOCABULARY)
            part = logits[..., rank * size : (rank + 1) * size]
            recorder.compare(part, labels, step, inputs=labels.roll(1, -1), shard=Shard(rank * size, of=VOCABULARY))
            os.write(tells, b".")


def trial(folder: Path, chosen: random.Random) -> tuple[int, list[int]]:
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
                train(folder, rank, tells if rank == victim else null)
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
    folder, trials = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    chosen = random.Random(trials)
    for number in range(trials):
        victim, statuses = trial(folder / str(number), chosen)
        sys.stdout.write(json.dumps({"victim": victim, "statuses": statuses}) + "\n")


if __name__ == "__main__":
    main()
