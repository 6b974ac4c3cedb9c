"""Two processes of fifty threads may write one file: every line is there once, whole, and in its thread's order."""

import contextlib
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from predlog import Recorder
from predlog.records import schema
from predlog.sinks import JSONL
from tests import events
from tests.faults.experiment import Figure, Size, equals, told
from tests.faults.forked import context
from tests.faults.lines import Lines, Reading

_PROCESSES, _THREADS = 2, 50
_SAMPLES = 2
# So often the sink is closed, and all threads at once find that it has to be opened.
_ROUNDS = 20

# process, thread, number: the name of one line.
Name = tuple[int, int, int]


def run(size: Size) -> Iterator[Figure]:
    """Write through one JSONL sink a process, then through one Recorder a process."""
    many = size.of(100_000, 10_000) // (_PROCESSES * _THREADS)
    yield from _judged("sink", _through_sinks, many, 1)
    yield from _judged("recorder", _through_recorders, size.of(100, 20), _SAMPLES)


def _judged(
    way: str, write: Callable[[int, str, int, Barrier, Connection], None], many: int, copies: int
) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "predictions.jsonl")
        answers = _written(write, directory, many)
        lines, reading = Lines.of(file), Reading.of(file)
    names = Counter(_name(line) for line in lines.all_of("comparison"))
    expected = Counter(dict.fromkeys(_all_names(many), copies))
    wrong = (names - expected) + (expected - names)
    yield told(f"{way}: comparisons written by {_PROCESSES} processes of {_THREADS} threads", expected.total())
    yield equals(f"{way}: lines that are bad, by their bytes", len(lines.damaged), 0)
    yield equals(f"{way}: warnings of predlog.read", len(reading.warned), 0, note="; ".join(reading.warned))
    yield equals(f"{way}: comparisons missing, or there more than once", wrong.total(), 0)
    yield equals(f"{way}: records that predlog.read gives, less the lines", len(reading.records) - len(lines.whole), 0)
    yield equals(f"{way}: lines before an earlier one of their thread", _disordered(lines), 0)
    for what in answers[0]:
        yield equals(f"{way}: {what}", sum(answer[what] for answer in answers), 0)
    if way == "recorder":
        numbered = Counter((line["attempt"], line["seq"]) for line in lines.whole)
        yield told(f"{way}: lines whose attempt and seq another line has", len(lines.whole) - len(numbered))


def _written(
    write: Callable[[int, str, int, Barrier, Connection], None], directory: str, many: int
) -> list[dict[str, int]]:
    forks: ForkServerContext = context()
    together = forks.Barrier(_PROCESSES)
    answers: list[dict[str, int]] = []
    with contextlib.ExitStack() as open_pipes:
        children = []
        for number in range(_PROCESSES):
            here, there = forks.Pipe(duplex=False)
            open_pipes.enter_context(here)
            child = forks.Process(target=write, args=(number, directory, many, together, there))
            child.start()
            there.close()
            children.append((child, here))
        for child, here in children:
            answers.append(here.recv())
            child.join()
            assert child.exitcode == 0
    return answers


def _through_sinks(process: int, directory: str, many: int, together: Barrier, answer: Connection) -> None:
    before = _descriptors()
    sink = JSONL(Path(directory, "predictions.jsonl"))

    closed = threading.Barrier(_THREADS, action=sink.close)

    def write(thread: int) -> None:
        for number in range(many):
            if number % (many // _ROUNDS) == 0:
                closed.wait()
            event = events.comparison(step=number, sample=thread, rank=process)
            # Half of them as the pipeline hands them over, half as a host's own chain does.
            sink(None, "info", schema.Checked(event) if number % 2 else event)

    together.wait()
    raised = _in_threads(write)
    sink.close()
    answer.send({"exceptions": raised, "descriptors left open": _descriptors() - before})


def _through_recorders(process: int, directory: str, many: int, together: Barrier, answer: Connection) -> None:
    torch.set_num_threads(1)
    before = _descriptors()
    recorder = Recorder(directory, every=1, console=False, score=False, queue=many * _THREADS)

    def compare(thread: int) -> None:
        logits, labels = events.pair(thread, samples=_SAMPLES)
        for step in range(many):
            assert recorder.compare(logits, labels, step, stream=f"{process}/{thread}") is not None

    together.wait()
    raised = _in_threads(compare)
    closed = recorder.close(60)
    stats = recorder.stats()
    made = many * _THREADS * _SAMPLES
    answer.send(
        {
            "exceptions": raised,
            "recorders that did not close": not closed,
            "comparisons made, less submitted": made - stats["submitted"],
            "comparisons made, less written": made - stats["written"],
            "descriptors left open": _descriptors() - before,
        }
    )


def _in_threads(work: Callable[[int], None]) -> int:
    """Run all threads at once, and count those that raised."""
    ready = threading.Barrier(_THREADS)
    raised: list[BaseException] = []

    def run(thread: int) -> None:
        ready.wait()
        try:
            work(thread)
        except BaseException as error:  # noqa: BLE001 - counted
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(raised)


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _all_names(many: int) -> Iterable[Name]:
    return (
        (process, thread, number)
        for process in range(_PROCESSES)
        for thread in range(_THREADS)
        for number in range(many)
    )


def _name(line: dict[str, Any]) -> Name:
    if "/" in line["stream"]:
        process, _, thread = line["stream"].partition("/")
        return int(process), int(thread), line["step"]
    return line["rank"], line["sample"], line["step"]


def _disordered(lines: Lines) -> int:
    by_thread: dict[tuple[int, int], list[int]] = {}
    for line in lines.all_of("comparison"):
        process, thread, number = _name(line)
        by_thread.setdefault((process, thread), []).append(number)
    return sum(after < before for numbers in by_thread.values() for before, after in pairwise(numbers))
