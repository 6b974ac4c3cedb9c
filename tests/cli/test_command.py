"""The command line as a whole: what it loads, what it says, and how it ends."""

import contextlib
import io
import json
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import predlog
from predlog.cli import main, options
from predlog.cli.bar import Bar
from predlog.cli.parser import parser as whole_parser
from predlog.reading.reader import Reading
from predlog.records import codec
from tests import ROOT, events
from tests.written import sealed

PREDLOG = [sys.executable, "-m", "predlog"]
COMMANDS = ("list", "tail", "summary", "check", "diff", "export", "report", "explain", "completion")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of two steps."""
    folder = tmp_path_factory.mktemp("cli") / "exp1"
    with predlog.Recorder(folder, every=1, console=False) as recorder:
        for step in range(2):
            recorder.compare(*events.pair(step), step)
    return folder


# Commands that wait for files, beside `summary`.
READ = ("list", "check", "diff", "export", "report")


def arguments(command: str, run: Path) -> list[str]:
    return {
        "list": [command, str(run)],
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
    modules = loaded(f"from predlog.cli.main import main\nassert main({arguments(command, run)!r}) == 0")
    assert f"predlog.cli.commands.{command}" in modules
    assert not modules & {"torch", "structlog", "einops"}


def test_that_test_can_fail() -> None:
    """Where torch is loaded, it is seen."""
    assert "torch" in loaded("import predlog.cli.demo.training")


def test_starting_loads_next_to_nothing() -> None:
    """The parser with all its subcommands needs neither rich nor any extra."""
    heavy = {"torch", "structlog", "rich", "duckdb", "bokeh", "jinja2", "shtab"}
    assert not loaded("import predlog.cli.parser\npredlog.cli.parser.parser().parse_args(['tail', 'x'])") & heavy


@pytest.mark.parametrize("command", [*COMMANDS, "demo"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` of every command shows how it is used."""
    with pytest.raises(SystemExit) as ended:
        main.main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert f"\n  predlog {command}" in shown or f"| predlog {command}" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script of each shell names every command; but for tcsh, which completes less, options and findings, too."""
    assert main.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    more = () if shell == "tcsh" else ("--codebook", "labels-are-inputs")
    assert not [word for word in (*COMMANDS, *more) if word not in script]


@pytest.fixture(scope="module")
def completion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return bash's script, beside which there are the run exp1 and others below runs/, two files, and no run."""
    folder = tmp_path_factory.mktemp("completion")
    script = folder / "completion"
    script.write_bytes(subprocess.run([*PREDLOG, "completion", "bash"], capture_output=True, check=True).stdout)
    for name in ("exp1/predictions.jsonl", "exp1.parquet", "report.html", "data/notes.txt", "runs/todo.txt", *BELOW):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return script


BELOW = (
    "runs/a 1/predictions.jsonl", "runs/b/predictions-rank1.jsonl.zst", "runs/sweep/c/predictions.jsonl.gz",
    "runs/empty/predictions.txt", "single/one/predictions.jsonl",
)  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("su", "summary"),
        ("explain coll", "collapsed"),
        ("check --ignore same-", "same-batch"),
        ("tail exp", "exp1|exp1.parquet"),
        ("tail -n 5 -f exp", "exp1|exp1.parquet"),
        ("summary exp", "exp1|exp1.parquet"),
        ("check exp", "exp1|exp1.parquet"),
        ("diff rep", "report.html"),
        ("diff exp1 rep", "report.html"),
        ("export exp", "exp1|exp1.parquet"),
        ("export exp1 -o exp1.pa", "exp1.parquet"),
        ("report --output rep", "report.html"),
        ("demo --directory exp", "exp1"),
        ("list exp", "exp1"),
        ("tail r", "report.html|runs/a 1|runs/b"),
        ("summary runs/", "runs/a 1|runs/b|runs/empty|runs/sweep/c|runs/todo.txt"),
        ("summary exp1 runs/b", "runs/b"),
        ("check runs/b/", "runs/b/predictions-rank1.jsonl.zst"),
        ("diff exp1 exp1 si", "single/one"),
        ("export d", "data"),
        ("tail ~/si", "~/single/one"),
    ],
)
def test_bash_takes_the_completion(completion: Path, typed: str, completed: str) -> None:
    """A real bash that has read the script completes commands, codes, files, folders, and runs below what is typed."""
    words = ["predlog", *typed.split()]
    line = f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; COMP_LINE='predlog {typed}'"
    call = f"{line}; COMP_POINT=${{#COMP_LINE}}; \"$1\" predlog '{words[-1]}' '{words[-2]}'"
    ask = f"{call}; IFS='|'; echo \"${{COMPREPLY[*]}}\""
    name = next(line for line in completion.read_text().splitlines() if line.startswith("complete ")).split()
    done = subprocess.run(
        ["bash", "-c", f'source "{completion}"; {ask}', "bash", name[name.index("-F") + 1]],
        cwd=completion.parent, capture_output=True, text=True, check=True,
        env={**os.environ, "HOME": str(completion.parent)},
    )  # fmt: skip
    assert sorted(done.stdout.rstrip("\n").split("|")) == completed.split("|")


TYPED = {
    "summary si": "predlog summary single/one",
    "tail exp1/pred": "predlog tail exp1/predictions.jsonl",
    "check exp1 runs/b": "predlog check exp1 runs/b",
    "diff exp1 runs/sw": "predlog diff exp1 runs/sweep/c",
    "summary runs/a": "predlog summary runs/a\\ 1",
    "explain coll": "predlog explain collapsed",
    "report rep": "predlog report report.html",
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_in_a_real_shell(completion: Path, shell: str) -> None:
    """Whoever presses TAB in a terminal has the run, whole, on the line: also from its beginning, and with a space."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    folder = completion.parent
    (folder / "_predlog").write_bytes(
        subprocess.run([*PREDLOG, "completion", "zsh"], capture_output=True, check=True).stdout
    )
    start, setup = {
        "bash": (["bash", "--norc", "--noprofile", "-i"], "source ./completion"),
        "zsh": (["zsh", "-f", "-i"], "fpath=($PWD $fpath); autoload -U compinit; compinit -u -D; bindkey -e"),
    }[shell]
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        start, stdin=terminal, stdout=terminal, stderr=terminal, cwd=folder, start_new_session=True,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200", "PS1": "> "},
    ) as process:  # fmt: skip
        os.close(terminal)

        def shown(typed: str, until: str) -> str:
            os.write(screen, typed.encode())
            seen = ""
            while not re.search(until, seen):
                seen += os.read(screen, 1 << 16).decode(errors="replace")
            return seen

        shown(f"{setup}; echo rea''dy\n", "ready\r\n")
        for typed, expected in TYPED.items():
            # To the line's beginning and its end, to print it in place of running it.
            seen = shown(f"predlog {typed}\t\x01echo '<\x05>'\n", r"\n<[^\r\n]*>\r\n")
            line = re.findall(r"\n<([^\r\n]*)>\r\n", seen)[-1]
            assert line.rstrip("/ ") == expected
        os.write(screen, b"exit\n")
        process.kill()
    os.close(screen)


def test_zsh_completes_paths(capsys: pytest.CaptureFixture[str]) -> None:
    """In zsh's script, each argument that is a path is completed by zsh's own function for files, or for folders."""
    assert main.main(["completion", "zsh"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(options._PATH in line and line.endswith(':_predlog_run_files"') for line in lines) == 6
    assert sum("--output}" in line and line.endswith(':_files"') for line in lines) == 2
    assert sum(":the same, of another run:_predlog_run_files" in line for line in lines) == 1
    assert sum("further runs" in line and line.endswith(':_predlog_run_files"') for line in lines) == 1
    assert sum("--directory[" in line and line.endswith(':_files -/"') for line in lines) == 1
    assert sum("folders of runs" in line and line.endswith(':_files -/"') for line in lines) == 1


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
        (["sumary", "x"], "invalid choice: 'sumary', did you mean 'summary'?"),
        (["--", "repot"], "invalid choice: 'repot', did you mean 'report'?"),
        (["runs/exp1"], "invalid choice: 'runs/exp1'; see `predlog --help`"),
    ],
)
def test_a_slip_is_one_line(asked: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a misspelt code, mistake or command it is reported which is meant, and where all are listed."""
    with pytest.raises(SystemExit) as ended:
        main.main(asked)
    assert ended.value.code == 2
    line = events.said(capsys).splitlines()[-1]
    assert said in line
    assert len(line) < 140


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["tail", "--strem=text", "x"], "--strem=text, did you mean --stream?"),
        (["summary", "x", "--jsn"], "--jsn, did you mean --json?"),
        (["check", "x", "--ignore-all=1"], "--ignore-all=1, did you mean --ignore?"),
        (["export", "x", "y", "-o", "z"], "y; see `predlog export --help`"),
        (["diff", "x", "y", "--zz", "-q"], "--zz -q; see `predlog diff --help`"),
        (["list", "--jason"], "--jason, did you mean --json?"),
        (["export", "x", "-o", "y", "--save-csv"], "--save-csv, did you mean --safe-csv?"),
        (["explain", "--jsn=1"], "--jsn=1, did you mean --json?"),
        (["demo", "--step-s"], "--step-s, did you mean --steps?"),
        (["completion", "bash", "--x"], "--x; see `predlog completion --help`"),
    ],
)
def test_an_unknown_option(asked: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The usage is that of the subcommand, and an option that is close is named."""
    with pytest.raises(SystemExit) as ended:
        main.main(asked)
    assert ended.value.code == 2
    usage, *_, line = events.said(capsys).splitlines()
    assert usage.lower().startswith(f"usage: predlog {asked[0]} ")
    assert line.endswith(f"error: unrecognized arguments: {said}")


@pytest.mark.parametrize("command", ["list", "tail", "summary", "check", "diff", "export", "report"])
def test_errors_are_one_line(run: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What can't be read is reported in one line, without a traceback, and the status is 2."""
    asked = [str(run.parent / "nothere") if word == str(run) else word for word in arguments(command, run)]
    assert main.main(asked) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"predlog: {run.parent / 'nothere'} does not exist\n"


STEERING = "\x1b[31m\nX\u202e"


@pytest.mark.parametrize(
    "asked", [["summary", f"{STEERING}.jsonl"], ["summary", "a", STEERING], ["export", f"{STEERING}", "-o", "x.csv"]]
)
def test_no_name_steers_a_terminal(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What an error quotes of the command line, where a shell may have put names of files, is harmless."""
    with contextlib.suppress(SystemExit):
        assert main.main(asked) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith("predlog")
    assert "[31m" in said.err.splitlines()[-1]
    assert said.err.replace("\n", "").isprintable()


def test_nothing_in_a_file_steers_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A version that is in a newer file is only named where it is one."""
    file = tmp_path / "x.jsonl"
    event = {**events.run(versions={"predlog": f"9{STEERING}"}), "schema": 2}
    file.write_bytes(sealed(json.dumps(event).encode()))
    for command in ("summary", "tail", "check"):
        assert main.main([command, str(file)]) == 2
        said = events.said(capsys)
        assert said.count("\n") == 1
        assert said[:-1].isprintable()


FULL = "predlog: standard output can't be written to: No space left on device\n"
CLOSED = "predlog: standard output is closed: redirect it, to /dev/null if need be\n"


@pytest.mark.parametrize("asked", [["summary"], ["--help"], ["--version"], ["check", "--json"]], ids=" ".join)
@pytest.mark.parametrize(
    ("redirected", "status", "says"), [(">/dev/full", 2, FULL), (">&-", 2, CLOSED), (">&3", main.BROKEN_PIPE, "")]
)
def test_output_that_goes_nowhere(run: Path, asked: list[str], redirected: str, status: int, says: str) -> None:
    """A full disk and a closed output are said in one line; of a reader who has left, the status tells, and no word."""
    reader, writer = os.pipe()
    os.close(reader)
    shell = f'exec "$@" {redirected.replace("3", str(writer))}'
    paths = [str(run)] if not asked[0].startswith("--") else []
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *PREDLOG, *asked, *paths],
        stderr=subprocess.PIPE, text=True, check=False, pass_fds=[writer],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (status, says)


def test_an_error_that_nobody_hears(tmp_path: Path) -> None:
    """With stderr closed, the status still says that it can't be done."""
    call = ["bash", "-c", 'exec "$@" 2>&-', "bash", *PREDLOG, "summary", str(tmp_path / "nothere")]
    assert subprocess.run(call, stdout=subprocess.DEVNULL, check=False).returncode == 2


HUGE = 10**400
ODD = {
    "no settings": events.run(settings={}, versions={}),
    "no counts": events.run(stats={}),
    "lists of codebooks": events.finding(evidence={"codebooks": [[1]]}),
    "codebooks of two types": events.finding(evidence={"codebooks": [1, "a"]}),
    "a probability above 1": events.comparison(tokens=[events.token(1, label_logprob=1000.0)]),
    "a rank beyond floats": events.comparison(tokens=[events.token(1, label_rank=HUGE)]),
    "ranks beyond floats": events.comparison(tokens=[events.token(1, label_rank=HUGE)] * 2),
    "a step beyond floats": events.comparison(step=HUGE),
    "a step beyond JavaScript": events.comparison(step=2**62),
    "a finding beyond floats": events.finding(step=HUGE),
    "a gap beyond floats": events.gap(first_step=HUGE, last_step=HUGE),
    "counts beyond floats": events.comparison(matched=HUGE, supervised=HUGE),
    "more right than there are": events.comparison(matched=HUGE),
    "more supervised than there are": events.comparison(supervised=HUGE),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.filterwarnings("error")
def test_whatever_fits_the_schema_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], odd: str
) -> None:
    """A processor, or another program, may have written any value of the right type: no command fails at it."""
    line = sealed(json.dumps(ODD[odd], separators=(",", ":")).encode())
    file = tmp_path / "predictions.jsonl"
    file.write_bytes(codec.to_line(events.run()) + codec.to_line(events.comparison(step=1, codebook=1)) + line)
    monkeypatch.setenv("COLUMNS", "80")
    for colours in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.setenv(colours, "1")
        for command in (["summary"], ["tail"], ["tail", "--codebook", "1"], ["check"]):
            assert main.main([*command, str(file)]) in {0, 1}
        monkeypatch.delenv(colours)
    assert main.main(["report", str(file), "-o", str(tmp_path / "report.html")]) == 0
    assert "Traceback" not in events.said(capsys)


WRITES = [("report", "html"), ("export", "csv")]


@pytest.mark.parametrize(("command", "ending"), WRITES)
@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("nowhere/out", "nowhere is no folder: create it first"),
        ("folder", "{} is a folder: name a file in it"),
        ("pipe", "{} is a pipe or a device: write to a file, and pass that on"),
        ("device", "{} is a pipe or a device: write to a file, and pass that on"),
        ("own", "{} is being read, and would be overwritten: write to another file"),
        ("link", "{} is being read, and would be overwritten: write to another file"),
    ],
)
def test_what_is_not_to_be_replaced(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    ending: str,
    output: str,
    says: str,
) -> None:
    """A folder, a pipe, a device, and the run itself by whatever name, are refused before anything is read."""
    monkeypatch.chdir(tmp_path)
    name = f"{output}.{ending}"
    own = Path(f"own.{ending}")
    own.write_bytes(codec.to_line(events.comparison()))
    Path(f"folder.{ending}").mkdir()
    Path(f"device.{ending}").symlink_to(os.devnull)
    Path(f"link.{ending}").symlink_to(own)
    os.mkfifo(f"pipe.{ending}")
    there = {file.name: file.lstat() for file in tmp_path.iterdir()}
    monkeypatch.delattr(Reading, "__iter__")
    assert main.main([command, str(own), "-o", name]) == 2
    assert events.said(capsys) == f"predlog: {says.format(name)}\n"
    assert {file.name: (file.lstat().st_ino, file.lstat().st_mode) for file in tmp_path.iterdir()} == {
        file: (status.st_ino, status.st_mode) for file, status in there.items()
    }


@pytest.mark.parametrize(("command", "ending"), WRITES)
def test_standard_input_is_not_to_be_replaced(tmp_path: Path, command: str, ending: str) -> None:
    """A file that comes in as standard input is one that is read, too."""
    own = tmp_path / f"own.{ending}"
    own.write_bytes(line := codec.to_line(events.comparison()))
    with own.open() as stdin:
        call = [*PREDLOG, command, "-", "-o", str(own)]
        done = subprocess.run(call, stdin=stdin, capture_output=True, text=True, check=False)
    assert (done.returncode, own.read_bytes()) == (2, line)
    assert done.stderr == f"predlog: {own} is being read, and would be overwritten: write to another file\n"


PRIVATE = [
    ((0o600,), None, 0o600),
    ((0o644,), None, 0o644),
    ((0o640, 0o604), None, 0o600),
    ((0o440,), None, 0o640),
    ((0o000,), None, 0o600),
    ((0o666,), None, 0o644),
    ((0o644,), 0o600, 0o600),
]


@pytest.mark.parametrize(("command", "ending"), WRITES)
@pytest.mark.parametrize(("sources", "there", "expected"), PRIVATE)
@pytest.mark.parametrize("through", ["folder", pytest.param("stdin", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_what_is_written_is_as_private_as_what_was_read(
    tmp_path: Path, command: str, ending: str, sources: tuple[int, ...], there: int | None, expected: int, through: str
) -> None:
    """Nobody can read a page or an export who could not read every file of the run, or the file that it replaces."""
    target = tmp_path / f"out.{ending}"
    if there is not None:
        target.touch(there)
    for rank, mode in enumerate(sources):
        file = tmp_path / f"predictions-rank{rank}.jsonl"
        file.write_bytes(codec.to_line(events.comparison(rank=rank)))
        file.chmod(mode)
    code = "import os, sys; os.umask(0o022); from predlog.cli.main import main; sys.exit(main(sys.argv[1:]))"
    read = "-" if through == "stdin" and len(sources) == 1 else str(tmp_path)
    call = [sys.executable, "-c", code, command, read, "-o", str(target)]
    with (tmp_path / "predictions-rank0.jsonl").open() as stdin:
        subprocess.run(call, stdin=stdin, check=True, capture_output=True)
    assert stat.S_IMODE(target.stat().st_mode) == expected


@pytest.mark.skipif(not hasattr(os, "chown") or os.geteuid() != 0, reason="only root can give a file to another group")
def test_the_group_of_a_file_is_not_that_of_its_export(tmp_path: Path) -> None:
    """What another group can read is for nobody else, so the group of the new file can't, unless everybody can."""
    for mode, expected in ((0o640, 0o600), (0o644, 0o644)):
        file = tmp_path / "predictions.jsonl"
        file.write_bytes(codec.to_line(events.comparison()))
        file.chmod(mode)
        os.chown(file, -1, os.getegid() + 1)
        assert main.main(["export", str(file), "-o", str(tmp_path / f"{mode}.csv")]) == 0
        assert stat.S_IMODE((tmp_path / f"{mode}.csv").stat().st_mode) & ~os.umask(os.umask(0)) == expected


@pytest.mark.parametrize(("command", "ending"), WRITES)
@pytest.mark.parametrize(
    ("name", "encoding", "shown"),
    [
        (b"\xff.", "utf-8:strict", r"\udcff."),
        pytest.param("é.".encode(), "ascii", r"\xe9.", marks=pytest.mark.slow),
        pytest.param(b"a\x1b[31m\n.", "utf-8", r"a\x1b[31m\n.", marks=pytest.mark.slow),
        pytest.param(b"n" * 240 + b".", "utf-8", "n" * 240 + ".", marks=pytest.mark.slow),
    ],
)
def test_any_name_can_be_written_and_told(
    run: Path, tmp_path: Path, command: str, ending: str, name: bytes, encoding: str, shown: str
) -> None:
    """Whatever bytes a name is of, and whatever a terminal can show, the file is written, and said harmlessly."""
    file = os.fsdecode(name) + ending
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    call = [*PREDLOG, command, str(run), "-o", file]
    done = subprocess.run(call, capture_output=True, check=False, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"{shown}{ending}: ".encode())
    assert done.stdout.count(b"\n") == 1
    assert (tmp_path / file).stat().st_size


@pytest.mark.parametrize(
    "command", ["summary", *(pytest.param(name, marks=pytest.mark.slow) for name in ("list", "tail", "check", "diff"))]
)
def test_colours_are_asked_for_and_refused(run: Path, command: str) -> None:
    """A pipe gets no escape sequence, FORCE_COLOR gives colours, NO_COLOR takes them away, COLUMNS sets the width."""

    def shown(**variables: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
        done = subprocess.run(
            [sys.executable, "-m", "predlog", *arguments(command, run)],
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
    lines = re.sub("\x1b\\[[0-9;]*m", "", narrow).splitlines()
    # The line that says where a run goes is whole: a path is copied from it.
    assert max(len(line) for line in lines if not line.startswith("predlog ")) <= 60


@pytest.mark.parametrize(("command", "keys"), [
    ("export", {"path", "output", "bytes", "rows", "without_tokens", "damaged"}),
    ("report", {"paths", "output", "bytes", "comparisons"}),
    ("explain", {"code", "level", "says", "page"}),
])  # fmt: skip
def test_json_of_what_was_done(
    run: Path, tmp_path: Path, command: str, keys: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json, what was written, and what a finding means, is one object for another program."""
    asked = [
        word.replace(str(run.parent), str(tmp_path)) if "out." in word else word for word in arguments(command, run)
    ]
    assert main.main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == keys
    if "bytes" in found:
        assert found["bytes"] == Path(found["output"]).stat().st_size
    else:
        assert found["page"].startswith("# collapsed")


def test_all_commands_have_a_module() -> None:
    """Every subcommand names a module that is there."""
    parser = whole_parser()
    for command in COMMANDS:
        needed = {"diff": ["a", "b"], "export": ["p", "-o", "f"], "explain": [], "completion": ["bash"]}
        parsed = parser.parse_args([command, *needed.get(command, ["p"])])
        assert find_spec(parsed.module) is not None


PATIENT = "import sys; from predlog.cli import bar, main; bar._PATIENCE = -1.0; sys.exit(main.main(sys.argv[1:]))"


@pytest.mark.parametrize("command", ["summary", *(pytest.param(name, marks=pytest.mark.slow) for name in READ)])
def test_a_bar_for_whoever_waits(run: Path, tmp_path: Path, command: str) -> None:
    """In a terminal, one sees how far the reading is once it takes long, and not a trace of it afterwards.

    Here, long is any time at all; within two seconds, and in a pipe, there is no bar.
    """
    call = [sys.executable, "-c", PATIENT, *arguments(command, run)]
    piped = subprocess.run(call, capture_output=True, check=True)
    assert piped.stderr == b""
    status, screen = in_a_terminal(call, tmp_path / command)
    assert status == 0
    written = (tmp_path / command).read_bytes()
    if command == "list":  # the age of a run grows from one call to the next
        written, piped.stdout = (re.sub(rb"\b\d+ ?s\b", b"age", text) for text in (written, piped.stdout))
    assert written == piped.stdout
    assert b"reading" in screen
    assert screen.endswith(ERASED)
    assert in_a_terminal([*PREDLOG, *arguments(command, run)], tmp_path / "small") == (0, b"")


def test_when_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes with the first news after two seconds, counted from when the command began to read."""
    now = [100.0]
    monkeypatch.setattr("predlog.cli.bar.time.monotonic", lambda: now[0])
    monkeypatch.setattr("sys.stderr", type("Terminal", (io.StringIO,), {"isatty": lambda _: True})())
    with Bar(1000) as first, Bar(1000, since=97.9) as later:
        for at, are_shown in ((101.9, (False, True)), (102.1, (True, True))):
            now[0] = at
            for one in (first, later):
                one.told(10)
            assert (first._shown is not None, later._shown is not None) == are_shown
            assert later._shown is not None
            later._shown[0].stop()


# Up to the bar's line, and what is on it gone.
ERASED = b"\r\x1b[1A\x1b[2K"


def all_of(screen: int) -> bytes:
    """Return what comes to a terminal until nobody holds it any more."""
    shown = b""
    with contextlib.suppress(OSError), open(screen, "rb", buffering=0) as coming:  # EIO at the end
        while some := coming.read(1 << 16):
            shown += some
    return shown


def in_a_terminal(call: list[str], output: Path) -> tuple[int, bytes]:
    """Run a command whose stderr is a terminal; give its status and what came there."""
    screen, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with (
        output.open("wb") as opened,
        subprocess.Popen(call, stdout=opened, stderr=terminal, env=environment) as process,
    ):
        os.close(terminal)
        shown = all_of(screen)
    return process.returncode, shown


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Who types the name alone sees what there is; a script that has lost its arguments fails."""
    with pytest.raises(SystemExit) as ended:
        main.main([])
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert shown.out == ""
    assert all(name in shown.err.lower() for name in ("usage: predlog", "summary", "examples:"))


@pytest.mark.parametrize("command", [[], ["serve"], ["check"], ["export"], ["completion"]])
def test_examples_fit_the_terminal(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 80 columns no sentence of `--help` is broken inside a word; a command, which is copied, stays in one line."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main.main([*command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80 and "  predlog " not in line] == []
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main.main([*command, "--help"])
    assert len(capsys.readouterr().out.splitlines()) < len(lines)


def test_the_mistakes_are_wrapped_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal each line fits, and no word is broken; elsewhere a mistake is one line."""
    assert main.main(["demo", "--mistake", "list"]) == 0
    whole = capsys.readouterr().out
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, value)
    assert main.main(["demo", "--mistake", "list"]) == 0
    wrapped = capsys.readouterr().out
    assert max(map(len, wrapped.splitlines())) <= 60 < max(map(len, whole.splitlines()))
    assert wrapped.split() == whole.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "variables", "is_paged"),
    [
        (24, {"PAGER": "sed s/^/paged:/"}, True),
        (24, {"PAGER": "sed s/^/paged:/", "NO_PAGER": "1"}, False),
        (24, {"PAGER": "sed s/^/paged:/", "TERM": "dumb"}, False),
        (900, {"PAGER": "sed s/^/paged:/"}, False),
        (24, {"PAGER": ""}, False),
        (24, {"PAGER": "no-such-pager-anywhere"}, False),
        (24, {"PAGER": "head -n 1 | sed s/^/paged:/"}, True),
    ],
)
def test_a_long_page_is_paged(lines: int, variables: dict[str, str], is_paged: bool) -> None:
    """On a terminal that has fewer lines the pager gets the text, as the user has set it; it may end before that."""
    screen, terminal = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": str(lines)} | variables
    with subprocess.Popen([*PREDLOG, "explain", "collapsed"], stdout=terminal, env=environment) as process:
        os.close(terminal)
        shown = all_of(screen)
    assert process.returncode == 0
    assert (b"paged:" in shown) == is_paged
    assert shown.count(b"When it is not a fault") == ("head" not in variables.get("PAGER", ""))


@pytest.mark.slow
def test_a_pipe_is_not_paged() -> None:
    """What another program reads goes through no pager."""
    done = subprocess.run(
        [*PREDLOG, "explain"], capture_output=True, text=True, check=True,
        env=os.environ | {"PAGER": "sed s/^/paged:/", "LINES": "10"},
    )  # fmt: skip
    assert "paged:" not in done.stdout
    assert done.stdout.count("\n") > 30
