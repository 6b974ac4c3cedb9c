"""One thread that does queued work in order; callers never wait for it, and its queue is bounded and counted.

Built on `queue.SimpleQueue` alone, whose methods are re-entrant, so that a call from a signal handler or from
garbage collection can't deadlock. A forked child has no worker and accepts nothing.

A signal's handler may also raise, and so may another thread. Both happen, as threads take turns, only where a call
begins, ends or is repeated. So what must not be separated stands here without a call in between.
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from predlog._runtime.failure import own_failure
from predlog._runtime.fork import ForkSafeLock
from predlog.errors import NoThreadError

Item = TypeVar("Item")
_PAUSE = 100e-6


class _Stop:
    """Ends the worker."""


class _State(Enum):
    NEW, QUEUED, TAKEN, WITHDRAWN = range(4)


_NEW, _QUEUED, _TAKEN, _WITHDRAWN = _State  # an attribute of an Enum may be a call


@dataclass(slots=True, eq=False)
class Ticket(Generic[Item]):
    """An item on its way to a worker: it is worked on once, or withdrawn by the caller that was interrupted."""

    item: Item
    state: _State = _NEW


class Worker(Generic[Item]):
    """A bounded queue and the one daemon thread that empties it, calling `work` with each item.

    At most `bound` items wait or are being worked on; `submit` refuses the next. The same thread calls `settle` before
    it answers a flush, and `finish` once, at the end. None of the three may raise. The caller that starts the thread
    calls `prepare` first; it may be called more than once, also by several threads at the same time. With
    `settle_after`, it settles also when, after an item, none has come for so many seconds.
    """

    def __init__(
        self,
        work: Callable[[Item], None],
        settle: Callable[[], None],
        finish: Callable[[], None],
        *,
        bound: int,
        name: str,
        prepare: Callable[[], None] | None = None,
        settle_after: float | None = None,
    ) -> None:
        self._prepare = prepare
        self._work = work
        self._settle = settle
        self._finish = finish
        self._bound = bound
        self._name = name
        self._settle_after = settle_after
        self._owner = os.getpid()
        self._queue: queue.SimpleQueue[Ticket[Item] | queue.SimpleQueue[None] | _Stop] = queue.SimpleQueue()
        self._in_flight = 0
        # The thread that takes the one token is the worker: of threads that several callers start at once, one.
        self._idle: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._idle.put(None)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._closing_since: float | None = None
        # Held by the worker while it works; besides, only a fork acquires it.
        self._at_work = ForkSafeLock()
        # The calls of `put` that are running, so that the worker does not end before them.
        self._entering: dict[object, None] = {}

    @property
    def pending(self) -> int:
        """The number of items that wait or are being worked on."""
        return self._in_flight

    @property
    def bound(self) -> int:
        """The number of items that may wait or be worked on."""
        return self._bound

    @property
    def is_closed(self) -> bool:
        """Whether it was closed and accepts nothing more."""
        return self._closed

    def is_mine(self) -> bool:
        """Return whether this process made it: a forked child did not, and has no worker."""
        return os.getpid() == self._owner

    def submit(self, item: Item) -> bool:
        """Queue an item and return at once; return False if it was refused: full, closed, or in a forked child.

        Raises NoThreadError if there is no worker, and none can be started.
        """
        return self.put(Ticket(item))

    def put(self, ticket: Ticket[Item]) -> bool:
        """Queue the item of a new ticket, as `submit` does; a caller that is interrupted withdraws the ticket."""
        call = object()
        self._entering[call] = None
        try:
            if self._closed or not self.is_mine():
                return False
            self.start()
            if self._in_flight >= self._bound:
                return False
            self._in_flight += 1
            ticket.state = _QUEUED
            self._queue.put(ticket)
            return True
        finally:
            del self._entering[call]

    def withdraw(self, ticket: Ticket[Item]) -> bool:
        """Take back what an interrupted call of `put` may have queued; return False if the worker has taken it."""
        if ticket.state is _QUEUED:
            ticket.state = _WITHDRAWN
            self._in_flight -= 1
        return ticket.state is not _TAKEN

    def flush(self, timeout: float) -> bool:
        """Wait until all that was queued before this call is done; return False after `timeout` seconds."""
        if not self.is_mine() or (self._thread is None and self._queue.empty()):
            return True
        if self._closed or self._thread is threading.current_thread():
            return self.pending == 0
        reply: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._queue.put(reply)
        try:
            reply.get(timeout=_bounded(timeout))
        except queue.Empty:
            return False
        return True

    def close(self, timeout: float) -> bool:
        """Refuse new items, finish what is queued, end the thread; return False after `timeout` seconds."""
        if not self.is_mine():
            return True
        stop = _Stop()
        if not self._closed:
            self._closed = True
            self._queue.put(stop)
        if self._thread is None:
            return self.pending == 0
        if self._thread is threading.current_thread():
            return True  # the worker itself: it ends when it has returned and finished
        self._thread.join(_bounded(timeout))
        return not self._thread.is_alive()

    def closing_since(self) -> float:
        """Return when it was closed, by the monotonic clock: now, if it is about to be."""
        if self._closing_since is None:
            self._closing_since = time.monotonic()
        return self._closing_since

    def start(self) -> None:
        """Start the worker, if there is none; raise NoThreadError if that can't be done.

        A signal handler may raise in the middle of this, so only the worker itself records that it exists.
        """
        if self._has_worker():
            return
        if self._prepare is not None:
            self._prepare()
        handled = sys.exc_info()[1]
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except own_failure(Exception) as error:
            # If a signal's handler raises as the thread is started, Python's own code may fail on top of that.
            if (first := error.__context__) is not None and first is not handled:
                raise first from None
            if not isinstance(error, RuntimeError):
                raise
            raise NoThreadError(f"predlog can't start its thread: {error}") from None
        # `close` needs to know the worker: the thread that was just started, or one that another caller started, is
        # about to record itself.
        deadline = time.monotonic() + 1.0
        while not self._has_worker() and time.monotonic() < deadline:
            time.sleep(_PAUSE)

    def _has_worker(self) -> bool:
        return self._thread is not None

    def _run(self) -> None:
        try:
            self._idle.get_nowait()
        except queue.Empty:
            return
        self._thread = threading.current_thread()
        item = self._queue.get()
        while not isinstance(item, _Stop):
            self._handle(item)
            item = self._next()
        # Items that were submitted while `close` was called are queued after the stop, and were accepted. The wait is
        # bounded: a running call of `submit` may be one that a signal handler has interrupted to close.
        deadline = time.monotonic() + 0.1
        while self._entering and time.monotonic() < deadline:
            time.sleep(0.001)
        while not self._queue.empty():
            self._handle(self._queue.get())
        with self._at_work.lock:
            self._finish()

    def _next(self) -> "Ticket[Item] | queue.SimpleQueue[None] | _Stop":
        if self._settle_after is not None:
            try:
                return self._queue.get(timeout=self._settle_after)
            except queue.Empty:
                with self._at_work.lock:
                    self._settle()
        return self._queue.get()

    def _handle(self, item: "Ticket[Item] | queue.SimpleQueue[None] | _Stop") -> None:
        if isinstance(item, queue.SimpleQueue):
            with self._at_work.lock:
                self._settle()
            item.put(None)
        elif isinstance(item, Ticket) and item.state is _QUEUED:
            item.state = _TAKEN
            with self._at_work.lock:
                self._work(item.item)
            self._in_flight -= 1


def _bounded(timeout: float) -> float:
    # Infinity and 10**10 are longer than the clock can count; a NaN counts as 0.
    return min(timeout, threading.TIMEOUT_MAX) if timeout > 0 else 0.0
