"""A run's file → typed records, and what the commands make of it, each in a fresh process that has never seen torch."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.harness import Row, Spread, duration
from tests.benchmarks.logged import in_parts, logged
from tests.benchmarks.options import Options
from tests.benchmarks.paging import paging

# Comparisons, and the size of their file.
_SIZES = {"30 MB": 11_111, "300 MB": 111_111}
_ROUNDS = {"30 MB": 25, "300 MB": 5}
_MEBIBYTE = 1024

# Both in turn, so that what the machine does meanwhile falls on both alike.
_AGAINST_JSON = """
import json, sys, time, predlog

def loads():
    with open(sys.argv[1], "rb") as file:
        for line in file:
            json.loads(line)

def typed():
    for record in predlog.read(sys.argv[1]):
        pass

for _ in range(int(sys.argv[2])):
    times = [time.perf_counter()]
    for run in loads, typed:
        run()
        times.append(time.perf_counter())
    print(times[1] - times[0], times[2] - times[1])
"""
_SUMMARY = """
import os, sys, time, predlog
from predlog.cli.main import main

sys.stdout = open(os.devnull, "w")
for _ in range(int(sys.argv[2])):
    times = [time.perf_counter()]
    for record in predlog.read(sys.argv[1]):
        pass
    times.append(time.perf_counter())
    assert main(["summary", sys.argv[1]]) == 0
    times.append(time.perf_counter())
    print(times[2] - times[1], times[1] - times[0], file=sys.__stdout__)
"""
# The kernel's count of this process alone; `getrusage` would also know of the one that started it.
_PEAK = """
import sys, predlog
count = sum(1 for record in predlog.read(sys.argv[1]))
assert count == int(sys.argv[2]) + 1, count
print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""


def reading(options: Options) -> Iterator[Row]:
    """Measure reading against the standard library, its memory, the summary, and the page."""
    with tempfile.TemporaryDirectory() as folder:
        for size, comparisons in _SIZES.items():
            file = Path(folder, f"{comparisons}.jsonl")
            logged(file, comparisons)
            yield _ratio(
                f"read-{size.replace(' ', '')}", f"json.loads of each line / predlog.read, {size}", _AGAINST_JSON,
                file, _ROUNDS[size], comparisons, at_least=3.0,
            )  # fmt: skip
            peak = int(_printed(_PEAK, file, comparisons)) / _MEBIBYTE
            yield Row(
                name=f"read-memory-{size.replace(' ', '')}", title=f"peak memory of a process that reads {size}",
                measured=Spread.exact(peak), at_most=40, unit="MiB",
            )  # fmt: skip
        yield _ratio(
            "summary",
            f"predlog summary / predlog.read, {size}",
            _SUMMARY,
            file,
            _ROUNDS[size],
            comparisons,
            at_most=2.0,
        )
    yield from _joining()
    yield from paging(options)


# Comparisons, parts of each, and supervised rows of a sample.
_JOINED, _PARTS, _LENGTHS, _MOST = 1_000, 8, (32, 256), 3.0
# Joining alone: the records are there. What is timed is the processor's time, as both are of one thread.
_AGAINST_READING = """
import sys, time
from pathlib import Path
from predlog.reading.shards import Joined
from predlog.records.codec import from_line
from predlog.records.schema import Comparison, Part

files = [file.read_bytes().splitlines() for file in sorted(Path(sys.argv[1]).glob("*.jsonl"))]
lines = [line for every in zip(*files) for line in every]  # as they are merged by step
for _ in range(int(sys.argv[2])):
    times = [time.process_time()]
    records = [from_line(line) for line in lines]
    times.append(time.process_time())
    whole = sum(isinstance(one, Comparison) and one.missing_ids == 0 for one in Joined(records))
    times.append(time.process_time())
    assert whole == sum(isinstance(one, Part) and one.shard.start == 0 for one in records)
    print(times[2] - times[1], times[1] - times[0])
"""


def _joining() -> Iterator[Row]:
    """Measure what joining parts takes, against reading them."""
    for length in _LENGTHS:
        with tempfile.TemporaryDirectory() as folder:
            in_parts(Path(folder), steps=_JOINED, length=length, parts=_PARTS)
            yield _ratio(
                f"join-{length}", f"joining {_PARTS} parts of {length} rows / reading them", _AGAINST_READING,
                Path(folder), 5, _JOINED, at_most=_MOST,
            )  # fmt: skip


def _ratio(
    name: str, title: str, code: str, file: Path, rounds: int, comparisons: int,
    at_least: float | None = None, at_most: float | None = None,
) -> Row:  # fmt: skip
    ours, others = zip(*(map(float, line.split()) for line in _printed(code, file, rounds).splitlines()), strict=True)
    spreads = Spread.of(ours), Spread.of(others)
    took = [duration(each.median / comparisons) for each in spreads]
    return Row(
        name=name, title=title, measured=Spread.of(one / other for one, other in zip(ours, others, strict=True)),
        at_least=at_least, at_most=at_most, note=f"{took[0]} / {took[1]} a record",
        seconds={"over": spreads[0], "under": spreads[1]},
    )  # fmt: skip


def _printed(code: str, file: Path, number: int) -> str:
    command = [sys.executable, "-c", code, str(file), str(number)]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout
