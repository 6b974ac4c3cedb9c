"""The commands that install predlog work as README.md and docs/start/install.md print them, in a clone."""

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from predlog.errors import READING
from tests import ROOT
from tests.answers import COMMANDS, WITH_EXTRAS, answer, make_runs
from tests.release import tree

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a clone has what git tracks")


def command(page: str, name: str) -> str:
    """Return a command that a page marks with its name."""
    (block,) = re.findall(rf"<!-- command: {name} -->\n```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return str(block)


def environment(folder: Path, *, with_ours: bool = False) -> Path:
    """Make a virtual environment, and return its Python; `with_ours` it finds what is installed here, such as torch."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if with_ours:
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "ours.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


def run(block: str, clone: Path, python: Path) -> str:
    """Run a block of a page in a clone, with an environment's commands first on the PATH; return what it prints."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=clone, stdout=subprocess.PIPE, text=True, check=True,
        env={
            **os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": "",
            "PIP_CONSTRAINT": str(ROOT / "tests" / "constraints.txt"),  # the versions that are installed here
        },
    )  # fmt: skip
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with what a clone has."""
    return tree.copy(ROOT, tmp_path / "clone")


def quoted(requirements: Iterable[str]) -> str:
    return " ".join(f"'{one}'" for one in requirements)


def test_both_pages_print_one_command() -> None:
    """README.md and install.md install the reading side alike: what it depends on, not too old, and predlog."""
    asked = {Requirement(one).name: one for one in tree.project(ROOT)["dependencies"]}
    line = command("README.md", "read")
    assert line == f"pip install {quoted(asked[name] for name in READING)} && pip install --no-deps .\n"
    assert line == command("docs/start/install.md", "read")


def test_what_the_extras_of_readers_install() -> None:
    """The second line of docs/start/install.md installs what four extras do, not older."""
    extras = tree.project(ROOT)["optional-dependencies"]
    needed = quoted(one for extra in ("report", "export", "zstd", "cli") for one in extras[extra])
    assert command("docs/start/install.md", "read everything") == f"pip install {needed}\n"


@pytest.mark.slow
def test_the_reading_side_alone(clone: Path, tmp_path: Path) -> None:
    """In a clean environment one line installs what reads, another what the extras need; both answer as here."""
    runs = tmp_path / "runs"
    make_runs(runs)
    python = environment(tmp_path / "venv")
    for name, commands in (("read", COMMANDS), ("read everything", WITH_EXTRAS)):
        run(command("docs/start/install.md", name), clone, python)
        for one in commands:
            assert answer(python, one, runs) == answer(sys.executable, one, runs, path=str(ROOT)), one
    listed = run("pip list --format=freeze", clone, python)
    assert "predlog==" in listed
    assert not re.search("^(torch|structlog|einops)=", listed, re.MULTILINE)
    done = subprocess.run([python.with_name("predlog"), "demo"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, command_output("predlog demo"))


def command_output(command: str) -> str:
    """Return what docs/start/install.md shows below a command."""
    (shown,) = re.findall(rf"```text\n\$ {command}\n(.*?)```", (ROOT / "docs/start/install.md").read_text(), re.DOTALL)
    return str(shown)


@pytest.mark.slow
def test_installing_it(clone: Path, tmp_path: Path) -> None:
    """README.md's line installs predlog in an environment that is active, where it records."""
    python = environment(tmp_path / "venv", with_ours=True)
    run(command("README.md", "install"), clone, python)
    program = """
import torch, predlog
with predlog.Recorder(every=1, console=False) as recorder:
    recorder.compare(torch.zeros(1, 3, 4), torch.zeros(1, 3).long(), 0)
print(predlog.__file__, recorder.stats()["written"])
"""
    file, written = run(f"python -c '{program}'", tmp_path, python).split()
    assert Path(file).is_relative_to(tmp_path / "venv")
    assert written == "1"


@pytest.mark.slow
def test_the_demo(clone: Path) -> None:
    """README.md's first block makes an environment, which here finds torch already, and trains for seconds."""
    python = environment(clone / ".venv", with_ours=True)
    block = command("README.md", "demo")
    assert "predlog demo\n" in block
    printed = run(block.replace("predlog demo\n", "predlog demo --seconds 5\n"), clone, python)
    assert "report runs/demo --open" in printed
    assert (clone / "runs" / "demo" / "predictions.jsonl").stat().st_size
