"""The default recorder: made once, typed, and with the arguments of a recorder."""

import inspect
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import predlog
from predlog import Comparison, Recorder
from predlog.recorder import default, recorder
from tests import ROOT

API = ROOT / "tests" / "typing" / "api.py"


@pytest.fixture
def no_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the default recorder before and after."""
    monkeypatch.setattr(default, "_default", None)
    monkeypatch.setattr(default, "_every", 1)
    yield
    predlog.close()


@pytest.mark.usefixtures("no_default")
def test_threads_that_use_it_first_at_once_share_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes to make it, one recorder is made, and no pair is lost."""
    monkeypatch.setenv("PREDLOG_DIR", str(tmp_path))
    monkeypatch.setenv("PREDLOG_CONSOLE", "0")
    made: list[Recorder] = []
    original = Recorder.__init__

    def slowly(self: Recorder, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        made.append(self)
        # Until the others have asked for it too, or would have made their own.
        event.wait(0.2)

    event, together = threading.Event(), threading.Barrier(8)
    monkeypatch.setattr(Recorder, "__init__", slowly)

    def compare(number: int) -> None:
        together.wait(10)
        predlog.compare(torch.zeros(1, 3, 4), torch.zeros(1, 3).long(), 0, stream=f"stream {number}")

    threads = [threading.Thread(target=compare, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert predlog.flush(10)
    assert len(made) == 1
    found = [record.stream for record in predlog.read(tmp_path) if isinstance(record, Comparison)]
    assert sorted(found) == [f"stream {number}" for number in range(8)]


def test_configure_takes_what_a_recorder_takes() -> None:
    """The signatures are spelt out twice, so that editors complete them, and agree in names, defaults and types."""
    ours = inspect.signature(Recorder).parameters
    assert inspect.signature(predlog.configure).parameters == ours
    assert not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in ours.values())


def test_every_argument_is_explained() -> None:
    """`help` of what people call names each argument, with a line about it."""
    for function in (predlog.compare, predlog.configure, Recorder):
        documentation = inspect.getdoc(function) or ""
        for name in inspect.signature(function).parameters:
            assert f"\n    {name}: " in documentation, (function, name)


def test_compare_and_the_recorders_agree() -> None:
    """`predlog.compare` and `Recorder.compare` take the same, and `Recorder.compare_due` has the same defaults."""
    expected = {one.name: one.default for one in inspect.signature(predlog.compare).parameters.values()}
    _, *parameters = inspect.signature(Recorder.compare).parameters.values()
    assert {one.name: one.default for one in parameters} == expected
    assert expected.items() >= recorder.HOW.items()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_pyright_finds_a_misspelt_argument(tmp_path: Path) -> None:
    """`configure(evry=3)` is found before the run starts, and nothing that is correct is an error.

    For mypy the file itself is the test: it must need each of its comments, and no other.
    """
    pytest.importorskip("pyright", reason="pyright comes with the extra dev")
    lines = API.read_text().splitlines()
    source = tmp_path / "api.py"
    source.write_text("\n".join(line.partition("  # type: ignore")[0] for line in lines))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    found = {
        one["range"]["start"]["line"] + 1
        for one in json.loads(done.stdout)["generalDiagnostics"]
        if one["severity"] == "error"
    }
    assert found == {number for number, line in enumerate(lines, 1) if line.endswith("# an error")}
