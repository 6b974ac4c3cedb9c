"""What the reading side answers about two runs: to be the same on every machine that reads them."""

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests import events
from tests.written import written

# They need the small packages alone; and these the extras report, export, zstd and cli.
COMMANDS = {
    "tail": "tail -n all a",
    "tail --json": "tail -n 5 --json a",
    "summary": "summary a",
    "summary --json": "summary --json a",
    "check": "check a",
    "diff": "diff a b",
    "diff --json": "diff --json a b",
    "diff of several": "diff a b a",
    "list --json": "list --json .",
    "explain": "explain",
    "explain CODE": "explain labels-are-inputs",
    "demo --mistake list": "demo --mistake list",
    "read": "",
}
WITH_EXTRAS = {
    "report": "report a -o out",
    "export parquet": "export a -o out.parquet",
    "export csv": "export a -o out.csv",
    "export arrow": "export a -o out.arrow",
    "zstd": "summary packed.jsonl.zst",
    "completion": "completion bash",
    "help": "--help",
}
# A page's time, which is not that of the next minute's.
_MADE = re.compile(rb"Made by predlog \S+ at \S+ \S+ UTC")
_RUN = "import sys; from predlog.cli.main import main; sys.exit(main(sys.argv[1:]))"
_READ = "import predlog; [print(one) for name in 'ab' for one in predlog.read(name)]"


class Answer(NamedTuple):
    """How a command ended, what it printed, and what it wrote to a file."""

    status: int
    out: str
    errors: str
    file: bytes


def make_runs(folder: Path) -> None:
    """Write two runs with findings, gaps and two ranks, and one of them packed."""
    import zstandard  # noqa: PLC0415 - not every environment that asks has it

    for name, best in (("a", 4), ("b", 3)):
        compared = [
            events.comparison(
                step=step, rank=rank, tokens=[events.token(0, 3, best), events.token(1, 5, 5, slot="last")]
            )
            for step in range(0, 60, 10)
            for rank in range(2)
        ]
        found = events.finding(step=20, code="collapsed")
        written(folder / name, events.run(run=name), *compared, found, events.gap(first_step=60, last_step=70))
    lines = (folder / "a" / "predictions.jsonl").read_bytes()
    (folder / "packed.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(lines))


def answer(python: str | Path, name: str, folder: Path, before: str = "", path: str = "") -> Answer:
    """Ask an interpreter, in the folder of the runs, after a program of one's own; `path` is its PYTHONPATH."""
    arguments = (COMMANDS | WITH_EXTRAS)[name].split()
    for left in folder.glob("out*"):
        left.unlink()
    done = subprocess.run(
        [python, "-W", "error", "-c", f"{before}\n{_READ if name == 'read' else _RUN}", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=100,
        env={**os.environ, "COLUMNS": "100", "PYTHONPATH": path},
    )  # fmt: skip
    file = next(folder.glob("out*"), None)
    written = _MADE.sub(b"Made", file.read_bytes()) if file else b""
    return Answer(done.returncode, done.stdout, done.stderr, written)
