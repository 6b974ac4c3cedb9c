"""What the commands do with lines that no recorder has written, and whose checksums fit."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from predlog.errors import RecordError
from predlog.records import codec
from tests import events
from tests.faults.hostile import harmful
from tests.written import command, sealed

EVERY = ("tail", "summary", "check", "diff", "export", "report")
NESTED = b'{"a":' + b"[" * 990 + b"]" * 990 + b"}"


def asked(name: str, file: Path) -> list[str]:
    more = {"diff": [str(file)], "export": ["-o", f"{file}.csv"], "report": ["-o", f"{file}.html"]}
    return [name, str(file), *more.get(name, [])]


def changed(event: dict[str, object], key: str, value: bytes) -> bytes:
    """Return an event's line with other JSON in place of a value."""
    text = json.dumps({**event, key: "here"}, separators=(",", ":")).encode()
    return sealed(text.replace(b'"here"', value))


CRAFTED = {
    "attempt": changed(events.comparison(), "attempt", b"9" * 5000),
    "step": changed(events.comparison(), "step", b"9" * 5000),
    "context": changed(events.comparison(), "context", NESTED),
    "evidence": changed(events.finding(), "evidence", NESTED),
    "settings": changed(events.run(), "settings", NESTED),
    "schema": changed(events.comparison(), "schema", NESTED),
    "unknown": changed(events.comparison(), "more", NESTED),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("line", CRAFTED.values(), ids=CRAFTED)
def test_no_line_crashes_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: bytes, name: str) -> None:
    """Numbers of thousands of digits and lists in lists are damage of their line; the other lines are read."""
    file = tmp_path / "predictions.jsonl"
    file.write_bytes(codec.to_line(events.run()) + codec.to_line(events.comparison()) + line)
    assert command(*asked(name, file)) in {0, 1}
    assert "internal" not in events.said(capsys)
    assert command("check", str(file)) == 1
    assert "line 3: " in capsys.readouterr().out


def test_what_is_written_can_be_read_at_any_depth(tmp_path: Path) -> None:
    """A context as deep as a recorder can write it is no damage, and every command shows it."""
    deep: object = 0
    for _ in range(252):
        deep = [deep]
    file = tmp_path / "predictions.jsonl"
    more = codec.to_line(events.comparison(context={"a": deep}, step=1, seq=2))
    file.write_bytes(codec.to_line(events.run()) + codec.to_line(events.comparison()) + more)
    for name in EVERY:
        assert command(*asked(name, file)) == 0


def test_an_error_of_predlog_itself_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong in a command is status 2 and one line; PREDLOG_TRACEBACK=1 shows where."""

    def fail(*_: object) -> None:
        raise ValueError("no such thing")

    file = tmp_path / "predictions.jsonl"
    file.write_bytes(codec.to_line(events.comparison(seq=0)))
    monkeypatch.setattr("predlog.cli.commands.check.latest", fail)
    monkeypatch.delenv("PREDLOG_TRACEBACK", raising=False)
    assert command("check", str(file)) == 2
    said = events.said(capsys)
    assert re.fullmatch(r"predlog: internal error: ValueError: .*\.py:\d+\); PREDLOG_TRACEBACK=1 .*\n", said)
    monkeypatch.setenv("PREDLOG_TRACEBACK", "1")
    assert command("check", str(file)) == 2
    assert "Traceback (most recent call last)" in events.said(capsys)


LARGEST = 2**63 - 1
SUMMED = {
    "gaps": [events.gap(count=LARGEST, last_step=LARGEST)] * 2,
    "counts": [events.comparison(length=LARGEST, supervised=LARGEST, matched=LARGEST)] * 2,
    "stats": [events.run(stats={"dropped": LARGEST, "failed": -1, "refused": True, "pending": "9"})] * 2,
    "stats beyond 64 bits": [events.run(stats={"dropped": 10**4299}, recorder=name) for name in "abcdefghijk"],
    "codebooks far apart": [events.finding(evidence={"codebooks": [0, 1, LARGEST]})] * 2,
    "codebooks beyond 64 bits": [events.finding(evidence={"codebooks": [0, 1, 10**4299]})] * 2,
    "ranks far apart": [events.comparison(rank=rank) for rank in (0, 1, LARGEST)],
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("what", SUMMED)
def test_sums_and_ranges_of_crafted_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, name: str
) -> None:
    """Numbers as large as the schema and Python take are added up and listed without an error of predlog's own."""
    file = tmp_path / "predictions.jsonl"
    lines = [sealed(json.dumps(one, separators=(",", ":")).encode()) for one in SUMMED[what]]
    file.write_bytes(codec.to_line(events.run()) + codec.to_line(events.comparison()) + b"".join(lines))
    for more in [["--json"], []] if name in {"tail", "summary", "check", "diff"} else [[]]:
        assert command(*asked(name, file), *more) in {0, 1}
    assert "internal" not in events.said(capsys)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (made, key)
        for made in (events.run, events.comparison, events.finding, events.gap)
        for key, value in {**made(), "codebook": 0, "sample": 0, "vocabulary": 1}.items()
        if type(value) is int and key in made() and key != "schema"
    ],
)
def test_a_number_of_more_than_64_bits_damages_its_line(kind: Callable[..., dict[str, Any]], key: str) -> None:
    """No number of a record exceeds 64 bits: sums, tables, Parquet and JavaScript hold each of them."""
    assert getattr(codec.from_line(changed(kind(), key, b"%d" % LARGEST)), key) == LARGEST
    for beyond in (2**63, 2**64, 10**400):
        with pytest.raises(RecordError, match=r"Expected `int|no JSON: number"):
            codec.from_line(changed(kind(), key, b"%d" % beyond))


def test_headings_list_no_more_codes_than_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However many codes a file invents, the heading of a record lists a few: what is printed grows with the file."""
    lines = [events.finding(code=f"code-{seq}", seq=2 * seq) for seq in range(800)]
    shown = [events.comparison(seq=2 * seq + 1) for seq in range(800)]
    file = tmp_path / "predictions.jsonl"
    pairs = zip(map(codec.to_line, lines), map(codec.to_line, shown), strict=True)
    file.write_bytes(b"".join(line for pair in pairs for line in pair))
    assert command("tail", "-n", "all", str(file)) == 0
    assert len(capsys.readouterr().out) < 2 * file.stat().st_size


RAW = "\x9b31m\x85\u202e\u2066\u2028\u2029\u200b\ufeff\x7f"


@pytest.mark.parametrize("blank", [b"", b"\r", b"\t "])
def test_json_lines_steer_no_terminal(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], blank: bytes) -> None:
    """`tail --json` prints a crafted line as the same JSON without raw control or invisible characters."""
    event = events.comparison(stream=f"text{RAW}", context={RAW: RAW})
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    line = sealed(text.replace(b',"seq"', b',%b"seq"' % blank))
    file = tmp_path / "predictions.jsonl"
    file.write_bytes(codec.to_line(events.run()) + line)
    for lines in ("all", "5"):
        assert command("tail", "-n", lines, "--json", str(file)) == 0
        first, last, end = capfdbinary.readouterr().out.split(b"\n")
        assert (first + b"\n", end) == (codec.to_line(events.run()), b"")
        assert not harmful(last.decode())
        assert json.loads(last) == json.loads(line)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_files_are_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, name: str) -> None:
    """A pipe that nobody writes to, a device without end or a folder, named as a run's file, is passed over."""
    odd = tmp_path / "predictions-rank1.jsonl"
    {"pipe": os.mkfifo, "device": lambda place: place.symlink_to("/dev/zero"), "folder": Path.mkdir}[kind](odd)
    assert command(*asked(name, tmp_path)) == 2
    assert "holds no predictions*.jsonl" in events.said(capsys)
    (tmp_path / "predictions.jsonl").write_bytes(codec.to_line(events.run()) + codec.to_line(events.comparison()))
    assert command(*asked(name, tmp_path)) in {0, 1}
