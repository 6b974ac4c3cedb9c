"""What README.md says holds: how long it is, what it counts, what it shows, and the commands that it lists."""

import re
from pathlib import Path

import pytest

import predlog
from predlog.cli import parser
from predlog.findings import CODES
from tests import ROOT
from tests.written import command

TEXT = (ROOT / "README.md").read_text()


def block(name: str) -> list[str]:
    (found,) = re.findall(rf"<!-- command: {name} -->\n```bash\n(.*?)```", TEXT, re.DOTALL)
    return str(found).splitlines()


def test_it_is_short() -> None:
    """It has at most 110 lines, and one picture of the console and one of the page."""
    assert len(TEXT.splitlines()) <= 110
    assert re.findall(r"^!\[.+\]\((.*?)\)$", TEXT, re.MULTILINE) == ["docs/images/console.png", "docs/images/page.png"]


def test_what_it_counts() -> None:
    """It has the number of findings."""
    assert re.findall(r"(\d+) \[findings\]", TEXT) == [str(len(CODES))]


def test_its_commands_are_understood() -> None:
    """predlog takes the arguments of each command that it shows, and they look where the demo records."""
    shown = [line.partition("predlog ")[2].split() for line in block("next") + block("demo") if "predlog " in line]
    assert len(shown) == 4
    (default,) = {parser.parsed(one).directory for one in shown if one[0] == "demo"}
    looked_at = [vars(parser.parsed(one)) for one in shown if one[0] != "demo"]
    assert all(one.get("paths", [one.get("path")]) == [default] for one in looked_at)


def test_the_mistake_is_found_as_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last command of the demo finds at its first step what the README quotes."""
    monkeypatch.chdir(tmp_path)
    (quoted,) = re.findall(r"```text\n(✗ .*?)```", TEXT, re.DOTALL)
    *_, last = block("next")
    assert command(*last.split()[1:], "--steps", "11") == 0
    found = next(one for one in predlog.read("runs/demo") if isinstance(one, predlog.Finding))
    said = f"✗ predlog {found.code}, step {found.step}: {found.message}"
    assert " ".join(quoted.split()) == f"{said} More: predlog explain {found.code}"
