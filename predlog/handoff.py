"""Hand work to one thread without ever waiting for it: bounded, counted, in order.

Built on `queue.SimpleQueue` alone, whose methods are re-entrant, so that a call from a signal handler or from
garbage collection can't deadlock. A forked child has no worker and accepts nothing.
"""

import os
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _Stop:
    """Ends the worker."""


class HandOff(Generic[Item]):
    """A bounded queue and the one daemon thread that empties it, calling `work` with each item.

    At most `bound` items wait or are being worked on; `submit` refuses the next. The same thread calls
    `settle` before it answers a flush, and `finish` once, last of all. None of the three may raise.
    """

    def __init__(
        self,
        work: Callable[[Item], None],
        settle: Callable[[], None],
        finish: Callable[[], None],
        *,
        bound: int,
        name: str,
    ) -> None:
        self._work = work
        self._settle = settle
        self._finish = finish
        self._bound = bound
        self._name = name
        self._owner = os.getpid()
        self._queue: queue.SimpleQueue[Item | queue.SimpleQueue[None] | _Stop] = queue.SimpleQueue()
        # One permit for each item in flight. Taking one is a single atomic call, where comparing a length and
        # putting would be two.
        self._permits: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(bound):
            self._permits.put(None)
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def pending(self) -> int:
        """The number of items that wait or are being worked on."""
        return self._bound - self._permits.qsize()

    def is_mine(self) -> bool:
        """Say whether this process made it: a forked child did not, and has no worker."""
        return os.getpid() == self._owner

    def submit(self, item: Item) -> bool:
        """Queue an item and return at once; False where it was refused: full, closed, or in a forked child."""
        if self._closed or not self.is_mine():
            return False
        try:
            self._permits.get_nowait()
        except queue.Empty:
            return False
        self._queue.put(item)
        if self._thread is None:
            self._start()
        return True

    def flush(self, timeout: float) -> bool:
        """Wait until all that was queued before this call is done; False where `timeout` seconds passed first."""
        if self._thread is None or not self.is_mine():
            return True
        if self._closed or self._thread is threading.current_thread():
            return self.pending == 0
        reply: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._queue.put(reply)
        try:
            reply.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return False
        return True

    def close(self, timeout: float) -> bool:
        """Refuse what comes, finish what is queued, end the thread; False where that took over `timeout` s."""
        if not self.is_mine():
            return True
        if not self._closed:
            self._closed = True
            self._queue.put(_Stop())
        if self._thread is None or self._thread is threading.current_thread():
            return self.pending == 0
        self._thread.join(max(timeout, 0.0))
        return not self._thread.is_alive()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not isinstance(item := self._queue.get(), _Stop):
            if isinstance(item, queue.SimpleQueue):
                self._settle()
                item.put(None)
                continue
            self._work(item)
            self._permits.put(None)
        self._finish()
