"""The Trainer's own split of rows: context parallelism of torch, and DeepSpeed's Ulysses.

Neither's attention runs on CPUs. Batches are split here by the Trainer's own code or, of DeepSpeed, as its loader does;
and a whole Trainer runs in two processes, with a model that has no attention.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import predlog
from predlog import Comparison, Recorder
from tests import ROOT
from tests.installed import release
from tests.integrations.needed import needed

needed("accelerate")
needed("transformers")
if release("torch") < (2, 8) or release("transformers") < (5, 18):
    pytest.skip("written for torch 2.8 and transformers 5.18, and later", allow_module_level=True)

from accelerate import Accelerator, ParallelismConfig  # noqa: E402 - what is needed is asked for first
from torch.distributed import device_mesh  # noqa: E402
from torch.distributed.tensor.debug import CommDebugMode  # noqa: E402
from torch.distributed.tensor.experimental import context_parallel  # noqa: E402
from transformers import Trainer  # noqa: E402

from predlog.integrations._hf.forward_pair import ForwardPair, PairReader  # noqa: E402
from predlog.integrations._hf.hooks import Forward  # noqa: E402
from predlog.integrations._hf.split_rows import SplitRows, split_rows  # noqa: E402
from tests.capture.test_dtensor import as_rank  # noqa: E402
from tests.integrations import split_by_trainer, tiny  # noqa: E402

RANKS, VOCABULARY = 2, 500


def pair(length: int) -> tuple[dict[str, Tensor], Tensor]:
    """Return a batch as a collator makes it, and logits of its positions."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(VOCABULARY, (2, length), generator=generator)
    labels = ids.clone()
    labels[:, :3] = -100
    return {"input_ids": ids, "labels": labels}, torch.randn(2, length, VOCABULARY, generator=generator)


def trainer(mesh: Any, **sizes: int) -> Any:
    """Return what is asked of a trainer that is parallel: making a whole one asks for an accelerator."""
    config: Any = ParallelismConfig(**sizes)
    accelerator: Any = SimpleNamespace(parallelism_config=config, torch_device_mesh=mesh)
    if mesh is not None:
        accelerator._cp_context = partial(context_parallel, mesh=mesh["cp"])
    accelerator.maybe_context_parallel = partial(Accelerator.maybe_context_parallel, accelerator)
    return SimpleNamespace(accelerator=accelerator)


def record(folder: Path, model: Any, split: SplitRows | str | None, batch: dict[str, Any], logits: Tensor) -> Any:
    """Record what the model is called with and returns, as the callback does."""
    lines: list[str] = []
    reader = PairReader(model, None, None, -100, lambda line, _kind="": lines.append(line))
    reader.split = split
    reader.begin()
    found = reader.read(Forward(batch, SimpleNamespace(logits=logits, loss=torch.tensor(1.0)), None, None))
    if isinstance(found, ForwardPair):
        with Recorder(folder, every=1, console=False, strict=True) as recorder:
            recorder.compare_due(found.logits, found.labels, 0, **found.more)
    return found, lines


def check(folder: Path, length: int) -> None:
    """Hold what is read against the whole pair, whose labels the model would shift."""
    batch, logits = pair(length)
    with Recorder(folder / "whole", every=1, console=False) as recorder:
        recorder.compare(logits, batch["labels"], 0, inputs=batch["input_ids"], shift=1)
    ours, theirs = (
        [one for one in predlog.read(folder / name) if isinstance(one, Comparison)] for name in ("parts", "whole")
    )
    assert len(ours) == len(theirs) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert (one.missing_rows, one.supervised, one.matched) == (0, other.supervised, other.matched)
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        # The labels were shifted before, so that each stands at the row that predicts it.
        assert [(two.position, two.label, two.input) for two in one.tokens] == [
            (two.position - 1, two.label, two.input) for two in other.tokens
        ]


@pytest.mark.parametrize(("length", "is_balanced"), [(24, True), (22, False)])
@pytest.mark.parametrize("has_positions", [False, True])
def test_context_parallel_as_the_trainer_splits(
    tmp_path: Path, length: int, is_balanced: bool, *, has_positions: bool
) -> None:
    """Head and tail pieces, or one where the length can't be cut into two per process, join to the whole samples.

    Nothing is sent to learn which, and positions that begin anew at each document are no index.
    """
    model = tiny.llama()
    for rank in range(RANKS):
        batch, logits = pair(length)
        if has_positions:
            batch["position_ids"] = (torch.arange(length) % 7).repeat(2, 1)
        with as_rank(rank, RANKS):
            mesh = device_mesh.init_device_mesh("cpu", (1, RANKS), mesh_dim_names=("dp_shard", "cp"))
            asked = trainer(mesh, cp_size=RANKS, dp_shard_size=1)
            with CommDebugMode() as sent:
                split = split_rows(asked, None)
            assert isinstance(split, SplitRows)
            assert not sent.get_total_counts()
            enter, given = Trainer._prepare_context_parallel_inputs(asked, model, dict(batch))
            columns = [logits]
            with (
                enter(),
                context_parallel(mesh["cp"], buffers=columns, buffer_seq_dims=[1], no_restore_buffers={logits}),
            ):
                index = split.arguments(given["shift_labels"], None, is_part=False)["row_index"]
                assert (index.diff() == 1).all() == (rank == 1 or not is_balanced)
                record(tmp_path / "parts", model, split, {**given, "labels": given["shift_labels"]}, logits)
    check(tmp_path, length)


def test_a_batch_that_is_not_split_is_whole(tmp_path: Path) -> None:
    """An evaluation that the Trainer does not split, as one without names of labels, is recorded as it is."""
    batch, logits = pair(24)
    with as_rank(0, RANKS):
        mesh = device_mesh.init_device_mesh("cpu", (1, RANKS), mesh_dim_names=("dp_shard", "cp"))
        split = split_rows(trainer(mesh, cp_size=RANKS, dp_shard_size=1), None)
        shifted = {**batch, "shift_labels": batch["labels"]}  # also of a collator that has shifted them
        for given in (batch, shifted):
            found, _ = record(tmp_path / str(len(given)), tiny.llama(), split, given, logits)
            assert "row_index" not in found.more
            (one, _other) = [one for one in predlog.read(tmp_path / str(len(given))) if isinstance(one, Comparison)]
            assert (one.length, one.missing_rows) == (24, None)


def test_ulysses_as_its_loader_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One piece each, in the order of the ranks, joins to the whole samples; its second replica records nothing."""
    model = tiny.llama()
    monkeypatch.setenv("WORLD_SIZE", "4")
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        batch, logits = pair(24)
        place, group = rank % 2, [rank // 2 * 2, rank // 2 * 2 + 1]
        labels = torch.nn.functional.pad(batch.pop("labels"), (0, 1), value=-100)[..., 1:]
        batch |= {"shift_labels": labels, "position_ids": torch.arange(24).repeat(2, 1)}
        given: dict[str, Any] = {name: one[:, 12 * place : 12 * place + 12] for name, one in batch.items()}
        given["cu_seq_lens_q"] = torch.tensor([0, 10, 24])  # of whole rows, which the loader leaves as they are
        loader = SimpleNamespace(sp_rank=place, sp_world_size=2, sp_group=group)
        split = split_rows(
            SimpleNamespace(accelerator=SimpleNamespace(parallelism_config=SimpleNamespace(sp_size=2))), loader
        )
        record(tmp_path / "parts", model, split, given, logits[:, 12 * place : 12 * place + 12])
    assert len([*(tmp_path / "parts").glob("*.jsonl")]) == 2
    monkeypatch.setenv("RANK", "0")
    check(tmp_path, 24)


def test_an_index_of_the_batch_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`row_index` beside `shift_labels` says where the rows belong, also in a batch of which the model gets neither."""
    model = tiny.llama()
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in range(RANKS):
        monkeypatch.setenv("RANK", str(rank))
        batch, logits = pair(24)
        index = torch.arange(24)[rank::RANKS]
        labels = torch.nn.functional.pad(batch["labels"], (0, 1), value=-100)[:, 1:][:, index]
        reader = PairReader(model, None, None, -100, lambda *_: None)
        reader.begin()
        reader.keep({"shift_labels": labels, "row_index": index})
        output = SimpleNamespace(logits=logits[:, index])
        found = reader.read(Forward({"input_ids": batch["input_ids"][:, index]}, output, None, None))
        assert isinstance(found, ForwardPair)
        assert found.more["shift"] == 0
        with Recorder(tmp_path / "parts", every=1, console=False, ranks="all") as recorder:
            recorder.compare_due(found.logits, found.labels, 0, **found.more)
    monkeypatch.setenv("RANK", "0")
    check(tmp_path, 24)


@pytest.mark.parametrize(
    ("asked", "loader", "words"),
    [
        (SimpleNamespace(cp_size=2, cp_backend="other"), None, "cp_backend='other'"),
        (SimpleNamespace(cp_size=2, cp_backend="torch"), None, "torch_device_mesh"),
        (SimpleNamespace(sp_size=2), [1], "a list does not say which piece it gives"),
    ],
)
def test_a_split_that_is_not_known_is_reported(tmp_path: Path, asked: Any, loader: Any, words: str) -> None:
    """What can't be told is not guessed: one line says what to pass, and nothing is recorded."""
    split = split_rows(SimpleNamespace(accelerator=SimpleNamespace(parallelism_config=asked)), loader)
    batch, logits = pair(24)
    found, lines = record(tmp_path, tiny.llama(), split, batch, logits)
    assert not isinstance(found, ForwardPair)
    assert len(lines) == 1
    assert words in lines[0]
    assert "pass 'row_index' in the batch" in lines[0]
    assert split_rows(SimpleNamespace(), None) is split_rows(None, None) is None


@pytest.mark.slow
def test_a_trainer_in_context_parallel(tmp_path: Path) -> None:
    """Two processes of a real Trainer, each with head and tail of the samples, write what joins to these samples.

    The evaluation, which this Trainer does not split, is whole.
    """
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        "-m", "tests.integrations.split_by_trainer", str(tmp_path),
    ]  # fmt: skip
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr[-5000:]
    samples = {tuple(one["input_ids"]) for one in split_by_trainer.samples()}
    found = [one for one in predlog.read(tmp_path / "run") if isinstance(one, Comparison)]
    for stream, steps in (("train", [0, 1, 2]), ("eval", [2, 3])):
        ours = [one for one in found if one.stream == stream]
        assert [(one.step, one.sample) for one in ours] == [(step, one) for step in steps for one in (0, 1)]
        assert {(one.length, one.supervised) for one in ours} == {(24, 23)}
        assert {one.missing_rows for one in ours} == ({0} if stream == "train" else {None})
        for one in ours:
            assert one.all_tokens is not None
            assert any(tuple(one.all_tokens.labels) == sample[1:] for sample in samples)
    rank_1 = list(predlog.read(tmp_path / "run" / "predictions-rank1.jsonl"))
    assert {one.stream for one in rank_1 if isinstance(one, Comparison)} == {"train"}
