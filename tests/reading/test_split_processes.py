"""Real processes that each have some rows of a sample record them without a collective; the reader joins the files."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

import predlog
from predlog import Comparison, Recorder
from tests.reading.test_split_runs import SPLITS, pairs

COLLECTIVES = ("all_reduce", "all_gather", "all_gather_into_tensor", "gather", "broadcast", "reduce", "barrier", "send")


def forbidden(*_: Any, **__: Any) -> None:
    """Fail: predlog issues no collective."""
    raise AssertionError("a collective")


def train(rank: int, folder: str, meeting: str) -> None:
    """Record some steps of this rank's rows, in a group of processes whose collectives are forbidden."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "4"}
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=4)
    kept = {name: getattr(distributed, name) for name in COLLECTIVES}
    for name in COLLECTIVES:
        setattr(distributed, name, forbidden)
    index = torch.tensor(SPLITS["zigzag"][rank])
    with Recorder(folder, every=1, console=False, ranks="all", strict=True) as recorder:
        for step, (logits, labels, inputs) in enumerate(pairs(3)):
            recorder.compare(logits[:, index], labels[:, index], step, inputs=inputs[:, index], row_index=index)
    for name, one in kept.items():
        setattr(distributed, name, one)
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
def test_files_of_processes_are_joined(tmp_path: Path) -> None:
    """Four processes with head and tail of the rows write what is read as the comparisons of one process."""
    spawn(train, (str(tmp_path / "parts"), (tmp_path / "meeting").as_uri()), nprocs=4)
    with Recorder(tmp_path / "whole", every=1, console=False) as recorder:
        for step, (logits, labels, inputs) in enumerate(pairs(3)):
            recorder.compare(logits, labels, step, inputs=inputs)
    ours, theirs = (
        [one for one in predlog.read(tmp_path / name) if isinstance(one, Comparison)] for name in ("parts", "whole")
    )
    assert len(ours) == len(theirs) == 6
    for one, other in zip(ours, theirs, strict=True):
        assert (one.step, one.sample, one.length, one.supervised) == (other.step, other.sample, 48, other.supervised)
        assert (one.matched, one.missing_rows) == (other.matched, 0)
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        assert [token.position for token in one.tokens] == [token.position for token in other.tokens]
        assert [token.position for token in one.worst] == [token.position for token in other.worst]
