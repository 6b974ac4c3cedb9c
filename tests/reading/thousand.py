"""The files of a run of many ranks, each of which has a shard of the vocabulary, written from the parts of a real one.

`python -m tests.reading.thousand FOLDER --ranks 64 --steps 200` writes them; with `--read` it also prints how long
`predlog summary` takes, and the most memory.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import torch

from predlog import Recorder, Shard
from predlog.records.codec import to_line
from predlog.records.schema import Checked

# Ranks that have the shards of one vocabulary.
GROUP, VOCABULARY, LENGTH = 8, 4096, 2


def parts(folder: Path) -> list[list[dict[str, Any]]]:
    """Return the events of the processes that have the shards of one pair."""
    torch.manual_seed(0)
    labels = torch.randint(VOCABULARY, (1, LENGTH))
    logits = torch.randn(1, LENGTH, VOCABULARY, requires_grad=True)
    size = VOCABULARY // GROUP
    before = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
    for rank in range(GROUP):
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(GROUP))
        with Recorder(folder, every=1, console=False, ranks="all", first=1, last=0) as recorder:
            recorder.compare(
                logits[..., rank * size : (rank + 1) * size], labels, 0, shard=Shard(rank * size, of=VOCABULARY)
            )
    for name, value in before.items():
        os.environ.pop(name, None)
        os.environ.update({} if value is None else {name: value})
    names = ["predictions.jsonl", *(f"predictions-rank{rank}.jsonl" for rank in range(1, GROUP))]
    return [[orjson.loads(line) for line in (folder / name).read_bytes().splitlines()] for name in names]


def write(folder: Path, template: Path, *, ranks: int, steps: int) -> int:
    """Write the files of so many ranks and steps, each group with its own labels; return how many bytes they have."""
    made, size = parts(template), 0
    for rank in range(ranks):
        group, place = divmod(rank, GROUP)
        place_of = folder / f"rank={rank}"
        place_of.mkdir(parents=True)
        name = f"predictions-rank{rank}.jsonl" if rank else "predictions.jsonl"
        first, part, end = ({**one, "rank": rank, "run": folder.name} for one in made[place])
        for one in (first, part, end):
            del one["crc"]
        part["facts"] = {**part["facts"], "counts": {**part["facts"]["counts"], "fingerprint": [group + 1]}}
        with (place_of / name).open("wb", buffering=1 << 20) as file:
            size += file.write(to_line({**first, "world_size": ranks}))
            for step in range(steps):
                size += file.write(to_line(Checked({**part, "seq": step + 1, "step": step})))
            size += file.write(to_line({**end, "seq": steps + 1}))
    return size


def summarised(folder: Path, *, most_open: int = 64) -> tuple[float, int, str]:
    """Return the seconds that `predlog summary` takes, its peak of memory in MiB, and what it prints.

    It may have no more than `most_open` files open at once.
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most_open, most_open))

    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", _SUMMARY, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=limit,  # noqa: PLW1509 - of one thread
    )
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"predlog summary has failed: {said}")
    shown, _, peak = said.rpartition("peak ")
    return time.monotonic() - begun, int(peak) >> 10, shown


_SUMMARY = """
import sys
from predlog.cli.main import main
status = main(["summary", "--json", sys.argv[1]])
print("peak", *[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
sys.exit(status)
"""


def main() -> None:
    """Write the files, and read them if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ranks", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--read", action="store_true")
    chosen = parser.parse_args()
    size = write(chosen.folder / "run", chosen.folder / "template", ranks=chosen.ranks, steps=chosen.steps)
    print(f"{chosen.ranks} ranks, {chosen.steps} steps: {size / 1e6:.0f} MB")
    if chosen.read:
        seconds, peak, _ = summarised(chosen.folder / "run")
        print(f"predlog summary: {seconds:.1f} s, peak {peak} MiB")


if __name__ == "__main__":
    main()
