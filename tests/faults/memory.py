"""Memory that is not there: no pair ends the process, whatever its storages and capsules say of themselves.

The rule: a tensor whose storage was cut to fewer bytes than it needs is refused, one that has just enough is recorded;
an array whose capsule can't be one is refused; and of all ids none is recorded as another one.
"""

import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import numpy as np
import torch

from predlog import Recorder
from predlog.records.schema import Comparison
from tests.faults.children import started
from tests.faults.experiment import Figure, Size, at_least, equals

# What a record holds of an id that is larger than any logit has.
_LARGEST = 2**63 - 1
_KINDS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")


def run(size: Size) -> Iterator[Figure]:
    """Compare each pair in a process that it may end; then ids of all kinds, at the ends of their ranges."""
    with started("memory", many=size.of(100_000, 500)) as child:
        done = child.told("done", size.of(3000, 100))
        if done is None:
            yield equals("hangs or died", 1, 0, f"{child.stuck()} {child.stderr()[-300:]}")
            return
        what = f"{done['cases']:,} storages and capsules"
        yield equals(f"{what}: processes that died", len(done["dead"]), 0, "; ".join(done["dead"])[:300])
        yield equals(f"{what}: refused or recorded wrongly", len(done["wrong"]), 0, "; ".join(done["wrong"])[:300])
        yield at_least(f"{what}: recorded", done["recorded"], 100, note=f"{done['refused']:,} were refused")
    ids = [*_ids()]
    wrong = [f"{kind}: {given} was recorded as {found}" for kind, given, found in ids if found != min(given, _LARGEST)]
    yield equals("ids recorded as others", len(wrong), 0, "; ".join(wrong[:3]) or f"of {len(ids):,}")


def _ids() -> Iterator[tuple[str, int, int | None]]:
    """Yield ids as they were passed, as labels and as inputs, and as they were recorded."""
    views = [(kind, one) for kind in _KINDS for one in _views(kind)]
    with (
        tempfile.TemporaryDirectory() as folder,
        redirect_stderr(StringIO()),
        Recorder(folder, every=1, console=False) as recorder,
    ):
        for step, (kind, labels) in enumerate(views):
            given = [int(one) for one in labels.flatten()]
            future = recorder.compare(torch.zeros(1, len(given), 300), labels, step, inputs=labels)
            (record,) = future.result(10) if future is not None else (None,)
            for token in record.tokens if isinstance(record, Comparison) else ():
                yield kind, given[token.position], token.label
                yield kind, given[token.position], token.input
            if record is None:
                yield kind, 0, None


def _views(kind: str) -> Iterator[Any]:
    limits = np.iinfo(kind)
    ids = np.array([[0, 1, 100, limits.max, limits.max - 1, limits.max - 100, 3]], kind)
    yield ids
    yield ids[:, ::-1]
    yield np.asfortranarray(np.repeat(ids, 2, 0))[:1]
    if limits.min < 0:
        yield torch._neg_view(torch.from_numpy(-ids))
        yield torch.from_numpy(ids)[:, ::2]
