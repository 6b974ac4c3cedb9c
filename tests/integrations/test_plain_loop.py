"""The program of docs/frameworks/plain-loop.md: a loop of one's own, without a framework."""

import runpy
from pathlib import Path

import pytest
import torch

import predlog
from predlog import Comparison, Finding
from tests import ROOT

PROGRAM = ROOT / "docs" / "examples" / "plain_loop.py"


def test_the_page_s_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its due steps are recorded with texts, its loss falls, nothing is found, and the marked lines are predlog's."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    runpy.run_path(str(PROGRAM))
    assert predlog.close()
    records = list(predlog.read("runs/plain"))
    found = [one for one in records if isinstance(one, Comparison)]
    assert {one.step for one in found} == {0, 20, 40, 60, 80}
    assert all(token.label_text is not None and token.input is not None for one in found for token in one.tokens)
    first, last = ([one.loss or 0 for one in found if one.step == step] for step in (0, 80))
    assert max(last) < min(first) - 2
    assert not [one for one in records if isinstance(one, Finding)]
    page = (ROOT / "docs" / "frameworks" / "plain-loop.md").read_text()
    assert f":emphasize-lines: {', '.join(map(str, predlog_lines()))}\n" in page


def predlog_lines() -> list[int]:
    return [at for at, line in enumerate(PROGRAM.read_text().splitlines(), 1) if line.lstrip().startswith("predlog.")]
