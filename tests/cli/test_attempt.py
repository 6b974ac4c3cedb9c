"""A run that was begun again in its folder: each command shows the latest, and says what it leaves out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pyarrow import parquet

import predlog
from tests import events
from tests.written import command, undocumented, written

LEFT_OUT = "an earlier run in this folder is left out: attempt 1, steps 0 to 90; --attempt 1 shows it, --attempt all"


def train(folder: Path, steps: int, *, first: int = 0, is_faulty: bool = False) -> None:
    """Record a training whose labels lack the shift if it is faulty, every tenth step from `first` on."""
    with predlog.Recorder(folder, every=10, console=False) as recorder:
        for step in range(first, first + steps):
            ids = torch.randint(3, 50, (2, 33), generator=torch.Generator().manual_seed(step))
            recorder.compare(torch.randn(2, 33, 50), ids, step, inputs=ids, shift=0 if is_faulty else 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a faulty run of 100 steps, and a corrected one of 50."""
    made = tmp_path_factory.mktemp("runs") / "exp"
    train(made, 100, is_faulty=True)
    train(made, 50)
    return str(made)


Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Return what the last command wrote, on both streams."""
    return lambda: "".join(capsys.readouterr())


def test_a_corrected_run_is_clean(folder: str, said: Said) -> None:
    """The faulty run's findings are no open findings of the one that was begun again; asked for, they are."""
    assert command("check", folder) == 0
    found = said().splitlines()
    assert f"{LEFT_OUT} everything" in found
    assert found[-1] == f"{folder}: no open findings in what was checked (10 comparisons)"
    assert command("check", "--attempt", "1", folder) == 1
    assert "finding labels-are-inputs is open, error, since step 0" in (found_1 := said())
    assert "left out" not in found_1
    assert command("check", "--attempt", "2", "--ended", folder) == 0
    assert "left out" not in said()
    assert command("check", "--attempt", "all", folder) == 0
    assert "(30 comparisons)" in said()
    assert command("check", "--json", folder) == 0
    found = json.loads(said())
    assert found["left_out"] == [{"folder": folder, "attempts": [1], "first_step": 0, "last_step": 90}]
    assert not undocumented(found["left_out"])


def test_a_summary_is_that_of_the_latest_run(folder: str, said: Said) -> None:
    """Its steps, curves and attempts are those of the corrected run."""
    assert command("summary", folder) == 0
    found = said()
    assert found.startswith(LEFT_OUT)
    assert "stream text: 5 steps, 0 to 40, 10 records" in found
    assert "no findings" in found
    assert "attempt 1: " not in found
    for attempt, steps in (("1", "10 steps, 0 to 90, 20 records"), ("all", "15 steps, 0 to 90, 30 records")):
        assert command("summary", folder, "--attempt", attempt) == 0
        assert steps in (found := said())
        assert "left out" not in found
        assert "attempt 1: " in found
        assert ("all 2 attempts are summarized as one" in found) == (attempt == "all")


def test_tail_shows_all_attempts_or_one(folder: str, said: Said) -> None:
    """A log is shown as it was written; of one attempt there are these records alone."""
    for more, numbers in ((), {1, 2}), (("--attempt", "all"), {1, 2}), (("--attempt", "1"), {1}):
        assert command("tail", "--json", "-n", "all", *more, folder) == 0
        assert {json.loads(line)["attempt"] for line in said().splitlines()} == numbers
    assert command("tail", "--json", "--attempt", "1", folder) == 0
    assert [json.loads(line).get("step") for line in said().splitlines()][-3:] == [90, 90, None]
    assert command("tail", "--attempt", "3", folder) == 1
    assert f"nothing in {folder} matches: there is stream text, steps 0 to 90, attempts 1 and 2" in said()


def test_an_export_is_of_the_latest_run(folder: str, tmp_path: Path, said: Said) -> None:
    """The rows are those of one run, and stderr says which is left out."""
    file = tmp_path / "exp.parquet"
    for more, numbers in ((), {2}), (("--attempt", "1"), {1}), (("--attempt", "all"), {1, 2}):
        assert command("export", folder, "-o", str(file), *more) == 0
        assert (LEFT_OUT in said()) == (not more)
        assert {*parquet.read_table(file)["attempt"].to_pylist()} == numbers


def test_a_report_is_of_the_latest_run(folder: str, tmp_path: Path, said: Said) -> None:
    """The page has the comparisons of one run, and says under its title which is left out; so does stderr."""
    file = tmp_path / "exp.html"
    for more, count in ((), 10), (("--attempt", "1"), 20), (("--attempt", "all"), 30):
        assert command("report", folder, "-o", str(file), *more) == 0
        found = said()
        assert f"{count} comparisons" in found
        assert (
            (LEFT_OUT in found)
            == (f"{LEFT_OUT[0].upper()}{LEFT_OUT[1:]} everything." in file.read_text())
            == (not more)
        )


def test_a_page_of_what_was_refused_everything(tmp_path: Path, said: Said) -> None:
    """There is nothing to draw, and the error says which run there was before."""
    folder = written(tmp_path, events.run(), events.comparison(), events.run(attempt=2), events.finding(attempt=2))
    assert command("report", folder, "-o", str(tmp_path / "x.html")) == 2
    assert "a page needs at least one; an earlier run in this folder is left out: attempt 1, step 120;" in said()


def test_two_attempts_are_compared(folder: str, said: Said) -> None:
    """`--attempt` is of both, or one of each; more are an error."""
    assert command("diff", folder, folder) == 0
    assert f"in A, {LEFT_OUT}" in said()
    assert command("diff", folder, folder, "--attempt", "1") == 0
    assert f"A is {folder}, attempt 1: 20 comparisons\n" in said()
    assert command("diff", "--attempt", "1", "--attempt", "2", folder, folder) == 1
    found = said()
    assert f"A is {folder}, attempt 1: 20 comparisons\n" in found
    assert f"B is {folder}, attempt 2: 10 comparisons\n" in found
    assert "only A has 5 steps, 50 to 90, of text" in found
    assert command("diff", "--attempt", "all", folder, folder) == 0
    assert command("diff", *["--attempt", "1"] * 3, folder, folder) == 2
    assert "--attempt was given 3 times for 2 runs" in said()
    command("diff", "--json", folder, folder)
    assert [one["attempts"] for one in json.loads(said())["a"]["left_out"]] == [[1]]


@pytest.mark.parametrize("line", ["summary", "check", "export -o x.csv", "report -o x.html", "diff ."])
def test_an_attempt_that_is_not_there(folder: str, line: str, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names those that are there, in one line, and nothing is written."""
    monkeypatch.chdir(folder)
    assert command(*line.split(), ".", "--attempt", "3") == 2
    assert said() == "predlog: . has no attempt 3: it has attempts 1 and 2\n"
    assert {file.name for file in Path(folder).iterdir()} == {"predictions.jsonl"}


@pytest.mark.parametrize("text", ["0", "-1", "last", "1.0"])
def test_what_is_no_attempt(text: str, said: Said) -> None:
    """It is an error that says what is one."""
    with pytest.raises(SystemExit):
        command("summary", f"--attempt={text}", ".")
    assert f"argument --attempt: '{text}' must be a number, 1 or more, or `all`" in said()


def test_a_resume_continues(tmp_path: Path, said: Said) -> None:
    """What begins after the run's first step is the same run: nothing is left out, and its fault is still known."""
    train(tmp_path, 100)
    train(tmp_path, 100, first=50)
    assert command("summary", str(tmp_path)) == 0
    found = said()
    assert "left out" not in found
    assert "stream text: 15 steps, 0 to 140, 30 records" in found
    assert "attempt 1: " in found
    assert "10 more done again by a later attempt" in found
