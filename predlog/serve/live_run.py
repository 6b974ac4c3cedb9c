"""A run's files → what its page shows, read once, and from then on what is new."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from predlog.errors import PredlogError
from predlog.reading.lines import block
from predlog.reading.paths import PACKED
from predlog.reading.reader import Reading
from predlog.reading.shards import STEPS, Joiner
from predlog.reading.tail import Follower, last
from predlog.records.schema import Comparison, Part, Record
from predlog.report.contents import Contents
from predlog.report.film_strip import Strip
from predlog.serve import places
from predlog.serve.news import News
from predlog.serve.order import Order, Writer, writer

# More files are opened for each look.
_MOST_OPEN = 64
# Seconds between two looks at the folder, and the least between two times that all is read again: that long, and so
# many times as long as it took.
_FOLDER, _AGAIN, _TIMES = 1.0, 0.5, 4
# So many tokens that a record keeps as columns take as much memory as one comparison.
_BULK: Final = 100
# A change of more comparisons is not sent as one: pages ask for all there is.
_MOST_NEW: Final = 1000


class GoneError(PredlogError):
    """The run is no longer there, or leads out of the folder."""


class StoppedError(Exception):
    """Nobody waits for the run any more."""


class LiveRun:
    """One run, which one thread at a time may read; the others wait outside.

    What can't be added to what is there, such as an attempt that replaces earlier steps, has all files read again.

    Attributes:
        contents: What the page shows.
        heard: When the last record was made, as it is in the file; None without any.
        stopped: Set to end a reading that takes long.
    """

    def __init__(self, root: Path, folder: Path, most: int) -> None:
        self._root = root
        self._folder = folder
        self._most = most
        self.stopped = threading.Event()
        self.heard: str | None = None
        self.contents = self._empty()
        self._news = News(self.contents)
        self._may_read = self._looks = 0.0
        self._followed: dict[Path, Follower] = {}
        self._begin()

    def read(self) -> None:
        """Read all files, and follow them from there.

        Raises:
            GoneError: There are no files any more, or one leads out of the folder that is served.
            StoppedError: `stopped` was set meanwhile.
        """
        started = time.monotonic()
        self.close()
        self.contents = self._empty()  # before the new one is made: there is no room for both
        self._begin()
        files = places.files(self._root, self._folder)
        if not files:
            raise GoneError(f"{self._folder} holds no records any more")
        plain = [file for file in files if file.suffix not in PACKED]
        ends = {file: last(file, 0, bool)[1] for file in plain}
        records = Reading(self._folder, warns=False)
        for record in records.as_written():
            if self.stopped.is_set():
                raise StoppedError
            self._order.begin(record, started)
            self._next[writer(record)] = record.seq + 1
            self._place(record)
            for one in self._joiner.add(record, started):
                self._note(one)
        if self.is_ended:
            for one in self._joiner.end():
                self._note(one)
        self.contents.summary.lacks = self._joiner.lacks
        self.contents.summary.share(records.writers)
        self.contents.summary.left_out = tuple(records.left_out)
        self.contents.damage = records.damage
        is_many = len(plain) > _MOST_OPEN
        for file, end in ends.items():
            self._followed[file] = Follower(file, end, stays_open=not is_many, block=block(len(plain)))
        self._news = News(self.contents)
        now = time.monotonic()
        self._may_read = now + max(_AGAIN, _TIMES * (now - started))
        self._looks = now + _FOLDER

    def look(self) -> list[dict[str, Any] | None]:
        """Return what is new since the last look, as `News` has it; None is in the place of all there is.

        Raises:
            GoneError: As `read`.
            StoppedError: As `read`.
        """
        now = time.monotonic()
        if not self._is_stale:
            self._follow(now)
        if self._is_stale:
            if now < self._may_read:
                return []
            self.read()
            return [None]
        taken = [one for record in self._order.take(now) for one in self._joined(record, now)]
        return self._added([*taken, *(self._joiner.end() if self.is_ended else self._joiner.settle(now))], now)

    def close(self) -> None:
        """Close the files."""
        for follower in self._followed.values():
            follower.close()
        self._followed = {}

    @property
    def is_ended(self) -> bool:
        """Return whether all processes have written their last lines."""
        return self._order.is_ended

    def _empty(self) -> Contents:
        return Contents(str(self._folder), self._folder.resolve().name, Strip(self._most, _BULK))

    def _begin(self) -> None:
        self._order = Order()
        self._joiner = Joiner(STEPS)
        self._next: dict[Writer, int] = {}
        self._tops: dict[Writer, int] = {}
        self._streams: set[str] = set()
        self._is_stale = False

    def _note(self, record: Record) -> None:
        """Add a record to what is there."""
        if isinstance(record, Comparison):
            self._streams.add(record.stream)
        self.heard = max(self.heard or "", record.timestamp)
        self.contents.add(record)

    def _place(self, record: Record) -> None:
        """Note how far a writer is."""
        if isinstance(record, Comparison | Part):
            key = writer(record)
            self._tops[key] = max(self._tops.get(key, -1), record.step)

    def _joined(self, record: Record, now: float) -> Iterator[Record]:
        """Yield what a record that comes completes."""
        self._place(record)
        yield from self._joiner.add(record, now)
        self._is_stale |= self._joiner.late > 0

    def _follow(self, now: float) -> None:
        for follower in self._followed.values():
            for read in follower.poll():
                if self.stopped.is_set():
                    raise StoppedError
                self._take(read.record, now)
            self._is_stale |= bool(follower.damage)
            if self._is_stale:
                return
        if now >= self._looks:
            self._looks = now + _FOLDER
            known = {file for file in places.files(self._root, self._folder) if file.suffix not in PACKED}
            self._is_stale |= known != self._followed.keys()
        self._is_stale |= self._order.is_broken

    def _take(self, record: Record, now: float) -> None:
        key = writer(record)
        expected = self._next.get(key)
        if expected is not None and record.seq < expected:
            return  # it was there when the file was read
        # Another attempt, another recorder, a hole, or a step that a process did before.
        if record.seq != expected or (isinstance(record, Comparison | Part) and self._is_again(record, key)):
            self._is_stale = True
            return
        self._next[key] = record.seq + 1
        self._order.put(record, now)

    def _is_again(self, record: Comparison | Part, key: Writer) -> bool:
        others = (top for other, top in self._tops.items() if other != key and other[1] == record.rank)
        return record.step <= max(others, default=-1)

    def _added(self, records: list[Record], now: float) -> list[dict[str, Any] | None]:
        """Add records, and return what is new, or None if pages must ask for all there is."""
        streams = {*self._streams}
        for record in records:
            self._note(record)
        comparisons = sum(isinstance(record, Comparison) for record in records)
        # The order of the streams is that of all of them.
        if self._streams != streams or comparisons > _MOST_NEW:
            self._news = News(self.contents)
            return [None]
        change = self._news.change(now, has_comparisons=comparisons > 0, has_records=bool(records))
        return [] if change is None else [change]
