"""A process that is killed takes its own parts with it, and nothing else."""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from predlog import Comparison, Run
from predlog.reading.lacks import Lack
from predlog.reading.reader import Reading
from predlog.records.schema import Part
from tests.reading.killed import RANKS, STEPS, VOCABULARY
from tests.sizes import sizes


@pytest.mark.parametrize("trials", sizes(core=1, slow=10, full=200))
def test_one_of_four_ranks_is_killed(tmp_path: Path, trials: int) -> None:
    """The others end, their files are whole, and the reader says which comparisons lack the parts of which rank."""
    for number, victim in enumerate(killed(tmp_path, trials)):
        reading = Reading(tmp_path / str(number), warns=False)
        found = [record for record in reading if isinstance(record, Comparison)]
        assert [record.step for record in found] == [*range(STEPS)]
        assert {damage.file.name for damage in reading.damage} <= {file_of(victim)}
        missing = [record.missing_ids for record in found]
        whole = missing.count(0)
        assert missing == [0] * whole + [VOCABULARY // RANKS] * (STEPS - whole)
        assert all((record.loss is None) == bool(record.missing_ids) for record in found)
        if whole < STEPS:
            (lack,) = reading.lacks
            ids = (victim * VOCABULARY // RANKS, (victim + 1) * VOCABULARY // RANKS - 1)
            assert lack == Lack(STEPS - whole, (victim,) if whole else (), (ids,), whole, STEPS - 1)


@pytest.mark.parametrize("trials", sizes(core=None, slow=10, full=200))
def test_one_of_four_ranks_that_reduce_together_is_killed(tmp_path: Path, trials: int) -> None:
    """The others' own collectives fail, and predlog delays none of them: what each has recorded until then is whole."""
    for number, victim in enumerate(killed(tmp_path, trials, "gloo")):
        folder = tmp_path / str(number)
        steps = [until(folder / file_of(rank), is_killed=rank == victim) for rank in range(RANKS)]
        survivors = [many for rank, many in enumerate(steps) if rank != victim]
        assert max(survivors) - min(survivors) <= 1
        reading = Reading(folder, warns=False)
        found = [record for record in reading if isinstance(record, Comparison)]
        assert [record.step for record in found] == [*range(max(steps))]
        behind = [{rank for rank, many in enumerate(steps) if many <= step} for step in range(max(steps))]
        assert [record.missing_ids for record in found] == [len(ranks) * VOCABULARY // RANKS for ranks in behind]
        assert all((record.loss is None) == bool(record.missing_ids) for record in found)
        named = Counter[tuple[int, ...]]()
        for lack in reading.lacks:
            named[lack.ranks] += lack.many
        expected = Counter(tuple(sorted(ranks)) for ranks in behind if ranks)
        assert named == (expected if min(steps) else {(): len(behind)} if behind else {})


def killed(folder: Path, trials: int, *more: str) -> list[int]:
    """Kill one process in each trial, check that it alone has not ended as it should, and return the ranks killed."""
    arguments = [sys.executable, "-m", "tests.reading.killed", str(folder), str(trials), *more]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=60 + 10 * trials)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == trials
    for one in told:
        assert one["statuses"] == [-signal.SIGKILL if rank == one["victim"] else 0 for rank in range(RANKS)]
    return [one["victim"] for one in told]


def file_of(rank: int) -> str:
    return f"predictions-rank{rank}.jsonl" if rank else "predictions.jsonl"


def until(file: Path, *, is_killed: bool) -> int:
    """Return how many steps a file has, from the first on; that of a process that ended is whole to its last line."""
    if is_killed and not file.exists():
        return 0  # it was killed before it wrote
    reading = Reading(file, warns=False)
    records = [*reading.as_written()]
    steps = [record.step for record in records if isinstance(record, Part)]
    assert steps == [*range(len(steps))]
    if not is_killed:
        last = records[-1]
        assert len(reading.damage) == 0
        assert isinstance(last, Run)
        assert last.stats is not None
        assert last.stats["submitted"] == last.stats["written"] == len(steps)
    return len(steps)
