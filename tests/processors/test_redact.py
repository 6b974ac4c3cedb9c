"""What must not be seen is in no event that a sink gets."""

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import EventDict

from predlog import Comparison, Recorder, read
from predlog.errors import SettingError
from predlog.processors import Redact
from predlog.reading.summary import Summary
from predlog.records.codec import conform
from predlog.records.schema import Gap, Run
from tests import events
from tests.cases.material import fresh_tokenizer


def texts(event: Any, field: str = "label_text") -> list[str]:
    return [token[field] for token in event["tokens"]]


def comparison(*labels: str | None, start: int = 60, **fields: Any) -> dict[str, Any]:
    tokens = [events.token(start + place, label_text=text) for place, text in enumerate(labels)]
    return events.comparison(tokens=tokens, **fields)


def test_a_match_over_several_tokens_hides_them_all() -> None:
    """A tokenizer splits an address: each token that has part in a match is replaced whole, its neighbours stay."""
    event = comparison("write ", "to", " jo", "hn@", "exam", "ple", ".com", " today")
    seen = Redact(r"\w+@\w+\.\w+")(None, "info", event)
    assert texts(seen) == ["write ", "to", *["[redacted]"] * 5, " today"]


def test_tokens_that_are_not_neighbours_are_not_read_together() -> None:
    """What lies between two tokens that are shown is unknown, so they make no text."""
    event = comparison("john", "@home.org")
    event["tokens"][1]["position"] += 1
    assert texts(Redact(r"\w+@\w+\.\w+")(None, "info", event)) == ["john", "@home.org"]


def test_a_callable_hides_the_shortest_stretch_that_it_changes() -> None:
    """Of a callable nobody knows which part it has changed, but which tokens it leaves alone can be seen."""

    def shout(text: str) -> str:
        return text.replace("secret", "…")

    hidden = ["[redacted]"] * 2
    assert texts(Redact(shout)(None, "info", comparison("a ", "sec", "ret", " b"))) == ["a ", *hidden, " b"]
    assert texts(Redact(shout)(None, "info", comparison("a ", "sec", None, "ret"))) == ["a ", "sec", None, "ret"]
    twice = comparison("sec", "ret", " and ", "se", "c", "ret")
    assert texts(Redact(shout)(None, "info", twice)) == [*hidden, " and ", *["[redacted]"] * 3]


def test_names_that_come_to_be_the_same_stay_apart(tmp_path: Path) -> None:
    """Names in the context are looked at, and nothing is lost where two read alike; predlog's own names stay."""
    with Recorder(tmp_path, every=1, samples=1, console=False, processors=[Redact(lambda _text: "x")]) as recorder:
        recorder.compare(*events.pair(), 0, ann=0.5, bob=None, carl=[{"dora": True}])
    run, one, _ = read(tmp_path)
    assert isinstance(run, Run)
    assert "directory" in run.settings
    assert isinstance(one, Comparison)
    assert sorted(map(str, one.context.values())) == ["0.5", "None", "[{'x': True}]"]


@pytest.mark.parametrize("what", [r"\d{6,}", lambda text: re.sub(r"\d{6,}", "[redacted]", text)])
def test_whole_numbers_are_looked_at_at_any_depth(tmp_path: Path, what: Any) -> None:
    """A number in context, evidence or settings reads as its digits do; those that the schema needs are kept."""
    secret, deep = 20261129, {"a": [{"b": (20261129, [{"c": {"20261129": -20261129}}], 20261129.0)}]}

    def add(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event["event"] == "predlog.finding":
            event["evidence"] = {"seen": secret, "deep": deep, "short": 12345, **event["evidence"]}
        return {**event, "account": secret, "more": deep}

    step, vocabulary = 1_000_000, 9
    labels = (5 * torch.arange(12) % vocabulary)[None]
    with Recorder(tmp_path, every=1, console=False, processors=[add, Redact(what)]) as recorder:
        recorder.compare(
            torch.randn(1, 12, vocabulary), labels, step, inputs=labels, user=secret, deep=deep, loss=0.123456789
        )
        recorder.compare(torch.randn(1, 12, vocabulary), labels.roll(1), step + 1, inputs=labels)
    text = (tmp_path / "predictions.jsonl").read_text()
    assert "20261129" not in text
    one = next(one for one in read(tmp_path) if isinstance(one, Comparison))
    assert one.context["user"] == one.context["account"] == "[redacted]"
    hidden = {"a": [{"b": ["[redacted]", [{"c": {"[redacted]": "-[redacted]"}}], "[redacted]"]}]}
    assert one.context["deep"] == one.context["more"] == hidden
    assert (one.context["loss"], one.step) == (0.123456789, step)
    found = Summary.of(read(tmp_path)).findings
    assert [(one.finding.code, one.fate, one.until) for one in found if one.finding.code == "labels-are-inputs"] == [
        ("labels-are-inputs", "gone", step + 1)
    ]
    assert found[0].finding.evidence["seen"] == "[redacted]"
    assert found[0].finding.evidence["short"] == 12345


def test_everything_that_an_event_says_is_looked_at(tmp_path: Path) -> None:
    """Texts, inputs, predictions, context, messages, evidence and the settings: no line of the file has the word."""
    labels = (5 * torch.arange(12) % 9)[None]

    def spell_out(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event["event"] == "predlog.finding":
            event.update(evidence={"seen": "alice"}, message="by alice")
        return event

    with Recorder(
        tmp_path / "of-alice", every=1, console=False, decode=lambda token: f"alice{token}",
        processors=[
            lambda _l, _n, event: {**event, "who": {"names": ["bob", "alice"]}},
            spell_out,
            Redact("alice"),
        ],
    ) as recorder:  # fmt: skip
        recorder.compare(torch.randn(1, 12, 9), labels, 0, inputs=labels, note="for alice")
    lines = [json.loads(line) for line in (tmp_path / "of-alice" / "predictions.jsonl").read_text().splitlines()]
    assert {"predlog.run", "predlog.comparison", "predlog.finding"} == {line["event"] for line in lines}
    for line in lines:
        line.pop("run")
        assert "alice" not in json.dumps(line)
        assert line["context"]["who"] == {"names": ["bob", "[redacted]"]}
    assert next(line for line in lines if "tokens" in line)["tokens"][0]["label"] == labels[0, 0]


def quoting(text: str) -> str:
    raise ValueError(text)


@pytest.mark.parametrize("traceback", ["0", "1"])
@pytest.mark.parametrize(
    "what", [lambda _text: 1 // 0, lambda _text: None, quoting], ids=["raises", "gives no text", "quotes the text"]
)
def test_what_cannot_be_redacted_is_not_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: Any, traceback: str
) -> None:
    """If the callable fails, the record is dropped, counted and reported as missing; nothing is written as it was."""
    monkeypatch.setenv("PREDLOG_TRACEBACK", traceback)
    fails = [False]

    def sometimes(text: str) -> Any:
        return what(text) if fails[0] else text

    with Recorder(
        tmp_path,
        every=1,
        samples=1,
        console=False,
        decode=lambda token: f"secret{token}",
        processors=[Redact(sometimes)],
    ) as recorder:
        for step in range(4):
            fails[0] = step in {1, 2}
            recorder.compare(*events.pair(), step)
            recorder.flush()
    assert recorder.stats()["failed"] == 2
    assert [one.step for one in read(tmp_path) if isinstance(one, Comparison)] == [0, 3]
    assert sum(one.count for one in read(tmp_path) if isinstance(one, Gap)) == 2
    error = events.said(capfd)
    assert "processor Redact raised " in error
    # A traceback shows this file's lines, which have the word, and must not have a text.
    assert not re.search(r"secret\d", error)
    assert ("Traceback" in error) == (traceback == "1")


@given(st.lists(st.text("ab@. ", max_size=4), max_size=8))
def test_no_match_is_left_in_what_tokens_read_together(pieces: list[str]) -> None:
    """However a text is cut into tokens, what is left of it holds no match."""
    pattern = re.compile(r"[ab]+@[ab]+")
    seen = texts(Redact(pattern, replacement="#")(None, "info", comparison(*pieces)))
    assert not pattern.search("".join(seen))
    assert len(seen) == len(pieces)


def test_a_replacement_is_taken_as_it_is() -> None:
    r"""A backslash in the replacement means a backslash."""
    event = Redact("alice", replacement=r"\1\n")(None, "info", events.finding(message="by alice"))
    assert event["message"] == r"by \1\n"


@pytest.mark.parametrize("what", [7, None, b"bytes"])
def test_what_is_no_pattern_is_refused(what: Any) -> None:
    """A redaction that would hide nothing is not made."""
    with pytest.raises(SettingError, match="Redact"):
        Redact(what)


def test_text_can_be_left_out(tmp_path: Path) -> None:
    """With text=False the ids are kept and no text is, though there is a decoder."""
    with Recorder(tmp_path, every=1, samples=1, console=False, decode=str, text=False) as recorder:
        recorder.compare(*events.pair(), 0)
    (one,) = (one for one in read(tmp_path) if isinstance(one, Comparison))
    assert {(token.label_text, token.prediction_text, token.input_text) for token in one.tokens} == {(None,) * 3}
    assert all(token.label >= 0 for token in one.tokens)


@pytest.mark.parametrize(
    ("pattern", "tokens", "seen"),
    [
        ("Zoë", ["I am ", "Z", "o", "<0xC3>", "<0xAB>", "."], ["I am ", *["[redacted]"] * 4, "."]),
        ("Иван", ["<0xD0>", "<0x98>", "<0xD0>", "<0xB2>", "ан", "!"], [*["[redacted]"] * 5, "!"]),
        ("johnson", ["by", "john", "##son", "now"], ["by", "[redacted]", "[redacted]", "now"]),
        ("john johnson", ["john", "john", "##son", "now"], [*["[redacted]"] * 3, "now"]),
    ],
)
def test_tokens_that_are_pieces_of_characters_or_words(pattern: str, tokens: list[str], seen: list[str]) -> None:
    """What byte-level and WordPiece tokenizers split is put together before it is looked at."""
    assert texts(Redact(pattern)(None, "info", comparison(*tokens))) == seen


def test_no_name_of_the_callers_own_is_kept(tmp_path: Path) -> None:
    """Keys, and values under names that predlog uses itself elsewhere, are looked at like all others."""
    secret = {"code": "alice", "level": "alice", "help": "alice", "slot": "alice", "event": "alice"}

    def add(_logger: Any, _name: str, event: EventDict) -> EventDict:
        return {**event, "alice's": 1, "tokens of": "alice"}

    with Recorder(tmp_path, every=1, samples=1, console=False, processors=[add, Redact("alice")]) as recorder:
        recorder.compare(*events.pair(), 0, **secret, nested={"alice": ["alice", 1]})  # type: ignore[arg-type]
    assert "alice" not in (tmp_path / "predictions.jsonl").read_text()
    (one,) = (one for one in read(tmp_path) if isinstance(one, Comparison))
    assert one.context["nested"] == {"[redacted]": ["[redacted]", 1]}


def test_what_is_no_plain_value_is_made_one_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What a processor adds is searched in the form that is written; what has none becomes null and is reported."""

    @dataclass
    class User:
        mail: str

    class Quoting:
        def __repr__(self) -> str:
            return "alice"

    values = {
        "user": User("alice@home.org"), "name": np.str_("alice"), "path": Path("home/alice"), "speed": np.float32(0.5),
        "count": np.int64(3), "norm": torch.tensor(1.5), "raw": b"alice", "alice": Quoting(),
    }  # fmt: skip

    def add(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event["event"] != "predlog.comparison":
            return event
        event["tokens"][0]["input_text"] = np.str_("alice")
        return {**event, **values, "step": np.int64(event["step"])}

    with Recorder(tmp_path, every=1, samples=1, console=False, processors=[add, Redact("alice")]) as recorder:
        recorder.compare(*events.pair(), 0)
    (one,) = (one for one in read(tmp_path) if isinstance(one, Comparison))
    assert one.context == {
        "user": {"mail": "[redacted]@home.org"}, "name": "[redacted]", "path": "home/[redacted]", "speed": 0.5,
        "count": 3, "norm": 1.5, "raw": None, "[redacted]": None,
    }  # fmt: skip
    assert (one.step, one.tokens[0].input_text) == (0, "[redacted]")
    assert "alice" not in (tmp_path / "predictions.jsonl").read_text()
    error = events.said(capfd)
    assert "can't be redacted and is recorded as null: <Quoting>, <bytes>;" in error
    assert "alice" not in error


def test_a_finding_that_cannot_be_redacted_keeps_its_words_for_itself(tmp_path: Path) -> None:
    """If the redaction of a finding fails, it is kept without its message and its evidence, also in memory."""

    def fails(text: str) -> str:
        if text.startswith("text: "):
            raise ValueError(text)
        return text

    logits, labels = events.pair()
    with Recorder(tmp_path, every=1, console=False, processors=[Redact(fails)]) as recorder:
        recorder.compare(logits, labels[:, :3], 0)
        recorder.flush()
        (finding,) = recorder.findings
    assert (finding.code, finding.evidence) == ("length-mismatch", {})
    assert "positions" not in finding.message


# --- the window ---------------------------------------------------------------------------------------------------
SECRET = re.compile(r"\w+@\w+\.\w+")
WAYS = [SECRET, lambda text: SECRET.sub("[redacted]", text)]


def part(read: str, asked: str = "", left_out: int = 0, *, beyond: bool = False) -> dict[str, Any]:
    return {"left_out": left_out, "read": read, "asked": asked} | ({"beyond": True} if beyond else {})


def seen_window(what: Any, *parts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is recorded of passages after a redaction."""
    seen = Redact(what)(None, "info", events.comparison(recorder="0a", window=[*parts]))
    return [(one["read"], one["asked"]) for one in conform(seen)["window"]]


@pytest.mark.parametrize("what", WAYS)
def test_the_window_is_searched_as_one_text(what: Any) -> None:
    """A secret that begins in the prompt and ends in the answer is in neither; what is around it stays."""
    assert seen_window(what, part("mail john@ex", "ample.org now")) == [("mail [redacted]", "[redacted] now")]
    assert seen_window(what, part("a", "to jo"), part("hn@ho", "me.org.")) == [
        ("a", "to [redacted]"),
        ("[redacted]", "[redacted]."),
    ]
    assert seen_window(what, part("x a@b.c y", "z d@e.f")) == [("x [redacted] y", "z [redacted]")]


@pytest.mark.parametrize("what", WAYS)
def test_a_secret_that_is_half_inside_the_window_is_removed(what: Any) -> None:
    """Processors see more text than is kept, so a secret that is cut is found; of the rest nothing is kept."""
    before, more, less = (part(text, beyond=True) for text in ("to john@ex", ".org and", "with ann@"))
    found = seen_window(
        what, before, part("ample.org hi ", "bob@home"), more, less | {"left_out": 9}, part("x.de", "!", 40)
    )
    assert found == [("[redacted] hi ", "[redacted]"), ("[redacted]", "!")]


def test_what_is_left_out_joins_nothing() -> None:
    """Between two passages with a hole nobody knows what is written."""
    assert seen_window(SECRET, part("mail john@ex"), part("ample.org", left_out=7)) == [
        ("mail john@ex", ""),
        ("ample.org", ""),
    ]


def test_a_window_that_a_callable_changes_is_what_it_returned() -> None:
    """Nothing of the text before is left, however much a callable changes, and each text keeps its place."""
    parts = part("one secret ", "two secrets "), part("more ", "text")
    assert seen_window(str.upper, *parts) == [("ONE SECRET ", "TWO SECRETS "), ("MORE ", "TEXT")]
    assert seen_window(lambda _text: "", *parts) == [("", "[redacted]"), ("[redacted]", "[redacted]")]
    assert seen_window(lambda _text: "gone", *parts) == [("gone", "[redacted]"), ("[redacted]", "[redacted]")]
    assert seen_window(lambda text: text.replace("secret", "…"), *parts) == [("one … ", "two …s "), ("more ", "text")]
    spread = seen_window(lambda text: text.replace("secret two secret", "…"), *parts)
    assert spread == [("one …", "[redacted]s "), ("more ", "text")]


words = st.lists(st.sampled_from(["john@home.org", "a@b.c", "and", "@", ".", "word", "x.y"]), max_size=12).map(" ".join)


@pytest.mark.parametrize("way", range(2))
@given(text=words, cuts=st.lists(st.integers(0, 80), max_size=6))
def test_no_secret_is_left_however_the_window_is_cut(way: int, text: str, cuts: list[int]) -> None:
    """Of a text in any passages, what is left reads as the redacted text does, but for more replacements."""
    at = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[begin:end] for begin, end in pairwise(at)]
    pieces += [""] * (len(pieces) % 2)
    found = seen_window(WAYS[way], *(part(*both) for both in zip(pieces[::2], pieces[1::2], strict=True)))
    whole = "".join(map("".join, found))
    assert not SECRET.search(whole)
    assert re.sub(r"(\[redacted\])+", "#", whole) == re.sub(r"(\[redacted\])+", "#", SECRET.sub("[redacted]", text))


@pytest.mark.parametrize("what", [r"[\w.]+@\w+\.\w+", lambda text: re.sub(r"[\w.]+@\w+\.\w+", "[redacted]", text)])
@pytest.mark.parametrize("ahead", range(0, 120, 5))
def test_a_secret_anywhere_in_the_text_is_in_no_line(tmp_path: Path, what: Any, ahead: int) -> None:
    """At whatever place of a long answer: also where the window is cut, and whole in the file of no run."""
    tokenizer = fresh_tokenizer()
    secret = "john.q.public@example.org"
    answer = "word " * ahead + f"write {secret} today " + "and so on " * 60
    prompt, rest = tokenizer.encode("Who? ").ids, tokenizer.encode(answer).ids
    ids = torch.tensor([[*prompt, *rest]])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100
    with Recorder(
        tmp_path, every=1, console=False, decode=tokenizer, first=1, last=1, worst=0, processors=[Redact(what)]
    ) as recorder:
        recorder.compare(torch.zeros(*ids.shape, 512), labels, 0, shift=1, inputs=ids)
    (one,) = [one for one in read(tmp_path) if isinstance(one, Comparison)]
    assert one.window is not None
    whole = "".join(f"{passage.read}{passage.asked}" for passage in one.window)
    for length in range(4, len(secret)):
        assert secret[:length] not in whole
        assert secret[-length:] not in whole
    assert "and so on" in whole
