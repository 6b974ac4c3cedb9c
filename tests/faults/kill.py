"""SIGKILL at any moment takes back no record that predlog said is written, and tears one line at most."""

import os
import random
import struct
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from predlog import Comparison, Recorder
from tests import events
from tests.faults.experiment import Figure, Size, at_least, at_most, equals, told
from tests.faults.forked import context
from tests.faults.lines import Lines, Reading

# attempt, sample, step: the name of one record, in one write that a pipe takes whole.
_RECORD = struct.Struct("<HHI")
_MOST_ATTEMPTS = 20
# `predlog.read` names three damaged lines of a file.
_MOST_DAMAGED = 3


@dataclass
class _Seen:
    acknowledged: int = 0
    lost: int = 0
    torn: int = 0
    most_torn: int = 0
    unnamed: int = 0
    disordered: int = 0
    unlike: int = 0


@dataclass
class _Target:
    """A file that one attempt after the other is killed on."""

    folder: Path
    attempts: int = 0
    damaged: set[int] = field(default_factory=set)

    @property
    def file(self) -> Path:
        return self.folder / "predictions.jsonl"

    @property
    def is_used_up(self) -> bool:
        return self.attempts == _MOST_ATTEMPTS or len(self.damaged) >= _MOST_DAMAGED


def run(size: Size) -> Iterator[Figure]:
    """Kill a process that compares as fast as it can, 1 to 60 ms after its first record; read its file; again."""
    times = size.of(1000, 60)
    random_ms = random.Random(1)
    seen = _Seen()
    with tempfile.TemporaryDirectory() as directory:
        target = _Target(Path(directory, "0"))
        for number in range(times):
            if target.is_used_up:
                target.file.unlink()
                target = _Target(Path(directory, str(number)))
            _judge(target, _acknowledged_until_killed(target, random_ms.uniform(1, 60) / 1000), seen)
    yield at_least("records acknowledged before a SIGKILL", seen.acknowledged, times, note=f"{times} kills")
    yield equals("acknowledged records that are not in the file", seen.lost, 0)
    yield told("lines torn", seen.torn)
    yield at_most("most lines torn by one kill", seen.most_torn, 1)
    yield equals("torn lines that predlog.read does not name", seen.unnamed, 0)
    yield equals("records out of order, or seq with a hole, within an attempt", seen.disordered, 0)
    yield equals("files of which predlog.read gives other records than their bytes hold", seen.unlike, 0)


def _acknowledged_until_killed(target: _Target, seconds: float) -> set[tuple[int, int, int]]:
    forks = context()
    here, there = forks.Pipe(duplex=False)
    child = forks.Process(target=_compare_until_killed, args=(str(target.folder), there), daemon=True)
    child.start()
    there.close()
    with here:
        assert here.poll(60), "the process never wrote a record"
        time.sleep(seconds)  # the random moment
        child.kill()
        child.join()
        data = b"".join(iter(lambda: os.read(here.fileno(), 1 << 20), b""))
    target.attempts += 1
    return set(_RECORD.iter_unpack(data[: len(data) // _RECORD.size * _RECORD.size]))


def _compare_until_killed(directory: str, acknowledgements: Connection) -> None:
    torch.set_num_threads(1)
    recorder = Recorder(directory, every=1, first=50, last=50, decode=_long_text, console=False)
    logits, labels = events.pair(samples=2, length=120)
    waiting: deque[Future[tuple[Comparison, ...]] | None] = deque()
    for step in range(2**32):
        waiting.append(recorder.compare(logits, labels, step))
        # Some pairs stay on their way, so that the worker always has a line to write.
        if len(waiting) > 4 and (oldest := waiting.popleft()) is not None:
            for record in oldest.result():
                os.write(acknowledgements.fileno(), _RECORD.pack(record.attempt, record.sample, record.step))


def _long_text(token: int) -> str:
    # The longer a line is, the more of the time is spent in its write, where a kill can tear it.
    return f"{token} " * 120


def _judge(target: _Target, acknowledged: set[tuple[int, int, int]], seen: _Seen) -> None:
    # As a minute later: a line without its end in a file that was written to just now may still be on its way.
    os.utime(target.file, (time.time() - 60,) * 2)
    lines, reading = Lines.of(target.file), Reading.of(target.file)
    present = {
        (record.attempt, record.sample, record.step) for record in reading.records if isinstance(record, Comparison)
    }
    seen.acknowledged += len(acknowledged)
    seen.lost += len(acknowledged - present)
    new = set(lines.damaged) - target.damaged
    target.damaged |= new
    seen.torn += len(new)
    seen.most_torn = max(seen.most_torn, len(new))
    seen.unnamed += sum(not any(f"line {number}" in warning for warning in reading.warned) for number in new)
    seen.disordered += _disordered(lines)
    seen.unlike += [record.seq for record in reading.records] != [line["seq"] for line in lines.whole]


def _disordered(lines: Lines) -> int:
    """Count the neighbours of the newest attempt that do not follow each other."""
    attempt = [line for line in lines.whole if line["attempt"] == lines.whole[-1]["attempt"]]
    places = [(line["step"], line["sample"]) for line in attempt if line["event"] == "predlog.comparison"]
    return sum(
        [attempt[0]["seq"] != 0]
        + [after["seq"] != before["seq"] + 1 for before, after in pairwise(attempt)]
        + [after <= before for before, after in pairwise(places)]
    )
