"""What is watched → its viewers: one task looks for what is new while anybody watches, and all get the same."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, ClassVar, Final, TypeVar

from predlog.reading.words import seen
from predlog.report.page import json_text
from predlog.serve.spool import Spool

# Seconds for which all is kept after the last viewer has left: a page is loaded, and then begins to watch.
_LINGER: Final = 10.0
# Seconds after which a stream without news says that it is alive, so that nothing between takes it for dead.
_ALIVE: Final = 15.0
# Changes that are kept for pages that were away for a moment.
_MOST_CHANGES, _MOST_BYTES = 1000, 1 << 22
# A page is made anew at most so often: seconds, and how many times as long as it took.
_ANEW, _TIMES = 1.0, 4
_Made = TypeVar("_Made")


class Feed(ABC):
    """What pages show, as long as somebody looks at them.

    A page knows how far it is by a cursor: the name of the reading, and the number of the change that it has seen last.

    Attributes:
        pause: Seconds between two looks.
        parts: The names of the parts of the page.
        whole: Those of them from which a page goes on by changes, so that they may be some changes behind.
        problem: Why there is nothing to show; None if nothing is wrong.
    """

    pause: float
    parts: ClassVar[frozenset[str]]
    whole: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        self._viewers = 0
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._changes: deque[bytes] = deque()
        self._begin_reading()
        self._said: bytes = b""
        self._spools: dict[str, tuple[str, float, Spool]] = {}
        self._is_stopped = False
        self.problem: Exception | None = None

    @abstractmethod
    def begin(self) -> None:
        """Read all there is, in a thread."""

    @abstractmethod
    def look(self) -> list[dict[str, Any] | None]:
        """Return what is new, in a thread: changes to send, None for one after which pages ask for all there is."""

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """Return what the mark at the top of a page shows."""

    @abstractmethod
    def end(self) -> None:
        """Close what is open, in a thread or out of one."""

    @abstractmethod
    def make(self, part: str) -> tuple[bytes, dict[str, str]]:
        """Return a part of the page and its headers, in a thread."""

    @staticmethod
    def gone(error: Exception) -> bytes:
        """Return the event that says why there is nothing to show."""
        return _event("gone", {"why": seen(str(error))})

    @property
    def cursor(self) -> str:
        """Return how far the feed is."""
        return f"{self._reading}.{self._number}"

    @property
    def is_watched(self) -> bool:
        """Return whether there is a viewer, or has been one a short time ago."""
        return self._task is not None and not self._task.done()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Keep the feed up to date inside; raise what prevents it."""
        self._viewers += 1
        try:
            if not self.is_watched:
                self.problem = None
                self._news = asyncio.Event()
                self._task = asyncio.create_task(self._work(started := asyncio.Event()))
                self._started = started
            await self._started.wait()
            if self.problem is not None:
                raise self.problem
            yield
        finally:
            self._viewers -= 1

    async def made(self, part: str) -> Spool:
        """Return a part of the page, made now or a short time ago: then its cursor is of that time."""
        async with self._lock:
            known = self._spools.get(part)
            if known is not None and (known[0] == self.cursor or (part in self.whole and self._is_fresh(known))):
                return known[2]
            started = time.monotonic()
            spool = await asyncio.to_thread(lambda: Spool(*self.make(part)))
            now = time.monotonic()
            self._spools[part] = self.cursor, now + max(_ANEW, _TIMES * (now - started)), spool
            return spool

    async def stream(self, since: str, *, stays: bool = True) -> AsyncIterator[bytes]:
        """Yield server-sent events from a cursor on, until the feed is stopped; unless it stays, only what there is."""
        said = b""
        while not self._is_stopped:
            news = self._news
            if self.problem is not None:
                yield self.gone(self.problem)
                return
            if said != (said := self._status()):
                yield said
            reading, _, number = since.rpartition(".")
            after = self._after(number) if reading == self._reading else None
            if after is None:
                yield _event("stale", {}, since := self.cursor)
            for change in after or ():
                yield change
            since = self.cursor if after is None else f"{reading}.{int(number) + len(after)}"
            if not stays:
                yield _event("again", {})
                return
            if after == []:
                try:
                    await asyncio.wait_for(news.wait(), _ALIVE)
                except asyncio.TimeoutError:
                    yield b": \n\n"

    # --- the task -------------------------------------------------------------------------------------------------
    async def _work(self, started: asyncio.Event) -> None:
        try:
            await self._in_thread(self.begin)
            self._begin_reading()
            started.set()
            left = time.monotonic()
            while self._viewers or time.monotonic() - left < _LINGER:
                left = time.monotonic() if self._viewers else left
                await asyncio.sleep(self.pause)
                for change in await self._in_thread(self.look):
                    self._publish(change)
                if self._said != self._status():
                    self._said = self._status()
                    self._tell()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - it is shown to those who look
            self.problem = error
        finally:
            self.end()
            self._spools.clear()
            started.set()
            self._tell()

    def stop(self) -> None:
        """End the task, and what it does in a thread."""
        self._is_stopped = True
        self.end()
        self._tell()
        if self._task is not None:
            self._task.cancel()

    async def _in_thread(self, function: Callable[[], _Made]) -> _Made:
        async with self._lock:
            return await asyncio.to_thread(function)

    def _publish(self, change: dict[str, Any] | None) -> None:
        if change is None:
            self._begin_reading()
        else:
            self._number += 1
            self._changes.append(_event("change", change, self.cursor))
            while len(self._changes) > _MOST_CHANGES or sum(map(len, self._changes)) > _MOST_BYTES:
                self._changes.popleft()
        self._tell()

    def _begin_reading(self) -> None:
        """Forget what was sent: it was computed from an earlier reading, or by an earlier server."""
        self._reading, self._number = token_hex(4), 0
        self._changes.clear()

    def _tell(self) -> None:
        told, self._news = self._news, asyncio.Event()
        told.set()

    # --- what was published ---------------------------------------------------------------------------------------
    def _after(self, number: str) -> list[bytes] | None:
        """Return the changes after one; None if they are not kept any more, or there was no such one."""
        if not number.isdecimal() or len(number) > 10:
            return None
        missed = self._number - int(number)
        if not 0 <= missed <= len(self._changes):
            return None
        return [self._changes[place] for place in range(len(self._changes) - missed, len(self._changes))]

    def _is_fresh(self, known: tuple[str, float, Spool]) -> bool:
        reading, _, number = known[0].rpartition(".")
        return reading == self._reading and time.monotonic() < known[1] and self._after(number) is not None

    def _status(self) -> bytes:
        return _event("status", self.status())


def _event(kind: str, data: dict[str, Any], cursor: str = "") -> bytes:
    identity = f"id: {cursor}\n" if cursor else ""
    return f"event: {kind}\n{identity}data: {json_text(data)}\n\n".encode()
