"""Programs of the documentation, as they are and edited as a user would, launched in one go in two processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import predlog
from tests import ROOT
from tests.once import made_once

EXAMPLES = ROOT / "docs" / "examples"

Edits = Sequence[tuple[str, str]]


def run_once(factory: pytest.TempPathFactory, module: str) -> Path:
    """Run a program of this folder, once for all tests; return the folder that it was given."""

    def launch(folder: Path) -> None:
        command = [sys.executable, "-m", f"tests.integrations.{module}", str(folder)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
        (folder / "output").write_text(ended.stderr)
        assert ended.returncode == 0, ended.stderr[-5000:]

    return made_once(factory, module, launch)


@dataclass(frozen=True)
class Training:
    """What a training left: its records, and by rank what its model saw and came to."""

    records: list[predlog.records.Record]
    seen: list[dict[str, Any]]

    def comparisons(self, rank: int = 0, stream: str = "text") -> list[predlog.Comparison]:
        found = [one for one in self.records if isinstance(one, predlog.Comparison)]
        return [one for one in found if one.rank == rank and one.stream == stream]

    @property
    def findings(self) -> set[str]:
        return {one.code for one in self.records if isinstance(one, predlog.Finding)}

    @property
    def ranks(self) -> set[int]:
        return {one.rank for one in self.records}

    def pairs(self, rank: int = 0) -> list[tuple[Tensor, Tensor, Tensor]]:
        found: list[tuple[Tensor, Tensor, Tensor]] = self.seen[rank]["pairs"]
        return found


def launched(
    factory: pytest.TempPathFactory, name: str, variants: Mapping[str, Edits], *, processes: int = 2
) -> dict[str, Training]:
    """Run the variants of docs/examples/`name`.py in the same processes, and read what they left."""
    return launched_together(factory, {name: variants}, processes=processes)[name]


def launched_together(
    factory: pytest.TempPathFactory, programs: Mapping[str, Mapping[str, Edits]], *, processes: int
) -> dict[str, dict[str, Training]]:
    """Run the variants of several examples one after the other in the same processes, and read what they left.

    Of several workers of pytest's that ask for the same, one runs it.
    """

    def run(folder: Path) -> None:
        each = [(name, *one) for name, variants in programs.items() for one in variants.items()]
        _run([edited(name, edits, folder / name / variant) for name, variant, edits in each], folder, processes)

    folder = made_once(factory, f"{'+'.join(programs)} in {processes}", run)
    return {
        name: {variant: _left(folder / name / variant) for variant in variants} for name, variants in programs.items()
    }


def edited(name: str, edits: Edits, folder: Path) -> Path:
    """Write an example with some of its text replaced; each of it must be there once."""
    text = (EXAMPLES / f"{name}.py").read_text()
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} is not in {name}.py once"
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "program.py"
    program.write_text(text)
    return program


def _run(programs: list[Path], folder: Path, processes: int) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}",
        "-m", "tests.integrations.watched", *map(str, programs),
    ]  # fmt: skip
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "ACCELERATE_USE_CPU": "true"}
    with (folder / "output").open("w+") as output:
        launcher = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = launcher.wait(400)
        except subprocess.TimeoutExpired:
            os.killpg(launcher.pid, signal.SIGTERM)  # torchrun ends its workers then
            code = launcher.wait(60)
        output.seek(0)
        assert code == 0, output.read()[-5000:]


def _left(folder: Path) -> Training:
    seen = [torch.load(file, weights_only=True) for file in sorted(folder.glob("seen-rank*.pt"))]
    runs = {one.parent for one in folder.glob("runs/*/predictions*")}
    return Training([record for run in runs for record in predlog.read(run)], seen)
