"""Which samples of a batch are shown, and under which ids."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from predlog import Projection, Rows
from predlog.capture import samples
from predlog.capture.capture import capture
from predlog.capture.pair import to_pair
from predlog.capture.samples import LONGEST_ID, MOST_FOLLOWED, as_id
from predlog.errors import NoSuchSampleError, PairError
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window

BATCH, LENGTH, VOCABULARY = 7, 9, 11
NAMES = [f"doc-{one}" for one in range(BATCH)]


@pytest.fixture(params=["near", "elsewhere"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Capture as on the CPU, and as on a device whose values can't be read."""
    if request.param == "elsewhere":
        monkeypatch.setattr("predlog.capture.capture._NEAR", frozenset())
    return str(request.param)


def pair(kind: str) -> tuple[Any, Tensor, dict[str, Any]]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(BATCH, LENGTH, VOCABULARY, generator=generator)
    labels = torch.randint(VOCABULARY, (BATCH, LENGTH), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = -100
    how: dict[str, Any] = {"shift": 1, "inputs": torch.randint(VOCABULARY, (BATCH, LENGTH), generator=generator)}
    if kind == "weighed":
        how["loss_mask"] = torch.rand(BATCH, LENGTH, generator=generator).round(decimals=1)
    elif kind == "packed":
        how["position_ids"] = torch.arange(LENGTH).expand(BATCH, -1) % 4
    made: Any = logits
    if kind == "chunks":
        made = list(logits.split(4, 1))
    elif kind == "rows":
        logprobs = logits.log_softmax(-1)
        best, prediction = logprobs.max(-1)
        label = torch.cat([labels[:, 1:], labels[:, :1]], 1).clamp(0).unsqueeze(-1)
        of_label = logprobs.gather(-1, label)
        rank = (logprobs > of_label).sum(-1) + 1
        made = Rows(prediction, best, of_label.squeeze(-1), rank, vocabulary=VOCABULARY)
    elif kind == "projection":
        hidden = torch.randn(BATCH, LENGTH, 5, generator=generator)
        made = Projection(hidden, torch.randn(VOCABULARY, 5, generator=generator))
    elif kind == "codebooks":
        made, labels = torch.cat([logits, logits.flip(1)], -1), torch.stack([labels, labels.flip(0)], -1)
        how = {"layout": "b t (k v), b t k"}
    elif kind == "time first":
        made, labels, how = logits.transpose(0, 1), labels.T, {"layout": "t b v, t b"}
    return made, labels, how


KINDS = ["plain", "weighed", "packed", "chunks", "rows", "projection", "codebooks", "time first"]
WINDOW = Window(2, 3, 2, alternatives=2, all_tokens=4)


def captured(kind: str, window: Window, ids: object = None) -> list[dict[str, Any]]:
    logits, labels, how = pair(kind)
    return [fields for fields, _ in unpack(capture(logits, labels, window=window, sample_ids=ids, **how))]


@pytest.mark.parametrize("kind", KINDS)
@given(
    wanted=st.integers(1, BATCH) | st.lists(st.integers(-BATCH, BATCH - 1), min_size=1, max_size=6).map(tuple),
    follow=st.sets(st.integers(0, BATCH - 1)),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_samples_are_those_of_the_whole_batch(device: str, kind: str, wanted: Any, follow: set[int]) -> None:
    """Whichever samples are shown, each is recorded as where all are; followed ones first, then those asked for."""
    window = replace(WINDOW, samples=wanted, follow=frozenset(NAMES[one] for one in follow))
    usual = list(range(wanted)) if isinstance(wanted, int) else list(dict.fromkeys(one % BATCH for one in wanted))
    others = [one for one in usual if one not in follow][: max(len(usual) - len(follow), 0)]
    every = captured(kind, replace(WINDOW, samples=BATCH), NAMES)
    expected = [one for one in every if one["sample"] in {*follow, *others}]
    found = captured(kind, window, NAMES)
    if kind == "projection":  # products of more rows are rounded otherwise
        found, expected = ([*map(_without_logprobs, ones)] for ones in (found, expected))
    assert found == expected
    assert all(one["sample_id"] == NAMES[one["sample"]] for one in expected)


def _without_logprobs(fields: dict[str, Any]) -> dict[str, Any]:
    kept = ("position", "label", "prediction", "label_rank", "document_position", "input")
    return {**fields, "tokens": [{name: one[name] for name in kept} for one in fields["tokens"]]}


@pytest.mark.parametrize(
    ("wanted", "many"), [((1, 4), 1), ((-1,), 1), ((0, 2, 4), 1), ((0, 1, 5), 2), ((0, 3, 4, 6), 2)]
)
def test_samples_are_never_copied(wanted: tuple[int, ...], many: int) -> None:
    """The logits of the samples shown are views; those at equal distances are one, which is captured at once."""
    logits, labels = torch.randn(BATCH, 4, 5), torch.randint(5, (BATCH, 4))
    whole = to_pair(logits, labels, None, layout=None, shift=0, ignore_index=-100, product=None)
    parts = samples.parts(whole, samples.choose(whole, Window(wanted), None))
    assert len(parts) == many
    assert {one.logits.untyped_storage().data_ptr() for one in parts} == {logits.untyped_storage().data_ptr()}
    assert torch.equal(torch.cat([one.logits[:, 0] for one in parts]), logits[sorted(one % BATCH for one in wanted)])


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([1, 2], ["1", "2"]),
        (("a", "b"), ["a", "b"]),
        (torch.tensor([5, -6]), ["5", "-6"]),
        (torch.tensor([5, 6], dtype=torch.int32), ["5", "6"]),
        (np.array([5, 6]), ["5", "6"]),
        (np.array(["x", "y"]), ["x", "y"]),
        (np.array(["x", 3], dtype=object), ["x", "3"]),
        ([np.int64(7), np.str_("z")], ["7", "z"]),
        (["\ud800", "a\nb"], ["\ud800", "a\nb"]),
        ([2**63, 2**80], ["9223372036854775808", "0x100000000000000000000"]),
        (["", "same"], ["", "same"]),
        (["same", "same"], ["same", "same"]),
    ],
)
def test_ids_are_texts(device: str, ids: object, expected: list[str]) -> None:
    """Strings stay as they are, and whole numbers of any kind become texts."""
    fields = [
        one
        for one, _ in unpack(capture(torch.randn(2, 4, 5), torch.ones(2, 4).long(), window=Window(), sample_ids=ids))
    ]
    assert [one["sample_id"] for one in fields] == expected


@given(st.text() | st.integers())
def test_ids_are_bounded_and_stay_apart(one: Any) -> None:
    """An id has at most so many characters; two that differ far inside still differ, and one is always the same."""
    long = f"{'x' * LONGEST_ID}{one}"
    assert len(as_id(one)) <= LONGEST_ID
    assert len(as_id(long)) <= LONGEST_ID
    assert as_id(long) == as_id(long)
    assert as_id(as_id(one)) == as_id(one)
    assert len({as_id(long), as_id(f"{long}a"), as_id("x" * LONGEST_ID)}) == 2 + bool(str(one))


@pytest.mark.parametrize(
    ("ids", "what"),
    [
        (["a"], r"\[1: 'a'\] are not kept, because the batch has 2"),
        ([1, 2, 3, 4], r"\[4: '1', '2', '3', …\] are not kept, because the batch has 2"),
        ("ab", r"\[str 'ab'\]"),
        (b"ab", r"\[bytes b'ab'\]"),
        ([1.5, 2.5], r"\[one of type float\]"),
        ([True, False], r"\[one of type bool\]"),
        ([None, "a"], r"\[one of type NoneType\]"),
        (torch.tensor([0.5, 1.5]), "float32"),
        (torch.tensor([[1, 2]]), r"\[of shape \[1, 2\]\]"),
        ({"a": 1, "b": 2}, r"\[dict \]"),
        (7, r"\[int \]"),
        ([torch.tensor(1), torch.tensor(2)], r"\[one of type Tensor\]"),
    ],
)
def test_what_is_no_id_is_said_and_left_out(device: str, ids: object, what: str) -> None:
    """The pair is captured all the same, without ids, and the remark has what was passed and what to pass."""
    snapshot = capture(torch.randn(2, 4, 5), torch.ones(2, 4).long(), window=Window(), sample_ids=ids)
    assert [fields["sample_id"] for fields, _ in unpack(snapshot)] == [None, None]
    (remark,) = snapshot.sizes.unused
    assert "pass a list of strings or ints" in remark
    assert re.search(what, remark)


def test_ids_on_a_device_are_kept_and_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids on a device travel with the copy and are kept, but no sample is found by them, which a line reports."""
    monkeypatch.setattr("predlog.capture.capture._NEAR", frozenset())
    elsewhere = torch.tensor([10, 11, 12])
    monkeypatch.setattr(samples, "_as_ids", lambda given: given)  # as of a tensor that is not on the CPU
    window = Window((0, -1), follow=frozenset({"11"}))
    snapshot = capture(torch.randn(3, 4, 5), torch.ones(3, 4).long(), window=window, sample_ids=elsewhere)
    assert [(one["sample"], one["sample_id"]) for one, _ in unpack(snapshot)] == [(0, "10"), (2, "12")]
    assert [one for one in snapshot.sizes.unused if "would wait for the device" in one]


def test_an_index_that_a_batch_lacks_is_left_out() -> None:
    """Of samples=(0, 5, -4) a batch of three has the first; where it has none, that is an error of its own."""
    logits, labels = torch.randn(3, 4, 5), torch.ones(3, 4).long()
    snapshot = capture(logits, labels, window=Window((0, 5, -4)))
    assert [one["sample"] for one, _ in unpack(snapshot)] == [0]
    assert snapshot.sizes.unused == (
        "samples= has places [5, -4] that this batch of 3 samples does not have; they are left out",
    )
    with pytest.raises(NoSuchSampleError, match=r"places \[5\] that this batch of 3"):
        capture(logits, labels, window=Window((5,)))


def test_followed_samples_are_bounded() -> None:
    """Of a batch in which all are followed, the first 32 are shown, and a line reports it."""
    logits, labels = torch.randn(40, 2, 5), torch.ones(40, 2).long()
    window = Window(follow=frozenset({"same"}))
    snapshot = capture(logits, labels, window=window, sample_ids=["same"] * 40)
    assert [one["sample"] for one, _ in unpack(snapshot)] == list(range(MOST_FOLLOWED))
    assert "finds [40] samples" in snapshot.sizes.unused[0]


def test_a_follower_without_ids_is_told() -> None:
    """Where samples are to be followed and a pair comes without ids, the remark says what to pass."""
    snapshot = capture(torch.randn(2, 4, 5), torch.ones(2, 4).long(), window=Window(follow=frozenset({"a"})))
    assert "pass sample_ids= to compare" in snapshot.sizes.unused[0]


@pytest.mark.parametrize("kind", ["rows"])
def test_a_sample_is_named_by_its_place(kind: str) -> None:
    """An error about rows that were reduced elsewhere names the place of the sample in the batch."""
    logits, labels, how = pair(kind)
    logits.prediction[4] = VOCABULARY
    with pytest.raises(PairError, match="sample 4"):
        capture(logits, labels, window=Window((2, 4, 5)), **how)
    logits.prediction[:] = -1
    with pytest.raises(PairError, match="of the 3 samples shown"):
        capture(logits, labels, window=Window((2, 4, 5)), **how)
