"""What a process with a shard of the logits shows, writes and counts: parts, which only a reader can make whole."""

import json
import re
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
import torch

import predlog
from predlog import Comparison, Part, Recorder, Shard
from predlog.findings import catalog
from predlog.processors import Redact, ToStructlog

VOCABULARY, CUTS = 40, (0, 17, 40)
LABELS = torch.arange(30).view(1, 30) % VOCABULARY
LABELS[0, 3] = 39


def record(monkeypatch: pytest.MonkeyPatch, folder: Path | None, rank: int, steps: int = 1, **how: Any) -> Recorder:
    """Record the shard of a rank, and return its recorder, which is closed."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "2")
    torch.manual_seed(5)
    logits = torch.randn(1, 30, VOCABULARY)
    start, stop = CUTS[rank : rank + 2]
    with Recorder(folder, every=1, ranks="all", **{"decode": "§{}".format, **how}) as recorder:
        for step in range(steps):
            made = recorder.compare(
                logits[..., start:stop], LABELS, step, inputs=LABELS, shard=Shard(start, of=VOCABULARY), lr=0.1
            )
            if made is not None:
                RECORDED[rank] = made.result(60)
    return recorder


RECORDED: dict[int, tuple[Comparison | Part, ...]] = {}


def lines(folder: Path, rank: int) -> list[dict[str, Any]]:
    name = f"predictions{f'-rank{rank}' if rank else ''}.jsonl"
    return [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]


def test_the_first_rank_says_once_what_shows_the_records_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line names the command, as the folder was named; parts are drawn nowhere, and other ranks say nothing."""
    monkeypatch.chdir(tmp_path)
    record(monkeypatch, Path("runs/my exp"), 0, steps=3)
    out, err = capfd.readouterr()
    assert err.count("predlog tail -f 'runs/my exp'") == 1
    assert re.search(r"3 parts in runs/my exp/predictions.jsonl; .*; next: predlog check 'runs/my exp'", err)
    assert "§" not in out
    record(monkeypatch, Path("runs/my exp"), 1, steps=3)
    assert capfd.readouterr() == ("", "")


def test_without_a_file_nobody_can_join_parts(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Then the line says to pass a directory."""
    record(monkeypatch, None, 0)
    assert "pass directory=" in capfd.readouterr().err


def test_a_future_has_the_parts_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are typed records of the shard, without figures of the whole row; all that was submitted is counted."""
    recorder = record(monkeypatch, tmp_path, 1, steps=2, console=False)
    (part,) = RECORDED[1]
    assert isinstance(part, Part)
    assert (part.shard.start, part.shard.stop, part.shard.of) == (17, 40, 40)
    assert all(one.prediction is None or 17 <= one.prediction < 40 for one in part.tokens)
    stats = recorder.stats()
    assert (stats["submitted"], stats["written"], stats["pending"]) == (2, 2, 0)
    assert "; 2 parts; " in repr(recorder)
    assert "2 parts" in recorder._repr_html_()


def test_what_a_shard_cant_decide_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules of whole rows, and the check of the loss, are undecided; what ids show is among the findings."""
    recorder = record(monkeypatch, tmp_path, 0, console=False)
    listed = recorder.undecided["text"]
    assert "predlog check" in listed["collapsed"]
    assert "shards" in listed["loss-differs-from-pair"]
    assert [one.code for one in recorder.findings] == ["labels-are-inputs"]


@pytest.mark.parametrize("is_split", [True, False])
def test_the_last_line_names_what_is_judged_elsewhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], *, is_split: bool
) -> None:
    """It has the rules that need whole records, or, of some rows, all but one, and the command that judges them."""
    how: dict[str, Any] = {"row_index": torch.arange(8)} if is_split else {"shard": Shard(0, of=40)}
    with Recorder(tmp_path, every=1, ranks="all") as recorder:
        recorder.compare(torch.randn(1, 8, 20), torch.arange(8)[None], 0, **how)
    (line,) = [one for one in capfd.readouterr().err.splitlines() if "no open findings by ids alone" in one]
    names = "all rules but label-out-of-range" if is_split else "logits-not-finite, prediction-misaligned"
    assert f"not judged here: {names}" in line
    assert f"next: predlog check {tmp_path}" in line


def test_what_rows_of_a_sample_cant_decide_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule but that of labels without a logit has a reason; of very many rows, nobody asks those about texts."""
    for most, why in ((8, "predlog check"), (7, "can't tell, either")):
        monkeypatch.setattr("predlog.numbers.snapshot.MOST_IDS", most)
        with Recorder(tmp_path / str(most), every=1, console=False, ranks="all") as recorder:
            recorder.compare(torch.randn(1, 8, 20), torch.arange(8)[None], 0, row_index=torch.arange(8))
            assert recorder.flush()
            listed = recorder.undecided["text"]
        assert {*listed} == {rule.code for rule in catalog.RULES} - catalog.OF_PART | {catalog.LOSS}
        assert why in listed["end-missing"]
        assert "predlog check" in listed["collapsed"]


def test_inspect_says_what_to_do_with_a_shard() -> None:
    """One look needs whole rows: the finding says how to have them judged."""
    seen = predlog.inspect(torch.randn(1, 5, 10), torch.ones(1, 5).long(), shard=Shard(10, of=40))
    assert seen.comparisons == ()
    assert [one.code for one in seen.findings] == ["unreadable-pair"]
    assert "predlog check" in seen.findings[0].message


@pytest.mark.parametrize("what", [re.compile("39"), lambda text: text.replace("39", "█")], ids=["pattern", "callable"])
def test_what_is_redacted_is_nowhere_in_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: Any) -> None:
    """No text of a token, an alternative or the window has it, nor any other text of the line; ids stay."""

    def hide(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if "facts" in event:
            event["facts"] = {**event["facts"], "declared": ["num_epochs=39"]}
        return event

    record(monkeypatch, tmp_path, 1, console=False, processors=[hide, Redact(what, replacement="█")])
    (part,) = [one for one in lines(tmp_path, 1) if one["event"] == "predlog.part"]
    assert 39 in [one["label"] for one in part["tokens"]]

    def texts(value: Any, name: str = "") -> list[str]:
        if isinstance(value, dict):
            return [text for key, one in value.items() for text in texts(one, key)]
        if isinstance(value, list):
            return [text for one in value for text in texts(one, name)]
        is_column = isinstance(value, str) and re.fullmatch("[iqfd][A-Za-z0-9+/]*=*", value)
        return (
            [value] if isinstance(value, str) and not is_column and name not in {"timestamp", "crc", "recorder"} else []
        )

    assert not [text for text in texts(part) if "39" in text]
    assert [text for text in texts(part) if "█" in text]


def drop(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raise structlog.DropEvent


def more(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {**event, "host_name": "n1"}


def broken(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {**event, "tokens": 3}


@pytest.mark.parametrize(
    ("change", "counted", "missing"),
    [(more, ("written", 1), 0), (drop, ("filtered", 1), 17), (broken, ("failed", 1), 17)],
)
def test_a_processor_may_change_or_drop_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., Any],
    counted: tuple[str, int], missing: int,
) -> None:  # fmt: skip
    """What it adds is in the context; a part that is dropped or broken is counted, and missing in the whole."""

    def processor(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return event if event["event"] != "predlog.part" else change(event)

    stats: dict[str, Any] = {**record(monkeypatch, tmp_path, 0, console=False, processors=[processor]).stats()}
    record(monkeypatch, tmp_path, 1, console=False)
    assert stats[counted[0]] == counted[1]
    (whole,) = [one for one in predlog.read(tmp_path) if isinstance(one, Comparison)]
    assert whole.missing_ids == missing
    assert whole.context == {"lr": 0.1, **({"host_name": "n1"} if change is more else {})}
    gaps = [one for one in lines(tmp_path, 0) if one["event"] == "predlog.gap"]
    assert [one["count"] for one in gaps] == [1] * (change is broken)


def test_structlog_gets_no_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's logger gets a part without the columns of numbers, and the file has them."""
    logger = structlog.wrap_logger(structlog.PrintLogger(), processors=[capture := structlog.testing.LogCapture()])
    record(monkeypatch, tmp_path, 0, console=False, processors=[ToStructlog(logger)])
    (part,) = [one for one in capture.entries if one["event"] == "predlog.part"]
    assert {"facts", "rows"}.isdisjoint(part)
    assert part["shard"] == {"start": 0, "stop": 17, "of": 40}
    assert {"facts", "rows"} < {*lines(tmp_path, 0)[1]}


def test_the_worst_tokens_have_their_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts of the worst labels and of what is predicted there are known, though no process knows the worst."""
    for rank in (0, 1):
        record(monkeypatch, tmp_path, rank, console=False, first=1, last=1)
    (whole,) = [one for one in predlog.read(tmp_path) if isinstance(one, Comparison)]
    assert len(whole.worst) == 5
    assert [one.label_text for one in whole.worst] == [f"§{one.label}" for one in whole.worst]
    assert [one.prediction_text for one in whole.worst] == [f"§{one.prediction}" for one in whole.worst]
    part = lines(tmp_path, 0)[1]
    assert len(part["tokens"]) <= 2 + 3 * 5


@pytest.mark.parametrize("how", [{"decode": None}, {"worst": 0}], ids=["without texts", "without the worst"])
def test_tokens_that_may_be_the_worst_are_there_for_their_texts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    """A part has none that is not shown where nobody would have their texts."""
    record(monkeypatch, tmp_path, 0, console=False, first=1, last=1, **how)
    assert [one["slot"] for one in lines(tmp_path, 0)[1]["tokens"]] == ["first", "last"]
