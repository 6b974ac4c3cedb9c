"""Logits that ranks have in parts: what four ranks of a process group record is, joined, what one process records."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import predlog
from predlog import Comparison, Projection, Recorder
from tests import ROOT
from tests.installed import release
from tests.integrations.launching import run_once

if release("torch") < (2, 6):
    pytest.skip("DTensor is public since torch 2.5, and gloo is tried with it from 2.6 on", allow_module_level=True)

from tests.integrations import on_mesh_of_ranks as mesh

# Four processes: CI runs them with `-m slow`.
pytestmark = pytest.mark.slow
CLOSE = 1e-5
# What the clock and the process write.
NOT_THE_PAIRS = {
    "timestamp",
    "run",
    "recorder",
    "attempt",
    "rank",
    "seq",
    "sample_id",
    "worst",
    "tokens",
    "missing_ids",
    "missing_rows",
}
CUT = [name for width in mesh.VOCABULARIES for name in (width, f"{width}, all are DTensors")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_once(tmp_path_factory, "on_mesh_of_ranks")


@pytest.fixture(scope="module")
def seen(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"seen{rank}.json").read_text()) for rank in range(mesh.RANKS)]


def comparisons(folder: Path) -> list[Comparison]:
    return [one for one in predlog.read(folder) if isinstance(one, Comparison)]


def expected(folder: Path, logits: Any, labels: Any, **how: Any) -> list[Comparison]:
    """Record a pair in this process, which has all of it."""
    with Recorder(folder, **mesh.HOW) as recorder:
        recorder.compare(logits, labels, 0, **how)
    return comparisons(folder)


def assert_same(found: list[Comparison], wanted: list[Comparison]) -> None:
    """Hold joined comparisons against those of one process."""
    assert [(one.step, one.sample) for one in found] == [(one.step, one.sample) for one in wanted]
    assert wanted
    for one, other in zip(found, wanted, strict=True):
        for name in {*Comparison.__struct_fields__} - NOT_THE_PAIRS:
            ours, theirs = getattr(one, name), getattr(other, name)
            assert ours == theirs or math.isclose(ours, theirs, abs_tol=CLOSE), name
        assert not one.missing_ids
        for lists in ("tokens", "worst"):
            for token, known in zip(getattr(one, lists), getattr(other, lists), strict=True):
                for name in ("position", "label", "prediction", "match", "input"):
                    assert getattr(token, name) == getattr(known, name), name
                assert token.label_logprob == pytest.approx(known.label_logprob, abs=CLOSE)
                assert token.prediction_logprob == pytest.approx(known.prediction_logprob, abs=CLOSE)
                assert token.label_rank in {known.label_rank, None}


def ranks(seen: list[dict[str, Any]], name: str) -> list[int]:
    return [rank for rank, one in enumerate(seen) if one.get(name)]


def test_nothing_is_sent(seen: list[dict[str, Any]]) -> None:
    """Whatever is recorded or refused, predlog starts no collective, in this thread or its own; ours are counted."""
    assert [one["counted"] for one in seen] == [[0, 0, 0]] * mesh.RANKS
    assert [one["control"] for one in seen] == [[1, 2, 2]] * mesh.RANKS


def test_parts_are_where_torch_says(seen: list[dict[str, Any]]) -> None:
    """The part of a DTensor is the one that torch computes, for any size, on each rank of one- and 2-D meshes."""
    assert [one["spans"] for one in seen] == [54] * mesh.RANKS


@pytest.mark.parametrize("name", CUT)
def test_sharded_over_the_vocabulary(folder: Path, seen: list[dict[str, Any]], tmp_path: Path, name: str) -> None:
    """Uneven and empty shards, with padding or without, with plain or distributed labels, join to the whole."""
    width, of = mesh.VOCABULARIES[name.partition(",")[0]]
    logits, labels, inputs, mask = mesh.pair(width, of)
    wanted = expected(tmp_path, logits[..., :of].requires_grad_(), labels, inputs=inputs, loss_mask=mask)
    assert_same(comparisons(folder / name), wanted)
    assert ranks(seen, name) == ([0, 1, 2] if of == 5 else [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("tp of dp x tp", [0, 1]), ("tp of pp x tp", [2, 3]), ("2-D", [0, 1]), ("2-D, samples", [0, 1, 2, 3]),
        ("no group", [0, 1, 2, 3]), ("process group", [0, 1]), ("list", [0, 1]), ("stage", [2, 3]), ("numbers", [2, 3]),
        ("replicated", [0]), ("gathered", [0]), ("whole", [0]), ("loss", [0]),
    ],
)  # fmt: skip
def test_one_copy_is_recorded(
    folder: Path, seen: list[dict[str, Any]], tmp_path: Path, name: str, who: list[int]
) -> None:
    """Of replicas, those with the lowest ranks record, of a pipeline the stage that has logits; together they know all.

    Where nobody can tell which ranks are replicas, all record.
    """
    logits, labels, inputs, _ = mesh.pair(10, 10)
    more = {"reported_loss": 1.5} if name == "loss" else {}
    assert_same(comparisons(folder / name), expected(tmp_path, logits, labels, inputs=inputs, **more))
    assert ranks(seen, name) == who


def test_sharded_over_the_rows(folder: Path, seen: list[dict[str, Any]], tmp_path: Path) -> None:
    """Each rank records its own rows, which torch says where they belong, and the parts join to the whole samples."""
    logits, labels, inputs, _ = mesh.pair(10, 10)
    found = comparisons(folder / "rows")
    assert_same(found, expected(tmp_path, logits, labels, inputs=inputs))
    assert [one.missing_rows for one in found] == [0] * len(found)
    assert ranks(seen, "rows") == [0, 1, 2, 3]


def test_what_can_not_be_decided_is_reported_once(folder: Path, seen: list[dict[str, Any]]) -> None:
    """With shards of no known group, one line says what to pass; with a group that lacks rank 0 nothing is recorded."""
    assert (folder / "output").read_text().count("Pass group= to compare") == 1
    assert ranks(seen, "another stage's group") == []


@pytest.mark.parametrize("name", ["samples", "samples, cut alike"])
def test_sharded_over_the_samples(folder: Path, seen: list[dict[str, Any]], tmp_path: Path, name: str) -> None:
    """Each rank records its own samples under their numbers in the whole batch, with what else is known of them."""
    logits, labels, inputs, mask = mesh.pair(10, 10)
    found = comparisons(folder / name)
    assert_same(found, expected(tmp_path, logits, labels, inputs=inputs, loss_mask=mask))
    assert [(one.sample, one.sample_id, one.rank) for one in found] == [(one, f"doc-{one}", one) for one in range(3)]
    assert ranks(seen, name) == [0, 1, 2]  # the batch has three samples, and the last rank none
    assert ranks(seen, "samples, auto") == [0]


@pytest.mark.parametrize("name", ["weight", "weight, whole bias", "weight, plain"])
def test_a_head_whose_weight_is_sharded(folder: Path, tmp_path: Path, name: str) -> None:
    """Each rank projects onto the ids of its rows alone, and the parts join to what the whole head makes."""
    wanted = expected(tmp_path, Projection(*mesh.head()), mesh.pair(10, 10)[1])
    assert_same(comparisons(folder / name), wanted)


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_heads_of_several_tokens_are_streams(folder: Path, tmp_path: Path, ahead: int) -> None:
    """A head that predicts the token 1, 2 or 3 ahead is a stream with that shift, sharded or not."""
    ids = mesh.pair(10, 10)[2]
    logits = mesh.pair(10, 10)[0].roll(ahead, -1)
    found = [one for one in comparisons(folder / "heads") if one.stream == f"mtp/{ahead}"]
    wanted = expected(tmp_path, logits, ids, stream=f"mtp/{ahead}", shift=ahead, inputs=ids)
    assert_same(found, wanted)
    assert {one.tokens[0].position for one in found} == {ahead}
    assert {one.shift for one in found} == {ahead}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("partial", ["logits [3, 12, 10] are a DTensor of placements (P(sum))", "Redistribute"]),
        ("partial labels", ["labels [3, 12] are a DTensor of placements (P(sum))", "Redistribute"]),
        ("labels otherwise", ["labels are a DTensor, sharded over axis 1", "redistribute them to Replicate"]),
        ("start", ["Shard(start=1, of=10)", "leave start out"]),
        ("sizes", ["whose local tensor is [3, 12, 2]", "DTensor.from_local"]),
        ("weight of FSDP", ["inside the forward", "shard=predlog.Shard()"]),
        ("width", ["sharded over its width"]),
        ("2-D weight", ["several dimensions of its mesh"]),
        ("no group at all", ["group is of type str", "DeviceMesh"]),
    ],
)
def test_what_can_not_be_read_says_what_to_do(seen: list[dict[str, Any]], name: str, words: list[str]) -> None:
    """What would need a collective, or is not cut alike, is refused by name on each rank."""
    for one in seen:
        ((code, message),) = one[name]
        assert code == "unreadable-pair"
        assert all(word in message for word in words), message


def test_a_program_without_dtensors_does_not_import_them() -> None:
    """Comparing plain tensors, shards too, imports nothing of torch's distributed tensors."""
    code = (
        "import sys, torch, predlog; r = predlog.Recorder(every=1, console=False);"
        "r.compare(torch.randn(1, 4, 5), torch.zeros(1, 4, dtype=int), 0, shard=predlog.Shard(0, of=10)); r.close();"
        "sys.exit('torch.distributed.tensor' in sys.modules or 'torch.distributed._tensor' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    assert torch.distributed.is_available()
