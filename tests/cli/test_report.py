"""`predlog report`: of several runs, into the browser, and over what file."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

pytest.importorskip("bokeh")
pytest.importorskip("jinja2")
pytest.importorskip("pyarrow")

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from predlog.cli import main
from predlog.reading import paths
from predlog.records.codec import to_line
from tests import ROOT, events

PREDLOG = [sys.executable, "-m", "predlog"]


def written(folder: Path, *told: dict[str, object]) -> Path:
    folder.mkdir(parents=True)
    (folder / "predictions.jsonl").write_bytes(b"".join(map(to_line, told or (events.run(), events.comparison()))))
    return folder


# --- several runs -------------------------------------------------------------------------------------------------


def test_several_runs_are_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page names each run by the end of its path that tells it apart, with its facts, findings and settings."""
    runs = [written(tmp_path / name) for name in ("a/exp", "b/exp", "c")]
    (runs[1] / "predictions.jsonl").write_bytes(to_line(events.comparison()) + to_line(events.finding(seq=1)))
    page = tmp_path / "both.html"
    assert main.main(["report", *map(str, runs), "-o", str(page)]) == 0
    assert re.fullmatch(r"\S+: 3 comparisons, \S+ MB\n", capsys.readouterr().out)
    text = page.read_text("utf-8")
    assert "<title>a/exp · b/exp · c · predlog</title>" in text
    body = text[text.index("<body>") :]
    for place, name in enumerate(("a/exp", "b/exp", "c")):
        assert f'<span class="run-name run{place}" title="{name}">' in body
        assert body.count(f'id="missing-{place}"') <= 1
        assert str(runs[place]) in body
    finding = body[body.index('id="finding-1"') :]
    assert finding.index("run1") < finding.index("labels-are-inputs")
    assert "&amp;run=b%2Fexp" in finding


def test_a_run_given_twice_is_there_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same folder by two paths is one run, and the page is as that of one."""
    run = written(tmp_path / "exp1")
    page = tmp_path / "out.html"
    assert main.main(["report", str(run), f"{run}/../exp1", "-o", str(page)]) == 0
    assert ": 1 comparison, " in capsys.readouterr().out
    assert 'class="run-name' not in page.read_text("utf-8")


def test_a_run_without_a_comparison_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several runs, one that has no comparison yet is reported and left out; if none has one, that is an error."""
    full, empty = written(tmp_path / "full"), written(tmp_path / "empty", events.run())
    page = tmp_path / "out.html"
    assert main.main(["report", str(full), str(empty), "-o", str(page)]) == 0
    assert f"predlog: left out: {empty} holds no comparison" in capsys.readouterr().err
    page.unlink()
    assert main.main(["report", str(empty), str(tmp_path / "empty/predictions.jsonl"), "-o", str(page)]) == 2
    assert not page.exists()


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["runs/exp1"], ["exp1"]),
        (["runs/a", "runs/b"], ["a", "b"]),
        (["x/run", "y/run", "z"], ["x/run", "y/run", "z"]),
        (["a", "x/a"], ["here/a", "x/a"]),
        (["a/predictions.jsonl", "b/predictions-rank0.jsonl.gz"], ["a", "b"]),
        (["a/predictions.jsonl", "a/predictions-1.jsonl"], ["predictions.jsonl", "predictions-1.jsonl"]),
        (["-", "runs/a"], ["standard input", "a"]),
    ],
)  # fmt: skip
def test_names_tell_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], names: list[str]) -> None:
    """A run is named by the shortest end of its path that no other has."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert paths.names(given) == [str(Path(name)) for name in names]


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map("/".join), min_size=1, unique=True))
def test_names_are_ends_and_differ(given: list[str]) -> None:
    """Whatever the paths: no two have the same name, and each name is an end of its path."""
    names = paths.names(given)
    assert len({*names}) == len(given)
    for path, name in zip(given, names, strict=True):
        assert os.path.abspath(path).endswith(name)  # noqa: PTH100 - as it is named


# --- over what file -----------------------------------------------------------------------------------------------

WRITES = [("report", "html"), ("export", "csv"), ("export", "parquet"), ("export", "arrow")]


def files_of(folder: Path) -> Iterable[str]:
    return sorted(file.name for file in folder.iterdir())


def table(file: Path) -> bytes:
    """Return a table with columns of its own, in the format of the file, or as CSV."""
    columns = pa.table({"step": [1], "label": [2]})
    if file.suffix == ".parquet":
        parquet.write_table(columns, file)
    elif file.suffix == ".arrow":
        with pa.ipc.new_file(file, columns.schema) as opened:
            opened.write_table(columns)
    else:
        file.write_text("step,label\n1,2\n")
    made = file.read_bytes()
    file.unlink()
    return made


@pytest.mark.parametrize(("command", "ending"), WRITES)
def test_only_what_predlog_made_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, ending: str
) -> None:
    """A page or an export takes the place of an earlier one or of an empty file, and of another one only by force."""
    run, file = written(tmp_path / "exp1"), tmp_path / f"out.{ending}"
    call = [command, str(run), "-o", str(file)]
    file.touch()
    for _ in range(2):
        assert main.main(call) == 0
    ours = file.read_bytes()
    for theirs in (b"<!doctype html>\n<p>thesis by predlog</p>", table(tmp_path / f"table.{ending}")):
        file.write_bytes(theirs)
        capsys.readouterr()
        assert main.main(call) == 2
        assert events.said(capsys) == (
            f"predlog: {file} exists, and predlog did not make it: write to another file with -o, "
            "or replace it with --force\n"
        )
        assert file.read_bytes() == theirs
    assert main.main([*call, "--force"]) == 0
    assert len(file.read_bytes()) == pytest.approx(len(ours), rel=0.01)
    assert files_of(tmp_path) == ["exp1", file.name]


@pytest.mark.parametrize(("command", "ending"), WRITES[:2])
def test_a_run_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, ending: str) -> None:
    """A file that is read is not overwritten, by force neither, whichever of several runs it is."""
    own = tmp_path / f"own.{ending}"
    own.write_bytes(line := to_line(events.comparison()))
    others = [str(written(tmp_path / "exp1"))] if command == "report" else []
    assert main.main([command, *others, str(own), "-o", str(own), "--force"]) == 2
    assert "is being read, and would be overwritten" in events.said(capsys)
    assert own.read_bytes() == line


# --- the browser --------------------------------------------------------------------------------------------------


def opening(run: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Make a page and open it, in a process without a display."""
    without = {
        name: value for name, value in os.environ.items() if name not in {"BROWSER", "DISPLAY", "WAYLAND_DISPLAY"}
    }
    return subprocess.run(
        [*PREDLOG, "report", str(run), "--open"],
        cwd=run.parent,
        env={**without, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def command_of(folder: Path, does: str) -> str:
    """Return a command that a browser is called by."""
    script = folder / "fake-browser"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    return str(script)


def test_the_page_is_opened(tmp_path: Path) -> None:
    """`--open` passes the page's address to the browser of $BROWSER; a name with spaces is one address."""
    run = written(tmp_path / "my runs" / "exp 1")
    browser = command_of(tmp_path, f'printf "%s\\n" "$#" "$1" > {tmp_path}/opened')
    done = opening(run, BROWSER=browser)
    assert (done.returncode, done.stderr) == (0, "")
    page = run.parent / "report.html"
    assert done.stdout.startswith("report.html: 1 comparison, ")
    assert (tmp_path / "opened").read_text().splitlines() == ["1", page.as_uri()]


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="there is a display")
@pytest.mark.parametrize(
    "browser", ["none", *(pytest.param(one, marks=pytest.mark.slow) for one in ("fails", "absent"))]
)
def test_without_a_browser_it_says_how(tmp_path: Path, browser: str) -> None:
    """Where no browser can be started, as on a login node, the page is there, and one line says how to see it."""
    run = written(tmp_path / "exp1")
    failing = {"fails": command_of(tmp_path, "exit 3"), "absent": "/nowhere/at-all"}
    done = opening(run, **({"BROWSER": failing[browser]} if browser in failing else {}))
    assert done.returncode == 0
    page = tmp_path / "report.html"
    assert page.exists()
    assert done.stderr.startswith("predlog: no browser could be started here: open report.html in one, after `scp ")
    assert f":{page} .`" in done.stderr
    assert done.stderr.count("\n") == 1
