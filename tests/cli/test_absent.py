"""The reading side alone: without torch, and without what only POSIX systems have."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from predlog.errors import READING, RECORDING
from tests import ROOT, fresh
from tests.answers import COMMANDS, WITH_EXTRAS, answer, make_runs

NEEDED = (
    "recording needs torch, structlog and einops, which are not installed: "
    "pip install 'torch>=2.4' 'structlog>=24.1' 'einops>=0.8'"
)
# Other people's modules that the reading side loads.
OTHERS = (
    "bokeh.plotting",
    "jinja2",
    "msgspec",
    "orjson",
    "pyarrow.parquet",
    "rich.console",
    "rich_argparse",
    "zstandard",
)
READER = f"from tests import absent; absent.packages(*{RECORDING}); absent.posix(*{OTHERS})"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two runs."""
    folder = tmp_path_factory.mktemp("runs")
    make_runs(folder)
    return folder


# Each answer takes two processes that import everything: the others run with `-m slow`.
AT_ONCE = ("check", "read")
LATER = [name for name in (*COMMANDS, *WITH_EXTRAS) if name not in AT_ONCE]


@pytest.mark.parametrize("name", [*AT_ONCE, *(pytest.param(name, marks=pytest.mark.slow) for name in LATER)])
def test_a_reader_gets_the_same_answers(runs: Path, name: str) -> None:
    """Without the packages that only recording needs, and without POSIX functions, each command answers the same."""
    usual = answer(sys.executable, name, runs, path=str(ROOT))
    assert usual.status in {0, 1}
    assert usual.out
    assert not usual.errors
    assert answer(sys.executable, name, runs, READER, path=str(ROOT)) == usual


def ended(program: str) -> tuple[int, list[str]]:
    """Run a program in a new process; return its exit status and the lines on stderr."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    "use",
    [
        "predlog.compare(None, None, 0)",
        "predlog.configure('runs')",
        "predlog.Recorder()",
        "predlog.Projection",
        "predlog.flush()",
        "predlog.watch",
        "predlog.processors",
        "from predlog import compare",
        "from predlog.processors import Redact",
        "from predlog.integrations.transformers import PredictionCallback",
        "from predlog.integrations.lightning import PredictionCallback",
        "import os; os.environ['PREDLOG_DISABLE'] = '1'; predlog.compare(None, None, 0)",
    ],
)
def test_recording_says_what_to_install(use: str) -> None:
    """What records raises one error, after which no other follows, with the command that installs what is missing."""
    status, lines = ended(f"{READER.partition(';')[0]}; absent.packages(*{RECORDING}); import predlog; {use}")
    assert (status, lines[-1]) == (1, f"predlog.errors.MissingPackageError: {NEEDED}")
    assert sum(line.startswith("Traceback") for line in lines) == 1


def test_the_demo_says_what_to_install() -> None:
    """`predlog demo` prints one line, and ends as for other errors."""
    assert ended(f"{READER}; from predlog.cli.main import main; import sys; sys.exit(main(['demo']))") == (
        2,
        [f"predlog: {NEEDED}"],
    )


@pytest.mark.parametrize(
    ("missing", "use", "says"),
    [
        (["einops"], "predlog.Recorder", "recording needs einops, which is not installed: pip install 'einops>=0.8'"),
        (["structlog"], "predlog.compare", "structlog, which is not installed: pip install 'structlog>=24.1'"),
        (["msgspec"], "predlog.read", "reading needs msgspec, which is not installed: pip install 'msgspec>=0.19'"),
        ([*READING], "predlog.read", "reading needs orjson, msgspec and rich, which are not installed:"),
        ([*READING], "predlog.read", "not installed: pip install 'orjson>=3.10' 'msgspec>=0.19' 'rich>=13.7'"),
        (["bokeh"], "import predlog.report.page", "bokeh, which is not installed: pip install 'predlog[report]'"),
        (["bokeh", "torch"], "import predlog.report.page", "bokeh, which is not installed: pip install 'bokeh>=3.4'"),
    ],
)  # fmt: skip
def test_all_that_is_missing_is_named(missing: list[str], use: str, says: str) -> None:
    """The error lists what is not installed, and no more; torch is never installed for what only reads."""
    status, lines = ended(f"from tests import absent; absent.packages(*{missing}); import predlog; {use}")
    assert status == 1
    assert says in lines[-1]


def test_the_module_needs_no_extra(runs: Path) -> None:
    """`python -m predlog` answers without any package that an extra installs, and its help is there, too."""
    extras = ("rich_argparse", "shtab", "bokeh", "jinja2", "pyarrow", "zstandard")
    for asked in (["--help"], ["list", "."], ["summary", "a", "b"], ["diff", "a", "b", "a"]):
        program = (
            f"from tests import absent; absent.packages(*{(*RECORDING, *extras)}); import runpy, sys;"
            f"sys.argv = ['predlog', *{asked}]; runpy.run_module('predlog', run_name='__main__')"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=runs, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (1 if asked[0] == "diff" else 0, "")
        assert "predlog" in done.stdout if asked == ["--help"] else "a" in done.stdout


def test_a_broken_package_is_not_called_missing() -> None:
    """If a package is there and can't be imported, its own error is raised."""
    planted = "import sys; sys.modules['torch.overrides'] = None; import predlog; predlog.Recorder"
    assert ended(planted)[1][-1].startswith("ModuleNotFoundError: import of torch.overrides halted")


def test_the_recorder_needs_no_posix(tmp_path: Path) -> None:
    """Where POSIX functions are missing, everything is imported, and a pair is recorded: with a `mode`, too."""
    (tmp_path / "predictions.jsonl").touch()
    (tmp_path / "predictions.jsonl").chmod(0o644)
    program = f"""
import importlib, pkgutil, sys
from tests import absent
absent.posix(*{OTHERS}, "structlog", "einops", "asyncio", "multiprocessing.util")
import predlog
for module in pkgutil.walk_packages(predlog.__path__, "predlog."):
    if module.name.split(".")[1] in {{"capture", "findings", "processors", "recorder", "records", "_runtime"}}:
        importlib.import_module(module.name)
import predlog.sinks, predlog.integrations.watch, torch
with predlog.Recorder(sys.argv[1], every=1, mode=0o600) as recorder:
    recorder.compare(torch.zeros(1, 3, 4), torch.zeros(1, 3).long(), 0)
(start, comparison, end) = predlog.read(sys.argv[1])
assert comparison.supervised == 3 and end.stats["written"] == 1
print("recorded")
"""
    done = fresh.run(program, tmp_path)
    assert (done.returncode, done.stderr, done.stdout.splitlines()[-1]) == (0, "", "recorded")


def test_files_are_opened_as_bytes(tmp_path: Path) -> None:
    """Whoever calls `os.open` on a run's file passes the flag without which Windows translates the ends of lines."""
    program = """
import os, sys
from pathlib import Path
os.O_BINARY, really = 1 << 30, os.open
def seen(path, flags, *more):
    print(Path(sys._getframe(1).f_code.co_filename).name, bool(flags & os.O_BINARY))
    return really(path, flags & ~os.O_BINARY, *more)
import predlog, torch
from predlog.reading.tail import Follower
recorder = predlog.Recorder(sys.argv[1], every=1, console=False)
os.open = seen
recorder.compare(torch.zeros(1, 3, 4), torch.zeros(1, 3).long(), 0)
recorder.close()
assert len([*Follower(Path(sys.argv[1], "predictions.jsonl")).poll()]) == 3
"""
    done = fresh.run(program, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    # The file with the token of `predlog serve` is no run's file.
    sources = {*(ROOT / "predlog").rglob("*.py")} - {ROOT / "predlog/serve/server.py"}
    callers = {file.name for file in sources if re.search(r"os\.open\((?!os\.devnull)", file.read_text())}
    assert {*done.stdout.splitlines()} == {f"{name} True" for name in callers}
    assert callers


def test_what_is_absent_is_absent() -> None:
    """The tests above can fail: in their processes, what other machines lack can't be used, and in others it can."""
    program = """
from pkgutil import resolve_name
for name in names:
    try:
        resolve_name(name)
        print(name)
    except (ModuleNotFoundError, AttributeError):
        pass
"""
    names = [
        *RECORDING, "fcntl", "grp", "pty", "pwd", "resource", "termios", "tty", "mmap:PROT_READ", "os:O_NOFOLLOW",
        "os:fchmod", "os:fork", "os:fdatasync", "os:getuid", "os:mkfifo", "os:pread", "os:register_at_fork",
        "os:sched_getaffinity", "os:uname", "select:poll", "signal:SIGHUP", "signal:SIGKILL", "signal:SIGPIPE",
        "socket:AF_UNIX", "time:tzset",
    ]  # fmt: skip
    usual, without = (
        subprocess.run(
            [sys.executable, "-c", f"{before}\n{names=}{program}"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        for before in ("", READER)
    )
    assert usual == names
    assert not without
