"""versions.md says which private names of torch's are there, and it is so for the torch that is installed."""

import pkgutil
import re

import pytest
import torch
import torch._dynamo.utils
from packaging.version import Version

from predlog._runtime.torch_state import PRIVATE_NAMES
from tests import ROOT
from tests.installed import release


def documented() -> dict[str, dict[str, str]]:
    """Return the table of protections: by private name, and then by version of torch."""
    text = (ROOT / "docs" / "explanations" / "versions.md").read_text().partition("## Protections")[2]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    versions = lines[0][2:]
    return {
        name: dict(zip(versions, line[2:], strict=True))
        for line in lines[2:]
        for name in re.findall(r"`([^`]+)`", line[0])
    }


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own use of it
def test_the_table_is_true_here() -> None:
    """Each private name has a line, and the newest column that is no newer than the installed torch is true of it."""
    table = documented()
    assert {*table} == {name.removeprefix("torch.") for name in PRIVATE_NAMES}
    for name, by_version in table.items():
        column = max((one for one in by_version if minor(one) <= release("torch")[:2]), key=minor)
        assert by_version[column] == ("yes" if is_there(f"torch.{name}") else "no"), (name, column)


def minor(version: str) -> tuple[int, ...]:
    return Version(version).release[:2]


def is_there(name: str) -> bool:
    if name.endswith("._orig_mod"):  # of each compiled module, not of their class
        return hasattr(torch.compile(torch.nn.Linear(1, 1)), "_orig_mod")
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        return False
    return True
