"""Copies and pickles of what holds a recorder, and recorders that nobody refers to any more."""

import copy
import gc
import io
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import predlog
from predlog import Recorder
from predlog.processors import Redact
from tests import ROOT, events
from tests.events import told

LABELS = torch.arange(8).view(1, 8)


def compare(recorder: Recorder, step: int) -> Any:
    return recorder.compare(nn.functional.one_hot(LABELS, 16).float(), LABELS, step)


def steps(folder: Path) -> list[int]:
    return [one.step for one in predlog.read(folder, attempt="all") if isinstance(one, predlog.Comparison)]


class Model(nn.Module):
    """Holds a recorder, and what `compare` returned, as any attribute."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.recorder = recorder
        self.recorded: Any = None

    def forward(self, step: int) -> Tensor:
        self.recorded = compare(self.recorder, step)
        return torch.zeros(1)


def saved(model: nn.Module) -> Any:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),
    "save": saved,
    "ema": lambda one: torch.optim.swa_utils.AveragedModel(one).module,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("foreign", ["plain", "nothing of it can be copied"])
def test_a_copy_in_the_same_process_records_nothing(
    way: str, foreign: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever copies the model that holds it, and whatever it was made with; one line reports it."""
    lock = threading.Lock()
    how: dict[str, Any] = {"decode": str, "processors": [Redact(r"\d{9}")]}
    if foreign != "plain":
        how = {
            "decode": lambda token: f"{token}{lock.locked()}",
            "sinks": [lambda *given: (lock.locked(), given[2])[1]],
        }
    with Recorder(tmp_path, every=1, console=False, **how) as recorder:
        model = Model(recorder)
        model(0)
        other = COPIES[way](model)
        for step in (1, 2):
            other(step)
        again = copy.deepcopy(other)
        again(3)
        model(4)
        assert recorder.stats()["submitted"] == 2
    assert steps(tmp_path) == [0, 4]
    lines = [line for line in told(capfd) if "copy of a recorder" in line]
    assert len(lines) == 1
    assert other.recorder.stats()["submitted"] == 0
    assert other.recorder.close()


def test_a_shallow_copy_shares_nothing(tmp_path: Path) -> None:
    """`copy.copy` of a recorder has no queue and no file, so that closing it closes nothing of the original."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        other = copy.copy(recorder)
        assert compare(other, 0) is None
        other.close()
        assert compare(recorder, 1) is not None
    assert steps(tmp_path) == [1]


LOADING = """
import pickle, sys, torch
from tests.recorder.test_copies import Model, compare
model = pickle.load(open(sys.argv[1], "rb"))
for step in map(int, sys.argv[2:]):
    compare(model.recorder, step)
print(model.recorder.close(), model.recorder.directory)
"""


@pytest.mark.parametrize("how", [{"processors": [Redact("x")]}, {"decode": lambda one: f"{one}"}])
def test_in_another_process_it_opens_its_files_anew(how: dict[str, Any], tmp_path: Path) -> None:
    """A recorder that another process unpickles records there, with the same arguments, in an attempt of its own."""
    with Recorder(tmp_path / "run", every=3, console=False, **how) as recorder:
        compare(recorder, 0)
        (tmp_path / "pickle").write_bytes(pickle.dumps(Model(recorder)))
    subprocess.run(
        [sys.executable, "-c", LOADING, str(tmp_path / "pickle"), "3", "4"], check=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert steps(tmp_path / "run") == [0, 3]


def test_without_its_processors_nothing_is_recorded(tmp_path: Path) -> None:
    """A processor that can't be pickled was perhaps to redact: what it would have changed is not written."""
    with Recorder(tmp_path / "run", every=1, console=False, processors=[lambda *given: given[2]]) as recorder:
        (tmp_path / "pickle").write_bytes(pickle.dumps(Model(recorder)))
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(tmp_path / "pickle"), "0"], check=True, cwd=ROOT, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
    )  # fmt: skip
    assert not (tmp_path / "run").exists()
    assert "without its processors, and records nothing" in done.stderr


def test_a_recorder_that_nobody_refers_to_closes_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its thread ends and its file is whole, though nobody called `close`; what is summed up at the end is, too."""
    before = threading.active_count()
    for number in range(20):
        recorder = Recorder(tmp_path / str(number), every=1, console=False)
        compare(recorder, 0)
        recorder.compare(torch.zeros(1, 3, 16), LABELS, 1)
    threads = [one for one in threading.enumerate() if one.name == "predlog"]
    gone = weakref.ref(recorder)
    del recorder
    gc.collect()
    assert gone() is None
    for thread in threads:
        thread.join(10)
    assert threading.active_count() == before
    for number in range(20):
        *_, last = predlog.read(tmp_path / str(number))
        assert isinstance(last, predlog.Run)
        assert last.stats is not None
        assert last.stats["submitted"] == last.stats["written"] == 1
    assert events.said(capfd).count("length-mismatch") == 20


def test_a_program_that_ends_waits_for_one_that_is_gone(tmp_path: Path) -> None:
    """What a recorder had recorded that is gone, but has not finished, is written when the program ends."""
    code = """
import sys, torch, predlog
for step in range(3):
    predlog.Recorder(sys.argv[1], every=1, console=False).compare(torch.randn(1, 8, 16), torch.arange(8)[None], step)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert sorted(steps(tmp_path)) == [0, 1, 2]
