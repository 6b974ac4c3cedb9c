"""Capture shows the right tokens with the right numbers, and reads nothing else."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from predlog.capture import device, score
from predlog.capture.capture import capture
from predlog.capture.pair import Pair
from predlog.capture.projection import Fused, Head, Source
from predlog.errors import PairError
from predlog.findings.facts import Facts
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.snapshot import Sizes
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window
from tests import reference
from tests.dispatched import Dispatched

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64]
HALF = [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


def captured(logits: Any, labels: Any, window: Window | None = None, **how: Any) -> list[dict[str, Any]]:
    return [fields for fields, _ in unpack(capture(logits, labels, window=window or Window(), **how))]


def plain(logits: Tensor) -> list[Any]:
    # .tolist() of float8 is not implemented; float64 holds each of its values exactly.
    return logits.to(torch.float64).tolist()


def assert_same(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    others = expected.keys() - {"tokens", "worst", "loss", "entropy", "losses", "all_tokens"}
    assert {key: found[key] for key in others} == {key: expected[key] for key in others}
    for key in ("loss", "entropy"):
        assert found[key] == (
            expected[key] if expected[key] is None else pytest.approx(expected[key], rel=1e-5, abs=1e-5)
        )
    assert len(found["tokens"]) == len(expected["tokens"])
    for one, other in zip(found["tokens"], expected["tokens"], strict=True):
        for key, value in other.items():
            if key == "alternatives":
                continue
            if key.endswith("logprob") and value is not None:
                assert one[key] == pytest.approx(value, abs=tolerance), (key, one, other)
            else:
                assert one[key] == value, (key, one, other)


@st.composite
def pairs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a pair of any shape, type, mask and shift, with ties, NaN and inf."""
    samples, length = draw(st.integers(1, 3)), draw(st.integers(1, 14))
    vocabulary = draw(st.sampled_from([1, 2, 3, 17, 300, 513, 700, 1030]))
    dtype = draw(st.sampled_from([torch.float32, torch.float32, torch.float64, *HALF]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([0.0, 0.3, 3.0, 40.0, 400.0]))
    logits = torch.randn(samples, length, vocabulary, generator=generator) * scale
    if draw(st.booleans()):
        logits = logits.round()  # ties
    if draw(st.booleans()):
        strange = torch.tensor([math.nan, math.inf, -math.inf])
        places = torch.rand(logits.shape, generator=generator) < 1 / (4 * vocabulary)
        logits[places] = strange[torch.randint(3, (int(places.sum()),), generator=generator)]
    logits = logits.clamp(-400, 400).to(dtype)
    label_dtype = draw(st.sampled_from(INTEGERS))
    highest = min(vocabulary, torch.iinfo(label_dtype).max)
    labels = torch.randint(highest, (samples, length), generator=generator)
    signed = torch.iinfo(label_dtype).min < 0
    ignore_index = draw(st.sampled_from([0, 1, 3, *([-100, -1] if signed else [255])]))
    masked = torch.rand(labels.shape, generator=generator) < draw(st.sampled_from([0.0, 0.4, 0.8, 1.0]))
    labels[masked] = ignore_index
    if draw(st.booleans()):
        copied = torch.rand(labels.shape, generator=generator) < 0.5
        best = plain_argmax(logits)
        labels = torch.where(copied & ~masked & (best < highest), best, labels)
    return {
        "logits": logits,
        "labels": labels.to(label_dtype),
        "shift": draw(st.integers(0, length - 1)),
        "ignore_index": ignore_index,
        "window": Window(
            draw(st.integers(1, 3)),
            draw(st.integers(1, 6)),
            draw(st.integers(0, 6)),
            worst=draw(st.integers(0, 5)),
            alternatives=draw(st.sampled_from([0, 0, 2])),
            all_tokens=draw(st.sampled_from([0, 0, 3, 20])),
        ),
        "inputs": torch.randint(99, (samples, length), generator=generator) if draw(st.booleans()) else None,
    }


def plain_argmax(logits: Tensor) -> Tensor:
    return logits.to(torch.float64).argmax(-1)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(pairs())
def test_capture_equals_the_reference(pair: dict[str, Any]) -> None:
    """Ids, ranks and counts are the reference's; log-probabilities within 1e-5, and 2e-2 in half precision."""
    window, inputs = pair["window"], pair["inputs"]
    found = captured(
        pair["logits"], pair["labels"], **{k: pair[k] for k in ("window", "shift", "ignore_index", "inputs")}
    )
    assert len(found) == min(window.samples, len(pair["logits"]))
    tolerance = 2e-2 if pair["logits"].dtype in HALF else 1e-5
    for sample, fields in enumerate(found):
        expected = reference.comparison(
            plain(pair["logits"][sample]),
            pair["labels"][sample].to(torch.int64).tolist(),
            shift=pair["shift"],
            ignore_index=pair["ignore_index"],
            first=window.first,
            last=window.last,
            inputs=None if inputs is None else inputs[sample].tolist(),
        )
        assert_same(fields, expected, tolerance)
        assert_worst(fields, expected["losses"], window.worst)
        assert_columns(fields, expected["losses"], window.all_tokens)
        for token in fields["tokens"]:
            assert_best(
                token["alternatives"], pair["logits"][sample, token["position"] - pair["shift"]], window.alternatives
            )


def close(value: Any) -> Any:
    """Return plain values whose floats compare as equal to what is nearly the same."""
    if isinstance(value, dict):
        return {key: close(item) for key, item in value.items()}
    if isinstance(value, list):
        return [close(item) for item in value]
    return pytest.approx(value, abs=2e-6, rel=1e-6) if isinstance(value, float) else value


def assert_worst(fields: dict[str, Any], losses: dict[int, float], many: int) -> None:
    """Assert that of the tokens not shown, none that is left out has a larger loss than one of the worst."""
    shown = {token["position"] for token in fields["tokens"]}
    candidates = {position: loss for position, loss in losses.items() if position not in shown and not math.isnan(loss)}
    found = [token["position"] for token in fields["worst"]]
    assert len(found) == len({*found}) == min(many, len(candidates))
    assert {*found} <= candidates.keys()
    given = [candidates.pop(position) for position in found]
    for one, other in itertools.pairwise(given):
        assert one >= other - 1e-4
    if given and candidates:
        assert max(candidates.values()) <= min(given) + 1e-4
    for token, loss in zip(fields["worst"], given, strict=True):
        assert token["label_logprob"] == (None if math.isinf(loss) else pytest.approx(-loss, abs=1e-4, rel=1e-5))


def assert_columns(fields: dict[str, Any], losses: dict[int, float], many: int) -> None:
    """Assert that the first supervised tokens are there, in order, with the numbers that tokens shown have."""
    columns = fields["all_tokens"]
    assert (columns is None) == (many == 0)
    if columns is None:
        return
    assert columns["positions"] == list(losses)[:many]
    for position, logprob in zip(columns["positions"], columns["label_logprobs"], strict=True):
        loss = losses[position]
        assert logprob == (pytest.approx(-loss, abs=1e-4, rel=1e-5) if math.isfinite(loss) else None)
    rows = {one[0]: one[1:] for one in zip(*columns.values(), strict=True)}
    for token in (*fields["tokens"], *fields["worst"]):
        if token["position"] in rows:
            label, prediction, _, rank = rows[token["position"]]
            assert (label, prediction, rank) == (token["label"], token["prediction"], token["label_rank"])


def assert_best(alternatives: list[dict[str, Any]], row: Tensor, many: int) -> None:
    """Assert that the best predictions have the largest values of the row; a row that holds NaN has none."""
    row = row.to(torch.float64)
    assert len(alternatives) == (0 if row.isnan().any() else min(many, len(row)))
    ids = [one["prediction"] for one in alternatives]
    assert len({*ids}) == len(ids)
    assert row[ids].tolist() == row.sort(descending=True).values[: len(ids)].tolist()
    for one in alternatives:
        expected = reference.logprob(row.tolist(), one["prediction"])
        assert one["logprob"] == (None if expected is None else pytest.approx(expected, abs=1e-4))


def captured_as_on_a_device(
    logits: Tensor,
    labels: Tensor,
    inputs: Tensor | None = None,
    *,
    window: Window,
    shift: int = 0,
    ignore_index: int = -100,
) -> list[tuple[dict[str, Any], Facts]]:
    """Capture by the recipe for other devices, which runs on the CPU as well."""
    axis = [None if one is None else one.unsqueeze(1) for one in (logits, labels, inputs)]
    assert axis[0] is not None
    assert axis[1] is not None
    pair = Pair(axis[0], axis[1], axis[2], has_codebooks=False)
    on_cpu = capture(logits, labels, inputs=inputs, shift=shift, ignore_index=ignore_index, window=window)
    packing = device.packing(pair, on_cpu.sizes, window)
    packed = device.pack(pair, packing, on_cpu.sizes, window)
    return list(unpack(replace(on_cpu, numbers=lambda: device.to_numbers(packing.views(packed), on_cpu.sizes, window))))


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(pairs())
def test_the_cpu_and_the_other_devices_give_the_same(pair: dict[str, Any]) -> None:
    """What is captured by the recipe that never waits for a value is what the CPU captures, field for field."""
    how = {name: pair[name] for name in ("window", "shift", "ignore_index", "inputs")}
    here = list(unpack(capture(pair["logits"], pair["labels"], **how)))
    there = captured_as_on_a_device(pair["logits"], pair["labels"], **how)
    assert len(here) == len(there)
    for (fields, facts), (other_fields, other_facts) in zip(here, there, strict=True):
        assert_same(other_fields, fields, tolerance=2e-6)
        assert_same({**other_fields, "tokens": other_fields["worst"]}, {**fields, "tokens": fields["worst"]}, 2e-6)
        for one, other in zip(fields["tokens"], other_fields["tokens"], strict=True):
            assert close(other["alternatives"]) == close(one["alternatives"])
        assert close(other_fields["all_tokens"]) == close(fields["all_tokens"])
        for name in facts.__slots__:
            if name != "tokens":
                assert getattr(facts, name) == getattr(other_facts, name), name
        for one, other in zip(facts.tokens, other_facts.tokens, strict=True):
            assert one._replace(label_logprob=None, prediction_logprob=None) == other._replace(
                label_logprob=None, prediction_logprob=None
            )


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 6, 9, 10, 11, 64])
def test_first_and_last_supervised_once_each(count: int) -> None:
    """The first five and the last five supervised positions are shown, and none of them twice."""
    labels = torch.full((1, 80), -100)
    positions = sorted(torch.randperm(80, generator=torch.Generator().manual_seed(count))[:count].tolist())
    labels[0, positions] = 7
    (fields,) = captured(torch.randn(1, 80, 30), labels)
    shown = [token["position"] for token in fields["tokens"]]
    assert shown == positions[:5] + positions[5:][-5:]
    assert [token["slot"] for token in fields["tokens"]].count("first") == min(count, 5)
    assert fields["supervised"] == count


@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_of_every_integer_type(dtype: torch.dtype) -> None:
    """A label is the same id whatever integer type it comes in."""
    labels = torch.tensor([[3, 1, 2]]).to(dtype)
    (fields,) = captured(torch.randn(1, 3, 5), labels)
    assert [token["label"] for token in fields["tokens"]] == [3, 1, 2]


@pytest.mark.parametrize("ignore_index", [-100, -1, 0, 4, 2**62])
def test_any_ignore_index(ignore_index: int) -> None:
    """The ignored label may be negative, zero, a token id, or beyond the vocabulary."""
    labels = torch.tensor([[ignore_index, 1, ignore_index, 3, ignore_index]])
    (fields,) = captured(torch.randn(1, 5, 5), labels, ignore_index=ignore_index)
    assert [token["position"] for token in fields["tokens"]] == [1, 3]


def test_labels_out_of_range_are_shown_without_numbers() -> None:
    """A label that has no logit keeps its id and has neither rank nor probability."""
    (fields,) = captured(torch.randn(1, 2, 5), torch.tensor([[5, -7]]))
    assert [(t["label"], t["label_rank"], t["label_logprob"]) for t in fields["tokens"]] == [
        (5, None, None),
        (-7, None, None),
    ]
    assert fields["nonfinite"] == 0
    assert all(token["prediction_logprob"] < 0 for token in fields["tokens"])


@pytest.mark.parametrize(("label", "count"), [(4, 0), (5, 1), (-1, 1), (2**40, 1)])
def test_the_first_id_without_a_logit_is_out_of_range(label: int, count: int) -> None:
    """Ids from 0 to the number of logits, which is not one of them, are in range."""
    (facts,) = counted(None, torch.tensor([[label, 1]]), torch.randn(1, 2, 5))
    assert facts.out_of_range == count


def test_ids_of_64_bits_survive() -> None:
    """Nothing on the way narrows an id."""
    big = 2**62 + 1
    (fields,) = captured(torch.randn(1, 1, 5), torch.tensor([[big]]))
    assert fields["tokens"][0]["label"] == big


def test_half_precision_ties_share_the_better_rank() -> None:
    """Ranks count raw logits, so a label that ties with the best has rank 1, and the first of equals is predicted."""
    logits = torch.zeros(1, 1, 600, dtype=torch.bfloat16)
    (fields,) = captured(logits, torch.tensor([[599]]))
    assert (fields["tokens"][0]["label_rank"], fields["tokens"][0]["prediction"]) == (1, 0)
    assert fields["matched"] == 0


def test_large_logits_keep_their_precision() -> None:
    """Log-probabilities stay within 1e-5 where the logits themselves are coarser than that."""
    logits = torch.tensor([[[1000.0, 1000.5, 998.25, -3000.0]]])
    (fields,) = captured(logits, torch.tensor([[2]]))
    expected = reference.logprob(logits[0, 0].tolist(), 2)
    assert fields["tokens"][0]["label_logprob"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("share", [1.0, 0.9, -0.9, -1.0])
def test_logits_near_the_largest_number_are_finite(dtype: torch.dtype, share: float) -> None:
    """A row filled with the lowest number that there is, as masks do, is a uniform one; so is one of huge numbers."""
    logits = torch.full((1, 2, 8), share * torch.finfo(dtype).max, dtype=dtype)
    labels, window = torch.zeros(1, 2, dtype=torch.int64), Window()
    for fields in (captured(logits, labels)[0], captured_as_on_a_device(logits, labels, window=window)[0][0]):
        assert fields["nonfinite"] == 0
        assert fields["tokens"][0]["label_logprob"] == pytest.approx(-math.log(8), abs=1e-5)


@pytest.mark.parametrize("source", ["numpy", "dlpack", "read-only", "reversed"])
def test_arrays_of_other_libraries(source: str) -> None:
    """NumPy arrays and DLPack producers are read as they are, read-only and reversed ones too."""

    class Producer:
        def __init__(self, array: Any) -> None:
            self.array = array

        def __dlpack__(self, **how: Any) -> Any:
            return self.array.__dlpack__(**how)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    logits, labels = np.random.default_rng(0).normal(size=(2, 9, 30)).astype("float32"), np.arange(18).reshape(2, 9)
    given: tuple[Any, Any] = (logits, labels)
    if source == "dlpack":
        given = Producer(logits), Producer(labels)
    if source == "read-only":
        logits.flags.writeable = labels.flags.writeable = False
    if source == "reversed":
        given = logits[:, ::-1], labels[:, ::-1]
        logits, labels = logits[:, ::-1].copy(), labels[:, ::-1].copy()
    assert captured(*given) == captured(torch.tensor(logits), torch.tensor(labels))


def operations_on_meta(
    samples: int, length: int, *, score: bool = False, inputs: bool = False, dtype: torch.dtype = torch.bfloat16
) -> list[tuple[str, int]]:
    labels = torch.empty(samples, 1, length, dtype=torch.int64, device="meta")
    logits = torch.empty(samples, 1, length, 1000, dtype=dtype, device="meta")
    pair = Pair(logits, labels, labels if inputs else None, has_codebooks=False)
    window = Window(score=score)
    sizes = Sizes(2, 1, length, 1000, 1, -100, SpecialTokens(), has_codebooks=False, is_trained=True)
    with torch.no_grad(), Dispatched() as dispatched:  # under inference_mode, composites would be listed whole
        device.pack(pair, device.packing(pair, sizes, window), sizes, window)
    return list(dispatched.operations)


@pytest.mark.parametrize(
    ("dtype", "score", "inputs", "most"),
    [
        (torch.float32, False, False, 15),
        (torch.float64, False, False, 15),
        (torch.bfloat16, False, False, 16),
        (torch.float16, False, False, 16),
        (torch.bfloat16, False, True, 17),
        (torch.bfloat16, True, False, 54),
        (torch.bfloat16, True, True, 55),
    ],
)
def test_a_capture_is_so_many_operations(dtype: torch.dtype, score: bool, inputs: bool, most: int) -> None:
    """At most 16 operations, one more for inputs and 38 for the score; meta has nothing to wait for."""
    assert len(operations_on_meta(2, 64, dtype=dtype, score=score, inputs=inputs)) <= most


def test_what_a_fused_head_has_returned_is_read_without_a_wait() -> None:
    """Of meta tensors, which have no values to wait for, a number of operations that depends on the shape alone."""
    counts = []
    for samples, length in ((2, 64), (64, 512)):
        labels = torch.empty(samples, 1, length, dtype=torch.int64, device="meta")
        hidden = torch.empty(samples, 1, length, 8, device="meta")
        head = Head(torch.empty(1000, 8, device="meta"), None, 1.0, None, torch.float32)
        logprob, match = torch.empty(samples, 1, length, device="meta"), torch.empty_like(labels, dtype=torch.bool)
        pair = Pair(
            hidden, labels, None, has_codebooks=False, source=Source((hidden,), head),
            fused=Fused(logprob, logprob, match),
        )  # fmt: skip
        sizes = Sizes(
            2, 1, length, 1000, 1, -100, SpecialTokens(), has_codebooks=False, is_trained=True, scored="matches"
        )  # fmt: skip
        with torch.no_grad(), Dispatched() as dispatched:
            device.pack(pair, device.packing(pair, sizes, Window()), sizes, Window())
        counts.append([name for name, _ in dispatched.operations])
        assert max(elements for _, elements in dispatched.operations) <= 2 * max(15 * 1000, 8 * length)
    assert counts[0] == counts[1]


@pytest.mark.parametrize("inputs", [False, True])
@pytest.mark.parametrize("score", [False, True])
def test_what_is_read_depends_on_neither_batch_nor_mask(inputs: bool, score: bool) -> None:
    """On a device the operations are the same for 2 and 64 samples; on meta tensors there is no mask to look at."""
    few, many = (operations_on_meta(samples, 64, inputs=inputs, score=score) for samples in (2, 64))
    assert few == many
    rows = 63 if score else 10
    assert max(elements for _, elements in few) == 2 * rows * 1000


def test_a_chunk_of_rows_is_so_many_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each further chunk of the rows scored adds the same operations, and none is larger than a chunk."""
    counts = []
    for chunks in (1, 2, 3):
        monkeypatch.setattr(score, "_CHUNK_ELSEWHERE", 2 * 1000 * -(-63 // chunks))
        operations = operations_on_meta(2, 64, score=True)
        assert max(elements for _, elements in operations) == 2 * 1000 * max(-(-63 // chunks), 15)
        counts.append(len(operations))
    assert counts[2] - counts[1] == counts[1] - counts[0] <= 25


@pytest.mark.parametrize("inputs", [False, True])
def test_what_is_read_grows_with_the_length_by_the_labels_alone(inputs: bool) -> None:
    """64 times the length makes the same operations; only those over labels and inputs of the samples are larger."""
    short, long = operations_on_meta(2, 65, inputs=inputs), operations_on_meta(2, 4097, inputs=inputs)
    assert [name for name, _ in short] == [name for name, _ in long]
    larger = {name: elements for (name, elements), before in zip(long, short, strict=True) if elements != before[1]}
    ramps = {"arange": 2 * 4096 + 1, "abs_": 2 * 4096 + 1, "ne": 2 * 4096, "mul": 2 * 2 * 4096}
    over_inputs = {"copy_": 2 * 4097} if inputs else {}
    packed = larger.pop("constant_pad_nd")
    assert larger == ramps | over_inputs
    assert packed <= 2 * (4097 * (1 + inputs) + 100)


def test_the_accuracy_reads_more_and_is_seen_to() -> None:
    """The one exception: it takes the maximum of every row of the samples shown, and the count above sees it."""
    short, long = operations_on_meta(2, 65, score=True), operations_on_meta(2, 4097, score=True)
    assert ("max", 2 * 4096) in long
    assert ("max", 2 * 64) in short


def test_on_the_cpu_only_the_rows_shown_are_touched() -> None:
    """Poisoned rows that are not shown change nothing: without accuracy they are never read."""
    logits, labels = torch.randn(3, 40, 50), torch.randint(50, (3, 40))
    before = captured(logits, labels, Window(score=False))
    shown = [*range(5), *range(35, 40)]
    poisoned = torch.full_like(logits, math.nan)
    poisoned[:2, shown] = logits[:2, shown]
    assert captured(poisoned, labels, Window(score=False)) == before


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(pairs())
def test_inputs_and_specials_change_no_token(pair: dict[str, Any]) -> None:
    """Apart from the input itself, a record is the same with inputs and special tokens and without them."""
    how = {name: pair[name] for name in ("window", "shift", "ignore_index")}
    plain_fields = captured(pair["logits"], pair["labels"], **how)
    inputs = torch.zeros_like(pair["labels"]) if pair["inputs"] is None else pair["inputs"]
    state = torch.get_rng_state()
    more = captured(pair["logits"], pair["labels"], **how, inputs=inputs, specials=SpecialTokens(pad=(0, 1), eos=(2,)))
    assert torch.equal(state, torch.get_rng_state())
    for fields in more:
        for token in (*fields["tokens"], *fields["worst"]):
            assert token["input"] is not None
            token["input"] = None
    assert repr(more) == repr(plain_fields)


def counted(inputs: Tensor | None, labels: Tensor, logits: Tensor, **how: Any) -> list[Facts]:
    return [facts for _, facts in unpack(capture(logits, labels, inputs=inputs, **{"window": Window(), **how}))]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(pairs(), st.integers(0, 5))
def test_counts_equal_the_reference(pair: dict[str, Any], pad: int) -> None:
    """What findings are judged by is what counting one position after the other in plain Python gives."""
    labels, logits, shift, ignored = pair["labels"].to(torch.int64), pair["logits"], pair["shift"], pair["ignore_index"]
    inputs = labels.roll(1, 1) % 7 if pair["inputs"] is None else pair["inputs"] % 7
    specials = SpecialTokens(pad=(pad,), eos=(1, 2))
    how = {name: pair[name] for name in ("window", "shift", "ignore_index")}
    vocabulary, length = logits.shape[-1], labels.shape[1]
    for sample, facts in enumerate(counted(inputs, labels, logits, specials=specials, **how)):
        ids, read = labels[sample].tolist(), inputs[sample].tolist()
        seen = [p for p in range(shift, length) if ids[p] != ignored]
        assert facts.supervised == len(seen)
        assert facts.out_of_range == sum(not 0 <= ids[p] < vocabulary for p in seen)
        assert (facts.lowest, facts.highest) == (
            min([0] * (len(seen) < length - shift) + [ids[p] for p in seen], default=0),
            max([0] * (len(seen) < length - shift) + [ids[p] for p in seen], default=0),
        )
        for offset in range(3):
            there = [p for p in seen if p - shift + offset < length]
            assert facts.compared is not None
            assert facts.equal is not None
            assert facts.compared[offset] == len(there)
            assert facts.equal[offset] == sum(ids[p] == read[p - shift + offset] for p in there)
        assert facts.pad == (None if pad == ignored else sum(ids[p] == pad for p in seen))
        ends = {1, 2} - {ignored}
        assert facts.eos == sum(ids[p] in ends for p in seen)
        assert facts.start == tuple(read[:3])
        if pair["window"].score:
            rows = [reference.prediction(plain(logits[sample, p - shift])) for p in seen]
            copies = [row is not None and row == read[p - shift] != ids[p] for row, p in zip(rows, seen, strict=True)]
            assert facts.copied == sum(copies)
        for token in facts.tokens:
            around = [token.position + offset for offset in (-1, 1, 2)]
            assert token.around == tuple(ids[p] if 0 <= p < length and ids[p] != ignored else None for p in around)
        follows = seen[-1] - shift + 2 if seen else length
        is_shown = facts.tokens and facts.tokens[-1].position == seen[-1]
        assert facts.follower == (read[follows] if is_shown and follows < length else None)


def test_fingerprints_tell_labels_apart() -> None:
    """The same labels have the same fingerprint; one label changed, or two exchanged, have another."""
    logits, labels = torch.randn(1, 30, 50), torch.randint(2, 50, (1, 30), generator=torch.Generator().manual_seed(1))
    prints = {counted(None, labels, logits)[0].fingerprint}
    assert prints == {counted(None, labels.clone(), torch.randn(1, 30, 50))[0].fingerprint}
    for place in range(29):
        changed, exchanged = labels.clone(), labels.clone()
        changed[0, place] = 1
        exchanged[0, place : place + 2] = labels[0, place : place + 2].flip(0)
        prints.add(counted(None, changed, logits)[0].fingerprint)
        if labels[0, place] != labels[0, place + 1]:
            prints.add(counted(None, exchanged, logits)[0].fingerprint)
    assert len(prints) >= 50


def test_logits_may_end_where_the_shifted_labels_do() -> None:
    """Logits without the rows that have no label give the same records as with them."""
    logits, labels = torch.randn(2, 20, 50), torch.randint(50, (2, 20))
    assert captured(logits[:, :-1], labels, shift=1) == captured(logits, labels, shift=1)


def test_only_so_many_codebooks_are_shown() -> None:
    """Samples and codebooks beyond the limits are neither read nor recorded."""
    logits, labels = torch.randn(3, 9, 50, 12), torch.randint(50, (3, 9, 12))
    found = captured(logits, labels, Window(codebooks=3), layout="b t v k, b t k")
    assert [(one["sample"], one["codebook"]) for one in found] == [(s, k) for s in range(2) for k in range(3)]


def test_the_pair_is_left_alone() -> None:
    """Values, versions, gradients and random state are what they were."""
    logits, labels = torch.randn(2, 20, 40, requires_grad=True), torch.randint(40, (2, 20))
    values, versions, state = logits.detach().clone(), (logits._version, labels._version), torch.get_rng_state()
    captured(logits * 1.0, labels, inputs=labels)
    captured(logits, labels)
    assert torch.equal(values, logits)
    assert versions == (logits._version, labels._version)
    assert torch.equal(state, torch.get_rng_state())
    assert logits.grad is None


@pytest.mark.parametrize(
    ("logits", "labels", "how", "says"),
    [
        (torch.zeros(0, 8, 9), torch.zeros(0, 8, dtype=torch.long), {}, "nothing to compare"),
        (torch.zeros(1, 8, 0), torch.zeros(1, 8, dtype=torch.long), {}, "nothing to compare"),
        (torch.zeros(1, 8, 9), torch.zeros(1, 8, dtype=torch.long), {"shift": 8}, "shift=8"),
        (torch.zeros(1, 8, 9), torch.zeros(1, 8, dtype=torch.long), {"shift": -1}, "shift=-1"),
        (torch.zeros(1, 8, 9), torch.zeros(1, 8, dtype=torch.long), {"ignore_index": 2**64}, "ignore_index is "),
        (torch.zeros(1, 8, 9, dtype=torch.long), torch.zeros(1, 8), {}, "swapped"),
        (torch.zeros(1, 8, 9), torch.zeros(1, 8), {}, "must be integers"),
        (torch.zeros(1, 8, 9), torch.zeros(1, 8, dtype=torch.bool), {}, "must be integers"),
        (torch.zeros(1, 8, 9, device="meta"), torch.zeros(1, 8, dtype=torch.long), {}, "meta device"),
        (torch.zeros(1, 8, 9).to_sparse(), torch.zeros(1, 8, dtype=torch.long), {}, "sparse"),
        ([[1.0]], torch.zeros(1, 8, dtype=torch.long), {}, "are a list"),
        (None, None, {}, "are a NoneType"),
    ],
)
def test_what_is_no_pair_is_named(logits: Any, labels: Any, how: dict[str, Any], says: str) -> None:
    """A refusal gives the shapes or types, and the reason."""
    with pytest.raises(PairError, match=says):
        captured(logits, labels, **how)
