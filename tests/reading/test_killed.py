"""A process that is killed takes its own parts with it, and nothing else."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from predlog import Comparison
from predlog.reading.lacks import Lack
from predlog.reading.reader import Reading
from tests.reading.killed import RANKS, STEPS, VOCABULARY
from tests.sizes import sizes


@pytest.mark.parametrize("trials", sizes(core=1, slow=10, full=200))
def test_one_of_four_ranks_is_killed(tmp_path: Path, trials: int) -> None:
    """The others end, their files are whole, and the reader says which comparisons lack the parts of which rank."""
    arguments = [sys.executable, "-m", "tests.reading.killed", str(tmp_path), str(trials)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=60 + 10 * trials)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == trials
    for number, one in enumerate(told):
        victim = one["victim"]
        assert one["statuses"] == [-signal.SIGKILL if rank == victim else 0 for rank in range(RANKS)]
        reading = Reading(tmp_path / str(number), warns=False)
        found = [record for record in reading if isinstance(record, Comparison)]
        assert [record.step for record in found] == [*range(STEPS)]
        lost = f"predictions-rank{victim}.jsonl" if victim else "predictions.jsonl"
        assert {damage.file.name for damage in reading.damage} <= {lost}
        missing = [record.missing_ids for record in found]
        whole = missing.count(0)
        assert missing == [0] * whole + [VOCABULARY // RANKS] * (STEPS - whole)
        assert all((record.loss is None) == bool(record.missing_ids) for record in found)
        if whole < STEPS:
            (lack,) = reading.lacks
            ids = (victim * VOCABULARY // RANKS, (victim + 1) * VOCABULARY // RANKS - 1)
            assert lack == Lack(STEPS - whole, (victim,) if whole else (), (ids,), whole, STEPS - 1)
