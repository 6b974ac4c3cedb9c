"""Two recorders on one folder: each reads back what both wrote, and nobody takes the file for damaged."""

import io
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

import predlog
from predlog import Recorder
from predlog.cli import main
from predlog.records.schema import Comparison
from tests import events
from tests.faults.experiment import Figure, Size, equals
from tests.faults.forked import context
from tests.faults.lines import Lines


def run(size: Size) -> Iterator[Figure]:
    """Record the same stream and steps twice: in turns in one process, in processes that start at once, and again."""
    steps = size.of(1000, 100)
    for way, write, writers in (("in turns", _in_turns, 2), ("at once", _at_once, size.of(8, 4)), ("again", _again, 1)):
        with tempfile.TemporaryDirectory() as folder:
            write(folder, steps)
            yield from _judged(way, Path(folder), writers * steps, is_shared=writers > 1)


def _judged(way: str, folder: Path, wanted: int, *, is_shared: bool) -> Iterator[Figure]:
    there = len(Lines.of(folder / "predictions.jsonl").all_of("comparison"))
    reading = predlog.read(folder)
    found = sum(isinstance(record, Comparison) and record.stream != "last" for record in reading)
    with redirect_stdout(io.StringIO()) as said:
        status = main.main(("check", str(folder)))
    yield equals(f"{way}: comparisons read, less those to be read", found - wanted, 0, note=f"{there} in the file")
    yield equals(f"{way}: places taken for damage", reading.damage.total, 0)
    yield equals(f"{way}: status of predlog check", status, 0)
    yield equals(f"{way}: predlog check says that two wrote", "two recorders wrote" in said.getvalue(), is_shared)


def _in_turns(folder: str, steps: int) -> None:
    pair = events.pair()
    with _recorder(folder) as one, _recorder(folder) as other:
        for step in range(steps):
            for recorder in (one, other):
                recorder.compare(*pair, step)
                recorder.flush()


def _at_once(folder: str, steps: int) -> None:
    forks, many = context(), 8 if steps > 100 else 4
    together = forks.Barrier(many)
    children = [forks.Process(target=_alone, args=(folder, steps, together)) for _ in range(many)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0


def _alone(folder: str, steps: int, together: Barrier) -> None:
    torch.set_num_threads(1)
    pair = events.pair()
    with _recorder(folder) as recorder:
        together.wait()
        for step in range(steps):
            recorder.compare(*pair, step)
            recorder.flush()
        # Until all have written: of processes that do not run at the same time, a later one replaces an earlier one.
        together.wait()
        recorder.compare(*pair, steps - 1, stream="last")


def _again(folder: str, steps: int) -> None:
    pair = events.pair()
    for _ in range(3):
        with _recorder(folder) as recorder:
            for step in range(steps):
                recorder.compare(*pair, step)


def _recorder(folder: str) -> Recorder:
    return Recorder(folder, every=1, samples=1, console=False, queue=4096)
