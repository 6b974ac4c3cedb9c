"""The list of the runs in a folder, kept up to date."""

import time
from pathlib import Path
from typing import Any, ClassVar

from predlog.reading.listing import Listed, listed
from predlog.serve import documents, places
from predlog.serve.feed import Feed

# Seconds between two listings if nothing has changed (a new run, one that has stopped without its last line), and how
# many times as long as the last one took at least.
_AGAIN, _TIMES = 5.0, 10


class RunList(Feed):
    """The list of the runs below a folder.

    Raises:
        NoRecordsError: There is no such folder.
    """

    parts: ClassVar[frozenset[str]] = frozenset({""})
    pause = 0.5

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root
        self._listed: list[Listed] = []
        self._signature: list[tuple[int, int]] = []
        self._next = self._earliest = 0.0

    def begin(self) -> None:
        """List the runs."""
        started = time.monotonic()
        self._signature = self._signed()
        self._listed = [one for one in listed(self._root) if places.is_inside(self._root, one.path)]
        took = time.monotonic() - started
        self._earliest = time.monotonic() + _TIMES * took
        self._next = max(self._earliest, time.monotonic() + _AGAIN)

    def look(self) -> list[dict[str, Any] | None]:
        """List the runs again if a file has changed, or some time has passed."""
        now = time.monotonic()
        if now < self._earliest or (now < self._next and self._signed() == self._signature):
            return []
        before = self._listed
        self.begin()
        return [] if before == self._listed else [{}]

    def status(self) -> dict[str, Any]:
        """Return how many runs there are."""
        return {"runs": len(self._listed)}

    def end(self) -> None:
        """Do nothing: no file is open."""

    def make(self, _part: str) -> tuple[bytes, dict[str, str]]:
        """Return the page and its headers."""
        return documents.sent(documents.listing(self._listed, self._root, self.cursor))

    def _signed(self) -> list[tuple[int, int]]:
        """Return the sizes and times of the files, and the times of the folders, of the runs that are known."""
        watched = {self._root, *(one.path for one in self._listed), *(one.path.parent for one in self._listed)}
        every = [*watched, *(file for one in self._listed for file in places.files(self._root, one.path))]
        found = []
        for place in every:
            try:
                status = place.stat()
            except OSError:
                continue
            found.append((status.st_size, status.st_mtime_ns))
        return found
