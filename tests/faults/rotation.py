"""A file that is rotated while recorders write to it: nothing is lost, and what another program cuts off is noticed."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import predlog
from predlog import Recorder
from tests import events
from tests.faults.experiment import Figure, Size, equals
from tests.faults.lines import Lines


def run(size: Size) -> Iterator[Figure]:
    """Rotate after every few steps: rename and create, rename alone, removal, and copytruncate."""
    many = size.of(200, 12)
    for recorders in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            yield from _renamed(Path(folder), many, recorders)
    with tempfile.TemporaryDirectory() as folder:
        yield from _truncated(Path(folder), many)


def _renamed(folder: Path, many: int, recorders: int) -> Iterator[Figure]:
    pair = events.pair(samples=1)
    file, made = folder / "predictions.jsonl", [Recorder(folder, every=1, console=False) for _ in range(recorders)]
    headless = 0
    for step in range(4 * many):
        for number, recorder in enumerate(made):
            recorder.compare(*pair, step, stream=str(number))
            recorder.flush()
        if step % 4 == 2:
            file.rename(folder / f"predictions.jsonl.{step}")
        if step % 4 == 3:  # one step goes on to the old file, as nothing else is there yet
            file.touch()
    for recorder in made:
        recorder.close()
    files = [file, *folder.glob("predictions.jsonl.*")]
    lines = [Lines.of(one) for one in files]
    for one in lines:
        seen: set[str] = set()
        for line in one.whole:
            headless += line["event"] == "predlog.comparison" and line["recorder"] not in seen
            seen |= {line["recorder"]} if line["event"] == "predlog.run" else set()
    there = sum(len(one.all_of("comparison")) for one in lines)
    way = f"{many} rotations, {recorders} recorder{'s' * (recorders > 1)}"
    yield equals(f"{way}: comparisons missing in all files together", 4 * many * recorders - there, 0)
    yield equals(f"{way}: damaged lines", sum(len(one.damaged) for one in lines), 0)
    yield equals(f"{way}: files in which a recorder's first line is not first", headless, 0)
    yield equals(f"{way}: files", len(files), many + 1)


def _truncated(folder: Path, many: int) -> Iterator[Figure]:
    pair = events.pair(samples=1)
    file, noticed, seen, merged = folder / "predictions.jsonl", 0, 0, 0
    for number in range(many):
        with redirect_stderr(StringIO()) as said, Recorder(folder, every=1, console=False) as recorder:
            for step in range(4):
                recorder.compare(*pair, step)
                recorder.flush()
                if step == 1:
                    os.truncate(file, (number % 3) * 400)
        noticed += "was cut off by another program" in said.getvalue()
        reading = predlog.read(file, attempt="all")
        seen += _is_damaged(reading)
        merged += {line["step"] for line in Lines.of(file).all_of("comparison")} < {2, 3}
        file.unlink()
    yield equals(f"{many} truncations: not reported by the recorder", many - noticed, 0)
    yield equals(f"{many} truncations: not noticed by a reader", many - seen, 0)
    yield equals(f"{many} truncations: files without what was recorded later", merged, 0)


def _is_damaged(reading: predlog.reading.reader.Reading) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in reading:
            pass
    return reading.damage.total > 0
