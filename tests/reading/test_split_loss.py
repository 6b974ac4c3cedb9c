"""The reported loss of a pair whose logits are in parts is checked by who joins them, as one process checks it."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

import predlog
from predlog import Finding, Part, Recorder, Shard
from predlog.capture.capture import capture
from predlog.cli.main import main
from predlog.findings.loss_check import LossCheck
from predlog.findings.reported_loss import Reported, Total, Totals
from predlog.findings.rule import CLEAN
from predlog.numbers.losses import OF_OWN_LABELS, joined_loss, loss_fact
from predlog.numbers.window import Window
from predlog.reading.reader import Reading
from predlog.reading.run_table import complete
from predlog.reading.summary import Summary
from predlog.records.codec import from_line, to_event, to_line

VOCABULARY, LENGTH = 50, 24
ROWS = [[*range(12)], [*range(12, 24)]]
ZIGZAG = [[*range(6), *range(18, 24)], [*range(6, 18)]]
Loss = Callable[[Tensor, Tensor], Tensor]


def mean(logits: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, 1), labels.flatten())


def total(logits: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")


def mean_of_means(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([cross_entropy(*one) for one in zip(logits, labels, strict=True)]).mean()


def shifted_again(logits: Tensor, labels: Tensor) -> Tensor:
    return mean(logits[:, :-1], labels[:, 1:])


def with_another_term(logits: Tensor, labels: Tensor) -> Tensor:
    return mean(logits, labels) + 0.777


def pairs() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return logits, labels and inputs of three steps of four samples, of which two are shown."""
    torch.manual_seed(3)
    made = []
    for _ in range(3):
        text = torch.randint(VOCABULARY, (4, LENGTH + 1))
        inputs, labels = text[:, :-1], text[:, 1:].clone()
        logits = torch.randn(4, LENGTH, VOCABULARY)
        logits.scatter_add_(-1, labels.unsqueeze(-1), 6 * torch.rand(4, LENGTH, 1))
        labels[:, :3], labels[0, 10:] = -100, -100
        made.append((logits.requires_grad_(), labels, inputs))
    return made


def record(
    folder: Path, rows: list[list[int]], cuts: tuple[int, ...], loss: Loss, *, is_local: bool = False, **how: Any
) -> Path:
    """Record the pairs, with rows and columns split so, as the processes of a run do; without either, in one."""
    ends, rank = [0, *cuts, VOCABULARY], 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("WORLD_SIZE", str(len(rows) * (len(ends) - 1)))
        for index in map(torch.tensor, rows):
            for start, stop in pairwise(ends):
                patched.setenv("RANK", str(rank))
                rank += 1
                more: dict[str, Any] = {"shard": Shard(start, of=VOCABULARY)} if cuts else {}
                more |= {"row_index": index} if len(rows) > 1 else {}
                with Recorder(folder, every=1, console=False, ranks="all") as recorder:
                    for step, (logits, labels, inputs) in enumerate(pairs()):
                        own = logits[:, index], labels[:, index]
                        reported = loss(*own) if is_local else loss(logits, labels)
                        recorder.compare(
                            own[0][..., start:stop], own[1], step, inputs=inputs[:, index], reported_loss=reported,
                            **more, **how,
                        )  # fmt: skip
    return folder


def found(folder: Path) -> tuple[list[tuple[str, int, str]], bool]:
    """Return the findings, and whether the loss is known to be that of the pair, or of something else."""
    findings = [(one.code, one.step, one.message) for one in predlog.read(folder) if isinstance(one, Finding)]
    reading = Reading(folder)
    summary = Summary.of(reading)
    complete(summary, reading)
    (one,) = summary.coverage
    return findings, one.loss


@pytest.mark.parametrize("loss", [mean, total, mean_of_means, shifted_again, with_another_term])
@pytest.mark.parametrize(
    ("rows", "cuts"), [([[*range(LENGTH)]], (20, 21)), (ROWS, ()), (ZIGZAG, ()), (ROWS, (20,))]
)  # fmt: skip
def test_the_reported_loss_is_judged_as_in_one_process(
    tmp_path: Path, rows: list[list[int]], cuts: tuple[int, ...], loss: Loss
) -> None:
    """It fits, or the same finding is made at the same step; of rows that are split, a loss of other labels makes none.

    All samples of the batch count, also those that are not shown.
    """
    ours = found(record(tmp_path / "parts", rows, cuts, loss))
    theirs = found(record(tmp_path / "whole", [[*range(LENGTH)]], (), loss))
    assert ours == (([], False) if loss is shifted_again and len(rows) > 1 else theirs)
    assert theirs[1] == (loss is not with_another_term)
    assert bool(theirs[0]) == (loss not in (mean, with_another_term))


@pytest.mark.parametrize(("loss", "is_checked"), [(mean, True), (total, False), (with_another_term, False)])
def test_losses_of_the_rows_of_each_process_are_put_together(tmp_path: Path, loss: Loss, is_checked: bool) -> None:
    """Where each process reports the loss of its rows, their mean is known to fit, and nothing else is guessed."""
    assert found(record(tmp_path, ROWS, (), loss, is_local=True)) == ([], is_checked)


@pytest.mark.parametrize(("factor", "is_known"), [(1.0, True), (2.0, False)])
def test_shares_of_a_sum_are_added(factor: float, is_known: bool) -> None:
    """With the trainer's divisor the loss of each process is its share of the sum: together they fit, or nothing."""
    logits, labels, _ = pairs()[0]
    many, groups = int((labels != -100).sum()), []
    for index in map(torch.tensor, ZIGZAG):
        own = logits[:, index], labels[:, index]
        share = factor * total(*own) / many
        part = capture(*own, row_index=index, reported_loss=share, items=many, has_totals=True, window=Window())
        assert part.sizes.shard is not None
        groups.append([(part.sizes.shard, loss_fact(part))])
    found = joined_loss(groups, is_split=True)
    assert (found is not None) == is_known
    assert found is None or found[1].loss == pytest.approx(float(mean(logits, labels).detach()), rel=1e-6)


def test_a_loss_that_is_not_known_of_parts_is_unchecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a batch with too many rows, of damaged sums, and if a part is lost, `check` says so: nothing is guessed."""
    folder = record(tmp_path / "checked", [[*range(LENGTH)]], (20,), mean)
    main(["check", str(folder)])
    assert "whether the reported loss" not in capsys.readouterr().out
    monkeypatch.setattr("predlog.capture.whole_loss.MOST_ROWS", 40)
    main(["check", str(record(tmp_path / "large", [[*range(LENGTH)]], (20,), total))])
    assert "whether the reported loss is that of the pair (logits in shards: text)" in capsys.readouterr().out
    file = folder / "predictions-rank1.jsonl"
    for name, value in (("labels", "d"), ("ways", ["one more"]), ("many", -1), ("rows", None)):
        lines = []
        for line in file.read_bytes().splitlines():
            made = from_line(line)
            if isinstance(made, Part) and "loss" in made.facts:
                made.facts["loss"][name] = value
            lines.append(to_line(to_event(made)) if isinstance(made, Part) else line + b"\n")
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.jsonl").write_bytes((folder / "predictions.jsonl").read_bytes())
        (tmp_path / name / file.name).write_bytes(b"".join(lines))
        assert found(tmp_path / name) == ([], False), name
    file.unlink()
    assert found(folder) == ([], False)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a pair, what is known of it, and how its rows and its vocabulary are cut."""
    vocabulary, length = draw(st.integers(2, 12)), draw(st.integers(2, 9))
    return {
        "shape": (draw(st.integers(1, 4)), length, vocabulary),
        "cuts": sorted(draw(st.sets(st.integers(1, vocabulary - 1), max_size=3))),
        "row_cuts": sorted(draw(st.sets(st.integers(1, length - 1), max_size=2))),
        "shift": draw(st.sampled_from([0, 1])),
        "dtype": draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16])),
        "broken": draw(st.sampled_from([None, None, math.nan, math.inf, -math.inf])),
        "masks": draw(st.sets(st.sampled_from(["loss_mask", "weights", "attention_mask", "inputs"]))),
        "seed": draw(st.integers(0, 2**16)),
    }


def near(one: float, other: float) -> bool:
    return str(one) == str(other) or math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-4)


@settings(max_examples=60)
@given(case=cases())
def test_sums_of_parts_are_those_of_the_whole(case: dict[str, Any]) -> None:
    """All sums over shards of the vocabulary, and those of each row's own label over parts of the rows, are exact."""
    generator = torch.Generator().manual_seed(case["seed"])
    _, length, vocabulary = case["shape"]
    shift, masks, size = case["shift"], case["masks"], case["shape"][:2]
    logits = torch.randn(case["shape"], generator=generator).to(case["dtype"])
    if case["broken"] is not None:
        logits[0, 0, -1] = case["broken"]
    labels = torch.randint(0, vocabulary, size, generator=generator)
    labels[torch.rand(size, generator=generator) < 0.3] = -100
    beside: dict[str, Any] = {}
    if masks & {"loss_mask", "weights"}:
        drawn = torch.rand(size, generator=generator)
        beside["loss_mask"] = drawn if "weights" in masks else drawn > 0.3
    if "attention_mask" in masks:
        beside["attention_mask"] = (torch.rand(size, generator=generator) > 0.2).to(torch.int64)
    if "inputs" in masks:
        beside["inputs"] = torch.randint(0, vocabulary, size, generator=generator)
    how: dict[str, Any] = {"window": Window(), "shift": shift, "has_totals": True, "reported_loss": 1.5}
    whole = capture(logits, labels, **beside, **how).totals
    groups = []
    row_ends, ends = [0, *case["row_cuts"], length], [0, *case["cuts"], vocabulary]
    for first, last in pairwise(row_ends):
        here = slice(first, min(last + shift, length))
        rows = torch.arange(length)[here]
        if len(rows) <= shift:
            continue  # no row here has a label
        split: dict[str, Any] = {"row_index": rows} if case["row_cuts"] else {}
        group = []
        for start, stop in pairwise(ends):
            split["shard"] = Shard(start, of=vocabulary)
            cut = {name: one[:, here] for name, one in beside.items()}
            part = capture(logits[:, first:last, start:stop], labels[:, here], **cut, **split, **how)
            assert part.sizes.shard is not None
            group.append((part.sizes.shard, loss_fact(part)))
        groups.append(group)
    joined = joined_loss(groups, is_split=bool(case["row_cuts"]))
    assert whole is not None
    assert joined is not None
    totals, expected = joined[0], whole()
    kept = OF_OWN_LABELS if case["row_cuts"] else expected.ways.keys()
    assert totals.ways.keys() == expected.ways.keys() & kept
    for name, one in totals.ways.items():
        assert all(map(near, one, expected.ways[name])), (name, one, expected.ways[name])
    check_counts(totals, expected, shift if case["row_cuts"] else 0)


def check_counts(totals: Totals, expected: Totals, shift: int) -> None:
    """Check that counts are those of the whole; of parts of rows with a shift, the last rows may be in none."""
    if not shift:
        assert (totals.unseen, totals.counts["rows"]) == (expected.unseen, expected.counts["rows"])
    same = totals.counts.keys() - ({"rows"} if shift else set())
    assert {name: totals.counts[name] for name in same} == {name: expected.counts[name] for name in same}


@pytest.mark.parametrize(
    ("apart", "precision", "verdict"), [(1e-6, 1e-7, CLEAN), (5e-4, 1e-7, None), (0.0, 8e-3, None)]
)
def test_a_loss_that_nearly_fits_may_be_that_of_other_labels(apart: float, precision: float, verdict: object) -> None:
    """Where sums over other labels are not known, the mean must fit as closely as no other mean does by accident.

    With all of them known, the nearest of them tells.
    """
    ways = {"as recorded": Total(400.0, 100.0, 4.0, 1.0)}
    reported = Reported(4.0 * (1 + apart), precision)
    assert LossCheck().judge(Totals(ways, 0, {}, lacks_ways=True), reported) is verdict
    assert LossCheck().judge(Totals(ways, 0, {}), reported) is CLEAN
