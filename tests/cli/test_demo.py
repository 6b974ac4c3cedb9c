"""The demo, as whoever clones predlog sees it: a real training that gets better, seen in tables and in the file."""

import math
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from predlog import Comparison, Finding, read
from predlog.cli import main
from predlog.cli.demo import time_box, training
from predlog.cli.demo.mistakes import MISTAKES
from predlog.findings import catalog
from tests.once import made_once
from tests.sizes import sizes
from tests.written import command

# What a run reports at its end if nothing was found.
WELL = re.compile(r"predlog: [0-9]+ comparisons in \S+; no open findings; next: predlog report \S+\n")

INSTALLED = Path(sys.executable).parent / "predlog"
# Several threads of several trainings would wait for one another.
ENVIRONMENT = {
    **os.environ,
    "COLUMNS": "80",
    "OMP_NUM_THREADS": "1",
    "PATH": f"{INSTALLED.parent}:{os.environ['PATH']}",
}


def demo(directory: Path, *arguments: str, without: Path | None = None) -> str:
    """Run the installed command in a process of its own, and return what it printed.

    In the folder `without` are modules that are not installed.
    """
    installed = [str(INSTALLED), "demo", "--directory", str(directory), *arguments]
    path = ":".join([str(without or ""), os.environ.get("PYTHONPATH", "")]).strip(":")
    environment = {**ENVIRONMENT, "PYTHONPATH": path}
    done = subprocess.run(installed, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert WELL.fullmatch(done.stderr)
    return done.stdout


def trained_here(directory: Path, *arguments: str) -> None:
    """Run the command in this process, which has imported torch already."""
    assert command("demo", "--directory", str(directory), *arguments) == 0


def comparisons(directory: Path) -> list[Comparison]:
    return [record for record in read(directory) if isinstance(record, Comparison)]


@dataclass(frozen=True, slots=True)
class Length:
    """How long a training is, how many of its steps are logged, and the accuracy that it comes to at least."""

    steps: int
    every: int
    accuracy: float

    @property
    def logged(self) -> list[int]:
        return list(range(0, self.steps, self.every))


@dataclass(frozen=True, slots=True)
class Trained:
    """One training that all tests look at: its folder, what it printed, and how long it was."""

    directory: Path
    output: str
    length: Length


@pytest.fixture(scope="module", params=sizes(core=Length(40, 8, 0.1), slow=Length(150, 30, 0.25)))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train once for all tests of all workers."""
    length: Length = request.param

    def train(folder: Path) -> None:
        many = ("--steps", str(length.steps), "--every", str(length.every), "--seed", "1", "--seconds", "600")
        # Torch warns where NumPy is not installed; none of that is to be seen.
        (folder / "without").mkdir()
        (folder / "without" / "numpy.py").write_text("raise ModuleNotFoundError(\"No module named 'numpy'\")\n")
        (folder / "output").write_text(demo(folder / "demo", *many, without=folder / "without"))

    folder = made_once(tmp_path_factory, f"demo-{length.steps}", train)
    return Trained(folder / "demo", (folder / "output").read_text(), length)


def test_the_model_learns_and_the_records_show_it(trained: Trained) -> None:
    """From chance to a quarter and more of the bytes correct over 150 steps, in the records of two samples per step."""
    found = comparisons(trained.directory)
    assert [one.step for one in found] == [step for step in trained.length.logged for _ in range(2)]
    accuracy = [(one.matched or 0) / one.supervised for one in found]
    assert sum(accuracy[:2]) / 2 < 0.05
    assert sum(accuracy[-2:]) / 2 > trained.length.accuracy


def test_the_prompt_is_masked_and_the_pair_is_aligned(trained: Trained) -> None:
    """The first supervised token is the first byte of the text, behind the masked title; inputs are one before."""
    for one in comparisons(trained.directory):
        first = one.tokens[0]
        assert one.shift == 1
        assert first.position >= 3
        assert first.input == ord(" ")  # the prompt ends with a blank
        assert [token.input for token in one.tokens[1:5]] == [token.label for token in one.tokens[:4]]


def test_what_it_says(trained: Trained) -> None:
    """Plain lines in a pipe, no bar among them, and at the end how it went and what to do next."""
    output, length = trained.output, trained.length
    lines = output.splitlines()
    assert [line.startswith("predlog step=") for line in lines].count(True) == 10
    shown = lines[: lines.index("")]
    assert [line.split()[0] for line in shown] == ["predlog"] * 11
    assert "At step 0 the loss of the supervised bytes shown was 5." in output
    assert f"; at step {length.logged[-1]} it was " in output
    assert "comparisons" not in output  # the recorder's last line has said how many, and where


def test_what_to_do_next_works(trained: Trained, tmp_path: Path) -> None:
    """The demo ends with three commands, with the paths of its run, and they work as they are printed."""
    *_, report, _, tail, _, another = trained.output.splitlines()
    folder = shlex.quote(str(trained.directory))
    assert report == f"    predlog report {folder} --open"
    assert tail == f"    predlog tail {folder}"
    assert another == f"    predlog demo --mistake unshifted --directory {folder}"
    # A demo in the same folder would add to what other tests read.
    other = another.replace(folder, shlex.quote(str(tmp_path / "demo"))) + " --steps 1"
    environment = {**ENVIRONMENT, "BROWSER": "true"}  # a command that opens nothing
    for line, says in ((report, "report.html"), (tail, "step=0"), (other, "predlog explain labels-are-inputs")):
        done = subprocess.run(
            line, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=environment,
            cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        assert says in done.stdout
    assert (tmp_path / "report.html").stat().st_size


@pytest.mark.parametrize(
    ("called", "path", "command"),
    [
        ("/somewhere/bin/predlog", "ours", "predlog"),
        (".venv/bin/predlog", "", ".venv/bin/predlog"),
        ("/with blanks/predlog", "", "'/with blanks/predlog'"),
        ("/lib/predlog/__main__.py", "", f"{sys.executable} -m predlog"),
    ],
)
def test_commands_are_those_of_this_predlog(
    monkeypatch: pytest.MonkeyPatch, called: str, path: str, command: str
) -> None:
    """Where no PATH leads to the command that runs, it is printed as it was called."""
    monkeypatch.setattr(sys, "argv", [called, "demo"])
    monkeypatch.setenv("PATH", str(INSTALLED.parent) if path else "/nowhere")
    assert training._command() == command


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("pace", [0.01, 0.2, 3.0, 100.0])
def test_the_training_fits_into_its_time(pace: float) -> None:
    """It makes at least one step, begins none when the time is over, and is done at the end, of steps or of time."""
    clock = Clock()
    box = time_box.TimeBox(40, 400, clock)
    done = []
    for step in box.steps():
        clock.turn(pace)
        done.append(box.done(step + 1))
    assert len(done) == min(400, math.ceil(40 / pace))
    assert clock.now <= 40 + pace
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("pace", "records", "every"),
    [(0.01, 10, 40), (0.01, 40, 10), (0.2, 10, 10), (0.2, 40, 2), (1.0, 10, 2), (1.0, 40, 1), (100.0, 10, 1)],
)
def test_how_often_it_records_depends_on_the_machine(pace: float, records: int, every: int) -> None:
    """About as many records as asked for are made of the steps that there is time for, and at a round number."""
    clock = Clock()
    box = time_box.TimeBox(40, 400, clock)
    assert box.every(lambda: clock.turn(pace), records) == every


def test_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the processors, at most four, and at least one; what the environment says comes first; then as before."""
    assert [time_box.threads(many) for many in (1, 2, 3, 4, 8, 64)] == [1, 1, 1, 2, 4, 4]
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(64)))
    with time_box.few_threads():
        assert torch.get_num_threads() == before  # OMP_NUM_THREADS is set in tests
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with time_box.few_threads():
        assert torch.get_num_threads() == 4
    assert torch.get_num_threads() == before


def test_a_second_is_enough(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """However short the time, there is a record, and the end reports how it went."""
    trained_here(tmp_path / "demo", "--seconds", "1")
    assert comparisons(tmp_path / "demo")[0].step == 0
    assert "At step 0 the loss of the supervised bytes shown was 5." in capfd.readouterr().out


@pytest.mark.parametrize(("steps", "every"), sizes(core=None, slow=(21, 10)))
def test_the_same_seed_gives_the_same_records(tmp_path: Path, steps: int, every: int) -> None:
    """Everything but the timestamps and the recorders' names is the same for the same seed, and not for another."""

    def told(directory: Path) -> list[dict[str, Any]]:
        return [
            {key: getattr(one, key) for key in one.__struct_fields__ if key not in {"timestamp", "recorder"}}
            for one in comparisons(directory)
        ]

    for name, seed, train in (("a", "1", demo), ("b", "1", trained_here), ("c", "2", trained_here)):
        train(tmp_path / name / "demo", "--steps", str(steps), "--every", str(every), "--seed", seed)
    a, b, c = (told(tmp_path / name / "demo") for name in "abc")
    assert len(a) == 6
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    ("mistake", "many"),
    [
        ("unshifted", "--steps 1"), ("shifted-twice", "--steps 1"), ("all-masked", "--steps 1"),
        ("wrong-ignore-index", "--steps 1"), ("doubled-bos", "--steps 1"),
        *sizes(core=("nan", "--steps 6 --every 1"), slow=("nan", "--steps 21"), of="nan"),
        *sizes(core=("copied-batch", "--steps 5 --every 1"), slow=("copied-batch", "--steps 41"), of="copied-batch"),
        pytest.param("collapsed", "--steps 400", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_each_mistake_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str], mistake: str, many: str) -> None:
    """The demo with one mistake tells the finding that names it, and no other, and how to read about it."""
    directory = tmp_path / "demo"
    trained_here(directory, *many.split(), "--mistake", mistake)
    printed = capfd.readouterr()
    code = MISTAKES[mistake].code
    assert {record.code for record in read(directory) if isinstance(record, Finding)} == {code}
    assert f"The mistake: {MISTAKES[mistake].says}." in printed.out
    assert f"What was found, and how to fix it:\n    predlog explain {code}\n" in printed.out
    assert code not in printed.out.partition("The mistake: ")[2].replace(f"predlog explain {code}", "")
    assert f"; 1 open finding: {code} (text, since step " in printed.err


def test_the_mistakes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--mistake list` gives a sentence to each, and trains nothing."""
    assert main.main(["demo", "--mistake", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "unshifted", "shifted-twice", "all-masked", "wrong-ignore-index", "collapsed", "copied-batch", "doubled-bos",
        "nan",
    ]  # fmt: skip
    assert all(line.endswith(f"({mistake.code})") for line, mistake in zip(lines, MISTAKES.values(), strict=True))


def test_mistakes_that_need_more_steps_say_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where so few steps show nothing, the demo does not claim that they did."""
    trained_here(tmp_path / "demo", "--steps", "2", "--mistake", "copied-batch")
    printed = capfd.readouterr()
    assert "There were too few records to find it" in printed.out
    assert WELL.fullmatch(printed.err)


@pytest.mark.parametrize("code", catalog.CODES)
def test_explain_prints_the_page(capsys: pytest.CaptureFixture[str], code: str) -> None:
    """`predlog explain CODE` prints the page about a finding, with all of its parts."""
    assert main.main(["explain", code]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"# {code}\n")
    for part in ("## How it looks", "## What decides", "## How to fix it", "## When it is not a fault"):
        assert part in page
    assert f'ignore=("{code}",)' in page
    assert f" predlog {code}, step " in page


def test_explain_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a code, each has a sentence."""
    assert main.main(["explain"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(catalog.CODES)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--version"], 0, "predlog 0."),
        (["--help"], 0, "demo"),
        (["demo", "--help"], 0, "--seconds"),
        (["demo", "--seconds", "0"], 2, "must be a number, 1 or more"),
        ([], 2, "COMMAND"),
        (["demo", "--steps", "0"], 2, "must be a number, 1 or more"),
        (["demo", "--steps", "many"], 2, "'many' must be a number"),
        (["demo", "--mistake", "none"], 2, "invalid choice: 'none'"),
        (["explain", "nothing"], 2, "invalid choice: 'nothing'"),
    ],
)
def test_the_command_line(capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, says: str) -> None:
    """Help and version exit with 0, misuse with 2 and a reason."""
    with pytest.raises(SystemExit) as left:
        main.main(arguments)
    assert left.value.code == status
    output = capsys.readouterr()
    assert says in (output.err if status else output.out)


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A device that can't be used is one line and not a traceback."""
    with pytest.raises(SystemExit) as left:
        main.main(["demo", "--device", "nowhere"])
    assert "--device nowhere can't be used" in str(left.value.code)


def test_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With PREDLOG_DISABLE=1 the demo trains, and says that nothing was recorded."""
    monkeypatch.setenv("PREDLOG_DISABLE", "1")
    trained_here(tmp_path / "demo", "--steps", "2")
    assert "Nothing was recorded" in capsys.readouterr().out
