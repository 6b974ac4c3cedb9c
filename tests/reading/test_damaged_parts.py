"""Parts that no recorder has written, or of different pairs, cost their own comparison at most, and never raise."""

import json
import math
import warnings
import zlib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import predlog
from predlog import Comparison, Finding, Recorder, Shard
from predlog.numbers.columns import packed
from predlog.records.codec import from_event, to_event

VOCABULARY, CUTS = 30, (0, 12, 13, 30)
RANKS = range(len(CUTS) - 1)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """Return the events of each rank's file: two steps of two samples, whose first label lies in the second shard."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(3)
    logits, labels = torch.randn(2, 20, VOCABULARY), torch.randint(VOCABULARY, (2, 20))
    labels[:, 0] = 12
    with pytest.MonkeyPatch.context() as patched:
        for rank in RANKS:
            patched.setenv("RANK", str(rank))
            patched.setenv("WORLD_SIZE", "3")
            with Recorder(folder, every=1, console=False, ranks="all", decode=str, all_tokens=True) as recorder:
                for step in range(2):
                    start, stop = CUTS[rank : rank + 2]
                    recorder.compare(
                        logits[..., start:stop], labels, step, inputs=labels, shard=Shard(start, of=VOCABULARY)
                    )
    names = [f"predictions{f'-rank{rank}' if rank else ''}.jsonl" for rank in RANKS]
    return [[json.loads(line) for line in (folder / name).read_bytes().splitlines()] for name in names]


@pytest.fixture(scope="module")
def untouched(written: list[list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Return the comparison of the second sample, whose parts are left as they are."""
    return of_first_step(read(tmp_path_factory.mktemp("whole"), written))[1]


def line(event: dict[str, Any]) -> bytes:
    """Return a line with a checksum that fits, whatever is in it."""
    body = json.dumps({key: value for key, value in event.items() if key != "crc"}, separators=(",", ":"))
    return b'%b,"crc":"%08x"}\n' % (body[:-1].encode(), zlib.crc32(body[:-1].encode()))


def read(folder: Path, files: list[list[dict[str, Any]]]) -> list[Any]:
    for rank, events in enumerate(files):
        name = f"predictions{f'-rank{rank}' if rank else ''}.jsonl"
        (folder / name).write_bytes(b"".join(map(line, events)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lines that are no record of the schema are named
        return list(predlog.read(folder))


def part(files: list[list[dict[str, Any]]], rank: int, sample: int = 0) -> dict[str, Any]:
    """Return the part of the first step."""
    return next(one for one in files[rank] if one["event"] == "predlog.part" and one["sample"] == sample)


def of_first_step(records: list[Any]) -> dict[int, Comparison]:
    return {one.sample: one for one in records if isinstance(one, Comparison) and one.step == 0}


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 40), st.sampled_from([2**63 - 1, -(2**63), 2**63, 10**18, 10**400]),
        st.floats(), st.sampled_from(["", "f", "i", "fAAAA", "f====", "qAAAAAAAA", "dAAAAAAAA8H8=", "é", "x" * 40]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip


def change(value: Any, draw: Callable[[Any], Any]) -> Any:
    """Replace one value at any depth, or take it away, or repeat it."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: change(value[key], draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        if draw(st.integers(0, 3)) == 0:
            return draw(st.sampled_from([value[1:], value * 2, value[:-1], value * 50]))
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], change(value[place], draw), *value[place + 1 :]]
    return draw(VALUES)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_a_part_holds_costs_its_own_comparison_alone(
    data: st.DataObject, written: list[list[dict[str, Any]]], untouched: Comparison, tmp_path: Path
) -> None:
    """The comparison may be partial or lack; nothing raises, and that of the other sample is as it was."""
    files = deepcopy(written)
    for _ in range(data.draw(st.integers(1, 3))):
        rank = data.draw(st.sampled_from(RANKS))
        one = part(files, rank)
        name = data.draw(st.sampled_from(["facts", "facts", "rows", "rows", "tokens", "shard", "supervised", "length"]))
        one[name] = change(one[name], data.draw)
    records = read(tmp_path, files)
    found = of_first_step(records)
    assert found[1] == untouched
    for record in records:
        if isinstance(record, Comparison | Finding):
            assert from_event(to_event(record)) == record
    if 0 in found and found[0].missing_ids:
        assert (found[0].matched, found[0].loss) == (None, None)
        assert all((one.match, one.prediction, one.label_logprob) == (None, None, None) for one in found[0].tokens)


@pytest.mark.slow
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_a_part_holds_costs_its_own_comparison_alone_at_length(
    data: st.DataObject, written: list[list[dict[str, Any]]], untouched: Comparison, tmp_path: Path
) -> None:
    """The same of many more."""
    test_whatever_a_part_holds_costs_its_own_comparison_alone.hypothesis.inner_test(  # type: ignore[attr-defined]
        data=data, written=written, untouched=untouched, tmp_path=tmp_path
    )


def set_to(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return what sets a key, or one of those within a key: "facts.best"."""

    def apply(one: dict[str, Any]) -> None:
        *path, last = name.split(".")
        for key in path:
            one = one[key]
        one[last] = value

    return apply


WRONG = {
    "a column that is none": set_to("facts.peak", "f===="),
    "a column of another length": set_to("facts.log_sum", "fAAAAAA=="),
    "no columns": set_to("facts", {}),
    "a list in place of a number": set_to("facts.ignore_index", [[]]),
    "a count below zero": set_to("facts.above", [-1] * 10),
    "numbers without counts": set_to("facts.counts", {"supervised": [20]}),
    "rows without a column": set_to("rows", {}),
    "an end before the beginning": set_to("shard", {"start": 12, "stop": 5, "of": VOCABULARY}),
    "more ids than there are": set_to("shard", {"start": 12, "stop": 31, "of": VOCABULARY}),
    "another vocabulary": set_to("shard", {"start": 12, "stop": 13, "of": 10**18}),
    "another number of labels": set_to("supervised", 19),
    "another length": set_to("length", 21),
    "another shift": set_to("shift", 1),
}


def assert_labels_alone(one: Comparison) -> None:
    """Check that of a comparison which lacks a shard there are labels, and nothing else."""
    assert (one.matched, one.loss, one.worst, one.nonfinite) == (None, None, (), 0)
    assert len(one.tokens) == 10
    assert all((two.match, two.prediction, two.label_logprob, two.label_rank) == (None,) * 4 for two in one.tokens)


@pytest.mark.parametrize("what", WRONG)
def test_a_part_that_does_not_fit_counts_as_missing(
    what: str, written: list[list[dict[str, Any]]], tmp_path: Path
) -> None:
    """The ids of the middle shard are missing, whatever is wrong with its part."""
    files = deepcopy(written)
    WRONG[what](part(files, 1))
    found = of_first_step(read(tmp_path, files))
    assert [found[0].missing_ids, found[1].missing_ids] == [CUTS[2] - CUTS[1], 0]
    assert found[0].supervised == 20
    assert_labels_alone(found[0])


def test_other_labels_are_another_pair(written: list[list[dict[str, Any]]], tmp_path: Path) -> None:
    """What most parts agree on is the pair; one whose labels differ is of another one."""
    files = deepcopy(written)
    part(files, 0)["tokens"][0]["label"] = 3
    found = of_first_step(read(tmp_path, files))
    assert found[0].missing_ids == CUTS[1]


def test_shards_that_overlap_make_no_figures(written: list[list[dict[str, Any]]], tmp_path: Path) -> None:
    """Two parts with the same ids are never added up."""
    files = deepcopy(written)
    part(files, 1)["shard"]["start"] = 5
    (one,) = [one for sample, one in of_first_step(read(tmp_path, files)).items() if sample == 0]
    assert one.missing_ids
    assert_labels_alone(one)
    assert {token.label_rank_at_least for token in one.tokens} == {None}


def test_a_replica_takes_the_place_of_a_damaged_part(written: list[list[dict[str, Any]]], tmp_path: Path) -> None:
    """Where several processes have written a shard, one that can be read is enough."""
    files = deepcopy(written)
    spare = deepcopy(files[1])
    for one in spare:
        one["rank"] = 3
    part(files, 1)["facts"] = {}
    found = of_first_step(read(tmp_path, [*files, spare]))
    assert found[0].missing_ids == 0


def test_numbers_that_overflow_make_a_partial_comparison(written: list[list[dict[str, Any]]], tmp_path: Path) -> None:
    """A sum too large for a number is no reason to stop reading."""
    files = deepcopy(written)
    part(files, 1)["facts"]["log_sum"] = packed([1e300] * 10)
    found = of_first_step(read(tmp_path, files))
    assert found[0].missing_ids
    assert found[1].missing_ids == 0
    assert math.isfinite(found[1].loss or math.nan)
