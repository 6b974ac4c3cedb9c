"""How long the command line keeps people waiting: for its start, and for a line that was written just now."""

import os
import pty
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from predlog.records.codec import to_line
from tests import events
from tests.benchmarks.harness import Row, Spread, duration
from tests.benchmarks.options import Options

_PREDLOG = [sys.executable, "-m", "predlog"]
_STARTS, _LINES = 15, 60


def commanding(_options: Options) -> Iterator[Row]:
    """Measure whole processes, and a following one in a terminal of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "predictions.jsonl")
        file.write_bytes(to_line(events.run()) + _line(1))
        # The second also loads what reads records and draws tables, most of it rich and msgspec.
        for name, arguments, target in (("start", ["--help"], 0.15), ("start-tail", ["tail", str(file)], None)):
            _process(arguments)
            seconds = Spread.of(_process(arguments) for _ in range(_STARTS))
            yield Row(
                name=name, title=f"a whole `predlog {arguments[0]}`", measured=seconds, at_most=target, unit="s",
                note=duration(seconds.median), seconds={name: seconds},
            )  # fmt: skip
        waited = [*_waited(file)]
        spread = Spread.of(waited)
        yield Row(
            name="tail", title=f"a line written → on the screen of `predlog tail -f`, the longest of {len(waited)}",
            measured=Spread.exact(max(waited)), at_most=0.1, unit="s", note=f"median {duration(spread.median)}",
            seconds={"tail": spread},
        )  # fmt: skip


def _process(arguments: list[str]) -> float:
    # As users start it: with what Python has compiled before.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([*_PREDLOG, *arguments], check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def _waited(file: Path) -> Iterator[float]:
    """Write lines at times that no clock of the reader's falls in with, and wait for each."""
    draw = random.Random(0)
    screen, terminal = pty.openpty()
    command = subprocess.Popen([*_PREDLOG, "tail", "-f", str(file)], stdout=terminal, stderr=terminal)
    try:
        _seen(screen, 1)
        with file.open("ab", buffering=0) as opened:
            for step in range(2, 2 + _LINES):
                time.sleep(draw.uniform(0.05, 0.15))
                opened.write(_line(step))
                start = time.perf_counter()
                _seen(screen, step)
                yield time.perf_counter() - start
    finally:
        command.kill()
        command.wait()
        os.close(screen)
        os.close(terminal)


def _seen(screen: int, step: int) -> None:
    """Read until the heading of a step has come."""
    shown = b""
    while b"step %d " % step not in shown:
        shown += os.read(screen, 1 << 16)


def _line(step: int) -> bytes:
    return to_line(events.comparison(seq=step, step=step))
