"""Which process of a distributed run this is: whatever a launcher has set, the numbers are possible ones."""

from pathlib import Path

import pytest

from predlog import Recorder, read
from predlog._runtime import process
from predlog.records.schema import Run
from tests import events

_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
_SIZES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_RANKS, *_SIZES, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", _SIZES)
@pytest.mark.parametrize("value", ["0", "-1", "", "many", "2147483648", "9" * 30, "9" * 5000, "\u00b2"])
def test_a_world_that_cannot_be(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A number of processes that is none, or that no job has, is read as one process; the next name is asked."""
    monkeypatch.setenv(name, value)
    assert process.world_size() == 1
    assert len(process.unusable()) == value.isdecimal()
    monkeypatch.setenv(_SIZES[-1], "8")
    assert process.world_size() == 8


@pytest.mark.parametrize("name", [*_RANKS, "LOCAL_RANK"])
@pytest.mark.parametrize("value", ["-1", "9" * 30, "9" * 5000])
def test_a_rank_that_cannot_be(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A rank that no process can have is read as none."""
    monkeypatch.setenv(name, value)
    assert (process.rank(), process.local_rank()) == (0, 0)


@pytest.mark.parametrize("value", ["0", "9" * 30])
def test_lines_of_a_world_that_cannot_be_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], value: str
) -> None:
    """WORLD_SIZE=0 is reported once, and no line is one that readers refuse."""
    monkeypatch.setenv("WORLD_SIZE", value)
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(3):
            recorder.compare(*events.pair(), step)
    found = read(tmp_path)
    assert [one.world_size for one in found if isinstance(one, Run)] == [1, 1]
    assert not found.damage
    (said,) = events.told(capfd)
    assert said.startswith(f"predlog: WORLD_SIZE={value[:20]} in the environment is not from 1 to 2147483647")
