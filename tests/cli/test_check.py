"""Checks: what fails, what is a note, and what can't be read, by exit status and by line."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import predlog
from predlog.findings.catalog import CODES
from predlog.records import codec
from tests import events
from tests.written import command, undocumented, written

GONE = {"level": "info", "step": 200, "evidence": {"since": 120}}


def compared(**fields: Any) -> dict[str, Any]:
    return events.comparison(tokens=[events.token(8, input=4)], **fields)


HEALTHY = [events.run(), compared(), events.run(stats={})]


def check(folder: Path, *made: dict[str, Any], arguments: tuple[str, ...] = ()) -> int:
    return command("check", *arguments, written(folder, *made))


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        (
            [],
            0,
            "in what was checked (1 comparison; the last attempt has no last line: killed, or still running)",
        ),
        ([events.finding()], 1, "1 open finding (1 comparison; the last attempt has no last line: "),
        ([events.run(stats={})], 0, "no open findings in what was checked (1 comparison)"),
        ([events.run(stats={}), events.finding()], 1, "1 open finding (1 comparison)"),
        ([events.finding(), events.finding(code="pad-supervised", level="warning")], 1, "2 open findings"),
        ([events.finding(), events.finding(**GONE)], 0, "no open findings in what was checked"),
        ([events.gap()], 0, "no open findings in what was checked"),
        (
            [events.finding(), compared(attempt=2, step=130)],
            0,
            "no open findings in what was checked (2 comparisons; the last",
        ),
    ],
)
def test_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[dict[str, Any]], status: int, said: str
) -> None:
    """An open finding fails the check; gaps and what is gone do not."""
    assert check(tmp_path, *HEALTHY[:2], *more) == status
    assert said in capsys.readouterr().out.splitlines()[-1]


def test_two_that_wrote_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is reported that two recorders wrote to one file, and an open finding of the first stays open."""
    folder = tmp_path / "run"
    folder.mkdir()
    heads = [{"attempt": number, "recorder": name} for number, name in ((1, "a"), (2, "b"))]
    lines = [events.run(seq=0, **heads[0]), events.finding(seq=1, step=0, **heads[0]), events.run(seq=0, **heads[1])]
    for step in range(9):
        lines += [compared(seq=step + 1 + (head is heads[0]), step=step, **head) for head in heads]
    (folder / "predictions.jsonl").write_bytes(b"".join(map(codec.to_line, lines)))
    assert command("check", str(folder)) == 1
    said = capsys.readouterr().out
    assert "finding labels-are-inputs is open" in said
    assert "two recorders wrote to" in said
    assert "attempts 1 and 2, rank 0, lines 5 to 20" in said
    assert "(18 comparisons; " in said
    assert command("check", "--json", str(folder)) == 1
    found = json.loads(capsys.readouterr().out)
    (shared,) = found["shared"]
    assert (shared["attempts"], shared["recorders"]) == ([1, 2], ["a", "b"])
    assert not undocumented(found)


def test_of_two_that_wrote_at_once_both_have_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An attempt that another recorder's was written beside is as much the last one as that."""
    folder = tmp_path / "run"
    folder.mkdir()
    a, b = {"recorder": "a"}, {"recorder": "b", "attempt": 2}
    lines = [events.run(seq=0, **a), compared(seq=1, **a), events.run(seq=0, **b), compared(seq=1, **b)]
    lines += [compared(seq=2, step=130, **a), compared(seq=2, step=130, **b), events.run(seq=3, stats={}, **b)]
    (folder / "predictions.jsonl").write_bytes(b"".join(map(codec.to_line, lines)))
    assert command("check", "--ended", str(folder)) == 1
    assert "1 of 2 processes has no last line" in capsys.readouterr().out


def test_of_two_that_began_at_once_both_have_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two recorders with one attempt have ended when both have, and what both lost counts."""
    folder = tmp_path / "run"
    folder.mkdir()
    a, b = {"recorder": "a"}, {"recorder": "b"}
    lines = [events.run(seq=0, **a), events.run(seq=0, **b), compared(seq=1, **a), compared(seq=1, **b)]
    lines += [compared(seq=2, step=130, **a), events.run(seq=3, stats={"dropped": 2}, **a)]
    (folder / "predictions.jsonl").write_bytes(b"".join(map(codec.to_line, lines)))
    assert command("check", "--ended", str(folder)) == 1
    with (folder / "predictions.jsonl").open("ab") as file:
        file.write(codec.to_line(events.run(seq=2, stats={"dropped": 3}, **b)))
    assert command("check", "--ended", str(folder)) == 0
    assert "5 dropped" in capsys.readouterr().out


def last(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_what_has_no_end_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was killed or goes on is reported to be so, and fails where that was asked for alone."""
    (folder := tmp_path / "exp1").mkdir()
    assert check(folder, *HEALTHY[:2]) == 0
    said, none = "no last line: killed, or still running", "no open findings in what was checked"
    assert last(capsys) == f"{folder}: {none} (1 comparison; the last attempt has {said})"
    assert check(folder, arguments=("--ended",)) == 1
    assert last(capsys) == f"{folder}: the last attempt has {said} (1 comparison)"
    assert check(folder, events.run(stats={}), arguments=("--ended",)) == 0
    assert last(capsys) == f"{folder}: {none} (1 comparison)"


def test_an_exception_is_no_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that an exception ended has a last line, and is none to deploy: --ended fails, else it is noted."""
    broken = *HEALTHY[:2], events.run(stats={"error": "KeyboardInterrupt"})
    assert check(tmp_path, *broken) == 0
    assert "; the last attempt ended by KeyboardInterrupt)" in capsys.readouterr().out
    assert check(tmp_path, arguments=("--ended",)) == 1
    assert "the last attempt ended by KeyboardInterrupt (" in capsys.readouterr().out
    assert check(tmp_path, arguments=("--ended", "--json")) == 1
    whole = json.loads(capsys.readouterr().out)
    assert whole["unended"] == []
    assert [one["stats"] for one in whole["broken_off"]] == [{"error": "KeyboardInterrupt"}]


def everything(step: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a comparison of which everything is known."""
    token = {**events.token(8, input=4), "document": 0, "document_position": 8}
    return events.comparison(**{"step": step, "tokens": [token], **fields})


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([everything(step) for step in range(16)], []),
        (
            [everything(step) for step in range(15)],
            ["what only many samples show (fewer than 16 samples: text)"],
        ),
        (  # samples are counted once, whatever the number of codebooks
            [everything(step, codebook=codebook) for step in range(15) for codebook in range(4)],
            ["what only many samples show (fewer than 16 samples: text)"],
        ),
        (
            [everything(step, tokens=[events.token(8, input=4)]) for step in range(16)],
            ["whether labels cross into another document (no positions: text)"],
        ),
        (
            [everything(step, stream=f"s{n}", tokens=[events.token(8)]) for step in range(16) for n in range(6)],
            [
                "whether labels are shifted correctly (no inputs: s0, s1, s2, s3 and 2 more)",
                "whether labels cross into another document (no positions: s0, s1, s2, s3 and 2 more)",
            ],
        ),
        (
            [
                everything(step, tokens=[{**everything()["tokens"][0], "prediction_logprob": None}])
                for step in range(16)
            ],
            ["what predictions and probabilities show (no probabilities: text)"],
        ),
        (
            [everything(step, stream="no loss") for step in range(16)],
            ["whether the loss is that of the pair (pass reported_loss=, as the callbacks do: no loss)"],
        ),
    ],
)  # fmt: skip
def test_what_could_not_be_checked_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made: list[dict[str, Any]], said: list[str]
) -> None:
    """A run without findings is never called right: the check says what was looked at, and what could not be."""
    with_loss = sorted({one["stream"] for one in made} - {"no loss"})
    assert check(tmp_path, events.run(), *made, events.run(stats={"loss_checked": with_loss})) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.removeprefix("not checked: ") for line in out if line.startswith("not checked")] == said
    assert out[0].startswith("checked: ")
    assert ("in what was checked" in out[-1]) == bool(said)
    assert "nothing is wrong" not in out[-1]
    assert check(tmp_path, arguments=("--json",)) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["what"] for one in found["unchecked"]] == [one.partition(" (")[0] for one in said]
    assert {one["stream"] for one in found["checked"]} == {one["stream"] for one in made}
    assert not undocumented(found)


@pytest.mark.parametrize("way", ["reported_loss=", "report_loss", "no loss", "other terms"])
def test_a_loss_that_was_not_checked_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str) -> None:
    """A correct call beside a loss that shifts otherwise looks well: only a loss that was checked leaves this out."""
    logits, labels = events.pair()
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    loss = loss + 0.3 if way == "other terms" else loss
    with predlog.Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(3):
            more: dict[str, Any] = {} if way in {"report_loss", "no loss"} else {"reported_loss": loss}
            recorder.compare(logits, labels, step, shift=1, inputs=labels.clamp(0), **more)
            if way == "report_loss":
                recorder.report_loss(loss, step)
        recorder.flush()
        is_checked = "loss-differs-from-pair" not in recorder.undecided["text"]
    assert command("check", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert is_checked == (way in {"reported_loss=", "report_loss"})
    assert ("whether the loss is that of the pair" not in out) == is_checked


def test_streams_are_named_with_their_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was checked is named by stream, with the number of samples; the rest is listed with its streams."""
    without = [events.comparison(stream=stream) for stream in ("audio", "eval")]
    assert check(tmp_path, *HEALTHY[:2], *without, events.run(stats={})) == 0
    out = capsys.readouterr().out
    assert "checked: text (1 sample), audio (1 sample), eval (1 sample)\n" in out
    assert "not checked: whether labels are shifted correctly (no inputs: audio, eval)\n" in out
    check(tmp_path, arguments=("--json",))
    assert json.loads(capsys.readouterr().out)["unaligned"] == ["audio", "eval"]


def test_an_open_finding_that_is_ignored_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without it the last line would say that no finding is open."""
    assert check(tmp_path, *HEALTHY[:2], events.finding(), arguments=("--ignore", "labels-are-inputs")) == 0
    assert "(1 comparison; 1 open finding ignored; " in last(capsys)


def test_the_last_attempt_of_each_rank_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An attempt that was killed, and started again, is over; of several ranks it is reported how many have no end."""
    again = [events.run(attempt=2), compared(attempt=2, step=130), events.run(attempt=2, stats={})]
    assert check(tmp_path, *HEALTHY[:2], *again, arguments=("--ended",)) == 0
    more = [events.run(rank=1), events.run(rank=1, stats={}), events.run(rank=2)]
    assert check(tmp_path, *more) == 0
    assert capsys.readouterr().out.endswith(
        "(2 comparisons; 1 of 3 processes has no last line: killed, or still running)\n"
    )
    assert check(tmp_path, arguments=("--json", "--ended")) == 1
    (one,) = json.loads(capsys.readouterr().out)["unended"]
    assert (one["run"], one["attempt"], one["rank"], one["ended"]) == ("exp1", 1, 2, None)


def test_a_narrow_terminal_has_the_whole_conclusion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the conclusion is wrapped, and nothing of it is cut off."""
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, value)
    check(tmp_path, *HEALTHY[:2])
    said = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert max(map(len, said.splitlines())) <= 60
    assert "no last line: killed, or still running)" in " ".join(said.split())


def test_notes_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What does not fail the check is reported all the same."""
    assert check(tmp_path, compared(), events.finding(), events.finding(**GONE), events.gap()) == 0
    notes = capsys.readouterr().out.splitlines()
    assert notes[0] == "finding labels-are-inputs is no longer open, text, found at step 120: gone at step 200"
    assert notes[1] == "gap: 12 comparisons missing, steps 130 to 180: queue full"


def test_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A finding that is ignored neither fails nor is listed, and the others are."""
    made = [*HEALTHY, events.finding(), events.finding(code="same-batch")]
    assert check(tmp_path, *made, arguments=("--ignore", "labels-are-inputs")) == 1
    said = capsys.readouterr().out
    assert "labels-are-inputs" not in said
    assert command("check", "--ignore", "labels-are-inputs", "--ignore", "same-batch", str(tmp_path)) == 0


def test_only_known_codes_are_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt code would ignore nothing for ever, so it is an error."""
    with pytest.raises(SystemExit) as left:
        check(tmp_path, *HEALTHY, arguments=("--ignore", "labels-are-input"))
    assert left.value.code == 2
    assert "labels-are-inputs" in events.said(capsys)
    assert "labels-are-inputs" in CODES


def test_ranks_that_say_the_same_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A finding of four ranks is one finding, and names them."""
    made = [one for rank in range(4) for one in (compared(rank=rank), events.finding(rank=rank))]
    assert check(tmp_path, *made) == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    assert "since step 120 (ranks 0 to 3): " in first
    assert last.endswith("1 open finding (4 comparisons; 4 of 4 processes have no last line: killed, or still running)")


def test_a_changed_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line whose checksum does not fit fails the check, and is named by file and number."""
    folder = written(tmp_path, *HEALTHY)
    file = tmp_path / "predictions.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], lines[1].replace(b"160", b"161"), lines[2]]))
    assert command("check", folder) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"damage {file} line 2: ")
    assert said[-1].endswith("1 damaged place (0 comparisons)")


def test_a_removed_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A number that is missing among the lines fails the check, though each line left is whole."""
    folder = written(tmp_path, *HEALTHY)
    file = tmp_path / "predictions.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[2])
    assert command("check", folder) == 1
    assert "1 damaged place" in capsys.readouterr().out.splitlines()[-1]


def test_much_damage_is_told_in_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beyond twenty damaged lines, they are counted, however many."""
    folder = written(tmp_path, *HEALTHY)
    with (tmp_path / "predictions.jsonl").open("ab") as file:
        file.write(b"damaged\n" * 1500)
    assert command("check", folder) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if "checked: " not in line]
    assert len(said) == 22
    assert said[20] == "damage: 1,480 places more"


@pytest.mark.parametrize("content", [None, b"", b"{}\n", b"\x00\xff\n\n"])
def test_unreadable(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None) -> None:
    """What is not there, is empty or is something else is no clean run: 2, one line on stderr, nothing on stdout."""
    file = tmp_path / "predictions.jsonl"
    if content is not None:
        file.write_bytes(content)
    assert command("check", str(file)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("predlog: ")
    assert said.err.count("\n") == 1
    assert str(file) in said.err


def test_a_newer_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of a schema that this version does not know is unreadable, and the line says so."""
    folder = written(tmp_path, events.run(schema=9, versions={"predlog": "9.1"}))
    assert command("check", folder) == 2
    assert "schema 9" in events.said(capsys)


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object has the status, and apart what fails, what is ignored and what is a note."""
    made = [
        *HEALTHY,
        events.finding(),
        events.finding(code="same-batch"),
        events.finding(code="collapsed", level="warning", stream="other"),
        events.finding(code="collapsed", **GONE, stream="other"),
        events.gap(),
    ]
    assert check(tmp_path, *made, arguments=("--json", "--ignore", "same-batch")) == 1
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "status", "path", "findings", "damage", "damaged", "ended", "ignored", "gaps", "lost", "partial",
        "left_out", "comparisons", "checked", "unchecked", "unaligned", "unended", "broken_off", "shared",
    ]  # fmt: skip
    assert found["status"] == 1
    assert not undocumented(found)
    assert [one["code"] for one in found["findings"]] == ["labels-are-inputs"]
    assert [(one["code"], one["state"], one["until"]) for one in found["ended"]] == [("collapsed", "gone", 200)]
    assert [one["code"] for one in found["ignored"]] == ["same-batch"]
    assert [(one["reason"], one["count"]) for one in found["gaps"]] == [("queue full", 12)]


def test_hostile_messages_stay_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a finding says is one line of visible characters."""
    assert check(tmp_path, *HEALTHY, events.finding(message="\x1b]0;x\x07 a\nfinding b [red]\u202e")) == 1
    said = capsys.readouterr().out
    assert len([line for line in said.splitlines() if "checked: " not in line]) == 2
    assert "\\x1b]0;x\\x07 a\\nfinding b [red]\\u202e" in said


def test_in_a_shell(tmp_path: Path) -> None:
    """`check && next` goes on where nothing is wrong, and not where something is, without torch."""
    healthy, wrong = written(tmp_path / "a", *HEALTHY), written(tmp_path / "b", *HEALTHY, events.finding())
    script = f"check() {{ {sys.executable} -X importtime -m predlog check $1 2>$2; }}; "
    script += f"check {healthy} {tmp_path}/1 && echo went; check {wrong} {tmp_path}/2 && echo never"
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False).stdout
    assert "went" in said
    assert "never" not in said
    assert "predlog.reading.summary" in (tmp_path / "1").read_text()
    assert " torch" not in (tmp_path / "1").read_text()
