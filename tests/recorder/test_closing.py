"""What a recorder reports and writes last, where it was offered no pair."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import predlog
from tests import ROOT


def program(code: str, rank: int, size: int) -> list[str]:
    launched = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, **launched}
    )
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("rank", "ranks", "made"),
    [
        (0, "0", "predlog.configure"),
        (1, "0", "predlog.configure"),
        (1, "'all'", "kept = predlog.Recorder"),
        (1, "'all'", "predlog.Recorder"),  # which is gone before the program ends
    ],
)
def test_a_rank_that_is_offered_no_pair_says_so(rank: int, ranks: str, made: str, tmp_path: Path) -> None:
    """Of several ranks, one that was to record and never saw logits writes one line and a run record at the end."""
    code = f"import predlog; {made}({str(tmp_path)!r}, ranks={ranks}, console=False)"
    told = program(code, rank, 2)
    if rank == 1 and ranks == "0":
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


def test_alone_or_with_pairs_nothing_is_said(tmp_path: Path) -> None:
    """A single process may have nothing to compare, and a pair that was not due was offered."""
    code = f"import predlog; predlog.configure({str(tmp_path)!r}, console=False, every=10)"
    assert program(code, 0, 1) == []
    assert program(f"{code}; predlog.compare(None, None, 3)", 0, 2) == []
    assert not list(tmp_path.iterdir())
