"""Clean environments: each distribution is installed on the oldest and the newest Python here, and reads two runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from predlog.errors import READING
from tests.answers import COMMANDS, answer, make_runs
from tests.release import tree


def problems(root: Path, source: Path, wheel: Path, folder: Path) -> Iterator[str]:
    """Install the source distribution on the oldest Python and the wheel on the newest; yield what does not work."""
    runs = folder / "runs"
    make_runs(runs)
    usual = {name: answer(sys.executable, name, runs, path=str(root)) for name in COMMANDS}
    found = sorted(interpreters(SpecifierSet(tree.project(root)["requires-python"])).items())
    for (version, python), distribution in zip((found[0], found[-1]), (source, wheel), strict=True):
        where = f"{distribution.name} on Python {version}"
        try:
            installed = install(python, folder / f"python-{version}", distribution)
        except subprocess.CalledProcessError as error:
            yield f"{where} is not installed: {(error.stderr or error.stdout).strip().splitlines()[-1]}"
            continue
        shown = run(installed.with_name("predlog"), "--version")
        if shown != f"predlog {tree.version(root)}\n":
            yield f"{where} is {shown.strip()}, not {tree.version(root)}"
        for name, expected in usual.items():
            if (got := answer(installed, name, runs)) != expected:
                yield f"{where} answers `{name}` differently: {(got.errors or got.out).splitlines()[-1:]}"


def interpreters(wanted: SpecifierSet) -> dict[Version, Path]:
    """Return the Pythons of this machine that predlog supports: those on the PATH, and those of pyenv."""
    names = [shutil.which(f"python3.{minor}") for minor in range(30)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[Version, Path] = {}
    for python in (Path(sys.executable), *(Path(name) for name in names if name), *pyenv.glob("3.*/bin/python")):
        program = "import platform, venv; print(platform.python_version())"
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
        if done.returncode == 0 and (version := Version(done.stdout)) in wanted:
            found.setdefault(version, python)
    return found


def install(python: Path, folder: Path, distribution: Path) -> Path:
    """Make an environment, install a distribution with what the reading side needs; return its Python."""
    run(python, "-m", "venv", folder)
    installed = folder / "bin" / "python"
    run(installed, "-m", "pip", "install", "--quiet", *(f"{name}>={lowest}" for name, lowest in READING.items()))
    run(installed, "-m", "pip", "install", "--quiet", "--no-deps", distribution)
    return installed


def run(*command: str | Path, folder: Path | None = None, path: str = "") -> str:
    """Run a command, and return what it prints."""
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout
