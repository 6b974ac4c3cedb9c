"""Locks that forks respect: no thread of predlog's holds a lock during a fork, and a child starts with free locks.

A child has only the thread that forked. What another thread had locked stays locked there for ever: a console's lock, a
progress bar's, a stream's own. So a fork waits until no other thread holds a `ForkSafeLock`, for at most one second.
"""

import os
import threading
import time
import weakref
from contextlib import suppress

# Seconds, for all locks together. A lock that takes longer is stuck, and the next fork does not wait for it.
_PATIENCE = 1.0
_all: "weakref.WeakValueDictionary[int, ForkSafeLock]" = weakref.WeakValueDictionary()


class _Forking(threading.local):
    """The locks that this thread holds while it forks."""

    def __init__(self) -> None:
        self.held: list[ForkSafeLock] = []


_forking = _Forking()


class ForkSafeLock:
    """A re-entrant lock that forks wait for, and that is free in the child: `with safe.lock:`.

    A lock that is taken while another one is held is `inner`: forks take those last.
    """

    def __init__(self, *, inner: bool = False) -> None:
        self.lock = threading.RLock()
        self.is_inner = inner
        self._is_stuck = False
        _all[id(self)] = self

    def hold(self, timeout: float) -> bool:
        """Acquire it for a fork; return False if that takes longer than `timeout` seconds."""
        is_held = self.lock.acquire(timeout=0.0 if self._is_stuck else max(timeout, 0.0))
        self._is_stuck = not is_held
        return is_held

    def release(self) -> None:
        """Release it after a fork."""
        self.lock.release()

    def renew(self) -> None:
        """Replace the lock in a child: the thread that holds it does not exist there."""
        self.lock = threading.RLock()


def _locks() -> list[ForkSafeLock]:
    return sorted((lock for one in _all.valuerefs() if (lock := one()) is not None), key=lambda lock: lock.is_inner)


def _before() -> None:
    deadline = time.monotonic() + _PATIENCE
    held = _forking.held = []
    for lock in _locks():
        # Listed before it is acquired: a signal handler may raise at any moment, and a held lock must be released.
        held.append(lock)
        if not lock.hold(deadline - time.monotonic()):
            held.remove(lock)


def _in_parent() -> None:
    held, _forking.held = _forking.held, []
    for lock in held:
        with suppress(RuntimeError):  # listed, but not acquired
            lock.release()


def _in_child() -> None:
    for lock in _locks():
        if lock not in _forking.held:
            lock.renew()
    _in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
