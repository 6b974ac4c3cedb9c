"""The demo, as whoever clones predlog sees it: a real training that gets better, seen in tables and in the file."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from predlog import Comparison, Finding, read
from predlog.cli import main
from predlog.cli.demo.mistakes import MISTAKES
from predlog.findings import catalog
from tests.once import made_once
from tests.sizes import sizes
from tests.written import command

# What a run reports at its end if nothing was found.
WELL = re.compile(r"predlog: [0-9]+ comparisons in \S+; no open findings; next: predlog report \S+\n")

# Several threads of several trainings would wait for one another.
ENVIRONMENT = {**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1"}


def demo(directory: Path, *arguments: str) -> str:
    """Run the installed command in a process of its own, and return what it printed."""
    installed = [str(Path(sys.executable).parent / "predlog"), "demo", "--directory", str(directory), *arguments]
    done = subprocess.run(installed, capture_output=True, text=True, check=False, env=ENVIRONMENT)
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
        many = ("--steps", str(length.steps), "--every", str(length.every), "--seed", "1")
        (folder / "output").write_text(demo(folder / "demo", *many))

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
    assert " -m json.tool" in output


def test_what_to_do_next_works(trained: Trained) -> None:
    """The commands that the demo prints at its end do run."""
    shown = [line.strip() for line in trained.output.splitlines() if line.startswith("    ") and "python" in line]
    assert len(shown) == 2
    for line in shown:
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "predlog.comparison" in done.stdout or "Comparison(" in done.stdout


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
        (["demo", "--help"], 0, "--every"),
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
