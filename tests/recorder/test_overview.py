"""A recorder shows itself: in one line, and in a notebook as a table. Nothing is waited for, and all is bounded."""

import copy
from pathlib import Path

import pytest
import torch
from structlog.typing import EventDict

from predlog import Recorder
from tests import events
from tests.records.test_notebook import HOSTILE, Parsed


def page(recorder: Recorder) -> str:
    html: str = recorder._repr_html_()
    parsed = Parsed(html)
    assert parsed.tags <= {"div", "b", "table", "tr", "th", "td", "span", "code"}
    return parsed.text


def test_what_is_on_and_what_is_recorded(tmp_path: Path) -> None:
    """Before the first pair, while it records, and when it is closed: file, steps, counts, newest steps, findings."""
    logits, labels = events.pair()
    recorder = Recorder(tmp_path, every=5, console=False, streams=["text", "audio"])
    file = tmp_path / "predictions.jsonl"
    assert repr(recorder) == f"<Recorder {file}; every 5 steps; 0 comparisons; open findings: none>"
    recorder.compare(logits, labels, 5, inputs=labels.clamp(0))
    recorder.compare(logits, labels, 10, inputs=labels.clamp(0))
    assert recorder.flush()
    codes = "labels-are-inputs (text, since step 5)"
    assert repr(recorder) == f"<Recorder {file}; every 5 steps; 4 comparisons; open findings: {codes}>"
    shown = page(recorder)
    for row in (
        f"file{file}",
        "every5 steps",
        "streamsaudio, text",
        "consoleoff",
        "recorded4 comparisons",
        "newesttext step 10",
    ):
        assert row in shown
    assert "✗ labels-are-inputs, step 5: text: labels equal the inputs" in shown
    assert recorder.close()
    assert repr(recorder).endswith("; closed>")
    assert "stateclosed" in page(recorder)


def test_why_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy, and a recorder that the environment switches off, say so."""
    with Recorder(tmp_path, console=False) as recorder:
        assert repr(copy.copy(recorder)).endswith("; a copy, which records nothing>")
    monkeypatch.setenv("PREDLOG_DISABLE", "1")
    with Recorder(console="full") as recorder:
        assert repr(recorder).startswith("<Recorder no file, since no directory was passed; every 10 steps; ")
        assert repr(recorder).endswith("; off: PREDLOG_DISABLE is set>")
        assert "consolefull" in page(recorder)


def test_what_is_missing(tmp_path: Path) -> None:
    """Comparisons that a processor has failed on, and pairs that were refused, are counted."""

    def fail(_logger: object, _name: str, event: EventDict) -> EventDict:
        if event["event"] == "predlog.comparison" and event["step"] == 2:
            raise ValueError
        return event

    with Recorder(tmp_path, every=1, console=False, processors=[fail]) as recorder:
        for step in (1, 2):
            recorder.compare(*events.pair(), step)
        recorder.compare(torch.zeros(2, 5, 10), torch.zeros(2, 9, dtype=torch.int64), 3)
    assert "; 2 comparisons, 2 failed; " in repr(recorder)
    assert "refused1 pair" in page(recorder)


def test_it_is_bounded_and_does_nothing(tmp_path: Path) -> None:
    """Of many streams and findings the first are listed, and no name does anything."""
    logits, labels = events.pair()
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for number in range(30):
            recorder.compare(logits, labels, 0, stream=f"{number} {HOSTILE}", inputs=labels.clamp(0))
    assert "… 22 more" in repr(recorder)
    assert not set(repr(recorder)) & set("\x00\u202e\ud800")
    shown = page(recorder)
    assert shown.count("✗ labels-are-inputs") == 4
    assert len(shown) < 8000
