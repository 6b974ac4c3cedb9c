"""What is read from the files of processes with shards is what one process with all logits has recorded."""

import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import predlog
from predlog import Comparison, Finding, Recorder, Shard
from predlog.capture.shard import BEST
from predlog.records.codec import to_event
from tests.capture.test_shards import near, without_ranks

# What the clock and the process write, and what is compared by itself.
_OF_THE_PROCESS = ("timestamp", "run", "recorder", "attempt", "rank", "seq", "missing_ids", "event")
_BY_THEMSELVES = ("tokens", "worst", "all_tokens")


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what a run is like, and how its vocabulary is cut."""
    of = draw(st.integers(2, 50))
    return {
        "of": of,
        "padding": draw(st.integers(0, 3)),
        "cuts": sorted(draw(st.sets(st.integers(1, of - 1), max_size=min(7, of - 1)))),
        "shape": (draw(st.integers(1, 3)), draw(st.integers(2, 30))),
        "codebooks": draw(st.sampled_from([0, 0, 2])),
        "streams": draw(st.sampled_from([("text",), ("text", "eval/text")])),
        "steps": draw(st.sampled_from([1, 3, 12])),
        "dtype": draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])),
        # Which labels the model has learnt, if any, and how labels are shifted.
        "knows": draw(st.sampled_from(["nothing", "labels", "inputs", "one token"])),
        "shifted": draw(st.sampled_from(["next", "not", "twice"])),
        "has_ties": draw(st.booleans()),
        "broken": draw(st.sampled_from([None, None, math.nan, -math.inf])),
        "masked": draw(st.sampled_from([0.0, 0.3, 1.0])),
        "has_inputs": draw(st.booleans()),
        "has_weights": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**16)),
        "how": {
            "first": draw(st.integers(0, 5)), "last": draw(st.integers(1, 5)), "score": draw(st.booleans()),
            "alternatives": draw(st.integers(0, 3)), "all_tokens": draw(st.sampled_from([False, 5])),
            "samples": draw(st.sampled_from([1, 2, (-1,)])),
            "ignore": draw(st.sampled_from([(), ("collapsed", "labels-are-inputs"), {"text": ("copying-inputs",)}])),
            "special_tokens": draw(st.sampled_from([None, {"pad": 0, "eos": 1, "bos": 1}])),
        },
    }  # fmt: skip


def pairs(case: dict[str, Any]) -> list[tuple[Tensor, Tensor, dict[str, Any], dict[str, Any]]]:
    """Return the logits, labels and other arguments of each step and stream, and its name and step."""
    generator = torch.Generator().manual_seed(case["seed"])
    shape = (*case["shape"], *([case["codebooks"]] if case["codebooks"] else []))
    made = []
    for step in range(case["steps"]):
        for stream in case["streams"]:
            inputs = torch.randint(0, case["of"], shape, generator=generator)
            labels = inputs.roll({"next": -1, "not": 0, "twice": -2}[case["shifted"]], 1)
            logits = torch.randn((*shape, case["of"] + case["padding"]), generator=generator)
            known = {"labels": labels, "inputs": inputs, "one token": torch.zeros_like(labels)}.get(case["knows"])
            if known is not None:
                logits.scatter_(-1, known.unsqueeze(-1), 9.0)
            logits = logits.round() if case["has_ties"] else logits
            if case["broken"] is not None and step % 2:
                logits.view(-1)[torch.randint(logits.numel(), (), generator=generator)] = case["broken"]
            logits[..., case["of"] :] = 99.0  # what is padding is never predicted
            labels = labels.masked_fill(torch.rand(shape, generator=generator) < case["masked"], -100)
            how: dict[str, Any] = {"inputs": inputs} if case["has_inputs"] else {}
            if case["has_weights"]:
                how["loss_mask"] = torch.rand(shape, generator=generator).round(decimals=1)
            if case["codebooks"]:
                how["layout"] = "b t k v, b t k"
            logits = logits.to(case["dtype"]).requires_grad_(stream == "text")
            made.append((logits, labels, how, {"step": step, "stream": stream}))
    return made


def record(folder: Path, case: dict[str, Any], shard: tuple[int, int] | None, rank: int, ranks: int) -> None:
    """Record all pairs as one process does, which has all logits or a shard of them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RANK", str(rank))
        patched.setenv("WORLD_SIZE", str(ranks))
        with Recorder(folder, every=1, console=False, ranks="all", decode=str, **case["how"]) as recorder:
            for logits, labels, how, which in pairs(case):
                begin, end = shard or (0, case["of"])
                own = None if shard is None else Shard(begin, of=case["of"])
                recorder.compare(logits[..., begin:end], labels, **which, **how, shard=own)


def read(folder: Path) -> tuple[list[Comparison], list[tuple[Any, ...]]]:
    """Return the comparisons, and of the findings what they are about."""
    records = list(predlog.read(folder))
    found = [
        (one.step, one.stream, one.code, one.level, one.codebook, sorted(map(str, one.codebooks)))
        for one in records
        if isinstance(one, Finding)
    ]
    assert records == list(predlog.read(folder))
    whole = [one for one in records if isinstance(one, Comparison)]
    return sorted(whole, key=lambda one: (one.step, one.stream, one.sample, one.codebook or 0)), sorted(found, key=str)


def check(one: Comparison, other: Comparison) -> None:
    """Check that a joined comparison is the one that one process has recorded."""
    joined, known = to_event(one), to_event(other)
    assert one.missing_ids == 0
    for name in known.keys() - {*_OF_THE_PROCESS, *_BY_THEMSELVES}:
        assert near(known[name], joined[name]), name
    for token, same in zip(one.tokens, other.tokens, strict=True):
        if token.label_rank is None and same.label_rank is not None:
            assert BEST < (token.label_rank_at_least or 0) <= same.label_rank
        else:
            assert token.label_rank == same.label_rank
    left_out = ("alternatives", "label_rank_at_least")
    assert near(without_ranks(known["tokens"], *left_out), without_ranks(joined["tokens"], *left_out))
    for ours, theirs in zip(one.tokens, other.tokens, strict=True):  # equal logits may come in any order
        assert near([two.logprob for two in ours.alternatives], [two.logprob for two in theirs.alternatives])
    assert near([two.label_logprob for two in one.worst], [two.label_logprob for two in other.worst])
    assert all(two.label_text in {None, str(two.label)} for two in one.worst)
    if known["all_tokens"] is not None:
        names = known["all_tokens"].keys() - {"label_ranks"}
        assert all(near(known["all_tokens"][name], joined["all_tokens"][name]) for name in names)


def check_alike(case: dict[str, Any]) -> None:
    ends = [*zip([0, *case["cuts"]], [*case["cuts"], case["of"] + case["padding"]], strict=True)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record(folder / "whole", case, None, 0, 1)
        for rank, shard in enumerate(ends):
            record(folder / "parts", case, shard, rank, len(ends))
        (ours, found), (theirs, known) = read(folder / "parts"), read(folder / "whole")
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        check(one, other)
    assert found == known


@settings(max_examples=10)
@given(case=cases())
def test_files_of_shards_are_read_as_the_files_of_one_process(case: dict[str, Any]) -> None:
    """Records and findings are equal, however logits are cut, and the same each time the files are read."""
    check_alike(case)


@pytest.mark.slow
@settings(max_examples=200)
@given(case=cases())
def test_files_of_shards_are_read_as_the_files_of_one_process_at_length(case: dict[str, Any]) -> None:
    """The same of many more."""
    check_alike(case)
