"""What the documentation shows, runs."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import structlog

import predlog
from predlog import findings
from tests import events

ROOT = Path(__file__).parent.parent


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    predlog.close()
    structlog.reset_defaults()


@pytest.mark.parametrize("block", blocks("docs/structlog.md"))
def test_structlog_pages_examples(own_folder: Path, block: str) -> None:
    """Each example of docs/structlog.md configures a recorder that records to runs/exp1."""
    exec(block, {})
    predlog.compare(*events.pair(), 0)
    assert predlog.close()
    kinds = [one.event for one in predlog.read("runs/exp1")]
    assert kinds[0] == "predlog.run"
    assert "predlog.comparison" in kinds


def test_records_pages_examples(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reading a run, and checking a line without predlog, work as docs/records.md shows them."""
    with predlog.Recorder("runs/exp1", every=1, console=False) as recorder:
        recorder.compare(*events.pair(), 7)
    reading, checking = blocks("docs/records.md")
    exec(reading, {})
    assert capsys.readouterr().out.splitlines() == ["7 text 1 16", "7 text 0 16"]
    for line in (own_folder / "runs/exp1/predictions.jsonl").read_bytes().splitlines(keepends=True):
        exec(checking, {"line": line})
        with pytest.raises(AssertionError):
            exec(checking, {"line": line.replace(b"predlog", b"predlag", 1)})


def test_the_notebook_example(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The example for notebooks and tests in docs/start.md prints a line a sample."""
    (block,) = (block for block in blocks("docs/start.md") if "result()" in block)
    logits, labels = events.pair()
    exec(block, {"predlog": predlog, "logits": logits, "labels": labels})
    assert sum(line.startswith("16 [") for line in capsys.readouterr().out.splitlines()) == 2


def test_the_readmes_loop(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The loop that README.md and docs/index.md begin with records its due steps."""
    logits, labels = events.pair()

    class Model:
        def __call__(self, _ids: Any) -> Any:
            return type("Output", (), {"logits": logits})

    loader = [{"input_ids": labels.clamp(0), "labels": labels}] * 11
    assert blocks("README.md")[0] == blocks("docs/index.md")[0]
    exec(blocks("README.md")[0], {"model": Model(), "loader": loader, "tokenizer": str})
    assert predlog.close()
    assert {one.step for one in predlog.read("runs/exp1") if isinstance(one, predlog.Comparison)} == {0, 10}


@pytest.mark.parametrize("code", findings.CODES)
def test_each_finding_has_a_page_in_the_list(code: str) -> None:
    """Each code has a page, and a row with its level, its kind and its sentence in the overview."""
    overview = (ROOT / "docs" / "findings" / "index.md").read_text()
    rule = next((rule for rule in findings.RULES if rule.code == code), None)
    level = "error" if rule is None else rule.level
    kind = "refused" if rule is None else "certain" if rule.is_certain else "statistical"
    assert f"| [{code}]({code}.md) | {level} | {kind} | {findings.SENTENCES[code]} |" in overview
    assert f"\n{code}\n" in overview


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "findings").glob("*.md")), ids=lambda page: page.stem)
def test_the_pages_examples_are_python(page: Path) -> None:
    """Each example on the pages about findings can at least be parsed."""
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        ast.parse(block)


@pytest.mark.parametrize("program", sorted((ROOT / "docs" / "examples").glob("*.py")), ids=lambda one: one.stem)
def test_a_frameworks_program_is_short_and_shown(program: Path) -> None:
    """A program has 30 lines at most, stands on one page, and a test with the framework runs it."""
    assert len(program.read_text().splitlines()) <= 30
    pages = [page for page in (ROOT / "docs").glob("*.md") if f"examples/{program.name}" in page.read_text()]
    assert len(pages) == 1
    assert any(program.stem in test.read_text() for test in (ROOT / "tests" / "frameworks").glob("test_*.py"))
