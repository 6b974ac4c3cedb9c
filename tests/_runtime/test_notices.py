"""Lines on stderr."""

import sys
from pathlib import Path
from typing import Any

import pytest

from predlog._runtime.notices import Notices
from tests import events


class TestNotices:
    def test_once_a_minute_a_kind(self, capfd: pytest.CaptureFixture[str]) -> None:
        """The first of a kind is reported, the others are counted until a minute has passed."""
        now = [0.0]
        notices = Notices(clock=lambda: now[0])
        for second in range(0, 121, 10):
            now[0] = float(second)
            notices.report("a", f"a at {second}")
        notices.report("b", "b")
        assert events.said(capfd).splitlines() == [
            "predlog: a at 0",
            "predlog: a at 60 (5 more like this since the last line)",
            "predlog: a at 120 (5 more like this since the last line)",
            "predlog: b",
        ]
        for _ in range(3):
            notices.report("a", "a")
        notices.report("b", "b")
        notices.report_held_back()
        notices.report_held_back()
        assert events.said(capfd) == "predlog: 4 more lines were held back: 3 of 'a', 1 of 'b'\n"

    def test_kept_for_those_who_raise(self, capfd: pytest.CaptureFixture[str]) -> None:
        """With `keep` nothing is written, and the first message can be taken, once."""
        notices = Notices(keep=True)
        notices.report("a", "first")
        notices.report("b", "second")
        assert (notices.take(), notices.take()) == ("first", None)
        assert events.said(capfd) == ""

    @pytest.mark.parametrize("asked", ["", "1"])
    def test_a_traceback_of_what_is_reported_elsewhere(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], asked: str
    ) -> None:
        """Only the traceback is written, only if it is asked for, and once for each kind; never of one that is kept."""
        monkeypatch.setenv("PREDLOG_TRACEBACK", asked)
        notices = Notices()
        for kind in ("a", "a", "b"):
            notices.trace(kind, ValueError("bad"))
        Notices(keep=True).trace("a", ValueError("bad"))
        assert events.said(capfd) == ("predlog: ValueError: bad\n" * 2 if asked else "")

    def test_one_plain_line_whatever_the_message(self, capfd: pytest.CaptureFixture[str]) -> None:
        """A message with newlines and odd characters is still one line of ASCII."""
        Notices().report("a", "two\nlines \ud800 \x1b[31m 表")
        assert events.said(capfd) == "predlog: two lines \\ud800 \\x1b[31m \\u8868\n"

    @pytest.mark.parametrize("stream", [None, "closed"])
    def test_without_a_stderr_nothing_happens(
        self, monkeypatch: pytest.MonkeyPatch, stream: Any, tmp_path: Path
    ) -> None:
        """A missing or closed stderr loses the line, not the run."""
        if stream == "closed":
            stream = (tmp_path / "stderr").open("w")
            stream.close()
        monkeypatch.setattr(sys, "stderr", stream)
        Notices().report("a", "lost")
