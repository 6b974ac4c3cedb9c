"""Shards of a vocabulary: what they know together is what one process knows that has all logits."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from predlog.capture.capture import capture
from predlog.capture.shard import BEST, Shard
from predlog.findings.facts import Facts
from predlog.numbers.shards import is_whole, joined
from predlog.numbers.snapshot import Numbers, Snapshot, each
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window

CLOSE = 1e-5


def sharded(logits: Tensor, labels: Tensor, cuts: list[int], of: int, window: Window, **how: Any) -> list[Snapshot]:
    """Capture each part of the logits by itself, as the processes would that have them."""
    ends = [*zip([0, *cuts], [*cuts, logits.shape[-1]], strict=True)]
    return [
        capture(logits[..., start:stop], labels, shard=Shard(start, of=of), window=window, **how)
        for start, stop in ends
        if start < min(stop, of)
    ]


def together(parts: list[Snapshot], window: Window) -> list[tuple[dict[str, Any], Facts, list[int | None]]]:
    """Join the sequences of captured shards, and unpack each."""
    shards = [one.sizes.shard for one in parts if one.sizes.shard is not None]
    assert is_whole(shards)
    sizes = replace(parts[0].sizes, shard=None, codebooks=1, samples=1)
    made = []
    captured = [one.numbers() for one in parts if one.numbers is not None]
    for number, ones in enumerate(zip(*map(each, captured), strict=True)):
        sample, codebook = divmod(number, parts[0].sizes.codebooks)
        numbers, bounds = joined([*zip(shards, ones, strict=True)], sizes, window)
        own = replace(sizes, places=(parts[0].sizes.place(sample),))
        ((fields, facts),) = unpack(Snapshot(own, partial(_itself, numbers)))
        if own.has_codebooks:
            fields, facts = fields | {"codebook": codebook}, replace(facts, codebook=codebook)
        made.append((fields, facts, bounds))
    return made


def _itself(numbers: Numbers) -> Numbers:
    return numbers


def near(one: Any, other: Any) -> bool:
    """Return whether two values are equal, floats nearly."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=CLOSE, rel_tol=1e-6)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(near, one, other))
    return bool(one == other)


def without_ranks(tokens: list[dict[str, Any]], *left_out: str) -> list[dict[str, Any]]:
    """Return tokens without what shards do not know."""
    return [{key: value for key, value in one.items() if key not in ("label_rank", *left_out)} for one in tokens]


def check(whole: tuple[dict[str, Any], Facts], joint: tuple[dict[str, Any], Facts, list[int | None]]) -> None:
    """Check that what the shards know together is what one process knows, but for ranks of which a bound is known."""
    (fields, facts), (found, known, bounds) = whole, joint
    lists = ("tokens", "worst", "all_tokens")
    for name in fields.keys() - {*lists}:
        assert near(fields[name], found[name]), name
    for one, other, bound in zip(fields["tokens"], found["tokens"], bounds, strict=False):
        if other["label_rank"] is None and one["label_rank"] is not None:
            assert bound is not None
            assert BEST < bound <= one["label_rank"]
        else:
            assert other["label_rank"] == one["label_rank"]
            assert bound is None
        (same,), (there,) = without_ranks([one], "alternatives"), without_ranks([other], "alternatives")
        assert near(same, there)
        for key in ("logprob",):  # equal logits may come in any order
            assert near([two[key] for two in one["alternatives"]], [two[key] for two in other["alternatives"]])
    assert near([one["label_logprob"] for one in fields["worst"]], [one["label_logprob"] for one in found["worst"]])
    if fields["all_tokens"] is not None:
        for name, column in fields["all_tokens"].items():
            assert name == "label_ranks" or near(column, found["all_tokens"][name]), name
    for name in Facts.__slots__:
        if name != "tokens":
            assert near(getattr(facts, name), getattr(known, name)), name
    for one_shown, other_shown in zip(facts.tokens, known.tokens, strict=True):
        assert near(tuple(one_shown), tuple(other_shown))


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a pair of any size, its values, and how its vocabulary is cut."""
    of = draw(st.integers(1, 60))
    padding = draw(st.integers(0, 7))
    cuts = sorted(draw(st.sets(st.integers(1, max(of + padding - 1, 1)), max_size=7)))
    return {
        "of": of,
        "cuts": [cut for cut in cuts if cut < of + padding],
        "shape": (draw(st.integers(1, 3)), draw(st.integers(1, 14)), of + padding),
        "dtype": draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])),
        "scale": draw(st.sampled_from([0.0, 1.0, 30.0])),
        "has_ties": draw(st.booleans()),
        "broken": draw(st.sampled_from([None, math.nan, math.inf, -math.inf])),
        "shift": draw(st.integers(0, 1)),
        "has_inputs": draw(st.booleans()),
        "has_weights": draw(st.booleans()),
        "has_documents": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**16)),
        "window": Window(
            first=draw(st.integers(0, 5)), last=draw(st.integers(1, 5)), score=draw(st.booleans()),
            alternatives=draw(st.integers(0, 12)), all_tokens=draw(st.sampled_from([0, 3, 100])),
        ),
    }  # fmt: skip


def made(case: dict[str, Any]) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Return logits, labels and what else is known of a case."""
    generator = torch.Generator().manual_seed(case["seed"])
    samples, length, width = case["shape"]
    logits = torch.randn(case["shape"], generator=generator) * case["scale"]
    if case["has_ties"]:
        logits = logits.round()
    if case["broken"] is not None:
        logits[0, torch.randint(length, (), generator=generator), torch.randint(width, (), generator=generator)] = case[
            "broken"
        ]
    logits[..., case["of"] :] = 1e4  # what is padding is never predicted
    labels = torch.randint(0, case["of"], (samples, length), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = -100
    labels[torch.rand(labels.shape, generator=generator) < 0.05] += case["of"]  # out of range, or -100 + that
    how: dict[str, Any] = {"shift": case["shift"] if length > 1 else 0}
    if case["has_inputs"]:
        how["inputs"] = torch.randint(0, case["of"], (samples, length), generator=generator)
    if case["has_weights"]:
        how["loss_mask"] = torch.rand(labels.shape, generator=generator).round(decimals=1)
    if case["has_documents"]:
        how["document_ids"] = torch.rand(labels.shape, generator=generator).round().to(torch.int64).cumsum(-1)
    return logits.to(case["dtype"]), labels, how


@pytest.mark.parametrize("is_near", [True, False])
@settings(max_examples=150)
@given(case=cases())
def test_shards_together_are_the_whole(case: dict[str, Any], *, is_near: bool) -> None:
    """Fields and facts of joined shards equal those of the whole logits, on the CPU and on any other device."""
    logits, labels, how = made(case)
    with pytest.MonkeyPatch.context() as patched:
        if not is_near:
            patched.setattr("predlog.capture.capture._NEAR", frozenset())
        whole = list(unpack(capture(logits[..., : case["of"]], labels, window=case["window"], **how)))
        parts = sharded(logits, labels, case["cuts"], case["of"], case["window"], **how)
        joint = together(parts, case["window"])
    assert len(whole) == len(joint)
    for one, other in zip(whole, joint, strict=True):
        check(one, other)
