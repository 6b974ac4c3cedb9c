"""The writing alone: one event of ten tokens → one line in a file, predlog's way and others'."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks import writers
from tests.benchmarks.harness import Row, duration, interleaved, ratio, repeated
from tests.benchmarks.material import comparison
from tests.benchmarks.options import Options


def writing(_options: Options) -> Iterator[Row]:
    """Measure predlog's chain against the bare write, and what people use against predlog's chain."""
    event = comparison()
    ways = {
        "predlog": writers.predlog,
        "orjson + os.write": writers.bare,
        "stdlib logging + json": writers.stdlib,
        "loguru": writers.loguru,
        "minimal structlog": writers.minimal_structlog,
    }
    with tempfile.TemporaryDirectory() as directory, ExitStack() as files:
        contenders = {
            name: repeated(partial(files.enter_context(way(Path(directory, f"{number}.jsonl"))), event), 50)
            for number, (name, way) in enumerate(ways.items())
        }
        times = interleaved(contenders, rounds=60)
        # predlog's first line tells of the run.
        many = sorted(len(path.read_bytes().splitlines()) for path in Path(directory).rglob("*.jsonl"))
        assert many == [50 * 61] * 4 + [50 * 61 + 1], many
    took = duration(times["predlog"].median)
    yield ratio(
        times, "predlog", "orjson + os.write", name="write-bare",
        title="record → disk, predlog / orjson + os.write", at_most=2.5, note=took,
    )  # fmt: skip
    for name, other, target in (
        ("write-stdlib", "stdlib logging + json", 6),
        ("write-loguru", "loguru", 10),
        ("write-structlog", "minimal structlog", None),
    ):
        yield ratio(
            times, other, "predlog", name=name, title=f"record → disk, {other} / predlog", at_least=target,
            note=f"{duration(times[other].median)} / {took}",
        )  # fmt: skip
