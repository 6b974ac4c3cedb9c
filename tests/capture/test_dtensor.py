"""Distributed tensors of a mesh of four ranks, each rank by itself: which part it has, and whether it records it."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import predlog
from predlog import Comparison, Projection, Recorder
from predlog.capture import holders
from predlog.capture.capture import capture
from predlog.errors import NothingHereError, PairError
from predlog.numbers.unpack import unpack, unpack_parts
from predlog.numbers.window import Window
from tests.capture.test_shards import check, near, together
from tests.installed import release

if release("torch") < (2, 6):
    pytest.skip("the tensors' modules were moved in torch 2.5", allow_module_level=True)
tensor: Any = import_module("torch.distributed.tensor")
device_mesh: Any = import_module("torch.distributed.device_mesh")
parallel: Any = import_module("torch.distributed.tensor.parallel")
fsdp: Any = import_module("torch.distributed.fsdp")
fake: Any = import_module("torch.testing._internal.distributed.fake_pg")

RANKS, VOCABULARY = 4, 10


@contextmanager
def as_rank(rank: int, size: int = RANKS) -> Iterator[None]:
    """Be a rank of a process group that sends nothing: what a rank decides by itself needs no other."""
    dist.init_process_group("fake", store=fake.FakeStore(), rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def cut(logits: torch.Tensor, mesh: Any, placements: list[Any]) -> Any:
    """Return the DTensor of which each rank takes its part by itself."""
    return tensor.distribute_tensor(logits, mesh, placements, src_data_rank=None)


def test_each_rank_records_its_columns(tmp_path: Path) -> None:
    """Four ranks, of which the last one has a single column, record what joins to the record of all columns."""
    logits, labels = torch.randn(2, 6, VOCABULARY), torch.randint(VOCABULARY, (2, 6))
    for rank in range(RANKS):
        with as_rank(rank), Recorder(tmp_path / "parts", every=1, console=False, strict=True) as recorder:
            mesh = device_mesh.init_device_mesh("cpu", (RANKS,))
            assert recorder.compare(cut(logits, mesh, [tensor.Shard(2)]), labels, 0) is not None
    with Recorder(tmp_path / "whole", every=1, console=False) as recorder:
        recorder.compare(logits, labels, 0)
    parts, whole = (
        [one for one in predlog.read(tmp_path / name) if isinstance(one, Comparison)] for name in ("parts", "whole")
    )
    for one, other in zip(parts, whole, strict=True):
        assert one.missing_ids == 0
        assert (one.vocabulary, one.matched, one.supervised) == (other.vocabulary, other.matched, other.supervised)
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        assert [token.prediction for token in one.tokens] == [token.prediction for token in other.tokens]


@pytest.mark.parametrize(
    ("layout", "shape", "axis"),
    [
        ("b t v, b t", (3, 6, VOCABULARY), 2),
        ("b v t, b t", (3, VOCABULARY, 6), 1),
        ("t b v, b t", (6, 3, VOCABULARY), 2),
        ("(b t) v, b t", (18, VOCABULARY), 1),
        ("b t k v, b t k", (3, 6, 2, VOCABULARY), 3),
        (None, (3, 6, VOCABULARY), -1),
    ],
)
def test_the_vocabulary_may_be_any_axis(layout: str | None, shape: tuple[int, ...], axis: int) -> None:
    """Whatever the layout, the columns of four ranks join to what all columns give, fields and facts."""
    logits, mask = torch.randn(shape) * 3, (torch.rand(3, 6) > 0.2).float()
    labels = torch.randint(VOCABULARY, (3, 6, 2) if layout and "k" in layout else (3, 6))
    how: dict[str, Any] = {"layout": layout, "loss_mask": mask, "window": Window(3)}
    parts = []
    for rank in range(RANKS):
        with as_rank(rank):
            mesh = device_mesh.init_device_mesh("cpu", (RANKS,))
            parts.append(capture(cut(logits, mesh, [tensor.Shard(axis)]), labels, **how))
    whole = list(unpack(capture(logits, labels, **how)))
    assert len(whole) == (6 if labels.ndim == 3 else 3)
    for one, other in zip(whole, together(parts, Window(3)), strict=True):
        check(one, other)


@pytest.mark.parametrize("kind", ["whole", "cut alike", "whole DTensors"])
@pytest.mark.parametrize("has_codebooks", [False, True])
def test_samples_are_cut_with_all_that_belongs_to_them(kind: str, *, has_codebooks: bool) -> None:
    """Of three samples on four ranks, each captures its own, under its number, with labels, mask, inputs and id."""
    shape = (3, 6, 2) if has_codebooks else (3, 6)
    layout = "b t k v, b t k" if has_codebooks else None
    logits = torch.randn(*shape, VOCABULARY)
    labels, inputs = torch.randint(VOCABULARY, shape), torch.randint(VOCABULARY, shape)
    mask, ids = (torch.rand(3, 6) > 0.3).float(), ["a", "b", "c"]
    how: dict[str, Any] = {"layout": layout, "window": Window(3)}
    whole = list(unpack(capture(logits, labels, inputs=inputs, loss_mask=mask, sample_ids=ids, **how)))
    found: list[Any] = []
    for rank in range(RANKS):
        with as_rank(rank):
            mesh = device_mesh.init_device_mesh("cpu", (RANKS,))
            places = {"whole": None, "cut alike": [tensor.Shard(0)], "whole DTensors": [tensor.Replicate()]}[kind]
            beside = [one if places is None else cut(one, mesh, places) for one in (labels, inputs, mask)]
            given: dict[str, Any] = {"inputs": beside[1], "loss_mask": beside[2], "sample_ids": ids}
            if rank == 3:
                with pytest.raises(NothingHereError):
                    capture(cut(logits, mesh, [tensor.Shard(0)]), beside[0], **given, **how)
            else:
                found += unpack(capture(cut(logits, mesh, [tensor.Shard(0)]), beside[0], **given, **how))
    assert [fields["sample"] for fields, _ in found] == [fields["sample"] for fields, _ in whole]
    for (fields, facts), (others, known) in zip(found, whole, strict=True):
        assert near(fields, others)
        assert near(facts.supervised, known.supervised)


@pytest.mark.parametrize(
    ("placements", "is_list", "words"),
    [
        (lambda: [tensor.Partial()], False, r"placements \(P\(sum\)\).*Redistribute"),
        (lambda: [tensor.Shard(1)], True, "not sharded alike, or over their time: pass one"),
    ],
)
def test_what_needs_a_collective_is_refused(placements: Any, words: str, *, is_list: bool) -> None:
    """Sums that are not added up, and chunks in which rows of other ranks lie, are refused, with what to do."""
    with as_rank(1):
        mesh = device_mesh.init_device_mesh("cpu", (RANKS,))
        logits = cut(torch.randn(2, 8, VOCABULARY), mesh, placements())
        with pytest.raises(PairError, match=words):
            capture([logits] if is_list else logits, torch.randint(VOCABULARY, (2, 8)), window=Window())


def test_rows_know_where_they_belong() -> None:
    """Of logits that are sharded over the time each rank has a part: its rows, their places, and all columns."""
    logits, labels = torch.randn(2, 8, VOCABULARY), torch.randint(VOCABULARY, (2, 8))
    for rank in range(RANKS):
        with as_rank(rank):
            mesh = device_mesh.init_device_mesh("cpu", (RANKS,))
            captured = capture(cut(logits, mesh, [tensor.Shard(1)]), labels, window=Window())
        rows = range(2 * rank, 2 * rank + 2)
        found = [fields for fields, _ in unpack_parts(captured, 0)]
        assert [one["sample"] for one in found] == [0, 1]
        for sample, one in enumerate(found):
            assert one["shard"] == {"start": 0, "stop": VOCABULARY, "of": VOCABULARY}
            assert one["rows_of"] == {"starts": [rows.start], "stops": [rows.stop], "of": 8, "ranks": None}
            tokens = [(token["position"], token["label"], token["prediction"]) for token in one["tokens"]]
            expected = [(row, int(labels[sample, row]), int(logits[sample, row].argmax())) for row in rows]
            assert set(tokens) == set(expected)


def joined_and_whole(
    folder: Path,
    logits: Any,
    labels: Any,
    mesh: tuple[int, ...],
    placements: list[Any],
    ranks: Any = "auto",
    **how: Any,
) -> tuple[list[Comparison], list[Comparison]]:
    """Record the part of each rank, and the whole pair; return what is read of both.

    A tensor is cut as the placements say; of a projection the hidden states over the first dimension of the mesh, and
    the weight over the second.
    """
    everyone: dict[str, Any] = {"every": 1, "console": False, "strict": True, "ranks": ranks, "samples": 4}
    for rank in range(RANKS):
        with as_rank(rank), Recorder(folder / "parts", **everyone) as recorder:
            made = device_mesh.init_device_mesh("cpu", mesh)
            if isinstance(logits, Projection):
                value: Any = Projection(
                    cut(logits.hidden, made, [placements[0], tensor.Replicate()]),  # type: ignore[arg-type] # it is one
                    cut(logits.weight, made, [tensor.Replicate(), placements[1]]),  # type: ignore[arg-type] # it is one
                )
            else:
                value = cut(logits, made, placements)
            recorder.compare(value, labels, 0, **how)
    with Recorder(folder / "whole", every=1, console=False, samples=4) as recorder:
        recorder.compare(logits, labels, 0, **how)
    parts, whole = (
        [one for one in predlog.read(folder / name) if isinstance(one, Comparison)] for name in ("parts", "whole")
    )
    return parts, whole


@pytest.mark.parametrize("shift", [0, 1, 3])
@pytest.mark.parametrize("length", [8, 9, 10])
@pytest.mark.parametrize("is_both", [False, True])
def test_rows_join_with_the_labels_behind_them(tmp_path: Path, length: int, shift: int, *, is_both: bool) -> None:
    """Uneven and empty parts of rows, whose last labels lie behind them, join to the whole if all labels are here."""
    logits, labels = torch.randn(2, length, VOCABULARY), torch.randint(VOCABULARY, (2, length))
    mesh = (2, 2) if is_both else (RANKS,)
    placements = [tensor.Shard(1), *([tensor.Shard(2)] if is_both else [])]
    found, known = joined_and_whole(tmp_path, logits, labels, mesh, placements, shift=shift, inputs=labels)
    assert len(found) == len(known) == 2
    for one, other in zip(found, known, strict=True):
        assert (one.missing_ids, one.missing_rows) == (0, 0)
        assert (one.supervised, one.matched, one.length) == (other.supervised, other.matched, other.length)
        assert (one.loss, one.entropy) == pytest.approx((other.loss, other.entropy), abs=1e-5)
        for token, expected in zip(one.tokens, other.tokens, strict=True):
            for name in ("slot", "position", "label", "input", "prediction", "label_rank"):
                assert getattr(token, name) == getattr(expected, name), name


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        ((0, 2), "samples, vocabulary"), ((1, 2), "rows, vocabulary"), ((2, 2), "vocabulary, twice"),
        ((0, 1), "samples, rows"), ((1, 1), "rows, twice"), ((None, 1), "copies, rows"), ((None, None), "copies"),
        ((2, None), "vocabulary, copies"), ((0, 0), "samples, twice"),
    ],
)  # fmt: skip
def test_any_placements_on_two_dimensions(tmp_path: Path, axes: tuple[int | None, ...], names: str) -> None:
    """Whatever two dimensions of a mesh share, all ranks' records are read as the whole batch, each sample once.

    Copies are recorded once: a rank's record of what is whole, by each rank that is to record it.
    """
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 9, VOCABULARY, generator=generator)
    labels = torch.randint(VOCABULARY, (3, 9), generator=generator)
    mask = (torch.rand(3, 9, generator=generator) > 0.3).float()
    placements = [tensor.Replicate() if one is None else tensor.Shard(one) for one in axes]
    who = "auto" if 0 not in axes else "all"
    found, known = joined_and_whole(tmp_path, logits, labels, (2, 2), placements, who, loss_mask=mask, inputs=labels)
    assert [(one.sample, one.missing_ids or one.missing_rows or 0) for one in found] == [(0, 0), (1, 0), (2, 0)], names
    for one, other in zip(found, known, strict=True):
        assert (one.supervised, one.matched, one.length) == (other.supervised, other.matched, other.length)
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        ours, theirs = ([(two.position, two.label, two.prediction) for two in rec.tokens] for rec in (one, other))
        assert ours == theirs


def test_a_head_and_its_rows_on_two_dimensions(tmp_path: Path) -> None:
    """Hidden states that are sharded over their rows, projected onto a sharded vocabulary, join to the whole."""
    logits = Projection(torch.randn(2, 8, 5), torch.randn(VOCABULARY, 5))
    labels = torch.randint(VOCABULARY, (2, 8))
    placements = [tensor.Shard(1), tensor.Shard(0)]
    found, known = joined_and_whole(tmp_path, logits, labels, (2, 2), placements)
    assert [(one.missing_ids, one.missing_rows) for one in found] == [(0, 0)] * 2
    for one, other in zip(found, known, strict=True):
        ours, theirs = ([(two.position, two.label, two.prediction) for two in rec.tokens] for rec in (one, other))
        assert ours == theirs
        assert [two.label_logprob for two in one.tokens] == pytest.approx(
            [two.label_logprob for two in other.tokens], abs=1e-5
        )


def test_weights_of_fsdp_with_tensor_parallel_are_refused() -> None:
    """Their rows are interleaved over the mesh: the head is refused by name outside of the forward, with what to do."""
    with as_rank(1):
        mesh = device_mesh.init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
        head: Any = torch.nn.Linear(6, VOCABULARY, bias=False)
        parallel.parallelize_module(head, mesh["tp"], parallel.ColwiseParallel())
        fsdp.fully_shard(head, mesh=mesh["dp"])
        assert [type(one).__name__ for one in head.weight.placements] == ["_StridedShard", "Shard"]
        with pytest.raises(PairError, match=r"the head's weight \[10, 6\] is a DTensor whose placement .* interleaves"):
            capture(Projection(torch.randn(2, 8, 6), head.weight), torch.zeros(2, 8).long(), window=Window())


@pytest.mark.parametrize("name", ["labels", "loss_mask", "inputs", "position_ids"])
def test_what_is_cut_otherwise_is_refused(name: str) -> None:
    """Of logits that are sharded over the vocabulary, labels, masks and inputs that are sharded over rows are named."""
    with as_rank(1):
        mesh = device_mesh.init_device_mesh("cpu", (RANKS,))
        given: dict[str, Any] = {"labels": torch.zeros(2, 8).long()}
        given[name] = cut(torch.ones(2, 8).long(), mesh, [tensor.Shard(1)])
        logits = cut(torch.randn(2, 8, VOCABULARY), mesh, [tensor.Shard(2)])
        with pytest.raises(PairError, match=f"{name} are a DTensor, sharded over axis 1.*redistribute them"):
            capture(logits, given.pop("labels"), **given, window=Window())


def test_labels_of_rows_that_are_elsewhere_are_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Labels that are sharded as the rows are lack those behind them at a shift: a line says that they count for none.

    Shifted before they were sharded, they have all.
    """
    logits, ids = torch.randn(2, 8, VOCABULARY), torch.randint(VOCABULARY, (2, 9))
    found = {}
    for shift, labels in ((1, ids[:, :-1]), (0, ids[:, 1:])):
        for rank in range(RANKS):
            with as_rank(rank), Recorder(tmp_path / str(shift), every=1, console=False) as recorder:
                mesh = device_mesh.init_device_mesh("cpu", (RANKS,))
                value, ids_here = (cut(one, mesh, [tensor.Shard(1)]) for one in (logits, labels.contiguous()))
                assert recorder.compare(value, ids_here, 0, shift=shift) is not None
        err = capfd.readouterr().err
        assert err.count("Shift labels before they are sharded") == (3 if shift else 0)
        found[shift] = [one for one in predlog.read(tmp_path / str(shift)) if isinstance(one, Comparison)]
    assert [(one.supervised, one.missing_rows) for one in found[1]] == [(4, 0)] * 2
    assert [(one.supervised, one.missing_rows) for one in found[0]] == [(8, 0)] * 2


@pytest.mark.parametrize(
    ("names", "inner", "expected"),
    [
        (("dp", "cp", "tp"), ("tp",), [0, 1]),
        (("dp", "cp", "tp"), ("cp", "tp"), [0, 1, 2, 3]),
        (("pp", "dp", "tp"), ("tp",), [0, 1, 4, 5]),  # of these stages only one is offered logits
        (("dp", "pp", "tp"), ("tp",), [0, 1, 2, 3]),
    ],
)
def test_the_lowest_copy_of_a_mesh_records(names: tuple[str, ...], inner: tuple[str, ...], expected: list[int]) -> None:
    """Of all copies, the one at 0 of the other dimensions records, in each stage of a pipeline; also of a submesh."""
    found: dict[str, list[int]] = {"submesh": [], "mesh": [], "group": []}
    logits, labels = torch.randn(1, 6, VOCABULARY), torch.randint(VOCABULARY, (1, 6))
    for rank in range(8):
        with as_rank(rank, 8):
            whole = device_mesh.init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=names)
            places = {"cp": tensor.Shard(1), "tp": tensor.Shard(2)}
            submesh = whole[inner]
            for name, mesh in (("submesh", submesh), ("mesh", whole)):
                placements = [places[one] if one in inner else tensor.Replicate() for one in mesh.mesh_dim_names]
                value = cut(logits, mesh, placements)
                assert holders.is_part(value)
                found[name] += firsts(holders.copy_here(value, labels, None, None), rank)
            found["group"] += firsts(holders.copy_here(logits, labels, None, submesh), rank)
    assert found == dict.fromkeys(found, expected)


def firsts(copy: holders.Copy | None, rank: int) -> list[int]:
    """Return a rank if its copy is to be recorded, of which it must be one."""
    assert copy is not None
    assert rank in copy.ranks
    return [rank] * copy.is_first


@pytest.mark.parametrize("names", [("dp", "cp", "tp"), ("dp", "context_parallel", "tp")])
def test_a_copy_spans_the_dimension_of_the_rows(names: tuple[str, ...]) -> None:
    """With `row_index` a copy has all ranks with rows of a sample, if their dimension has such a name: else ask."""
    labels, index = torch.zeros(1, 6, dtype=torch.int64), torch.arange(6)
    found: dict[tuple[int, ...], list[int]] = {}
    for rank in range(8):
        with as_rank(rank, 8):
            whole = device_mesh.init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=names)
            value = cut(torch.randn(1, 6, VOCABULARY), whole["tp"], [tensor.Shard(2)])
            copy = holders.copy_here(value, labels, None, None, index)
            assert copy is not None
            assert copy.is_first == (rank < 4)
            found.setdefault(copy.ranks, []).append(rank)
            other = device_mesh.init_device_mesh("cpu", (4, 2), mesh_dim_names=("replicas", "tp"))["tp"]
            assert holders.copy_here(cut(value.to_local(), other, [tensor.Shard(2)]), labels, None, None, index) is None
            rows = cut(torch.randn(1, 6, VOCABULARY), whole["dp"], [tensor.Shard(1)])  # whose own mesh has the others
            assert holders.copy_here(rows, labels, None, None, index) == ((rank % 4, rank % 4 + 4), rank in {0, 4})
    assert found == {(0, 1, 2, 3): [0, 1, 2, 3], (4, 5, 6, 7): [4, 5, 6, 7]}


def test_a_group_that_is_none_is_refused() -> None:
    """What is no group of ranks is named; ranks that this process is not among record nothing here."""
    for group in ("tp", 3, [], ["0"], torch.zeros(2)):
        with pytest.raises(PairError, match="pass the ranks that have one copy"):
            holders.copy_here(None, None, None, group)
    assert holders.copy_here(None, None, None, [1, 0]) == ((0, 1), True)
    assert holders.copy_here(None, None, None, [1, 2]) == ((), False)


def test_a_rank_with_padding_alone_has_nothing_to_record(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Columns that are all past the vocabulary are no fault: nothing is recorded, counted or reported."""
    with Recorder(tmp_path, every=1, console=False, ranks="all", strict=True) as recorder:
        for logits, start in ((torch.randn(2, 6, 4), 12), (torch.randn(2, 6, 0), 10)):
            labels = torch.randint(VOCABULARY, (2, 6))
            assert recorder.compare(logits, labels, 0, shard=predlog.Shard(start, of=VOCABULARY)) is None
        assert (recorder.stats()["refused"], recorder.findings) == (0, ())
    assert not capfd.readouterr().err


@pytest.mark.parametrize(("shard", "words"), [(predlog.Shard(of=10), "start of Shard is missing"),
                                              (predlog.Shard(0), "of of Shard is missing")])  # fmt: skip
def test_plain_logits_need_both_numbers(shard: predlog.Shard, words: str) -> None:
    """A plain tensor does not know where its columns are: what is missing is named."""
    with Recorder(every=1, console=False, strict=True) as recorder, pytest.raises(PairError, match=words):
        recorder.compare(torch.randn(1, 4, 5), torch.zeros(1, 4, dtype=torch.int64), 0, shard=shard)
