"""Parts that the processes of a tensor-parallel run have written are read as whole comparisons, and judged as such."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import predlog
from predlog import Comparison, Finding, Recorder, Shard
from predlog.cli.main import main
from predlog.reading.reader import Reading
from predlog.records.schema import Record

VOCABULARY = 500
CUTS = (0, 120, 121, 400, 512)
# What the clock and the process write.
_NOT_THE_PAIRS = frozenset({"timestamp", "run", "recorder", "attempt", "rank", "seq", "missing_ids"})
CLOSE = 1e-5


def pairs(steps: int, *, copies: bool = False) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return logits, labels and inputs of some steps, the logits with padding past the vocabulary."""
    torch.manual_seed(1)
    made = []
    for _ in range(steps):
        inputs = torch.randint(VOCABULARY, (2, 40))
        labels = inputs.roll(-1, -1)
        labels[:, :7] = -100
        logits = torch.randn(2, 40, CUTS[-1])
        wanted = inputs if copies else labels.clamp(min=0)
        logits.scatter_(-1, wanted.unsqueeze(-1), 12.0)
        logits[..., VOCABULARY:] = 99.0
        made.append((logits.requires_grad_(), labels, inputs))
    return made


def record(
    monkeypatch: pytest.MonkeyPatch, folder: Path, made: list[tuple[Tensor, Tensor, Tensor]], ranks: range, **how: Any
) -> Path:
    """Record the shards of each pair, each in the file of its rank, as the processes of a run do."""
    for rank in ranks:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(len(CUTS) - 1))
        start, stop = CUTS[rank : rank + 2]
        with Recorder(folder, every=1, console=False, ranks="all", decode=lambda one: f"<{one}>", **how) as recorder:
            for step, (logits, labels, inputs) in enumerate(made):
                recorder.compare(
                    logits[..., start:stop], labels, step, inputs=inputs, shard=Shard(start, of=VOCABULARY)
                )
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    return folder


def whole(folder: Path, made: list[tuple[Tensor, Tensor, Tensor]], **how: Any) -> Path:
    """Record the same pairs with all logits in one process."""
    with Recorder(folder, every=1, console=False, decode=lambda one: f"<{one}>", **how) as recorder:
        for step, (logits, labels, inputs) in enumerate(made):
            recorder.compare(logits[..., :VOCABULARY], labels, step, inputs=inputs)
    return folder


def comparisons(records: Any) -> list[Comparison]:
    return [one for one in records if isinstance(one, Comparison)]


def test_joined_comparisons_are_those_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields and tokens are the same, texts and window too; of a label far down, the least rank is known."""
    made, how = pairs(3), {"alternatives": 2, "all_tokens": True}
    ours = comparisons(predlog.read(record(monkeypatch, tmp_path / "parts", made, range(4), **how)))
    theirs = comparisons(predlog.read(whole(tmp_path / "whole", made, **how)))
    assert [(one.step, one.sample) for one in ours] == [(one.step, one.sample) for one in theirs]
    assert [one.missing_ids for one in ours] == [0] * len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for name in Comparison.__struct_fields__:
            if name in _NOT_THE_PAIRS or name in ("tokens", "worst", "all_tokens", "loss", "entropy"):
                continue
            assert getattr(one, name) == getattr(other, name), name
        assert (one.loss, one.entropy) == pytest.approx((other.loss, other.entropy), abs=CLOSE)
        for token, known in zip(one.tokens, other.tokens, strict=True):
            same = ("position", "label", "prediction", "match", "input", "label_text", "prediction_text", "input_text")
            assert [getattr(token, name) for name in same] == [getattr(known, name) for name in same]
            assert token.label_logprob == pytest.approx(known.label_logprob, abs=CLOSE)
            assert token.prediction_logprob == pytest.approx(known.prediction_logprob, abs=CLOSE)
            assert [two.text for two in token.alternatives] == [two.text for two in known.alternatives]
            assert token.label_rank == known.label_rank == 1
        assert [token.position for token in one.worst] == [token.position for token in other.worst]
        assert one.all_tokens is not None
        assert other.all_tokens is not None
        assert one.all_tokens.predictions == other.all_tokens.predictions


def test_findings_about_logits_are_those_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that needs whole rows finds in the parts, when they are read, what it finds in the whole, at that step."""
    made = [*pairs(6), *pairs(8, copies=True)]

    def findings(records: Any) -> list[tuple[str, int]]:
        return [(one.code, one.step) for one in records if isinstance(one, Finding)]

    ours = findings(predlog.read(record(monkeypatch, tmp_path / "parts", made, range(4))))
    theirs = findings(predlog.read(whole(tmp_path / "whole", made)))
    assert ours == theirs
    assert "copying-inputs" in [code for code, _ in ours]


def test_what_ids_show_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process reports what the ids alone show, not each of those that have a shard."""
    made = [(logits, inputs, inputs) for logits, _, inputs in pairs(2)]
    records: list[Record] = list(predlog.read(record(monkeypatch, tmp_path, made, range(4))))
    assert [(one.code, one.rank) for one in records if isinstance(one, Finding)] == [("labels-are-inputs", 0)]


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_part_makes_a_partial_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    """If the file of a rank is lost, the comparisons say how many ids are missing, and have labels, but no guess."""
    record(monkeypatch, tmp_path, pairs(2), range(4))
    known = comparisons(Reading(tmp_path))
    (tmp_path / f"predictions{f'-rank{missing}' if missing else ''}.jsonl").unlink()
    found = comparisons(Reading(tmp_path))
    ids = min(CUTS[missing + 1], VOCABULARY) - CUTS[missing]
    assert [one.missing_ids for one in found] == [ids] * 4
    assert all((one.matched, one.loss, one.entropy, one.worst) == (None, None, None, ()) for one in found)
    assert {one.supervised for one in found} == {33}
    for one, other in zip(found, known, strict=True):
        for token, same in zip(one.tokens, other.tokens, strict=True):
            names = ("slot", "position", "label", "label_text", "input", "input_text", "document", "document_position")
            assert [getattr(token, name) for name in names] == [getattr(same, name) for name in names]
            assert (token.match, token.prediction, token.prediction_text, token.alternatives) == (None, None, None, ())
            assert (token.label_logprob, token.prediction_logprob, token.label_rank) == (None, None, None)


def alone(copied: bool) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return steps of a model that is sure of one token, whose labels are the inputs or follow them."""
    made = []
    for logits, labels, inputs in pairs(40):
        one = torch.zeros_like(logits.detach())
        one[..., 77] = 12.0
        one[..., VOCABULARY:] = 99.0
        made.append((one.requires_grad_(), inputs if copied else labels.clamp(min=0), inputs))
    return made


def codes(records: Any) -> list[tuple[str, int]]:
    return [(one.code, one.step) for one in records if isinstance(one, Finding)]


@pytest.mark.parametrize("copied", [True, False])
def test_a_finding_in_a_file_explains_what_the_reader_would_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, copied: bool
) -> None:
    """While one process has an error open that is certain, the reader reports no symptom of it; otherwise it does."""
    ours = codes(predlog.read(record(monkeypatch, tmp_path / "parts", alone(copied), range(4))))
    theirs = codes(predlog.read(whole(tmp_path / "whole", alone(copied))))
    assert ours == theirs
    assert ("labels-are-inputs" in dict(ours)) is copied
    assert bool({"at-chance", "collapsed", "sure-and-wrong"} & {*dict(ours)}) is not copied


@pytest.mark.parametrize("ignore", [("copying-inputs",), {"text": ("copying-inputs",)}])
def test_what_a_run_ignores_the_reader_ignores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignore: Any) -> None:
    """The codes are in the first line's settings, for all streams or for each."""
    made = [*pairs(6), *pairs(8, copies=True)]
    assert codes(predlog.read(record(monkeypatch, tmp_path, made, range(4), ignore=ignore))) == []


def test_findings_of_the_reader_are_findings_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are the same each time, of the line that begins their step; commands list them, and what was not checked."""
    record(monkeypatch, tmp_path / "run", [*pairs(6), *pairs(8, copies=True)], range(4))
    once, again = ([one for one in predlog.read(tmp_path / "run") if isinstance(one, Finding)] for _ in range(2))
    assert once == again
    (found,) = once
    first = next(one for one in comparisons(predlog.read(tmp_path / "run")) if one.step == found.step)
    assert (found.rank, found.seq, found.timestamp, found.recorder) == (0, first.seq, first.timestamp, first.recorder)
    assert main(["check", str(tmp_path / "run")]) == 1
    out = capsys.readouterr().out
    assert "copying-inputs" in out
    assert "whether the reported loss is that of the pair" in out
    main(["summary", str(tmp_path / "run")])
    assert "copying-inputs" in capsys.readouterr().out
    report = tmp_path / "page.html"
    main(["report", str(tmp_path / "run"), "-o", str(report)])
    assert "copying-inputs" in report.read_text("utf-8")
