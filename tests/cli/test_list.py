"""`predlog list`: what a row says, how it reads on any terminal and in a pipe, and what it could not read."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from predlog.cli import main
from predlog.records import codec
from tests import ROOT, events
from tests.faults.hostile import harmful
from tests.written import command, undocumented, written

MINUTE, HOUR, DAY = 60, 3600, 86_400


def made(folder: Path, ago: float, *more: dict[str, Any], steps: int = 40) -> None:
    """Write a run whose last record was made some time ago, and whose file was last written to then."""
    at = (datetime.now(timezone.utc) - timedelta(seconds=ago)).isoformat().replace("+00:00", "Z")
    compared = [events.comparison(step=10 * step, loss=8 / (1 + step), recorder="r") for step in range(steps)]
    lines = [{**event, "timestamp": at, "recorder": "r"} for event in (events.run(), *compared, *more)]
    written(folder, *lines)
    for file in folder.iterdir():
        os.utime(file, (time.time() - ago, time.time() - ago))


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with a run that is running, two that have ended, and one that was stopped."""
    top = tmp_path_factory.mktemp("list")
    end = events.run(stats={"submitted": 40})
    made(top / "runs" / "done", 3 * DAY + 5, end)
    made(top / "runs" / "sweep" / "lr-1e-3", 2 * HOUR + 5, events.finding(), events.finding(code="same-batch"))
    made(top / "runs" / "sweep" / "lr-3e-4", 12)
    made(top / "runs" / "warned", 5 * MINUTE + 5, events.finding(level="warning", code="collapsed"), end)
    with (top / "runs" / "sweep" / "lr-3e-4" / "predictions.jsonl").open("ab"):  # so this process may write to it
        yield top


def shown(top: Path, *arguments: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    done = subprocess.run(
        [sys.executable, "-m", "predlog", "list", *arguments], cwd=top, capture_output=True, check=True,
        encoding="utf-8",
        env={**environment, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "TERM": "xterm-256color"} | variables,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


TABLE = """\
in runs           step   loss  accuracy  state      age  open findings
sweep/lr-3e-4      390  0.227     41.2%  running   # s  none
warned             390  0.227     41.2%  ended    5 min  ! collapsed
sweep/lr-1e-3      390  0.227     41.2%  stopped    2 h  ✗ labels-are-inputs +1
done               390  0.227     41.2%  ended      3 d  none
"""


def test_a_row_per_run(top: Path) -> None:
    """On a terminal: the newest first; step, loss, accuracy, state, age, and the worst of the open findings."""
    lines = re.sub("\x1b\\[[0-9;]*m", "", shown(top, FORCE_COLOR="1", COLUMNS="80")).splitlines()
    lines[1] = re.sub(r"\d+ (s|min)", "# s", lines[1])
    assert [re.sub(" +", " ", line).strip() for line in lines] == [
        re.sub(" +", " ", line).strip() for line in TABLE.splitlines()
    ]
    assert all(cell_len(line) <= 80 for line in lines)


@pytest.mark.parametrize("width", [200, 80, 60, 40, 20, 5])
def test_any_width(top: Path, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No line is wider than the terminal, and every run's state is there while there is any room for it."""
    monkeypatch.chdir(top)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert command("list") == 0
    lines = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert all(cell_len(line) <= max(width, 10) for line in lines)
    if width >= 20:
        assert [word for line in lines for word in line.split() if word in {"running", "ended", "stopped"}] == [
            "running", "ended", "stopped", "ended",
        ]  # fmt: skip


def test_colours(top: Path) -> None:
    """A running run is green, a stopped one yellow, an error red; NO_COLOR and a pipe have none of it."""
    coloured = shown(top, FORCE_COLOR="1", COLUMNS="100")
    assert re.search("\x1b\\[32m  running", coloured)
    assert re.search("\x1b\\[33m  stopped", coloured)
    assert re.search("\x1b\\[1;31m✗ labels-are-inputs", coloured)
    assert not re.search("\x1b\\[[0-9;]*3[0-9]m", shown(top, FORCE_COLOR="1", NO_COLOR="1"))
    assert "\x1b" not in shown(top)


@pytest.mark.parametrize(
    ("stats", "state", "told"),
    [
        ({}, "ended", "ended"),
        ({"error": "KeyboardInterrupt"}, "interrupted", "interrupted"),
        ({"error": "OutOfMemoryError"}, "failed", "failed by OutOfMemoryError"),
        ({"error": "\x1b[2J"}, "failed", "failed by \\x1b[2J"),
        ({"error": 3}, "ended", "ended"),
        (None, "stopped", "stopped"),
    ],
)
def test_how_a_run_ended(
    tmp_path: Path, stats: dict[str, Any] | None, state: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last line tells which exception ended it, if one did; without the line it was killed."""
    made(tmp_path / "run", HOUR, *([] if stats is None else [events.run(stats=stats)]))
    assert command("list", str(tmp_path)) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/run: {told}, step 390")
    assert command("list", "--json", str(tmp_path)) == 0
    (run,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert run["state"] == state
    assert run["error"] == (stats["error"] if stats and isinstance(stats.get("error"), str) else None)


def test_in_a_pipe_each_line_is_complete(top: Path) -> None:
    """A line begins with the path, and has every figure with its name."""
    first, second, third, fourth = shown(top).splitlines()
    assert re.fullmatch(
        r"runs/sweep/lr-3e-4: running, step 390 of text, loss 0\.227, accuracy 41\.2%, latest record"
        r" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\d+ (s|min) ago\), 0 open findings",
        first,
    )
    assert second.endswith("(5 min ago), 1 open finding: collapsed")
    assert third.endswith("(2 h ago), 2 open findings: labels-are-inputs, same-batch")
    assert fourth.startswith("runs/done: ended, step 390")


def test_json(top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One object per run in a line of its own, so that `jq` needs no loop; each key is documented."""
    monkeypatch.chdir(top)
    assert command("list", "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["path"], one["state"]) for one in found] == [
        ("runs/sweep/lr-3e-4", "running"), ("runs/warned", "ended"), ("runs/sweep/lr-1e-3", "stopped"),
        ("runs/done", "ended"),
    ]  # fmt: skip
    assert [finding["code"] for finding in found[2]["findings"]] == ["labels-are-inputs", "same-batch"]
    assert found[0]["loss"] == pytest.approx(sum(8 / (1 + step) for step in range(30, 40)) / 10)
    assert not undocumented(found)


def test_where_it_looks(top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an argument it looks into runs/, or, where there is none, into the current folder; a run is its own."""

    def names(*folders: str) -> list[str]:
        assert command("list", *folders) == 0
        return [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]

    monkeypatch.chdir(top)
    assert len(names()) == 4
    assert names("runs/sweep") == ["runs/sweep/lr-3e-4", "runs/sweep/lr-1e-3"]
    assert names("runs/done") == ["runs/done"]
    assert names("runs/done", "runs/sweep", "runs/done/") == ["runs/sweep/lr-3e-4", "runs/sweep/lr-1e-3", "runs/done"]
    monkeypatch.chdir(top / "runs" / "sweep")
    assert names() == ["lr-3e-4", "lr-1e-3"]
    monkeypatch.chdir(top / "runs" / "done")
    assert names() == ["."]


def test_what_was_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs that can't be read are named on stderr, with the reason, and are status 1; the others are listed."""
    made(tmp_path / "good", 0)
    for name in "abcde":
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.jsonl").write_text("no record\n")
    (tmp_path / "x.txt").touch()
    assert command("list", str(tmp_path)) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"{tmp_path}/good: running, ")
    assert said.out.count("\n") == 1
    (line,) = said.err.splitlines()
    assert re.fullmatch(
        r"predlog: not read: (\S+/[a-e], ){2}\S+/[a-e] and 2 runs more: none of its lines is a record", line
    )
    assert command("list", "--json", str(tmp_path)) == 1
    problems = [json.loads(line)["problem"] for line in capsys.readouterr().out.splitlines()]
    assert sorted(map(str, problems)) == ["None", *["none of its lines is a record"] * 5]
    assert command("list", str(tmp_path / "good"), str(tmp_path / "x.txt"), str(tmp_path / "y")) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"{tmp_path}/good: ")
    assert said.err == f"predlog: {tmp_path}/x.txt is no folder\npredlog: {tmp_path}/y does not exist\n"


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without runs, and a path that is no folder, are one line on stderr, and status 2."""
    for path, said in ((tmp_path, "holds no run"), (tmp_path / "x", "does not exist")):
        assert command("list", str(path)) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.count("\n") == 1
        assert f"{path} {said}" in shown.err


def test_a_long_file_may_have_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the middle of a file was not read, its findings are marked, and no row is complete."""
    made(tmp_path / "long", 0)
    with (tmp_path / "long" / "predictions.jsonl").open("ab") as file:
        file.write(codec.to_line(events.comparison(step=9, recorder="r")) * 2000)
    assert command("list", str(tmp_path)) == 0
    assert "only the beginning and the end were read" in capsys.readouterr().out
    assert command("list", "--json", str(tmp_path)) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is False
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert command("list", str(tmp_path)) == 0
    drawn = capsys.readouterr().out
    assert "none +?" in drawn
    assert "predlog check" in drawn


def test_hostile_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the name of a folder nor anything in a file steers the terminal."""
    hostile = "a\x1b[31m\u202eb\u200b"
    made(tmp_path / hostile, 0, events.finding(code=f"x{hostile}", stream=hostile))
    (tmp_path / f"{hostile}2").mkdir()
    (tmp_path / f"{hostile}2" / "predictions.jsonl").write_text("no record\n")
    for variables in ({}, {"FORCE_COLOR": "1", "COLUMNS": "100"}, {"FORCE_COLOR": "1", "COLUMNS": "30"}):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert command("list", str(tmp_path)) == 1
        said = capsys.readouterr()
        assert not harmful(re.sub("\x1b\\[[0-9;]*m", "", said.out).replace("\n", ""))
        assert not harmful(said.err.replace("\n", ""))


def test_nobody_reads_on(tmp_path: Path) -> None:
    """`predlog list | head` ends without a word, and an interrupt as it does for every command."""
    made(tmp_path / "runs", 0)
    reader, writer = os.pipe()
    os.close(reader)
    call = [sys.executable, "-m", "predlog", "list", str(tmp_path)]
    done = subprocess.run(call, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (main.BROKEN_PIPE, b"")
    code = (
        "import os, signal, sys; from predlog.reading import listing;"
        "listing.ends = lambda *_: os.kill(os.getpid(), signal.SIGINT);"
        "from predlog.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, "list", str(tmp_path)], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (main.INTERRUPTED, b"", b"")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_the_kernel_sees_only_heads_and_tails(tmp_path: Path) -> None:
    """Of a file of 300 MB, `strace` counts less than two megabytes that the command has read."""
    folder = tmp_path / "long"
    made(folder, 0)
    with (folder / "predictions.jsonl").open("ab") as file:
        lines = b"".join(codec.to_line(events.comparison(step=step, recorder="r")) for step in range(1000))
        for _ in range(300_000_000 // len(lines)):
            file.write(lines)
    trace = tmp_path / "trace"
    call = ["strace", "-f", "-y", "-e", "trace=read,pread64,readv,mmap", "-o", str(trace)]
    try:
        done = subprocess.run(
            [*call, sys.executable, "-m", "predlog", "list", str(tmp_path)], capture_output=True, check=True
        )
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    assert b"step 999 of text" in done.stdout
    of_file = [line for line in trace.read_text().splitlines() if "predictions.jsonl" in line]
    assert of_file
    assert not [line for line in of_file if "mmap" in line]
    assert sum(int(line.rpartition("= ")[2]) for line in of_file) < 2_000_000


@pytest.mark.slow
def test_many_runs(tmp_path: Path) -> None:
    """Of 500 runs each costs a few reads: no file is read twice, and what is read grows with their number alone."""
    for number in range(500):
        made(tmp_path / f"run{number}", number)

    def read(folders: list[str]) -> int:
        code = (
            "import sys; from predlog.cli.main import main; main(['list', *sys.argv[1:]]);"
            "print(open('/proc/self/io').read().split()[1], file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, check=True, text=True)
        assert done.stdout.count("\n") == (500 if len(folders) > 1 or folders == [str(tmp_path)] else 1)
        return int(done.stderr)

    size = sum(file.stat().st_size for file in tmp_path.rglob("*.jsonl"))
    assert read([str(tmp_path)]) - read([str(tmp_path / "run0")]) < 1.1 * size
