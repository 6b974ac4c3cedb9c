"""What `test_dtensor` does in four processes that are ranks of a process group: it records, and tells what it saw.

The processes are forked from one that has imported everything, before it has any thread.
"""

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import _functional_collectives as functional
from torch.distributed import device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.distributed.tensor.debug import CommDebugMode

import predlog
from predlog import Projection, Recorder
from predlog.capture.dtensor import spans

RANKS, BATCH, LENGTH, WIDTH = 4, 3, 12, 8
# Five parts of four ranks leave the last one without any; and a vocabulary with padding behind it.
VOCABULARIES = {"uneven": (10, 10), "empty": (5, 5), "padded": (30, 27), "even": (32, 32)}
HOW: dict[str, Any] = {"every": 1, "console": False, "strict": True, "samples": BATCH}


def pair(width: int, of: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logits, labels, inputs and a mask, equal on all ranks."""
    generator = torch.Generator().manual_seed(width)
    logits = torch.randn(BATCH, LENGTH, width, generator=generator) * 3
    logits[..., of:] = 1e4
    labels = torch.randint(of, (BATCH, LENGTH), generator=generator)
    labels[:, :2] = -100
    inputs = torch.randint(of, (BATCH, LENGTH), generator=generator)
    mask = (torch.rand(BATCH, LENGTH, generator=generator) > 0.2).float()
    return logits, labels, inputs, mask


def head() -> tuple[Tensor, Tensor, Tensor]:
    """Return hidden states, and weight and bias of a head of ten ids."""
    generator = torch.Generator().manual_seed(5)
    return (
        torch.randn(BATCH, LENGTH, WIDTH, generator=generator), torch.randn(10, WIDTH, generator=generator),
        torch.randn(10, generator=generator),
    )  # fmt: skip


class Counter:
    """Counts what predlog sends to other ranks: as torch's own mode sees it, and as the groups number it.

    The mode sees the calling thread. Each group numbers its collectives, whichever thread starts them; and every
    function of torch.distributed that communicates is replaced by one that counts its calls, from any thread.
    """

    # fmt: off
    NAMES = (
        "all_reduce", "all_gather", "all_gather_into_tensor", "all_gather_object", "broadcast", "broadcast_object_list",
        "barrier", "reduce", "reduce_scatter", "reduce_scatter_tensor", "scatter", "gather", "gather_object",
        "all_to_all", "all_to_all_single", "all_gather_tensor", "permute_tensor", "send", "recv", "isend", "irecv",
        "batch_isend_irecv", "monitored_barrier",
    )
    # fmt: on

    def __init__(self) -> None:
        self.calls = self.seen = self.numbered = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        modules = [dist, dist.distributed_c10d, functional]
        kept = [(one, name, getattr(one, name)) for one in modules for name in self.NAMES if hasattr(one, name)]
        for owner, name, function in kept:
            setattr(owner, name, self._counted(function))
        before = self._numbers()
        try:
            with CommDebugMode() as mode:
                yield
        finally:
            for owner, name, function in kept:
                setattr(owner, name, function)
        self.seen += mode.get_total_counts()
        self.numbered += self._numbers() - before

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self.calls += 1
            return function(*given, **named)

        return call

    @staticmethod
    def _numbers() -> int:
        """Return how many collectives all groups of this process have started, in whichever thread."""
        groups: Any = dist.distributed_c10d._world.pg_map
        return sum(one._get_sequence_number_for_group() for one in groups)


class Ran:
    """One rank: its counter, its folder, and its meshes."""

    def __init__(self, folder: Path, counter: Counter) -> None:
        self.folder, self.counter, self.rank = folder, counter, dist.get_rank()
        self.seen: dict[str, Any] = {}

    def record(self, name: str, logits: Any, labels: Any, ranks: Any = "auto", strict: bool = True, **how: Any) -> None:
        """Record one pair in the folder of this name, and count what that sends."""
        with self.counter.counting():
            with Recorder(self.folder / name, **{**HOW, "ranks": ranks, "strict": strict}) as recorder:
                future = recorder.compare(logits, labels, 0, **how)
                assert future is None or future.exception(60) is None
                stats = recorder.stats()
            assert not stats["failed"], stats
        self.seen[name] = future is not None

    def refused(self, name: str, logits: Any, labels: Any, ranks: Any = "all", **how: Any) -> None:
        """Have a pair refused, and note why."""
        with self.counter.counting(), Recorder(**{**HOW, "strict": False, "ranks": ranks}) as recorder:
            assert recorder.compare(logits, labels, 0, **how) is None
            recorder.flush(30)
            self.seen[name] = [(one.code, one.message) for one in recorder.findings]


def main(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=RANKS)
    counter = Counter()
    ran = Ran(folder, counter)
    line = device_mesh.init_device_mesh("cpu", (RANKS,), mesh_dim_names=("tp",))
    grid = device_mesh.init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    stages = device_mesh.init_device_mesh("cpu", (2, 2), mesh_dim_names=("pp", "tp"))
    _vocabulary(ran, line, grid, stages)
    _otherwise(ran, line, grid)
    _projections(ran, line, grid)
    _plain(ran, stages)
    _heads(ran, line)
    _refusals(ran, line)
    ran.seen["spans"] = _agrees_with_torch(line, grid)
    dist.barrier()
    ran.seen["counted"] = [counter.calls, counter.seen, counter.numbered]
    cut = distribute_tensor(torch.ones(8), line, [Shard(0)])
    with counter.counting():  # that it can count
        dist.all_reduce(torch.ones(1))
        cut.redistribute(placements=[Replicate()])
    ran.seen["control"] = [counter.calls, counter.seen, counter.numbered]
    (folder / f"seen{rank}.json").write_text(json.dumps(ran.seen))
    dist.barrier()
    dist.destroy_process_group()


def _vocabulary(ran: Ran, line: Any, grid: Any, stages: Any) -> None:
    for name, (width, of) in VOCABULARIES.items():
        logits, labels, inputs, mask = pair(width, of)
        shard = predlog.Shard(of=of) if of < width else None
        how: dict[str, Any] = {"inputs": inputs, "loss_mask": mask, "shard": shard}
        cut = distribute_tensor(logits, line, [Shard(-1)]).requires_grad_()
        ran.record(name, cut, labels, **how)
        whole: dict[str, Any] = {
            key: distribute_tensor(one, line, [Replicate()]) for key, one in (("inputs", inputs), ("loss_mask", mask))
        }
        replicated = distribute_tensor(labels, line, [Replicate()])
        ran.record(f"{name}, all are DTensors", cut, replicated, shard=shard, **whole)
    logits, labels, inputs, _ = pair(10, 10)
    for name, mesh in (("dp", grid), ("pp", stages)):
        # Each replica has data of its own; the stages before the last one have none.
        others = {"dp": torch.roll(logits, ran.rank // 2, 1), "pp": logits}[name]
        if name == "dp" or ran.rank >= 2:
            cut = DTensor.from_local(
                others.tensor_split([5], -1)[ran.rank % 2].contiguous(), mesh["tp"], [Shard(2)], run_check=False
            )
            ran.record(f"tp of {name} x tp", cut, labels, inputs=inputs)
    ran.record("2-D", distribute_tensor(logits, grid, [Replicate(), Shard(2)]), labels, inputs=inputs)
    ran.record(
        "2-D, samples", distribute_tensor(logits, grid, [Shard(0), Shard(2)]), labels, inputs=inputs, ranks="all"
    )


def _otherwise(ran: Ran, line: Any, grid: Any) -> None:
    logits, labels, inputs, mask = pair(10, 10)
    ran.record("replicated", distribute_tensor(logits, line, [Replicate()]), labels, inputs=inputs)
    ran.record("whole", logits, labels, inputs=inputs)
    ran.record("rows", distribute_tensor(logits, line, [Shard(1)]), labels, inputs=inputs)
    cut = distribute_tensor(logits, line, [Shard(0)])
    ids = [f"doc-{one}" for one in range(BATCH)]
    ran.record("samples", cut, labels, inputs=inputs, loss_mask=mask, sample_ids=ids, ranks="all")
    alike: dict[str, Any] = {
        key: distribute_tensor(one, line, [Shard(0)]) for key, one in (("inputs", inputs), ("loss_mask", mask))
    }
    ran.record(
        "samples, cut alike", cut, distribute_tensor(labels, line, [Shard(0)]), sample_ids=ids, ranks="all", **alike
    )
    ran.record("samples, auto", cut, labels, inputs=inputs)
    # What a head without loss parallelism returns is gathered, and may be on its way still.
    gathered = functional.all_reduce(logits * (ran.rank == 0), "sum", line)
    assert type(gathered).__name__ == "AsyncCollectiveTensor"
    ran.record("gathered", gathered, labels, inputs=inputs)
    loss = distribute_tensor(torch.tensor(1.5), line, [Replicate()])
    ran.record("loss", logits, labels, inputs=inputs, reported_loss=loss)


def _projections(ran: Ran, line: Any, grid: Any) -> None:
    hidden, weight, bias = head()
    labels = pair(10, 10)[1]
    cut = distribute_tensor(weight, line, [Shard(0)]), distribute_tensor(bias, line, [Shard(0)])
    same = distribute_tensor(hidden, line, [Replicate()])
    ran.record("weight", Projection(same, *cut), labels)
    ran.record("weight, whole bias", Projection(hidden, cut[0], bias), labels, shard=predlog.Shard())
    starts = [0, 3, 6, 9, 10]
    own = slice(starts[ran.rank], starts[ran.rank + 1])
    ran.record(
        "weight, plain", Projection(hidden, weight[own], bias[own]), labels, group=range(RANKS),
        shard=predlog.Shard(starts[ran.rank], of=10),
    )  # fmt: skip
    ran.refused("weight of FSDP", Projection(hidden, cut[0]), labels)
    ran.refused("width", Projection(hidden, distribute_tensor(weight, line, [Shard(1)])), labels)
    ran.refused("2-D weight", Projection(hidden, distribute_tensor(weight, grid, [Shard(0), Shard(0)])), labels,
                shard=predlog.Shard())  # fmt: skip


def _plain(ran: Ran, stages: Any) -> None:
    logits, labels, inputs, _ = pair(10, 10)
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    own = slice(0, 4) if ran.rank % 2 == 0 else slice(4, 10)
    how: dict[str, Any] = {"inputs": inputs, "shard": predlog.Shard(own.start, of=10)}
    given = logits[..., own], labels
    ran.record("no group", *given, strict=False, **how)
    ran.record("process group", *given, group=pairs[ran.rank // 2], **how)
    ran.record("list", *given, group=[0, 1] if ran.rank < 2 else [2, 3], **how)
    if ran.rank >= 2:
        ran.record("stage", *given, group=stages["tp"], **how)
        ran.record("numbers", *given, ranks=(2, 3), **how)
        ran.record("another stage's group", *given, group=pairs[1], **how)
    ran.refused("no group at all", *given, **how, group="tp", ranks="auto")


def _heads(ran: Ran, line: Any) -> None:
    """Record three heads that predict one, two and three tokens ahead, of sharded logits."""
    ids = pair(10, 10)[2]
    made = [pair(10, 10)[0].roll(ahead, -1) for ahead in (1, 2, 3)]
    heads = [*(distribute_tensor(one, line, [Shard(2)]) for one in made[:2]), made[2]]
    with ran.counter.counting(), Recorder(ran.folder / "heads", **HOW) as recorder:
        for ahead, logits in enumerate(heads, start=1):
            recorder.compare(logits, ids, 0, stream=f"mtp/{ahead}", shift=ahead, inputs=ids)


def _refusals(ran: Ran, line: Any) -> None:
    logits, labels, *_ = pair(10, 10)
    partial = DTensor.from_local(logits, line, [Partial()], run_check=False)
    ran.refused("partial", partial, labels)
    ran.refused("partial labels", logits, DTensor.from_local(labels, line, [Partial()], run_check=False))
    ran.refused("labels otherwise", logits, distribute_tensor(labels, line, [Shard(1)]))
    ran.refused("start", distribute_tensor(logits, line, [Shard(2)]), labels, shard=predlog.Shard(1, of=10))
    wrong = DTensor.from_local(
        logits[..., :2], line, [Shard(2)], run_check=False, shape=logits.shape, stride=logits.stride()
    )
    ran.refused("sizes", wrong, labels)


def _agrees_with_torch(line: Any, grid: Any) -> int:
    """Hold the parts of many sizes and placements against those that torch computes; return how many there were."""
    many = 0
    for size in (0, 1, 2, 3, 4, 5, 7, 10, 33):
        for mesh, placements in (
            (line, [Shard(1)]), (line, [Shard(-1)]), (grid, [Shard(1), Shard(1)]), (grid, [Shard(0), Shard(1)]),
            (grid, [Replicate(), Shard(1)]), (grid, [Shard(1), Replicate()]),
        ):  # fmt: skip
            value = distribute_tensor(torch.zeros(3, size), mesh, placements)
            shape, offset = compute_local_shape_and_global_offset(value.shape, mesh, value.placements)
            found = spans("logits", value)
            for axis in (0, 1):
                one = found.get(axis)
                start, length = (0, value.shape[axis]) if one is None else one[:2]
                assert length == shape[axis]
                assert not length or start == offset[axis]
            many += 1
    return many


def launch(rank_of: Callable[[int, Path], None], folder: Path, within: float) -> None:
    """Fork a process for each rank, and raise AssertionError if one of them fails or takes too many seconds."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=rank_of, args=(rank, folder)) for rank in range(RANKS)]
    for one in children:
        one.start()
    for one in children:
        one.join(within)
    codes = [one.exitcode for one in children]
    for one in children:
        one.kill()
    assert codes == [0] * RANKS, codes


if __name__ == "__main__":
    launch(main, Path(sys.argv[1]), 200)
