"""The check before a release fails for each thing that is missing, and for nothing else."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import predlog
from predlog.errors import READING, RECORDING
from tests import ROOT
from tests.release import distributions, environments, metadata, tree

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="what is released is what git tracks")

VERSION = tree.version(ROOT)
URLS = "".join(f'{name} = "https://host.io/predlog"\n' for name in ("Source", "Issues", "Documentation"))


def change(file: Path, pattern: str, to: str) -> None:
    text, count = re.subn(pattern, to, file.read_text(), flags=re.MULTILINE)
    assert count, f"{file.name} has nothing like {pattern}"
    file.write_text(text)


def commit(root: Path) -> None:
    tree.git(root, "-c", "user.name=A", "-c", "user.email=a@host.io", "commit", "--quiet", "--all", "--message=All")


def unfinished(root: Path) -> None:
    """Take away what people fill in before a release."""
    project = root / "pyproject.toml"
    project.write_text(re.sub(r"^\[project\.urls\]\n(.+\n)*\n", "", project.read_text(), flags=re.MULTILINE))
    change(root / "CHANGELOG.md", rf"^## {VERSION} \(.*\)$", f"## {VERSION} (date to be set)")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of the tree in which all is filled in and committed."""
    root = tree.copy(ROOT, tmp_path / "clone")
    unfinished(root)
    change(root / "pyproject.toml", r"^\[project\.scripts\]$", f"[project.urls]\n{URLS}\n[project.scripts]")
    change(root / "CHANGELOG.md", r"date to be set", "2026-12-31")
    (root / "SECURITY.md").write_text((root / "SECURITY.md").read_text().replace("to be filled in", "below"))
    tree.git(root, "init", "--quiet")
    tree.git(root, "add", "--all")
    commit(root)
    return root


def test_a_tree_that_is_ready(clone: Path) -> None:
    """Where all is filled in, nothing is missing."""
    assert [*metadata.problems(clone)] == []


def test_the_command_names_the_urls_and_the_date(clone: Path) -> None:
    """Until they are filled in, `python -m tests.release` fails, with one line for each."""
    unfinished(clone)
    commit(clone)
    command = [sys.executable, "-m", "tests.release", "--only", "metadata"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "pyproject.toml: [project.urls] has no Source",
        "pyproject.toml: [project.urls] has no Issues",
        "pyproject.toml: [project.urls] has no Documentation",
        f"CHANGELOG.md: the date of {VERSION} is no date: date to be set",
        f"predlog {VERSION}: 4 things are missing",
    ]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: change(root / "pyproject.toml", "^Issues.*\n", ""), "[project.urls] has no Issues"),
        (lambda root: change(root / "pyproject.toml", "https://host.io", "https://example.org"), "is a placeholder"),
        (lambda root: change(root / "pyproject.toml", "https://host.io", "git@host.io"), "is a placeholder"),
        (lambda root: change(root / "SECURITY.md", "below", "to be filled in"), "SECURITY.md: something is to be"),
        (lambda root: change(root / "CHANGELOG.md", r"^## .*\n", ""), "no heading"),
        (lambda root: change(root / "predlog/__init__.py", rf'"{VERSION}"', '"0.2.0.dev1"'), "no version to release"),
        (lambda root: tree.git(root, "tag", f"v{VERSION}"), f"there is a tag v{VERSION}"),
    ],
)
def test_each_thing_that_is_missing_is_named(clone: Path, spoil: Callable[[Path], object], says: str) -> None:
    """Each thing that a release lacks is reported, in one line that names it."""
    spoil(clone)
    if tree.git(clone, "status", "--porcelain"):
        commit(clone)
    assert any(says in problem for problem in metadata.problems(clone))


def test_a_change_that_is_not_committed(clone: Path) -> None:
    """What is released is a commit."""
    change(clone / "README.md", r"\A", "More")
    assert [*metadata.problems(clone)] == ["the tree has changes that are not committed: README.md"]


def test_the_version_has_one_place() -> None:
    """The package, its source and its metadata have one version, which pyproject.toml leaves to the source."""
    assert predlog.__version__ == VERSION == importlib.metadata.version("predlog")
    assert "version" in tree.project(ROOT)["dynamic"]
    assert "version" not in tree.project(ROOT)


def test_what_predlog_depends_on() -> None:
    """What an error tells people to install are the dependencies in pyproject.toml, with the same lowest versions."""
    told = {Requirement(f"{name}>={lowest}") for name, lowest in (READING | RECORDING).items()}
    assert told == {*map(Requirement, tree.project(ROOT)["dependencies"])}


def test_files_that_are_missing_or_too_many_are_named(tmp_path: Path) -> None:
    """A wheel without the types' marker, a page or the report's template is refused; so is one with tests."""
    source, wheel = tmp_path / "predlog.tar.gz", tmp_path / "predlog.whl"
    with tarfile.open(source, "w:gz") as packed:
        packed.add(ROOT / "LICENSE", f"predlog-{VERSION}/LICENSE")
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.writestr("tests/sizes.py", "")
    found = [*distributions.contents(ROOT, source, wheel)]
    assert f"predlog.tar.gz lacks predlog-{VERSION}/tests/constraints.txt" in found
    for file in ("py.typed", "report/assets/report.html.jinja", "findings/pages/collapsed.md"):
        assert f"predlog.whl lacks predlog/{file}" in found
    assert f"predlog.whl lacks predlog-{VERSION}.dist-info/licenses/LICENSE" in found
    assert found[-1] == "predlog.whl holds tests/sizes.py, which does not belong there"


def test_pythons_are_found() -> None:
    """The Python that runs this is found, and others, if it alone is asked for, are not."""
    this = platform.python_version()
    assert [*map(str, environments.interpreters(SpecifierSet(f"=={this}")))] == [this]


@pytest.mark.slow
def test_the_source_distribution_is_whole(clone: Path, tmp_path: Path) -> None:
    """What is missing in a build is named; an unpacked source distribution runs its own tests."""
    change(clone / "pyproject.toml", r"^\"docs/findings\".*$", "")
    environments.run(sys.executable, "-m", "build", "--quiet", "--outdir", tmp_path, clone)
    source, wheel = next(tmp_path.glob("*.tar.gz")), next(tmp_path.glob("*.whl"))
    found = [*distributions.contents(clone, source, wheel)]
    assert f"{wheel.name} lacks predlog/findings/pages/collapsed.md" in found
    assert all("findings/pages" in line for line in found)

    with tarfile.open(source) as packed:
        packed.extractall(tmp_path, filter="data")
    tests = [
        "tests/test_house.py",
        "tests/_runtime/test_failure.py",
        "tests/cli/test_check.py",
        "tests/docs/test_pages.py",
    ]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-q", *tests, "tests/release"], check=True,
        cwd=tmp_path / f"predlog-{VERSION}", env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
