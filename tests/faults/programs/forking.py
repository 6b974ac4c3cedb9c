"""Fork in every way while predlog writes to its file and to a terminal, and tell what became of the children."""

import logging
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rich
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

import predlog
from tests import events
from tests.faults.programs.nursery import Nursery
from tests.faults.stopwatch import Stopwatch
from tests.faults.telling import asked, tell

PAIR = events.pair(samples=1, length=12, vocabulary=16)
# What is recorded of this stream comes from a child.
CHILDS = "child"
# What a child ends with that got a future from compare.
_RECORDED = 3
# As many pairs may wait before the parent waits for them: it is to lose none.
_MOST_PENDING = 100


class Parent:
    """The training process: it calls compare, and counts its calls."""

    def __init__(self, recorder: predlog.Recorder) -> None:
        self.recorder = recorder
        self.steps = 0

    def record(self, many: int) -> None:
        for _ in range(many):
            predlog.compare(*PAIR, self.steps)
            self.steps += 1
        if self.recorder.stats()["pending"] > _MOST_PENDING:
            self.recorder.flush(10)

    def is_busy(self) -> bool:
        """Return whether something is still to be written or printed."""
        stats: Any = self.recorder.stats()
        return any(one["pending"] for one in (stats, *stats.get("sinks", {}).values()))


class Speaking(Dataset[Tensor]):
    """A dataset whose items are taken in a worker, which calls compare."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor(int(predlog.compare(*PAIR, index, stream=CHILDS) is not None))


def collate(items: list[Tensor]) -> Tensor:
    """Return how many of the calls in a worker were recorded there."""
    here = predlog.compare(*PAIR, 0, stream=CHILDS)
    return torch.stack(items).sum() + int(here is not None)


def live(number: int) -> int:
    """Do in a child what its parent's locks would stop, and give the code to end with."""
    says: list[Callable[[str], None]] = [rich.get_console().print, logging.getLogger("child").warning, tqdm.write]
    for turn in range(len(says)):  # another one first each time, as whoever hangs in the first gets no further
        says[(number + turn) % len(says)](f"child {number} speaks")
    return _RECORDED if predlog.compare(*PAIR, number, stream=CHILDS) is not None else 0


def process(number: int) -> None:
    """Be a child of multiprocessing's; one that was spawned has a recorder of its own, and may record."""
    code = live(number)
    sys.exit(0 if multiprocessing.get_start_method(allow_none=True) == "spawn" else code)


def main(directory: str, forks: int, processes: int, spawned: int, epochs: int, patience: float, seed: int) -> None:
    """Fork in each of the ways, and tell after each."""
    logging.basicConfig(stream=sys.stdout)
    tqdm.monitor_interval = 0  # its thread may hold the lock, too, and is not predlog's
    parent = Parent(predlog.configure(directory, every=1, samples=1, score=False))
    _fork(parent, forks, patience, random.Random(seed))
    _start(parent, "fork", processes, patience)
    _start(parent, "spawn", spawned, 3 * patience)
    _load(parent, epochs, patience)
    parent.record(1)
    in_time = predlog.close(20)
    tell("closed", stats=parent.recorder.stats(), calls=parent.steps, in_time=in_time)
    _fork_beside_what_hangs(directory + "-stuck", patience)
    os._exit(0)  # what hangs would be waited for


def _fork(parent: Parent, forks: int, patience: float, chance: random.Random) -> None:
    nursery, watch, busy = Nursery(4, patience), Stopwatch(forks), 0
    bar = tqdm(total=forks, mininterval=0)
    for number in range(forks):
        parent.record(chance.randint(1, 4))
        _spin(chance.uniform(0, 0.002))
        busy += parent.is_busy()
        start = time.perf_counter_ns()
        child = os.fork()
        if child == 0:
            code = live(number)
            if number % 2:
                sys.exit(code)
            os._exit(code)
        watch.add(time.perf_counter_ns() - start)
        nursery.add(child)
        bar.update()
    nursery.empty()
    bar.close()
    tell(
        "forked", hung=nursery.hung, ends=dict(nursery.ends), busy=busy, forks=watch.count,
        took=[watch.quantile(share) / 1000 for share in (0.5, 0.99, 1.0)],
    )  # fmt: skip


def _spin(seconds: float) -> None:
    # Busy, as the timing is the point: what sleeps wakes up when the other thread has done its work.
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def _start(parent: Parent, method: str, many: int, patience: float) -> None:
    context: Any = multiprocessing.get_context(method)
    hung, otherwise = 0, 0
    for number in range(many):
        parent.record(5)
        child = context.Process(target=process, args=(number,))
        child.start()
        parent.record(5)
        child.join(patience)
        if child.exitcode is None:
            hung += 1
            child.kill()
            child.join()
        else:
            otherwise += child.exitcode != 0
    tell(f"{method} of multiprocessing", hung=hung, otherwise=otherwise, many=many)


def _load(parent: Parent, epochs: int, patience: float) -> None:
    batches, recorded, failure = 0, 0, ""
    for _ in range(epochs):
        loader = DataLoader(
            Speaking(), batch_size=4, num_workers=4, collate_fn=collate, multiprocessing_context="fork",
            timeout=patience,
        )  # fmt: skip
        parent.record(5)
        try:
            for batch in loader:
                parent.record(1)
                batches += 1
                recorded += int(batch)
        except RuntimeError as error:
            failure = str(error)
    tell("loaded", batches=batches, recorded=recorded, failure=failure)


def _fork_beside_what_hangs(directory: str, patience: float) -> None:
    reached = threading.Event()

    def hangs(_logger: Any, _name: str, event: Any) -> Any:
        reached.set()
        threading.Event().wait()
        return event

    recorder = predlog.Recorder(directory, every=1, samples=1, score=False, console=False, sinks=[hangs])
    recorder.compare(*PAIR, 0)
    reached.wait(10)
    nursery, start = Nursery(4, patience), time.monotonic()
    if (child := os.fork()) == 0:
        os._exit(live(0))
    took = time.monotonic() - start
    nursery.add(child)
    nursery.empty()
    tell("beside what hangs", seconds=took, hung=nursery.hung, reached=reached.is_set())


if __name__ == "__main__":
    main(**asked())
