"""One run's page, kept up to date."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from predlog.reading.listing import is_written
from predlog.report import curves
from predlog.report.page import json_text, strip_data
from predlog.serve import documents, places
from predlog.serve.feed import Feed
from predlog.serve.live_run import LiveRun

# Seconds until it is asked again whether a run that writes nothing is running, and how many times as long as that took
# at least.
_AGAIN, _TIMES = 5.0, 50


class RunPage(Feed):
    """The page of the run in a folder.

    Its parts are the page itself; `content`, the same without what its scripts draw; and `state`, what they draw.
    """

    parts: ClassVar[frozenset[str]] = frozenset({"", "content", "state"})
    whole: ClassVar[frozenset[str]] = frozenset({"", "state"})
    pause = 0.2

    def __init__(self, root: Path, folder: Path, most: int) -> None:
        super().__init__()
        self._place = root, folder, most
        self._home = places.home(root, folder)
        self._run = LiveRun(*self._place)
        self._is_running = False
        self._next = 0.0

    def begin(self) -> None:
        """Read the whole run."""
        self._run = LiveRun(*self._place)
        self._run.read()
        self._ask()

    def look(self) -> list[dict[str, Any] | None]:
        """Return what was written since the last look."""
        changes = self._run.look()
        if changes:
            self._is_running, self._next = True, time.monotonic() + _AGAIN
        elif time.monotonic() >= self._next:
            self._ask()
        return changes

    def _ask(self) -> None:
        started = time.monotonic()
        with suppress(OSError):  # a file that is gone is found by `look`
            self._is_running = is_written(places.files(*self._place[:2]))
        self._next = time.monotonic() + max(_AGAIN, _TIMES * (time.monotonic() - started))

    def status(self) -> dict[str, Any]:
        """Return whether the run has ended, or is running, or neither; and the time of its last record."""
        return {"ended": self._run.is_ended, "running": self._is_running, "at": self._run.heard}

    def end(self) -> None:
        """End a reading, and forget the run."""
        self._run.stopped.set()
        if not self._lock.locked():
            self._run.close()
            self._run = LiveRun(*self._place)

    def make(self, part: str) -> tuple[bytes, dict[str, str]]:
        """Return a part of the page and its headers."""
        contents = self._run.contents
        if part == "state":
            state = {"cursor": self.cursor, "strip": strip_data([contents]), "curves": curves.data([contents])}
            return json_text(state).encode(), {"content-type": "application/json"}
        return documents.sent(documents.run(contents, self._home, self.cursor, is_bare=part == "content"))
