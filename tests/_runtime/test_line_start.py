"""Whether a line of ours begins in the first column of a file or a pipe that others write to, too."""

import os
import re
from pathlib import Path

import pytest
from tqdm import tqdm

from predlog._runtime import line_start
from tests import fresh

# A run whose bar and whose samples go to one file, as in a Slurm job.
CODE = """
import predlog
from tqdm import tqdm
from tests import events
predlog.configure(every=1, samples=2, decode=lambda one: f"t{one}")
for step in tqdm(range(8), mininterval=0, miniters=1, desc="training"):
    predlog.compare(*events.pair(step), step)
    assert predlog.flush()
predlog.close()
"""


@pytest.mark.parametrize("way", ["shared", "appended", "two descriptors", "pipe"])
def test_no_line_begins_behind_a_bar(tmp_path: Path, way: str) -> None:
    """However stdout and stderr come to be one file, each line of predlog's begins in the first column."""
    log = tmp_path / "slurm.out"
    log.touch()
    if way == "pipe":
        reader, writer = os.pipe()
        fresh.start(CODE, streams=(writer, writer, writer))
        os.close(writer)
        with os.fdopen(reader, newline="") as pipe:
            output = pipe.read()
        assert fresh.wait(60) == 0
    else:
        mode = "w" if way == "shared" else "a"
        with log.open(mode) as out, log.open(mode) as other:
            fresh.start(CODE, streams=(out, out, other if way == "two descriptors" else out))
            assert fresh.wait(60) == 0
        output = log.read_bytes().decode()
    assert "training:" in output
    assert len(re.findall(r"predlog step=\d+ stream=text sample=", output)) == 16
    assert len(re.findall(r"^predlog step=\d+ stream=text sample=", output, re.MULTILINE)) == 16
    # And no empty line is between those of one pair.
    assert len(re.findall(r"sample=0 [^\n]*\npredlog step=\d+ stream=text sample=1 ", output)) == 8


def test_the_end_of_a_file_tells(tmp_path: Path) -> None:
    """An empty file and a whole line end closed; whatever else was written last, by anyone, is open."""
    file = tmp_path / "log"
    with file.open("a") as stream:
        assert not line_start.is_open(stream)
        stream.write("half a line")
        assert line_start.is_open(stream)
        with file.open("a") as other:
            other.write("\n")
        assert not line_start.is_open(stream)
    assert not line_start.is_open(stream)  # closed
    assert not line_start.is_open(object())


def test_a_pipe_without_a_bar_gets_no_empty_lines() -> None:
    """Nobody knows what is in a pipe, so without a bar nothing is put before a line."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        assert not line_start.is_open(stream)


def test_a_file_whose_end_cannot_be_read_is_taken_for_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc, a bar that goes to the same file may have written last; one that goes elsewhere has not."""
    monkeypatch.setattr(line_start, "_ends_open", lambda *_: None)
    with (tmp_path / "log").open("w") as stream, (tmp_path / "other").open("w") as other:
        assert not line_start.is_open(stream)
        with tqdm(range(3), file=other):
            assert not line_start.is_open(stream)
        with tqdm(range(3), file=stream):
            assert line_start.is_open(stream)
        assert not line_start.is_open(stream)


@pytest.mark.parametrize("way", ["file", "pipe"])
def test_the_line_at_the_exit_does_not_begin_behind_a_bar(tmp_path: Path, way: str) -> None:
    """A bar that nobody has closed leaves its line open; what is reported at the exit begins in the first column."""
    code = """
import predlog
from tqdm import tqdm
from tests import events
predlog.configure(every=1, samples=1)
bar = tqdm(range(3), mininterval=0, miniters=1, desc="training")
for step in bar:
    predlog.compare(*events.pair(step), step)
    predlog.flush()
    if step == 1:
        break
"""
    if way == "pipe":
        reader, writer = os.pipe()
        fresh.start(code, streams=(writer, writer, writer))
        os.close(writer)
        with os.fdopen(reader, newline="") as pipe:
            output = pipe.read()
        assert fresh.wait(60) == 0
    else:
        with (tmp_path / "log").open("w") as out:
            fresh.start(code, streams=(out, out, out))
            assert fresh.wait(60) == 0
        output = (tmp_path / "log").read_bytes().decode()
    assert len(re.findall(r"^predlog: 2 comparisons, and no file", output, re.MULTILINE)) == 1, output
    assert len(re.findall(r"^predlog: step 0, .*: the inputs are not known", output, re.MULTILINE)) == 1, output
    assert way == "pipe" or "\n\n" not in output  # of a pipe nobody knows who wrote last


def test_a_bar_that_is_being_drawn_is_not_waited_for_without_end() -> None:
    """Whoever holds the lock of the bars for long keeps no line back."""
    code = """
import sys, threading
from tqdm import tqdm
from predlog._runtime.notices import Notices
held, done = threading.Event(), threading.Event()
def hold():
    with tqdm.get_lock():
        held.set()
        done.wait(30)
bar = tqdm(total=3, file=sys.stderr)
threading.Thread(target=hold).start()
held.wait(30)
Notices().report("a", "all the same")
done.set()
"""
    done = fresh.run(code)
    assert done.returncode == 0
    assert "\npredlog: all the same\n" in done.stderr
