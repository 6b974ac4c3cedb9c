"""Parts of the rows of samples, split over processes in any way, are joined to what one process knows that has all."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from torch import Tensor
from torch.nn.functional import pad

from predlog.capture.capture import capture
from predlog.capture.shard import BEST, Shard
from predlog.findings.facts import Facts
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.columns import packed
from predlog.numbers.unpack import unpack, unpack_parts
from predlog.numbers.whole_ids import settle
from predlog.numbers.window import Window
from predlog.reading.joining import Whole
from predlog.reading.row_parts import comparison_of_rows
from predlog.records.codec import from_event, from_line, to_line
from predlog.records.schema import Comparison, Part, Token

CLOSE = 1e-5
HEAD = {
    "level": "info", "timestamp": "2026-01-01T00:00:00Z", "schema": 1, "run": None, "recorder": "r", "attempt": 1,
    "seq": 0, "step": 0, "stream": "text", "context": {}, "sample_id": None, "reported_loss": None,
}  # fmt: skip


def split(length: int, ways: int, kind: str, chance: random.Random) -> list[list[int]]:
    """Return which positions each of several processes has."""
    if kind == "zigzag":
        chunks = 2 * ways
        bounds = [length * one // chunks for one in range(chunks + 1)]
        ends = [(bounds[one : one + 2], bounds[chunks - 1 - one : chunks + 1 - one]) for one in range(ways)]
        rows = [[*range(*head), *range(*tail)] for head, tail in ends]
    elif kind == "documents":
        cuts = sorted(chance.sample(range(1, length), min(length - 1, 3 * ways)))
        rows = [[] for _ in range(ways)]
        for start, stop in zip([0, *cuts], [*cuts, length], strict=True):
            chance.choice(rows).extend(range(start, stop))
    elif kind == "striped":
        rows = [[*range(one, length, ways)] for one in range(ways)]
    elif kind == "shuffled":
        order = chance.sample(range(length), length)
        rows = [order[one::ways] for one in range(ways)]
    else:
        cuts = sorted(chance.sample(range(1, length), min(ways, length) - 1))
        rows = [[*range(start, stop)] for start, stop in zip([0, *cuts], [*cuts, length], strict=True)]
    return [one for one in rows if one]


def parts(
    logits: Tensor, labels: Tensor, rows: list[list[int]], cuts: list[int], padding: int = 0, **how: Any
) -> list[list[Part]]:  # fmt: skip
    """Capture the part of each process, write it as a line, and return what is read, by sample and codebook.

    The last `padding` columns are past the vocabulary, so that the last shard of each process's rows has no ids.
    """
    found: dict[tuple[int, int | None], list[Part]] = {}
    of = logits.shape[-1]
    ends = [0, *cuts, *[of] * bool(padding), of + padding]
    logits = pad(logits, (0, padding), value=99.0)
    beside = ("inputs", "position_ids", "document_ids", "attention_mask", "loss_mask")
    rank = 0
    for own in rows:
        index = torch.tensor(own, dtype=torch.int64)
        here = {name: value[:, index] if name in beside else value for name, value in how.items()}
        for start, stop in pairwise(ends):
            shard = Shard(start, of=of) if cuts or padding else None
            snapshot = capture(logits[:, index, start:stop], labels[:, index], row_index=index, shard=shard, **here)
            for fields, _ in unpack_parts(snapshot):
                line = to_line(from_event_of(fields, rank))
                record = from_line(line)
                assert isinstance(record, Part)
                found.setdefault((record.sample, record.codebook), []).append(record)
            rank += 1
    return [found[key] for key in sorted(found, key=str)]


def from_event_of(fields: dict[str, Any], rank: int) -> dict[str, Any]:
    """Return an event of the fields of a part, and check that it is one."""
    event = {"event": "predlog.part", **HEAD, "rank": rank, **fields}
    assert isinstance(from_event(event), Part)
    return event


def near(one: Any, other: Any) -> bool:
    """Return whether two values are equal, floats nearly."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=CLOSE, rel_tol=1e-6)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(near, one, other))
    return bool(one == other)


def check_tokens(tokens: Sequence[Token], known: Sequence[dict[str, Any]]) -> None:
    """Check that the tokens of a joined comparison are those of one process; of some ranks a bound is known."""
    for token, one in zip(tokens, known, strict=True):
        assert near([two.logprob for two in token.alternatives], [two["logprob"] for two in one["alternatives"]])
        for name, value in one.items():
            if name == "label_rank" and token.label_rank is None and value is not None:
                assert token.label_rank_at_least is not None
                assert BEST < token.label_rank_at_least <= value
            elif name != "alternatives":
                assert near(getattr(token, name), value), (name, token, one)


def check(fields: dict[str, Any], joint: Whole) -> None:
    """Check that a joined comparison is that of one process."""
    record = joint.record
    assert (record.missing_rows, record.missing_ids) == (0, 0)
    for name in ("length", "vocabulary", "shift", "supervised", "matched", "loss", "entropy", "nonfinite", "sample"):
        assert near(getattr(record, name), fields[name]), name
    check_tokens(record.tokens, fields["tokens"])
    assert near([one.label_logprob for one in record.worst], [one["label_logprob"] for one in fields["worst"]])
    homes = {one["position"]: (one["document"], one["document_position"]) for one in fields["worst"]}
    for one in record.worst:
        assert homes.get(one.position, (one.document, one.document_position)) == (one.document, one.document_position)
    if fields["all_tokens"] is not None:
        assert record.all_tokens is not None
        for name in ("positions", "labels", "predictions", "label_logprobs"):
            assert near(getattr(record.all_tokens, name), fields["all_tokens"][name]), name
    assert joint.facts is not None


def check_facts(facts: Facts, found: Facts) -> None:
    """Check that the facts of joined parts are those of one process."""
    for name in Facts.__slots__:
        value, other = getattr(facts, name), getattr(found, name)
        if name == "specials":
            assert (value.pad, value.eos, value.bos, value.unk) == (other.pad, other.eos, other.bos, other.unk)
        elif name == "tokens":
            assert all(near(tuple(one), tuple(two)) for one, two in zip(value, other, strict=True))
        else:
            assert near(value, other), name


def check_partial(record: Comparison, every: dict[int, dict[str, Any]], gone: set[int], holes: set[int]) -> None:
    """Check that tokens of a comparison without the rows `gone` are those of one process; of `holes` the labels are."""
    positions = [at for at in sorted(every) if at not in gone]
    assert (record.matched, record.loss, record.entropy, record.all_tokens) == (None, None, None, None)
    assert record.supervised == len(positions)
    assert bool(record.tokens) == bool(positions)
    for end in ("first", "last"):
        shown = [one.position for one in record.tokens if one.slot == end]
        assert shown == (positions[: len(shown)] if end == "first" else positions[len(positions) - len(shown) :])
    for one in (*record.tokens, *record.worst):
        known = every[one.position]
        assert (one.label, one.input) == (known["label"], known["input"])
        assert one.document in {None, known["document"]}
        assert one.document_position in {None, known["document_position"]}
        if one.position in holes:
            assert (one.match, one.prediction, one.prediction_logprob, one.label_logprob) == (None,) * 4
            assert one.label_rank is None
            assert (one.label_rank_at_least or 1) <= (known["label_rank"] or math.inf)
        else:
            names = ("match", "prediction", "prediction_logprob", "label_logprob")
            assert near([getattr(one, name) for name in names], [known[name] for name in names])
            assert one.label_rank in {None, known["label_rank"]}
    assert not {one.position for one in record.worst} & {one.position for one in record.tokens}
    assert record.nonfinite == sum(
        (one.prediction_logprob is None) + (one.label_logprob is None and 0 <= one.label < (record.vocabulary or 0))
        for one in record.tokens
        if one.match is not None
    )


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a pair of any size, its values, and how its rows and its vocabulary are cut."""
    vocabulary = draw(st.integers(2, 40))
    return {
        "cuts": sorted(draw(st.sets(st.integers(1, vocabulary - 1), max_size=2))),
        "shape": (draw(st.integers(1, 2)), draw(st.integers(2, 40)), vocabulary),
        "ways": draw(st.integers(1, 4)),
        "kind": draw(st.sampled_from(["contiguous", "zigzag", "documents", "striped", "shuffled"])),
        "dtype": draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float64])),
        "broken": draw(st.sampled_from([None, math.nan, math.inf])),
        "supervised": draw(st.sampled_from([0.0, 0.1, 0.8, 1.0])),
        "masked": draw(st.booleans()),
        "labels": draw(st.sampled_from(["any", "next", "inputs", "after next"])),
        "has_inputs": draw(st.booleans()),
        "has_weights": draw(st.booleans()),
        "known": draw(st.sampled_from([None, "position_ids", "document_ids", "both", "blank"])),
        "has_mask": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**16)),
        "window": Window(
            first=draw(st.integers(0, 5)), last=draw(st.integers(1, 5)), score=draw(st.booleans()),
            alternatives=draw(st.integers(0, 3)), all_tokens=draw(st.sampled_from([0, 3, 100])),
        ),
    }  # fmt: skip


def documents(known: str | None, begins: Tensor) -> dict[str, Tensor]:
    """Return what is known of the documents that begin there."""
    places = torch.zeros(begins.shape, dtype=torch.int64)
    if known == "blank":
        return {"position_ids": places}
    for at in range(1, begins.shape[-1]):
        places[:, at] = torch.where(begins[:, at], 0, places[:, at - 1] + 1)
    both = {"position_ids": places, "document_ids": begins.to(torch.int64).cumsum(-1) + 7}
    return {name: one for name, one in both.items() if known in ("both", name)}


def made(case: dict[str, Any]) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Return logits, labels and what else is known of a case."""
    generator = torch.Generator().manual_seed(case["seed"])
    samples, length, vocabulary = case["shape"]

    def drawn(share: float) -> Tensor:
        return torch.rand(samples, length, generator=generator) < share

    logits = torch.randn(case["shape"], generator=generator)
    if case["broken"] is not None:
        logits[0, torch.randint(length, (), generator=generator)] = case["broken"]
    text = torch.randint(0, vocabulary, (samples, length + 2), generator=generator)
    offset = {"any": 0, "next": 1, "inputs": 0, "after next": 2}[case["labels"]]
    labels = text[:, offset : length + offset].clone()
    if case["labels"] == "any":
        labels = torch.randint(0, vocabulary, (samples, length), generator=generator)
    labels[~drawn(case["supervised"])] = -100
    if case["masked"]:
        labels[:, : length // 2] = -100
    labels[drawn(0.03)] += vocabulary
    how: dict[str, Any] = {
        "window": case["window"], "specials": SpecialTokens(pad=(0,), eos=(1,), bos=(0,), every=frozenset({0, 1})),
    }  # fmt: skip
    if case["has_inputs"]:
        how["inputs"] = text[:, :length]
    if case["has_weights"]:
        how["loss_mask"] = torch.rand(labels.shape, generator=generator).round(decimals=1)
    how |= documents(case["known"], drawn(0.2))
    if case["has_mask"]:
        how["attention_mask"] = (~drawn(0.2)).to(torch.int64)
    return logits.to(case["dtype"]), labels, how


@pytest.mark.parametrize("is_near", [True, False])
@settings(max_examples=150)
@given(case=cases())
def test_parts_of_rows_together_are_the_whole(case: dict[str, Any], *, is_near: bool) -> None:
    """Fields and facts of joined rows equal those of the whole sample, on the CPU and on any other device."""
    logits, labels, how = made(case)
    rows = split(labels.shape[-1], case["ways"], case["kind"], random.Random(case["seed"]))
    with pytest.MonkeyPatch.context() as patched:
        if not is_near:
            patched.setattr("predlog.capture.capture._NEAR", frozenset())
        whole = list(unpack(capture(logits, labels, **how)))
        found = parts(logits, labels, rows, case["cuts"], **how)
    joints = [comparison_of_rows(ones, case["window"], {one.rank for one in ones}) for ones in found]
    for (fields, _), joint in zip(whole, joints, strict=True):
        check(fields, joint)
    every = [(joint.facts, joint.unread) for joint in joints if joint.facts is not None]
    settle(every)
    for (_, facts), (own, _) in zip(whole, every, strict=True):
        check_facts(facts, own)


@settings(max_examples=40)
@given(case=cases(), data=st.data())
def test_ranks_without_a_row_or_a_label_leave_the_whole_as_it_is(case: dict[str, Any], data: st.DataObject) -> None:
    """Ranks that have no rows, no ids or padding alone write parts, too: with all of them, and not before, it is whole.

    Nothing but the ranks that record tells how many parts a sample has.
    """
    logits, labels, how = made(case)
    rows = split(labels.shape[-1], case["ways"], case["kind"], random.Random(case["seed"]))
    for own in data.draw(st.lists(st.sampled_from(rows), max_size=3)):
        labels[:, own] = -100
    for place in data.draw(st.lists(st.integers(0, len(rows)), max_size=2)):
        rows.insert(place, [])
    whole = list(unpack(capture(logits, labels, **how)))
    found = parts(logits, labels, rows, case["cuts"], data.draw(st.sampled_from([0, 0, 3])), **how)
    for (fields, _), ones in zip(whole, found, strict=True):
        ranks = {one.rank for one in ones}
        assert ranks == {*range(len(ones))}
        check(fields, comparison_of_rows(ones, case["window"], ranks))
        lost = data.draw(st.sampled_from(ones))
        left = comparison_of_rows([one for one in ones if one is not lost] or [lost], case["window"], ranks)
        assert left.is_partial == (len(ones) > 1)


@settings(max_examples=20)
@given(case=cases(), data=st.data())
def test_what_is_missing_is_never_guessed(case: dict[str, Any], data: st.DataObject) -> None:
    """Without any of its parts, a comparison shows tokens of the others, as the whole has them, or labels alone."""
    logits, labels, how = made(case)
    rows = split(labels.shape[-1], case["ways"], case["kind"], random.Random(case["seed"]))
    shards = len(case["cuts"]) + 1
    ranks = range(len(rows) * shards)
    kept = data.draw(st.sets(st.sampled_from(ranks), min_size=1, max_size=max(len(ranks) - 1, 1)))
    every = {**how, "window": replace(case["window"], first=100, last=1, worst=0)}
    whole = list(unpack(capture(logits, labels, **every)))
    captured = parts(logits, labels, rows, case["cuts"], row_count=labels.shape[-1], **how)
    for (fields, _), ones in zip(whole, captured, strict=True):
        left = [structs.replace(one, sample_id="a") for one in ones if one.rank in kept]
        of_rows = [{rank % shards for rank in kept if rank // shards == place} for place in range(len(rows))]
        gone = {at for own, there in zip(rows, of_rows, strict=True) if not there for at in own}
        holes = {at for own, there in zip(rows, of_rows, strict=True) if 0 < len(there) < shards for at in own}
        record = comparison_of_rows(left, case["window"], {*ranks}).record
        assert (bool(record.missing_ids), record.missing_rows) == (bool(holes), len(gone))
        if holes or gone:
            check_partial(record, {one["position"]: one for one in fields["tokens"]}, gone, holes)


@pytest.mark.slow
@settings(max_examples=500)
@given(case=cases(), data=st.data())
def test_what_is_missing_is_never_guessed_at_length(case: dict[str, Any], data: st.DataObject) -> None:
    """The same of many more."""
    test_what_is_missing_is_never_guessed.hypothesis.inner_test(case=case, data=data)  # type: ignore[attr-defined]


def test_numbers_that_no_recorder_writes_cost_the_tokens_of_their_comparison() -> None:
    """Rows below 0, in a part beside which others are missing, make no record that does not fit the schema."""
    logits, labels = torch.randn(1, 12, 9), torch.arange(12)[None] % 9
    (ones,) = parts(logits, labels, [[*range(6)], [*range(6, 12)]], [], row_count=12, window=Window())
    assert ones[0].rows is not None
    wrong = structs.replace(ones[0], rows={**ones[0].rows, "rows": packed([-9, *range(5)])})
    found = comparison_of_rows([wrong], Window(), {0, 1}).record
    assert (found.missing_rows, found.tokens, found.worst) == (6, (), ())
    assert comparison_of_rows(ones[:1], Window(), {0, 1}).record.tokens
