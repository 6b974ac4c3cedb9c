"""When the process ends, all open recorders are closed within one deadline."""

import atexit
import os
import sys
import time
import weakref
from typing import Protocol

from predlog._runtime.failure import located, own_failure
from predlog._runtime.notices import Notices

# Seconds. The whole exit is to take five: the interpreter needs the rest.
DEADLINE = 4.0


class Closable(Protocol):
    """Something that can be closed within a number of seconds."""

    def close(self, timeout: float) -> bool:
        """Close, and return whether that was done in time."""


_open: weakref.WeakSet[Closable] = weakref.WeakSet()
_kept: list[Closable] = []
_finalized_in: set[int] = set()
_deadlines: dict[int, float] = {}
_ending_in: set[int] = set()


def close_at_exit(closable: Closable) -> None:
    """Close `closable` when this process ends, if it still exists then.

    The children that multiprocessing forks end without running `atexit`, so multiprocessing's own finalizer is used.
    """
    _open.add(closable)
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None and os.getpid() not in _finalized_in:
        _finalized_in.add(os.getpid())
        multiprocessing.Finalize(None, _close_all, exitpriority=100)


def keep_until_exit(closable: Closable) -> None:
    """Keep what is to be closed at the end of the process, though nothing else refers to it. Takes no lock."""
    _kept.append(closable)


def uncaught() -> str | None:
    """Return the name of the exception that ends this process; None without one, or before the end.

    A kernel or a prompt goes on after an exception, so of these it is not known.
    """
    if os.getpid() not in _ending_in or hasattr(sys, "ps1") or "ipykernel.zmqshell" in sys.modules:
        return None
    kind = getattr(sys, "last_type", None)
    return named(kind) if isinstance(kind, type) else None


def named(kind: type[BaseException]) -> str | None:
    """Return the name of an exception that ends a run too early; None of one that leaves on purpose."""
    return None if issubclass(kind, (SystemExit, GeneratorExit)) else kind.__name__


def _close_all() -> None:
    _ending_in.add(os.getpid())
    # In some processes both `atexit` and the finalizer run: they share one deadline.
    deadline = _deadlines.setdefault(os.getpid(), time.monotonic() + DEADLINE)
    interruption: Exception | None = None
    still_open = list(_open)
    while still_open:
        closable = still_open.pop(0)
        try:
            closable.close(max(deadline - time.monotonic(), 0.0))
        except (KeyboardInterrupt, SystemExit):
            deadline = 0.0  # the user does not want to wait
        except own_failure(Exception, closable) as error:  # of a strict one, or worse: nobody to raise it to
            Notices().report("exit", located(error), error)
        except Exception as error:  # noqa: BLE001 - a signal's handler raised it: all are to be closed, this one too
            if interruption is None:
                still_open.append(closable)
            interruption = error
    if interruption is not None:
        raise interruption


atexit.register(_close_all)
