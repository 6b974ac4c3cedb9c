"""A pair that is lost because something failed is counted as refused, is a finding, and is a gap."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import predlog
from predlog import Finding, Gap, Recorder
from predlog.errors import PredlogError
from tests import events, fresh
from tests.events import told

PAIR = events.pair()


class Odd:
    """An object whose own code fails before anything is read."""

    addressable_data = None

    @property
    def sharding(self) -> Any:
        raise OSError(24, "Too many open files")


def found(folder: Path) -> tuple[list[Finding], list[Gap]]:
    records = predlog.read(folder)
    return [one for one in records if isinstance(one, Finding)], [one for one in records if isinstance(one, Gap)]


def test_each_lost_pair_is_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every due call is submitted or refused; the finding is there once, and gone when a pair is recorded again."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(5):
            recorder.compare(Odd(), PAIR[1], step)
        assert recorder.flush()
        assert recorder.stats()["refused"] == 5
        (finding,) = recorder.findings
        assert (finding.code, finding.step, finding.level) == ("capture-failed", 0, "error")
        assert "OSError: [Errno 24] Too many open files (" in finding.message
        for step in range(5, 25):
            recorder.compare(*events.pair(step), step)
        assert recorder.flush()
        assert not recorder.findings
    findings, (gap,) = found(tmp_path)
    assert [one.level for one in findings if one.code == "capture-failed"] == ["error", "info"]
    assert (gap.count, gap.reason, gap.first_step, gap.last_step) == (5, "capture failed: OSError", 0, 4)
    (line,) = (line for line in told(capfd) if "not recorded" in line)
    assert line.startswith("predlog: step 0, stream 'text': not recorded: OSError: [Errno 24] Too many open files (")


def test_a_thread_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs that came before there was a thread are counted at once; the gap is written when there is one."""

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Recorder(tmp_path, every=1, console=False) as recorder:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            for step in range(3):
                assert recorder.compare(*PAIR, step) is None
        stats = recorder.stats()
        assert (stats["refused"], stats["submitted"], stats["pending"]) == (3, 0, 0)
        recorder.compare(*PAIR, 3)
    _, (gap,) = found(tmp_path)
    assert (gap.count, gap.reason) == (3, "capture failed: NoThreadError")


def test_no_memory(tmp_path: Path) -> None:
    """In a process without memory for the capture, the pair is counted, and the process goes on."""
    code = """
import resource, sys, torch, predlog
recorder = predlog.Recorder(sys.argv[1], every=1, console=False)
recorder.compare(torch.randn(1, 8, 16), torch.randint(16, (1, 8)), 0).result(10)
# As large as these are, they take no memory; what is made of them would.
logits, labels = torch.zeros(1, 1, 16).expand(1, 2**33, 16), torch.zeros(1, 1).long().expand(1, 2**33)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
for step in range(1, 4):
    assert recorder.compare(logits, labels, step) is None
assert recorder.flush()
print(recorder.stats()["refused"], [one.code for one in recorder.findings], recorder.close())
"""
    done = fresh.run(code, tmp_path)
    assert done.stdout == "3 ['capture-failed'] True\n", done.stderr[-2000:]
    _, (gap,) = found(tmp_path)
    assert (gap.count, gap.first_step, gap.last_step) == (3, 1, 3)


class Lacking:
    """A foreign array that can't be passed on, for want of something that the array is not to blame for."""

    shape, dtype = PAIR[1].shape, PAIR[1].dtype

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __dlpack__(self, **_how: Any) -> Any:
        raise self._error

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "I/O"), torch.cuda.OutOfMemoryError("20 GiB")])
def test_an_array_that_is_not_to_blame(tmp_path: Path, error: Exception) -> None:
    """What an array's producer lacks, such as memory, is a lost pair and no mistake in the pair."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        assert recorder.compare(PAIR[0], Lacking(error), 0) is None
    (finding,), (gap,) = found(tmp_path)
    assert finding.code == "capture-failed"
    assert (gap.count, gap.reason) == (1, f"capture failed: {type(error).__name__}")


def test_a_failure_in_watch_is_counted(tmp_path: Path) -> None:
    """What fails before `compare` is called is a lost pair, too."""
    module = torch.nn.Linear(4, 4)

    def step() -> int:
        raise AssertionError("no step yet")

    with Recorder(tmp_path, every=1, console=False) as recorder, predlog.watch(module, recorder=recorder, step=step):
        module(torch.zeros(1, 4))
        assert recorder.stats()["refused"] == 1


CALLS: dict[str, Callable[[Recorder], object]] = {
    "a tensor as step": lambda recorder: recorder.compare(*PAIR, torch.tensor(3)),  # type: ignore[arg-type]
    "a stream that is no name": lambda recorder: recorder.compare(*PAIR, 1, stream=7),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", CALLS)
def test_calls_that_cannot_be_read_are_refused(tmp_path: Path, what: str) -> None:
    """A call whose step or stream can't be read is refused; without these there is no finding and no gap."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        assert CALLS[what](recorder) is None
        recorder.compare(*PAIR, 2)
        assert recorder.stats()["refused"] == 1
    assert found(tmp_path) == ([], [])


def test_strict_raises_it(tmp_path: Path) -> None:
    """With `strict` the caller gets it as it happens."""
    with (
        Recorder(tmp_path, every=1, console=False, strict=True) as recorder,
        pytest.raises(PredlogError, match="Too many open files"),
    ):
        recorder.compare(Odd(), PAIR[1], 0)
