"""One run's page, kept up to date."""

from pathlib import Path
from typing import Any, ClassVar

from predlog.report import curves
from predlog.report.page import json_text, strip_data
from predlog.serve import documents, places
from predlog.serve.feed import Feed
from predlog.serve.live_run import LiveRun


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

    def begin(self) -> None:
        """Read the whole run."""
        self._run = LiveRun(*self._place)
        self._run.read()

    def look(self) -> list[dict[str, Any] | None]:
        """Return what was written since the last look."""
        return self._run.look()

    def status(self) -> dict[str, Any]:
        """Return whether the run has ended, and when its last record was made."""
        return {"ended": self._run.is_ended, "at": self._run.heard}

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
