"""Around a fork: predlog's threads hold no lock of anybody's at that moment, and a child starts with free ones.

A thread is gone in the child, and what it had locked stays locked there for ever: a console's lock, a progress bar's, a
stream's own. So whatever is done behind a `ForkSafeLock` is waited for before a fork, for a moment and not longer.
"""

import os
import threading
import time
import weakref
from contextlib import suppress

# For all of them together. Longer takes only what is stuck, which is not waited for a second time.
_PATIENCE = 1.0
_all: "weakref.WeakValueDictionary[int, ForkSafeLock]" = weakref.WeakValueDictionary()


class _Forking(threading.local):
    """What this thread holds while it forks."""

    def __init__(self) -> None:
        self.held: list[ForkSafeLock] = []


_forking = _Forking()


class ForkSafeLock:
    """A re-entrant lock that forks wait for, and that is free in the child: `with safe.lock:`.

    One that is taken while another is held is an `inner` one: forks take those last.
    """

    def __init__(self, *, inner: bool = False) -> None:
        self.lock = threading.RLock()
        self.is_inner = inner
        self._is_stuck = False
        _all[id(self)] = self

    def hold(self, timeout: float) -> bool:
        """Take it for a fork; False where that takes longer than `timeout` seconds."""
        is_held = self.lock.acquire(timeout=0.0 if self._is_stuck else max(timeout, 0.0))
        self._is_stuck = not is_held
        return is_held

    def release(self) -> None:
        """Give it back."""
        self.lock.release()

    def renew(self) -> None:
        """Forget who holds it: a thread that the child does not have."""
        self.lock = threading.RLock()


def _locks() -> list[ForkSafeLock]:
    return sorted((lock for one in _all.valuerefs() if (lock := one()) is not None), key=lambda lock: lock.is_inner)


def _before() -> None:
    deadline = time.monotonic() + _PATIENCE
    held = _forking.held = []
    for lock in _locks():
        # Noted before it is taken: a signal's handler may raise at any moment, and what is held must be given back.
        held.append(lock)
        if not lock.hold(deadline - time.monotonic()):
            held.remove(lock)


def _in_parent() -> None:
    held, _forking.held = _forking.held, []
    for lock in held:
        with suppress(RuntimeError):  # noted, and not taken
            lock.release()


def _in_child() -> None:
    for lock in _locks():
        if lock not in _forking.held:
            lock.renew()
    _in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
