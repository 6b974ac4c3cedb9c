"""The files of many ranks are read, joined and summarised with few open files and bounded memory."""

import json
from pathlib import Path

import pytest

from tests.reading.thousand import GROUP, summarised, write
from tests.sizes import sizes

# MiB: what Python and the package take, and what one rank adds.
_ALONE, _OF_RANK = 90, 0.25


@pytest.mark.parametrize(("ranks", "steps"), sizes(core=(16, 5), slow=(64, 200), full=(1024, 2000)))
def test_many_ranks_are_summarised(tmp_path: Path, ranks: int, steps: int) -> None:
    """Each group of ranks makes one comparison per step; 64 open files are enough, and memory is not that of files."""
    size = write(tmp_path / "run", tmp_path / "template", ranks=ranks, steps=steps)
    seconds, peak, shown = summarised(tmp_path / "run", most_open=64)
    print(f"{ranks} ranks, {steps} steps, {size / 1e6:.0f} MB: {seconds:.1f} s, peak {peak} MiB")
    summary = json.loads(shown)
    assert size <= 4_000_000_000
    assert summary["comparisons"] == ranks // GROUP * steps
    assert summary["partial"] == []
    (stream,) = summary["streams"]
    assert (stream["first_step"], stream["last_step"]) == (0, steps - 1)
    assert stream["loss"] is not None
    assert len(summary["attempts"]) == ranks
    assert peak < _ALONE + _OF_RANK * ranks
