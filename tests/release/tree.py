"""The working tree: which files belong to the project, its metadata, and a copy of it."""

import ast
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

# pytest and build install tomli where Python has no reader of its own.
tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


def git(root: Path, *arguments: str) -> list[str]:
    """Run git in a tree, and return the lines that it prints."""
    done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def tracked(root: Path) -> list[str]:
    """Return the paths of the files that git tracks, without those that were removed."""
    return [name for name in git(root, "ls-files") if (root / name).exists()]


def copy(root: Path, to: Path) -> Path:
    """Copy what a clone of the tree as it is now would have."""
    for name in tracked(root):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, to / name)
    return to


def project(root: Path) -> dict[str, Any]:
    """Return the table `project` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return table


def version(root: Path) -> str:
    """Return the version that the source has, without importing it."""
    for node in ast.parse((root / "predlog" / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return str(ast.literal_eval(node.value))
    raise LookupError("predlog/__init__.py has no __version__")
