"""A distributed training is left alone: it is told nothing, waits for nothing, and each rank that writes has a file.

The rule: `ranks=` says how many files there are; a rank that compares alone waits for no other, and predlog starts no
collective; what was flushed before a rank died is in every file; and a restarted training tells its attempts apart.
"""

import json
import math
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.children import Child, started
from tests.faults.experiment import Figure, Size, at_least, equals
from tests.faults.readback import contents

_RANKS = 4
_WITHIN = 120
# Seconds after which a launcher that was asked to end has ended its workers, which lead sessions of their own.
_TO_END = 30
_ONE_NODE = ("--standalone", "--nproc-per-node", str(_RANKS))

# Without it, torch 2.13 lets a restarted gloo group find the addresses of the dead one, and no training restarts.
_FRESH_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def run(size: Size) -> Iterator[Figure]:
    """Launch on one node, on two, with a rank that dies, and with one that dies once."""
    training = _Training(steps=size.of(200, 30), dying=20)
    for measured in (_on_one_node, _on_two_nodes, _with_a_death, _with_a_restart):
        with tempfile.TemporaryDirectory() as folder:
            yield from measured(training, Path(folder))


@dataclass(frozen=True, slots=True)
class _Training:
    steps: int
    dying: int

    def launched(self, folder: Path, stages: Sequence[str], *launches: Sequence[str]) -> tuple[list[float], str]:
        """Launch it, on as many nodes as there are launches; give the exit codes, and what is on stderr."""
        with ExitStack() as stack:
            nodes = [
                stack.enter_context(
                    started(
                        "ranks", directory=str(folder), stages=stages, steps=self.steps, dying=self.dying,
                        through=(sys.executable, "-m", "torch.distributed.run", *launch, "--no-python"),
                        environment=_FRESH_STORE,
                    )
                )
                for launch in launches
            ]  # fmt: skip
            codes = [_code(node) for node in nodes]
            return codes, " ".join("\n".join(node.stderr() for node in nodes).split())[-300:]


def _code(node: Child) -> float:
    """Wait for a launcher's exit code; not a number where it had to be ended."""
    if node.has_ended(_WITHIN):
        return node.end(0).code
    node.process.terminate()
    node.end(_TO_END)
    return math.nan


def _on_one_node(training: _Training, folder: Path) -> Iterator[Figure]:
    stages = ("0", "local", "all", "only rank 0 calls", "counted")
    codes, errors = training.launched(folder, stages, _ONE_NODE)
    yield equals("one node of 4: exit code", codes[0], 0, errors if codes[0] else "")
    for stage, files in (("0", 1), ("local", 1), ("all", 4)):
        yield from _files(f"one node of 4, ranks={stage}", folder / stage, files, training)
    # The others were to record, too: their files say that they were offered no pair.
    yield from _files("only rank 0 calls", folder / "only rank 0 calls", 4, training, with_pairs=1)
    yield from _collectives([json.loads(seen.read_text())["counted"] for seen in folder.glob("rank*.json")])


def _files(
    what: str, directory: Path, files: int, training: _Training, with_pairs: int | None = None
) -> Iterator[Figure]:
    found = sorted(directory.glob("*"))
    read = [contents(file) for file in found]
    yield equals(f"{what}: files", len(found), files, ", ".join(file.name for file in found))
    yield equals(f"{what}: ranks in them", len({run.rank for one in read for run in one.runs}), files)
    whole = sum(one.steps() == set(range(training.steps)) for one in read)
    yield equals(f"{what}: files with all steps", whole, files if with_pairs is None else with_pairs)
    yield equals(f"{what}: damaged, doubled and missing lines", sum(one.faults for one in read), 0)


def _collectives(seen: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    yield equals("ranks that counted collectives", len(seen), _RANKS)
    for how in ("mode", "numbered"):
        name = "as CommDebugMode counts" if how == "mode" else "as the group numbers them"
        yield equals(f"collectives of compare and flush, {name}", sum(one[how] for one in seen), 0)
        yield equals(f"collectives of all_reduce, {name}", sum(one[f"control, {how}"] for one in seen), _RANKS)
    yield equals("process groups that came into being", sum(one["groups"] for one in seen), 0)


def _on_two_nodes(training: _Training, folder: Path) -> Iterator[Figure]:
    common = (
        "--nnodes", "2", "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-id", "predlog",
        "--rdzv-endpoint", f"127.0.0.1:{_free_port()}", "--local-addr", "127.0.0.1",
    )  # fmt: skip
    launches = [(*common, "--node-rank", str(node), "--rdzv-conf", f"is_host={1 - node}") for node in range(2)]
    codes, errors = training.launched(folder, ("0", "local", "all"), *launches)
    failed = sum(code != 0 for code in codes)
    yield equals("two nodes of 2: exit codes other than 0", failed, 0, errors if failed else "")
    for stage, files in (("0", 1), ("local", 2), ("all", 4)):
        yield from _files(f"two nodes of 2, ranks={stage}", folder / stage, files, training)


def _with_a_death(training: _Training, folder: Path) -> Iterator[Figure]:
    codes, _ = training.launched(folder, ("dies",), _ONE_NODE)
    yield equals("a rank dies: exit code of the launcher, as its worker failed", codes[0], 1)
    files = [contents(file) for file in sorted((folder / "dies").glob("*"))]
    flushed = sum(set(range(training.dying)) <= one.steps() for one in files)
    yield equals("a rank dies: files that have all steps flushed before, the dead one's, too", flushed, _RANKS)
    yield equals("a rank dies: damaged, doubled and missing lines", sum(one.faults for one in files), 0)


def _with_a_restart(training: _Training, folder: Path) -> Iterator[Figure]:
    codes, errors = training.launched(folder, ("restarts",), (*_ONE_NODE, "--max-restarts", "1"))
    yield equals("a restart: exit code", codes[0], 0, errors if codes[0] else "")
    files = [contents(file) for file in sorted((folder / "restarts").glob("*"))]
    yield equals("a restart: files", len(files), _RANKS)
    for attempt, steps in ((1, training.dying), (2, training.steps)):
        found = [{one.step for one in file.comparisons if one.attempt == attempt} for file in files]
        whole = sum(set(range(steps)) <= one for one in found)
        yield equals(f"a restart: files that have attempt {attempt}, to step {steps}", whole, _RANKS)
    others = sum(one.attempt not in {1, 2} for file in files for one in file.records)
    yield equals("a restart: records of another attempt", others, 0)
    yield at_least("a restart: first lines of attempts", sum(len(file.runs) for file in files), 2 * _RANKS)
    yield equals("a restart: damaged, doubled and missing lines", sum(one.faults for one in files), 0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
