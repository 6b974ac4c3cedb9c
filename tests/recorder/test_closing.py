"""What a recorder reports and writes last, where it was offered no pair."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import predlog
from predlog.cli import main
from tests import ROOT, events, fresh


def program(code: str, rank: int, size: int) -> list[str]:
    launched = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, **launched}
    )
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("rank", "ranks", "made"),
    [
        pytest.param(0, "0", "predlog.configure", marks=pytest.mark.slow),
        pytest.param(1, "0", "predlog.configure", marks=pytest.mark.slow),
        (0, "'auto'", "predlog.configure"),
        pytest.param(1, "'auto'", "predlog.configure", marks=pytest.mark.slow),
        pytest.param(1, "'all'", "kept = predlog.Recorder", marks=pytest.mark.slow),
        # It is gone before the program ends.
        pytest.param(1, "'all'", "predlog.Recorder", marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_is_offered_no_pair_says_so(rank: int, ranks: str, made: str, tmp_path: Path) -> None:
    """Of several ranks, one that was to record and never saw logits writes one line and a run record at the end."""
    code = f"import predlog; {made}({str(tmp_path)!r}, ranks={ranks}, console=False)"
    told = program(code, rank, 2)
    if rank == 1 and ranks in {"0", "'auto'"}:
        assert told == []
        assert not list(tmp_path.iterdir())
        return
    (line,) = told
    assert line.startswith(f"predlog: no pair was offered on this rank ({rank} of 2)")
    first, last = predlog.read(tmp_path)
    assert isinstance(first, predlog.Run)
    assert isinstance(last, predlog.Run)
    assert last.stats is not None
    assert last.stats["submitted"] == 0


@pytest.mark.slow
def test_alone_or_with_pairs_nothing_is_said(tmp_path: Path) -> None:
    """A single process may have nothing to compare, and a pair that was not due was offered."""
    code = f"import predlog; predlog.configure({str(tmp_path)!r}, console=False, every=10)"
    assert program(code, 0, 1) == []
    assert program(f"{code}; predlog.compare(None, None, 3)", 0, 2) == []
    assert not list(tmp_path.iterdir())


UNCHECKED = "the loss was not checked (see predlog explain loss-differs-from-pair)"


def shown(recorder: predlog.Recorder, capfd: pytest.CaptureFixture[str], steps: int = 2, **how: Any) -> str:
    """Return what is on stderr after a few pairs whose inputs are known."""
    with recorder:
        for step in range(steps):
            logits, labels = events.pair(step)
            recorder.compare(logits, labels, step, inputs=labels.roll(1, 1).clamp(0), **how)
    recorder.close()
    return capfd.readouterr().err


@pytest.mark.parametrize("form", [True, "compact", "full"])
def test_a_run_ends_with_one_line(
    form: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how many comparisons are where, that nothing is open, and a command that can be pasted."""
    directory = tmp_path / "a run"
    line = shown(predlog.Recorder(directory, every=1, console=form), capfd)
    monkeypatch.chdir(tmp_path)  # where the page goes
    counted = f"4 comparisons in {directory}/predictions.jsonl"
    assert line == f"predlog: {counted}; no open findings; {UNCHECKED}; next: predlog report '{directory}'\n"
    assert main.main(shlex.split(line.partition("next: predlog ")[2])) == 0


def test_the_line_without_a_file(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing was kept: the last line tells so, and names no command."""
    line = shown(predlog.Recorder(every=1), capfd, steps=1)
    assert line == f"predlog: 2 comparisons, and no file: no directory was passed; no open findings; {UNCHECKED}\n"


def test_without_a_console_it_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody watches: a line only if something was found, or is missing."""
    assert shown(predlog.Recorder(tmp_path, every=1, console=False), capfd) == ""

    def failing(*_: Any) -> Any:
        raise ValueError("no")

    *_, line = shown(predlog.Recorder(tmp_path, every=1, console=False, sinks=[failing]), capfd).splitlines()
    assert line.startswith(f"predlog: 4 comparisons in {tmp_path}/predictions.jsonl; of 4 comparisons 4 did not reach ")
    assert line.endswith(f"; no open findings; {UNCHECKED}; next: predlog report {tmp_path}")


def test_a_loss_that_nobody_passed_is_no_success(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a loss the last line says that none was checked; not where one was passed, or the finding is ignored."""
    assert f"; {UNCHECKED}" in shown(predlog.Recorder(tmp_path / "a", every=1), capfd)
    ignoring = predlog.Recorder(tmp_path / "b", every=1, ignore=("loss-differs-from-pair",))
    assert UNCHECKED not in shown(ignoring, capfd)
    logits, labels = events.pair()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert UNCHECKED not in shown(predlog.Recorder(tmp_path / "c", every=1), capfd, steps=1, reported_loss=loss)


ENDS = {
    "raise ValueError('no')": "ValueError",
    "import os, signal; os.kill(os.getpid(), signal.SIGINT)": "KeyboardInterrupt",
    "sys.exit(1)": None,
    "predlog.close(); raise ValueError": None,
    "try:\n    raise ValueError\nexcept ValueError:\n    pass": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_the_exception_that_ends_a_program_is_in_its_last_line(end: str, tmp_path: Path) -> None:
    """Ctrl-C and any other uncaught exception are named; what was caught, came after `close`, or leaves is not."""
    program = f"""
import sys, predlog
from tests import events
predlog.configure(sys.argv[1], every=1, console=False)
predlog.compare(*events.pair(), 0)
{end}
"""
    fresh.run(program, tmp_path)
    last = [one for one in predlog.read(tmp_path) if isinstance(one, predlog.Run)][-1]
    assert last.stats is not None
    assert last.stats.get("error") == ENDS[end]


@pytest.mark.parametrize(
    ("error", "named"), [(ValueError, "ValueError"), (KeyboardInterrupt, "KeyboardInterrupt"), (SystemExit, None)]
)
def test_the_exception_that_ends_a_block_is_in_its_last_line(
    error: type[BaseException], named: Any, tmp_path: Path
) -> None:
    """An exception that leaves `with` ends the run; SystemExit leaves on purpose."""
    recorder = predlog.Recorder(tmp_path, every=1, console=False)
    recorder.compare(*events.pair(), 0)
    with pytest.raises(error), recorder:
        raise error
    last = [one for one in predlog.read(tmp_path) if isinstance(one, predlog.Run)][-1]
    assert last.stats is not None
    assert last.stats.get("error") == named


def test_nothing_recorded_is_nothing_to_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A recorder that was offered no pair says nothing."""
    assert shown(predlog.Recorder(tmp_path, every=1), capfd, steps=0) == ""
