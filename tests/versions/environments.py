"""Environments, made by uv: https://docs.astral.sh/uv. Of equal packages they share the files, by hard links."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests import ROOT
from tests.release import tree
from tests.release.environments import interpreters
from tests.versions.rows import Row

# PyPI's torch for Linux is built for CUDA and needs its libraries to be imported, also where there is no GPU. Those of
# 12.8 serve every build for CUDA 12, so all rows up to torch 2.10 share one copy. Nothing here needs triton.
_CUDA_12: Final = {
    "cublas": "12.8.4.1", "cuda-cupti": "12.8.90", "cuda-nvrtc": "12.8.93", "cuda-runtime": "12.8.90",
    "cudnn": "9.10.2.21", "cufft": "11.3.3.83", "cufile": "1.13.1.3", "curand": "10.3.9.90", "cusolver": "11.7.3.90",
    "cusparse": "12.5.8.93", "nccl": "2.27.5", "nvjitlink": "12.8.93", "nvshmem": "3.3.20", "nvtx": "12.8.90",
}  # fmt: skip
_NO_TRITON: Final = 'triton; python_version < "3"'
# What torch's own benchmark timer, which tests use, imports in old releases.
_ALSO: Final = ("setuptools",)
_REQUIRED_BY_TORCH: Final = "import importlib.metadata as m, json; print(json.dumps(m.requires('torch')))"
# All that `pip install predlog` may add where torch is installed already.
SMALL: Final = {
    "predlog", "structlog", "orjson", "rich", "msgspec", "einops", "markdown-it-py", "mdurl", "pygments",
    "typing-extensions",
}  # fmt: skip


class NotMadeError(Exception):
    """An environment could not be made."""


class NotHereError(NotMadeError):
    """This machine has not what an environment begins with: its Python, or its torch."""


def lower_bounds(extras: tuple[str, ...]) -> dict[str, str]:
    """Return the lowest version of each requirement of predlog's that names one, with those of the extras."""
    project = tree.project(ROOT)
    asked, seen = [*project["dependencies"]], set[str]()
    waiting = [*extras]
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for text in project["optional-dependencies"][extra]:
            one = Requirement(text)
            if one.name == project["name"]:
                waiting += one.extras
            else:
                asked.append(text)
    found: dict[str, str] = {}
    for one in map(Requirement, asked):
        for bound in one.specifier:
            if bound.operator == ">=":
                found[one.name] = max(found.get(one.name, "0"), bound.version, key=Version)
    return found


def python_for(row: Row) -> Path:
    """Return the interpreter that a row asks for; raises NotHereError if this machine has none."""
    for version, python in interpreters(SpecifierSet(f"=={row.python}.*")).items():
        if f"{version.major}.{version.minor}" == row.python:
            return python
    raise NotHereError(f"no Python {row.python} on this machine")


def make(row: Row, folder: Path) -> tuple[Path, set[str]]:
    """Make the environment of a row in a folder, and install this checkout in it.

    Returns its Python, and the packages that `pip install` of predlog alone would have changed beside torch.

    Raises:
        NotHereError: The machine has no such Python, or can't get such a torch.
        NotMadeError: What predlog asks for can't be installed beside them.
    """
    python = folder / "bin" / "python"
    _uv("venv", "--seed", "--clear", "--python", python_for(row), folder)
    torch = f"torch=={row.torch}" if row.torch else "torch"
    pins = [torch, *row.pins]
    if row.lowest:
        named = {Requirement(one).name for one in pins}
        pins += [f"{name}=={version}" for name, version in lower_bounds(row.extras).items() if name not in named]
    with tempfile.TemporaryDirectory() as scratch:
        overrides = Path(scratch, "overrides.txt")
        overrides.write_text("\n".join(_overrides(row)))
        install = ("pip", "install", "--python", python, "--overrides", overrides)
        try:
            _uv(*install, torch)
        except NotMadeError as error:
            raise NotHereError(f"{torch} can't be had: {error}") from None
        changed = would_change(python)
        _uv(*install, *pins, *_ALSO, "--editable", f"{ROOT}[{','.join(row.extras)}]")
    return python, changed


def _overrides(row: Row) -> Iterator[str]:
    yield _NO_TRITON
    if row.torch and Version(row.torch) < Version("2.11"):
        yield from (f"nvidia-{name}-cu12=={version}" for name, version in _CUDA_12.items())


def would_change(python: Path) -> set[str]:
    """Return the packages that `pip install` of predlog would install or change beside the torch that is there."""
    # Without pip's configuration, since a machine may cap the versions that it installs.
    pip: list[str | Path] = ["env", f"PIP_CONFIG_FILE={os.devnull}", python, "-m", "pip"]
    report: dict[str, Any] = json.loads(_run(*pip, "install", "--dry-run", "--quiet", "--report", "-", ROOT))
    # Of torch's own libraries some are missing, because the overrides have put others in their place.
    own = {Requirement(one).name for one in json.loads(_run(python, "-c", _REQUIRED_BY_TORCH))}
    return {re.sub(r"[-_.]+", "-", one["metadata"]["name"]).lower() for one in report["install"]} - own


def versions(python: Path) -> dict[str, str]:
    """Return the versions of what is installed, and Python's own."""
    program = (
        "import json, platform, importlib.metadata as m;"
        "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}"
        " | {'python': platform.python_version()}))"
    )
    found: dict[str, str] = json.loads(_run(python, "-c", program))
    return found


def _uv(*arguments: str | Path) -> None:
    # uv reads no settings of pip's.
    links = [part for place in os.environ.get("PIP_FIND_LINKS", "").split() for part in ("--find-links", place)]
    _run(sys.executable, "-m", "uv", *arguments, *(links if arguments[0] == "pip" else ()))


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMadeError((done.stderr or done.stdout).strip()[-2000:])
    return done.stdout
