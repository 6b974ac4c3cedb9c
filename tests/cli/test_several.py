"""Commands that take several runs: a block each, the worst status, JSON in lines; and `diff` as a table."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from predlog.reading.diff import Difference
from predlog.reading.reader import Reading
from predlog.reading.run_table import compared, first_difference
from tests import events
from tests.faults.hostile import harmful
from tests.written import command, undocumented, written


def steps(*numbers: int, better: float = 1.0, **fields: Any) -> list[dict[str, Any]]:
    return [
        events.comparison(step=step, loss=8 / (better + step), recorder="r", matched=100 + step, **fields)
        for step in numbers
    ]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder with a run, the same once more, one that differs from step 12 on, and one that is shorter."""
    start, found = events.run(recorder="r"), events.finding(code="collapsed", recorder="r")
    made = {
        "a": steps(*range(40)),
        "same": steps(*range(40)),
        "other": [*steps(*range(12)), *steps(*range(12, 40), better=2.0), found],
        "short": steps(*range(25)),
    }
    for name, lines in made.items():
        written(tmp_path / name, start, *lines)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(captured: pytest.CaptureFixture[str]) -> list[str]:
    return captured.readouterr().out.splitlines()


@pytest.mark.parametrize("name", ["summary", "check"])
def test_a_block_per_run(
    runs: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of several runs, each has the lines that it has alone: with its path before each, or below it on a terminal."""
    alone = {}
    for run in ("a", "other"):
        command(name, run)
        alone[run] = [line.removeprefix(f"{run}: ") for line in lines(capsys)]
    command(name, "a", "other")
    assert lines(capsys) == [f"{run}: {line}" for run, its in alone.items() for line in its]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    drawn = []
    for run in ("a", "other"):
        command(name, run)
        drawn += [f"\x1b[1;7m{run}\x1b[0m", *lines(capsys), ""]
    monkeypatch.setenv("TERM", "xterm-256color")
    command(name, "a", "other")
    plain = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in lines(capsys)]
    assert plain == [re.sub("\x1b\\[[0-9;]*m", "", line) for line in drawn]


def test_the_worst_status(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 if nothing is wrong with any, 1 if something is with one, 2 if one can't be read; the others are shown."""
    (runs / "broken").mkdir()
    for asked, status, shown in (
        (["a", "same"], 0, ["a", "same"]),
        (["a", "other", "same"], 1, ["a", "other", "same"]),
        (["other", "nothere", "a"], 2, ["other", "a"]),
        (["broken", "a"], 2, ["a"]),
    ):
        assert command("check", *asked) == status
        said = capsys.readouterr()
        assert list(dict.fromkeys(line.partition(":")[0] for line in said.out.splitlines())) == shown
        unread = [run for run in asked if run not in shown]
        assert [line.split()[1] for line in said.err.splitlines()] == unread
        assert command("summary", *asked) == (2 if unread else 0)
        capsys.readouterr()


@pytest.mark.parametrize("name", ["summary", "check"])
def test_json_in_lines(runs: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One object per path, each in a line and as it is alone; one that can't be read has its error."""
    alone = []
    for run in ("a", "other"):
        command(name, "--json", run)
        alone.append(capsys.readouterr().out)
    assert command(name, "--json", "a", "nothere", "other") == 2
    first, second, third = capsys.readouterr().out.splitlines(keepends=True)
    assert [first, third] == alone
    failed = json.loads(second)
    assert (failed["path"], failed["error"]) == ("nothere", "nothere does not exist")
    assert failed.get("status") == (2 if name == "check" else None)
    assert not undocumented(failed)


def test_standard_input_once(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard input may be one of several runs, and only one."""
    for name in ("summary", "check", "diff"):
        assert command(name, "-", "a", "-") == 2
        assert "standard input" in capsys.readouterr().err
    for asked in (["summary", "a", "-"], ["check", "-", "a"], ["diff", "-", "a", "same"], ["diff", "a", "-", "short"]):
        with (runs / "a" / "predictions.jsonl").open("rb") as piped:
            done = subprocess.run(
                [sys.executable, "-m", "predlog", *asked], stdin=piped, capture_output=True, check=False, text=True
            )
        assert done.stderr == ""
        assert "-: " in done.stdout


def test_a_table_of_runs(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A row per run, with the step at which it first differs from the first one, and the open findings."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert command("diff", "a", "same", "other", "short") == 1
    drawn = [re.sub("\x1b\\[[0-9;]*m", "", line).rstrip() for line in lines(capsys)]
    assert drawn == [
        "text",
        "       steps   loss   best  accuracy   best  first difference",
        "a         40  0.227  0.227     35.8%  35.8%",
        "same      40  0.227  0.227     35.8%  35.8%  same",
        "other     40  0.221  0.221     35.8%  35.8%  step 12: losses",
        "short     25  0.398  0.398     32.0%  32.0%  same; steps: 15 fewer",
        "",
        "open findings",
        "other: ✗ collapsed since step 120, text",
    ]


def test_a_table_in_a_pipe(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is complete and begins with the run; the status is that of two runs."""
    assert command("diff", "a", "same", "a") == 0
    assert [line.partition(", beside a: ")[2] for line in lines(capsys)] == ["", "same", "same"]
    assert command("diff", "a", "other", "short") == 1
    found = lines(capsys)
    assert found[1].startswith("other: stream text: 40 steps, loss 0.221 (best 0.221), accuracy 35.8% (best 35.8%)")
    assert found[1].endswith(", beside a: step 12: losses")
    assert found[-1] == "other: finding collapsed since step 120, text, is open"
    assert command("diff", "a", "same", "nothere") == 2
    assert events.said(capsys) == "predlog: nothere does not exist\n"
    (runs / "begun").mkdir()
    written(runs / "begun", events.run())
    assert command("diff", "a", "same", "begun") == 2
    assert events.said(capsys) == "predlog: begun holds no comparisons\n"


def test_the_table_as_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object with the runs in their order; each key is documented."""
    assert command("diff", "--json", "a", "same", "other", "short") == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["path"] for one in found["runs"]] == ["a", "same", "other", "short"]
    assert [one["same"] for one in found["runs"]] == [None, True, False, False]
    assert found["same"] is False
    other = found["runs"][2]
    assert other["first"]["losses"]["step"] == other["streams"][0]["first"]["losses"]["step"] == 12
    assert [one["code"] for one in other["findings"]] == ["collapsed"]
    assert found["runs"][0]["streams"][0]["loss"]["last"] == pytest.approx(0.227, abs=1e-3)
    assert not undocumented(found)


def test_streams_and_codebooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each stream and codebook has its table, with the runs that have it; on narrow terminals in lines."""
    monkeypatch.chdir(tmp_path)
    for name, books in (("a", 2), ("b", 2), ("c", 1)):
        audio = [
            one for step in range(3) for book in range(books) for one in steps(step, stream="audio", codebook=book)
        ]
        written(tmp_path / name, events.run(recorder="r"), *steps(0, 1), *audio)
    assert command("diff", "a", "b", "c") == 1
    about = [line.split(":")[0:2] for line in lines(capsys)]
    assert about == [
        [run, f" stream {lane}"]
        for lane, those in (("text", "abc"), ("audio codebook 0", "abc"), ("audio codebook 1", "ab"))
        for run in those
    ]
    monkeypatch.setenv("FORCE_COLOR", "1")
    for width in (80, 60, 40, 20, 5):
        monkeypatch.setenv("COLUMNS", str(width))
        assert command("diff", "a", "b", "c") == 1
        drawn = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in lines(capsys)]
        assert all(cell_len(line) <= max(width, 12) for line in drawn)


def test_hostile_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No name of a run, a stream or a code steers the terminal."""
    hostile = "a\x1b[31m\u202eb\u200b"
    for name in ("1", "2", "3"):
        found = events.finding(code=hostile, stream=hostile)
        written(tmp_path / f"{hostile}{name}", events.run(), *steps(0, int(name), stream=hostile), found)
    asked = [str(tmp_path / f"{hostile}{name}") for name in "123"]
    for variables in ({}, {"FORCE_COLOR": "1", "COLUMNS": "80"}, {"FORCE_COLOR": "1", "COLUMNS": "30"}):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        for name in ("summary", "check", "diff"):
            assert command(name, *asked) in {0, 1}
            said = capsys.readouterr()
            assert not harmful(re.sub("\x1b\\[[0-9;]*m", "", said.out + said.err).replace("\n", ""))


@given(lengths=st.lists(st.integers(1, 12), min_size=3, max_size=4), seed=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_a_row_is_the_difference_of_two(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int
) -> None:
    """Whatever the runs, each row of the table is what `diff` of the first run and that one finds."""
    top = tmp_path_factory.mktemp("rows")
    for number, length in enumerate(lengths):
        made = [one for step in range(length) for one in steps(step, better=1.0 + (step * number > seed))]
        written(top / str(number), events.run(recorder="r"), *made)

    def reading(number: int) -> Reading:
        return Reading(top / str(number), warns=False)

    first, *others = compared([reading(number) for number in range(len(lengths))])
    assert first.difference is None
    for number, one in enumerate(others, 1):
        whole = Difference(reading(0), reading(number))
        row = whole.rows["text", None]
        assert one.difference is not None
        assert one.difference.differs == whole.differs
        assert first_difference(one.difference.rows["text", None]) == first_difference(row)
        curve = one.summary.curves["text", None]
        assert (curve.steps, curve.last_step) == (lengths[number], lengths[number] - 1)
        assert not math.isnan(curve.loss.last.value if curve.loss else 0.0)


def test_nobody_reads_on(runs: Path) -> None:
    """A reader that leaves ends each of them, whatever is left to show, without a word."""
    for asked in (["summary", "a", "same"], ["check", "a", "other"], ["diff", "a", "same", "other"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "predlog", *asked], stdout=writer, stderr=subprocess.PIPE, check=False
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, b"")
