"""Files that processes with parts of the rows of samples have written are read as whole comparisons, and judged."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import predlog
from predlog import Comparison, Finding, Part, Recorder, Shard
from predlog.reading.reader import Reading

VOCABULARY = 60
LENGTH = 48
# How three ways of splitting 48 positions over four processes look.
SPLITS = {
    "contiguous": [[*range(12 * rank, 12 * rank + 12)] for rank in range(4)],
    "zigzag": [[*range(6 * rank, 6 * rank + 6), *range(42 - 6 * rank, 48 - 6 * rank)] for rank in range(4)],
    "documents": [[*range(5), *range(20, 31)], [*range(5, 20)], [*range(31, 32)], [*range(32, 48)]],
}
Pair = tuple[Tensor, Tensor, Tensor]


def pairs(steps: int, *, copies: bool = False) -> list[Pair]:
    """Return logits, labels and inputs of some steps: labels are the next inputs, and the prompt has none."""
    torch.manual_seed(1)
    made = []
    for _ in range(steps):
        text = torch.randint(VOCABULARY, (2, LENGTH + 1))
        inputs, labels = text[:, :-1], text[:, 1:].clone()
        logits = torch.randn(2, LENGTH, VOCABULARY)
        logits.scatter_(-1, (inputs if copies else labels).unsqueeze(-1), 12.0)
        labels[:, :7] = -100
        made.append((logits.requires_grad_(), labels, inputs))
    return made


def record(
    monkeypatch: pytest.MonkeyPatch, folder: Path, made: list[Pair], rows: list[list[int]], *,
    cuts: tuple[int, ...] = (), end: int = VOCABULARY, recorder: dict[str, Any] | None = None, **how: Any,
) -> Path:  # fmt: skip
    """Record the rows of each pair, each in the file of its rank, as the processes of a run do.

    With `cuts` the ranks of the same rows have each a shard of the vocabulary.
    """
    ends = [0, *cuts, end]
    monkeypatch.setenv("WORLD_SIZE", str(len(rows) * (len(ends) - 1)))
    rank = 0
    for own in rows:
        index = torch.tensor(own, dtype=torch.int64)
        for start, stop in pairwise(ends):
            monkeypatch.setenv("RANK", str(rank))
            rank += 1
            more: dict[str, Any] = {"shard": Shard(start, of=VOCABULARY)} if cuts else {}
            with Recorder(folder, every=1, console=False, ranks="all", **(recorder or {})) as one:
                for step, (logits, labels, inputs) in enumerate(made):
                    one.compare(
                        logits[:, index, start:stop], labels[:, index], step, inputs=inputs[:, index], row_index=index,
                        **more, **how,
                    )  # fmt: skip
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    return folder


def whole(folder: Path, made: list[Pair], **recorder: Any) -> Path:
    """Record the same pairs in one process that has all rows."""
    with Recorder(folder, every=1, console=False, **recorder) as one:
        for step, (logits, labels, inputs) in enumerate(made):
            one.compare(logits, labels, step, inputs=inputs)
    return folder


def comparisons(records: Any) -> list[Comparison]:
    return [one for one in records if isinstance(one, Comparison)]


def findings(records: Any) -> list[tuple[str, int, str]]:
    return [(one.code, one.step, one.message) for one in records if isinstance(one, Finding)]


@pytest.mark.parametrize("cuts", [(), (25,)])
@pytest.mark.parametrize("kind", SPLITS)
def test_joined_comparisons_are_those_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, cuts: tuple[int, ...]
) -> None:
    """First, last and worst tokens, their texts, loss, entropy, matches and length are those of the whole sample."""
    made, how = pairs(2), {"alternatives": 2, "all_tokens": True, "decode": lambda one: f"<{one}>"}
    ours = comparisons(
        predlog.read(record(monkeypatch, tmp_path / "parts", made, SPLITS[kind], cuts=cuts, recorder=how))
    )
    theirs = comparisons(predlog.read(whole(tmp_path / "whole", made, **how)))
    assert [(one.step, one.sample) for one in ours] == [(one.step, one.sample) for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert (one.missing_rows, one.missing_ids) == (0, 0)
        names = ("length", "supervised", "matched", "nonfinite", "vocabulary", "shift")
        assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
        assert (one.loss, one.entropy) == pytest.approx((other.loss, other.entropy), abs=1e-5)
        for token, known in zip(one.tokens, other.tokens, strict=True):
            same = (
                "slot", "position", "label", "prediction", "match", "input", "label_rank", "label_text", "input_text",
                "prediction_text",
            )  # fmt: skip
            assert [getattr(token, name) for name in same] == [getattr(known, name) for name in same]
            assert token.label_logprob == pytest.approx(known.label_logprob, abs=1e-5)
            assert [two.text for two in token.alternatives] == [two.text for two in known.alternatives]
        assert [token.position for token in one.worst] == [token.position for token in other.worst]
        assert one.all_tokens is not None
        assert other.all_tokens is not None
        assert one.all_tokens.predictions == other.all_tokens.predictions
        assert one.all_tokens.positions == other.all_tokens.positions


@pytest.mark.parametrize("kind", SPLITS)
def test_findings_are_those_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Labels that are the inputs, and predictions that are, are found once, at the same step, with the same numbers."""
    copied = [(logits, inputs, inputs) for logits, _, inputs in pairs(4)]
    for number, made in enumerate(([*pairs(6), *pairs(8, copies=True)], copied, pairs(8))):
        ours = findings(predlog.read(record(monkeypatch, tmp_path / f"parts{number}", made, SPLITS[kind])))
        theirs = findings(predlog.read(whole(tmp_path / f"whole{number}", made)))
        assert [one[:2] for one in ours] == [one[:2] for one in theirs]
        assert [one[2].split(",")[0] for one in ours] == [one[2].split(",")[0] for one in theirs]
    assert findings(predlog.read(tmp_path / "parts0"))[0][0] == "copying-inputs"
    assert findings(predlog.read(tmp_path / "parts1"))[0][0] == "labels-are-inputs"
    assert findings(predlog.read(tmp_path / "parts2")) == []


def test_what_each_process_can_tell_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label without a logit is reported while the run goes on, and read once, though several processes have some."""
    made = pairs(2)
    for _, labels, _ in made:
        labels[:, 10::12] = VOCABULARY
    folder = record(monkeypatch, tmp_path, made, SPLITS["contiguous"])
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text("utf-8").splitlines()]
    assert sum('"label-out-of-range"' in line for line in lines) == 4
    assert [one[:2] for one in findings(predlog.read(folder))] == [("label-out-of-range", 0)]


@pytest.mark.parametrize("missing", range(4))
@pytest.mark.parametrize("row_count", [None, LENGTH])
def test_a_missing_part_makes_a_partial_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int, row_count: int | None
) -> None:
    """If the file of a rank is lost, comparisons say how many positions are missing, and show tokens of the others."""
    record(monkeypatch, tmp_path, pairs(2), SPLITS["contiguous"], row_count=row_count, recorder={"all_tokens": True})
    known = comparisons(Reading(tmp_path))
    (tmp_path / f"predictions{f'-rank{missing}' if missing else ''}.jsonl").unlink()
    reading = Reading(tmp_path)
    found = comparisons(reading)
    # Of the last ones nobody knows how many they are, unless that was passed.
    many = 1 if missing == 3 and row_count is None else 12
    assert [one.missing_rows for one in found] == [many] * 4
    assert all((one.matched, one.loss, one.entropy, one.all_tokens) == (None, None, None, None) for one in found)
    for one, other in zip(found, known, strict=True):
        assert other.all_tokens is not None
        here = [at for at in other.all_tokens.positions if at // 12 != missing]
        assert one.supervised == len(here)
        assert [token.position for token in one.tokens] == [*here[:5], *here[-5:]]
        assert [token.slot for token in one.tokens] == ["first"] * 5 + ["last"] * 5
        assert len(one.worst) == 5
        columns = zip(
            *(getattr(other.all_tokens, name) for name in ("labels", "predictions", "label_logprobs")), strict=True
        )
        every = dict(zip(other.all_tokens.positions, columns, strict=True))
        for token in (*one.tokens, *one.worst):
            assert (token.label, token.prediction, token.label_logprob) == every[token.position]
            assert token.match is (token.label == token.prediction)
    assert findings(Reading(tmp_path)) == []


def test_replicas_of_other_samples_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two data-parallel replicas, split alike, make no comparison of both; ids of the samples tell them apart."""
    one, two = pairs(2), [(logits * 1, labels.roll(1, 0), inputs.roll(1, 0)) for logits, labels, inputs in pairs(2)]
    halves = [[*range(24)], [*range(24, 48)]]
    for ids in (None, "ab"):
        folder = tmp_path / str(ids)
        monkeypatch.setenv("WORLD_SIZE", "4")
        for rank in range(4):
            monkeypatch.setenv("RANK", str(rank))
            index = torch.tensor(halves[rank % 2])
            with Recorder(folder, every=1, console=False, ranks="all", samples=1) as recorder:
                for step, (logits, labels, inputs) in enumerate((one, two)[rank // 2]):
                    more: dict[str, Any] = {} if ids is None else {"sample_ids": [ids[rank // 2], "other"]}
                    recorder.compare(
                        logits[:, index], labels[:, index], step, inputs=inputs[:, index], row_index=index,
                        row_count=48, **more,
                    )  # fmt: skip
        read = comparisons(predlog.read(folder))
        assert len(read) == (2 if ids is None else 4)
        assert all((one.tokens == ()) == bool(one.missing_rows) == (ids is None) for one in read)
        (folder / "predictions-rank1.jsonl").unlink()
        (folder / "predictions-rank2.jsonl").unlink()
        read = comparisons(predlog.read(folder))
        assert all(found.missing_rows and (found.tokens == ()) == (ids is None) for found in read)
        first = {found.sample_id: found.tokens[0].position for found in read if ids is not None}
        assert first == ({} if ids is None else {"a": 7, "b": 24})


@pytest.mark.parametrize("missing", [None, 1])
def test_replicas_are_told_apart_by_their_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int | None
) -> None:
    """With `group` the parts of each of two replicas are joined among themselves, without ids; one may lack a part."""
    replicas = [pairs(2), [(logits * 2, labels.roll(1, 0), inputs.roll(1, 0)) for logits, labels, inputs in pairs(2)]]
    halves = [[*range(24)], [*range(24, 48)]]
    monkeypatch.setenv("WORLD_SIZE", "4")
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        index, group = torch.tensor(halves[rank % 2]), [0, 1] if rank < 2 else [2, 3]
        with Recorder(tmp_path / "parts", every=1, console=False, ranks="all") as recorder:
            for step, (logits, labels, inputs) in enumerate(replicas[rank // 2]):
                recorder.compare(
                    logits[:, index], labels[:, index], step, inputs=inputs[:, index], row_index=index, group=group
                )
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    if missing is not None:
        (tmp_path / "parts" / f"predictions-rank{missing}.jsonl").unlink()
    known = [comparisons(predlog.read(whole(tmp_path / f"whole{one}", made))) for one, made in enumerate(replicas)]
    found = comparisons(predlog.read(tmp_path / "parts"))
    assert [one.step for one in found] == [0, 0, 0, 0, 1, 1, 1, 1]
    for replica in (0, 1):
        ours = [one for one in found if one.rank == 2 * replica]
        assert [one.sample for one in ours] == [0, 1, 0, 1]
        if missing is not None and not replica:
            assert all((one.missing_rows, one.loss) == (1, None) for one in ours)
            assert all([two.position for two in one.tokens] == [*range(7, 12), *range(19, 24)] for one in ours)
            continue
        for one, other in zip(ours, known[replica], strict=True):
            assert (one.missing_rows, one.supervised, one.matched) == (0, other.supervised, other.matched)
            assert one.loss == pytest.approx(other.loss, abs=1e-5)
            assert [two.label for two in one.tokens] == [two.label for two in other.tokens]


def test_a_rank_of_the_group_without_rows_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If `row_count` and `group` are known, a process that has no rows of a sample writes none, and none lack."""
    ((logits, labels, inputs),) = pairs(1)
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        index = torch.arange(24 * rank, 24 * rank + 24)
        with Recorder(tmp_path, every=1, console=False) as recorder:
            recorder.compare(
                logits[:, index], labels[:, index], 0, inputs=inputs[:, index], row_index=index, row_count=48,
                group=range(3),
            )  # fmt: skip
    assert [one.missing_rows for one in comparisons(predlog.read(tmp_path))] == [0, 0]


def test_labels_whose_row_is_elsewhere_count_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a shift, the first label of each part has its row in another; one more label than rows gives it a row."""
    logits, _, inputs = pairs(1)[0]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for folder, halo in (("without", 0), ("with", 1)):
        for rank in range(2):
            monkeypatch.setenv("RANK", str(rank))
            index = torch.arange(24 * rank, min(24 * rank + 24 + halo, 48))
            with Recorder(tmp_path / folder, every=1, console=False, ranks="all") as recorder:
                recorder.compare(
                    logits[:, 24 * rank : 24 * rank + 24], inputs[:, index], 0, shift=1, inputs=inputs[:, index],
                    row_index=index,
                )  # fmt: skip
    monkeypatch.delenv("RANK")
    with Recorder(tmp_path / "whole", every=1, console=False) as recorder:
        recorder.compare(logits, inputs, 0, shift=1, inputs=inputs)
    known = comparisons(predlog.read(tmp_path / "whole"))
    for folder, fewer in (("without", 1), ("with", 0)):
        found = comparisons(predlog.read(tmp_path / folder))
        assert [one.supervised for one in found] == [one.supervised - fewer for one in known]
        assert [one.missing_rows for one in found] == [0, 0]
        assert [[two.position for two in one.tokens] for one in found] == [
            [two.position for two in one.tokens] for one in known
        ]
    assert [one.loss for one in found] == pytest.approx([one.loss for one in known], abs=1e-5)


@pytest.mark.parametrize(
    ("index", "how", "why"),
    [
        ([0.0] * 12, {}, "must be integers"),
        ([*range(11)], {}, "one value for each label"),
        ([-1, *range(11)], {}, "0 or more"),
        ([0, *range(11)], {}, "at several positions"),
        ([*range(12)], {"row_count": 11}, "below row_count=11"),
        ([*range(12)], {"row_count": True}, "a Python int"),
        (None, {"row_count": 12}, "without row_index="),
    ],
)
@pytest.mark.parametrize("is_near", [True, False])
def test_an_index_that_is_none_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: Any, how: dict[str, Any], why: str, is_near: bool
) -> None:  # fmt: skip
    """It is refused as a finding that says what is wrong, on other devices, too, where its values arrive later."""
    if not is_near:
        monkeypatch.setattr("predlog.capture.capture._NEAR", frozenset())
    rows = None if index is None else torch.tensor(index)
    with Recorder(tmp_path, every=1, console=False) as recorder:
        recorder.compare(torch.randn(1, 12, 9), torch.arange(12)[None] % 9, 0, row_index=rows, **how)
    found = findings(predlog.read(tmp_path))
    assert len(found) == 1
    assert why in found[0][2]
    assert not [one for one in predlog.read(tmp_path) if isinstance(one, Part | Comparison)]


@pytest.mark.parametrize("row_count", [None, LENGTH])
def test_ranks_with_nothing_but_padding_are_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_count: int | None
) -> None:
    """Where the last shard of each part of the rows is padding, its ranks write parts without rows: all is whole."""
    made = [(torch.nn.functional.pad(one, (0, 20), value=99.0), labels, inputs) for one, labels, inputs in pairs(2)]
    record(
        monkeypatch,
        tmp_path / "parts",
        made,
        SPLITS["zigzag"],
        cuts=(25, VOCABULARY),
        row_count=row_count,
        end=VOCABULARY + 20,
    )
    assert len([*(tmp_path / "parts").glob("*.jsonl")]) == 12
    ours = comparisons(predlog.read(tmp_path / "parts"))
    theirs = comparisons(predlog.read(whole(tmp_path / "whole", pairs(2))))
    assert [(one.missing_ids, one.missing_rows) for one in ours] == [(0, 0)] * 4
    assert [one.matched for one in ours] == [one.matched for one in theirs]


@pytest.mark.parametrize("shift", [0, 1])
def test_a_rank_without_rows_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: int) -> None:
    """A process whose share of the rows is empty writes a part without rows, and no finding: the sample is whole."""
    made = pairs(1)
    folder = record(
        monkeypatch, tmp_path / "parts", made, [[*range(24)], [], [*range(24, 48)]], shift=shift, sample_ids=["a", "b"]
    )
    found = [*predlog.read(folder)]
    assert [(one.missing_rows, one.missing_ids, one.sample_id) for one in comparisons(found)] == [
        (0, 0, "a"), (0, 0, "b"),
    ]  # fmt: skip
    assert "empty-pair" not in [one[0] for one in findings(found)]
    (folder / "predictions-rank1.jsonl").unlink()
    assert [one.missing_rows for one in comparisons(predlog.read(folder))] == [1, 1]


def test_the_rows_of_lost_ranks_are_missing_beside_empty_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts without rows stand in for no others: without those with rows, a comparison is partial, with few or none."""
    made = [(torch.nn.functional.pad(one, (0, 20)), labels, inputs) for one, labels, inputs in pairs(1)]
    folder = record(
        monkeypatch, tmp_path, made, SPLITS["contiguous"][:2], cuts=(VOCABULARY,), end=VOCABULARY + 20
    )  # fmt: skip
    (folder / "predictions-rank2.jsonl").unlink()
    assert [(one.missing_rows, bool(one.tokens)) for one in comparisons(predlog.read(folder))] == [(1, True)] * 2
    (folder / "predictions.jsonl").unlink()
    assert [(one.missing_rows, bool(one.tokens)) for one in comparisons(predlog.read(folder))] == [(1, False)] * 2
