"""The command line as a whole: what it loads, what it says, and how it ends."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import predlog
from predlog import cli, options
from tests import events

PREDLOG = [sys.executable, "-m", "predlog.cli"]
COMMANDS = ("tail", "summary", "check", "diff", "export", "report", "explain", "completion")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a run of two steps."""
    folder = tmp_path_factory.mktemp("cli") / "exp1"
    with predlog.Recorder(folder, every=1, console=False) as recorder:
        for step in range(2):
            recorder.compare(*events.pair(step), step)
    return folder


def arguments(command: str, run: Path) -> list[str]:
    return {
        "tail": [command, "-n", "5", str(run)],
        "summary": [command, str(run)],
        "check": [command, str(run)],
        "diff": [command, str(run), str(run)],
        "export": [command, str(run), "-o", str(run.parent / "out.csv")],
        "report": [command, str(run), "-o", str(run.parent / "out.html")],
        "explain": [command, "collapsed"],
        "completion": [command, "bash"],
    }[command]


def loaded(code: str) -> set[str]:
    """Run code in a new process, and give the modules that it has loaded at its end."""
    program = f"import sys\n{code}\nprint('\\n', *sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", COMMANDS)
def test_torch_is_never_imported(run: Path, command: str) -> None:
    """Every command that looks at files runs, warns of nothing, and loads neither torch nor structlog."""
    modules = loaded(f"from predlog.cli import main\nassert main({arguments(command, run)!r}) == 0")
    assert f"predlog.commands.{command}" in modules
    assert not modules & {"torch", "structlog", "einops"}


def test_that_test_can_fail() -> None:
    """Where torch is loaded, it is seen."""
    assert "torch" in loaded("import predlog.demo")


def test_starting_loads_next_to_nothing() -> None:
    """The parser with all its subcommands needs neither rich nor any extra."""
    heavy = {"torch", "structlog", "rich", "duckdb", "bokeh", "jinja2", "shtab"}
    assert not loaded("import predlog.options\npredlog.options.parser().parse_args(['tail', 'x'])") & heavy


@pytest.mark.parametrize("command", [*COMMANDS, "demo"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` of every command shows how it is used."""
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert f"\n  predlog {command}" in shown or f"| predlog {command}" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script of each shell names every command; but for tcsh, which completes less, options and findings, too."""
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    more = () if shell == "tcsh" else ("--codebook", "labels-are-inputs")
    assert not [word for word in (*COMMANDS, *more) if word not in script]


@pytest.fixture(scope="module")
def completion(run: Path) -> Path:
    """Give bash's script, beside which there are the run exp1, its export exp1.parquet and the file report.html."""
    script = run.parent / "completion"
    script.write_bytes(subprocess.run([*PREDLOG, "completion", "bash"], capture_output=True, check=True).stdout)
    for name in ("exp1.parquet", "report.html"):
        (run.parent / name).touch()
    return script


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("su", "summary"),
        ("explain coll", "collapsed"),
        ("check --ignore same-", "same-batch"),
        ("tail exp", "exp1 exp1.parquet"),
        ("tail -n 5 -f exp", "exp1 exp1.parquet"),
        ("summary exp", "exp1 exp1.parquet"),
        ("check exp", "exp1 exp1.parquet"),
        ("diff rep", "report.html"),
        ("diff exp1 rep", "report.html"),
        ("export exp", "exp1 exp1.parquet"),
        ("export exp1 -o exp1.pa", "exp1.parquet"),
        ("report --output rep", "report.html"),
        ("demo --directory exp", "exp1"),
    ],
)
def test_bash_takes_the_completion(completion: Path, typed: str, completed: str) -> None:
    """A real bash that has read the script completes commands, codes, files and folders."""
    words = ["predlog", *typed.split()]
    line = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; COMP_LINE='predlog {typed}'"
    ask = f'{line}; COMP_POINT=${{#COMP_LINE}}; "$1" predlog {words[-1]} {words[-2]}; echo "${{COMPREPLY[@]}}"'
    name = next(line for line in completion.read_text().splitlines() if line.startswith("complete ")).split()
    done = subprocess.run(
        ["bash", "-c", f'source "{completion}"; {ask}', "bash", name[name.index("-F") + 1]],
        cwd=completion.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert sorted(done.stdout.split()) == completed.split()


def test_zsh_completes_paths(capsys: pytest.CaptureFixture[str]) -> None:
    """In zsh's script, each argument that is a path is completed by zsh's own function for files, or for folders."""
    assert cli.main(["completion", "zsh"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(options._PATH in line and line.endswith(':_files"') for line in lines) == 6
    assert sum("--output}" in line and line.endswith(':_files"') for line in lines) == 2
    assert sum(":the same, of another run:_files" in line for line in lines) == 1
    assert sum("--directory[" in line and line.endswith(':_files -/"') for line in lines) == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            ["explain", "collapsd"],
            "invalid choice: 'collapsd', did you mean 'collapsed'? `predlog explain` lists",
        ),
        (["check", "--ignore", "sam-batch", "x"], "'sam-batch', did you mean 'same-batch'? `predlog explain` lists"),
        (["demo", "--mistake", "nann"], "'nann', did you mean 'nan'? `predlog demo --mistake list` lists them all"),
        (["explain", "zzz"], "CODE: invalid choice: 'zzz'; `predlog explain` lists them all"),
    ],
)
def test_a_slip_is_one_line(asked: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt code or mistake is told which one is meant, and where all are listed, and not all of them."""
    with pytest.raises(SystemExit) as ended:
        cli.main(asked)
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert said in line
    assert len(line) < 140


@pytest.mark.parametrize("command", ["tail", "summary", "check", "diff", "export", "report"])
def test_errors_are_one_line(run: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What can't be read is said in one line, without a traceback, and the status is 2."""
    asked = [str(run.parent / "nothere") if word == str(run) else word for word in arguments(command, run)]
    assert cli.main(asked) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"predlog: {run.parent / 'nothere'} does not exist\n"


@pytest.mark.parametrize("command", ["tail", "summary", "check", "diff"])
def test_colours_are_asked_for_and_refused(run: Path, command: str) -> None:
    """A pipe gets no escape sequence, FORCE_COLOR gives colours, NO_COLOR takes them away, COLUMNS sets the width."""

    def shown(**variables: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
        done = subprocess.run(
            [sys.executable, "-m", "predlog.cli", *arguments(command, run)],
            capture_output=True,
            check=True,
            encoding="utf-8",
            env={**environment, "PYTHONIOENCODING": "utf-8", "TERM": "xterm-256color", **variables},
        )
        return done.stdout

    assert "\x1b" not in shown()
    assert "\x1b" in shown(FORCE_COLOR="1", COLUMNS="80")
    colours = ("\x1b[3", "\x1b[9", ";3", "\x1b[4")
    assert not any(colour in shown(FORCE_COLOR="1", NO_COLOR="1", COLUMNS="80") for colour in colours)
    narrow = shown(FORCE_COLOR="1", NO_COLOR="1", COLUMNS="60")
    assert max(map(len, narrow.splitlines())) <= 60 + 8  # bold and its end


def test_all_commands_have_a_module() -> None:
    """Every subcommand names a module that is there."""
    parser = options.parser()
    for command in COMMANDS:
        needed = {"diff": ["a", "b"], "export": ["p", "-o", "f"], "explain": [], "completion": ["bash"]}
        parsed = parser.parse_args([command, *needed.get(command, ["p"])])
        assert (Path(predlog.__file__).parent / f"{parsed.module.replace('.', '/').partition('/')[2]}.py").exists()


def test_a_bar_for_large_files(run: Path, tmp_path: Path) -> None:
    """Whoever waits in a terminal sees how far a large file has been read, and not a trace of it afterwards."""
    code = (
        "import sys; from predlog import cli; from predlog.commands import waiting; "
        "waiting._LARGE = int(sys.argv[1]); sys.exit(cli.main(sys.argv[2:]))"
    )
    for command in ("summary", "diff", "export", "report"):
        call = [sys.executable, "-c", code, "1", *arguments(command, run)]
        piped = subprocess.run(call, capture_output=True, check=True)
        assert piped.stderr == b""
        status, screen = in_a_terminal(call, tmp_path / command)
        assert status == 0
        assert (tmp_path / command).read_bytes() == piped.stdout
        assert b"reading" in screen
        assert screen.endswith(ERASED)
    assert in_a_terminal([*PREDLOG, *arguments("summary", run)], tmp_path / "small") == (0, b"")


# Up to the bar's line, and what is on it gone.
ERASED = b"\r\x1b[1A\x1b[2K"


def in_a_terminal(call: list[str], output: Path) -> tuple[int, bytes]:
    """Run a command whose stderr is a terminal; give its status and what came there."""
    screen, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with (
        output.open("wb") as opened,
        subprocess.Popen(call, stdout=opened, stderr=terminal, env=environment) as process,
    ):
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: nobody holds the terminal any more
            while some := os.read(screen, 1 << 16):
                shown += some
    os.close(screen)
    return process.returncode, shown
