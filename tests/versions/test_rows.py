"""The matrix covers what pyproject.toml promises, and what it cannot run it says."""

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests import ROOT
from tests.release import tree
from tests.versions import environments
from tests.versions.__main__ import Outcome, run, table
from tests.versions.environments import SMALL, NotHereError, NotMadeError, lower_bounds, python_for
from tests.versions.rows import ROWS, SUITES, Row, quick

PROJECT = tree.project(ROOT)


def test_the_first_row_is_the_oldest_that_is_allowed() -> None:
    """It has the lowest Python and torch that pyproject.toml allows, and every other lower bound in it."""
    oldest = ROWS[0]
    assert oldest.lowest
    assert SpecifierSet(f">={oldest.python}") == SpecifierSet(PROJECT["requires-python"])
    bounds = lower_bounds(oldest.extras)
    assert Version(oldest.torch).release[:2] == Version(bounds["torch"]).release
    named = {Requirement(one).name for one in PROJECT["dependencies"]}
    assert named == {one for one in bounds if one in named}
    pinned = {one.name: one.specifier for one in map(Requirement, oldest.pins)}
    every = {name: version for row in ROWS if row.lowest for name, version in lower_bounds(row.extras).items()}
    for name, version in lower_bounds(("frameworks",)).items():
        assert every.get(name) == version or pinned[name] == SpecifierSet(f"=={version}"), name


def test_nothing_is_capped() -> None:
    """No requirement has an upper bound, or excludes a version."""
    groups = PROJECT["optional-dependencies"]
    asked = [Requirement(one) for one in [*PROJECT["dependencies"], *(one for some in groups.values() for one in some)]]
    assert {bound.operator for one in asked for bound in one.specifier} == {">="}
    assert {bound.operator for bound in SpecifierSet(PROJECT["requires-python"])} == {">="}


@pytest.mark.parametrize(
    ("version", "is_accepted"),
    [
        ("2.3.1", False),
        ("2.4.0a0+07cecf4168.nv24.5", False),
        ("2.4.0", True),
        ("2.4.1+cu121", True),
        ("2.5.0a0+abc", True),
        ("2.8.0a0+34c6371d24.nv25.8", True),
        ("2.13.0a0+abc", True),
        ("2.15.0", True),
    ],
)
def test_which_torch_is_accepted(version: str, is_accepted: bool) -> None:
    """pip takes a vendor's pre-release that is installed for what it is: older than its release, newer than others."""
    (torch,) = (one for one in map(Requirement, PROJECT["dependencies"]) if one.name == "torch")
    assert torch.specifier.contains(version, prereleases=True) == is_accepted


def test_small_dependencies() -> None:
    """What pip may add beside torch are predlog's own requirements, and what those need."""
    assert {Requirement(one).name for one in PROJECT["dependencies"]} - {"torch"} <= SMALL
    assert not {"torch", "numpy"} & SMALL


def test_rows_have_names_and_suites() -> None:
    """Each row has its own name, a suite, and tests that exist."""
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.suite for row in ROWS} <= {*SUITES}
    assert {row.suite for row in (ROWS[0], *(row for row in ROWS if not row.torch and row.python == "3.11"))} == {
        "core"
    }
    for path in {path.partition("::")[0] for suite in SUITES.values() for path in suite}:
        assert (ROOT / path).exists(), path


def test_what_is_not_run_is_said() -> None:
    """A Python that is not here makes a line that says so, and no claim."""
    row = Row("far", "3.99", "2.4.1", "torch")
    with pytest.raises(NotHereError, match=r"no Python 3\.99"):
        python_for(row)
    assert "not run: no Python 3.99" in table([Outcome(row, {}, why="no Python 3.99")])


@pytest.mark.slow
@pytest.mark.parametrize(("what", "fails"), [("--editable", True), ("torch==2.4.1", False)])
def test_what_can_not_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, fails: bool) -> None:
    """A torch that can't be had leaves a row out; a row whose torch is there but not predlog's requirements fails."""

    def uv(*arguments: str | Path) -> None:
        if what in arguments:
            raise NotMadeError("no solution")

    monkeypatch.setattr(environments, "_uv", uv)
    monkeypatch.setattr(environments, "would_change", lambda _: set())
    made = run(Row("torn", f"{sys.version_info[0]}.{sys.version_info[1]}", "2.4.1", "torch"), tmp_path)
    assert (made.failed, made.was_made, made.is_well) == (int(fails), fails, not fails)
    assert ("not made: " if fails else "not run: ") in table([made])


def test_the_quick_rows_have_a_trainer() -> None:
    """Whichever row is the oldest that a machine can make, the framework that its Trainer's test needs is installed."""
    rows = [*quick()]
    assert rows[0].name == ROWS[0].name
    assert all("transformers" in lower_bounds(row.extras) for row in rows)
    assert {row.suite for row in rows} == {"one trainer"}


def test_an_unknown_row_is_refused(tmp_path: Path) -> None:
    """The command lists the rows that there are."""
    command = [sys.executable, "-m", "tests.versions", "--folder", str(tmp_path), "2.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no row 2.5; there are: oldest, " in done.stderr
