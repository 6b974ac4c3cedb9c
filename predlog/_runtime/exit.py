"""What becomes of open recorders when the process ends: all are closed, within one deadline."""

import atexit
import os
import sys
import time
import weakref
from typing import Protocol

from predlog._runtime.notices import Notices
from predlog.errors import located

# The interpreter needs the rest of five seconds to end.
DEADLINE = 4.0


class Closable(Protocol):
    """Something that can be closed within a number of seconds."""

    def close(self, timeout: float) -> bool:
        """Close, and say whether that was done in time."""


_open: weakref.WeakSet[Closable] = weakref.WeakSet()
_finalized_in: set[int] = set()
_deadlines: dict[int, float] = {}


def close_at_exit(closable: Closable) -> None:
    """See to it that `closable` is closed when this process ends, if it still lives then.

    The children that multiprocessing forks leave without running `atexit`, so they get a finalizer of its own.
    """
    _open.add(closable)
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None and os.getpid() not in _finalized_in:
        _finalized_in.add(os.getpid())
        multiprocessing.Finalize(None, _close_all, exitpriority=100)


def _close_all() -> None:
    # Some processes go both ways out: what has had its time does not get it again.
    deadline = _deadlines.setdefault(os.getpid(), time.monotonic() + DEADLINE)
    for closable in list(_open):
        try:
            closable.close(max(deadline - time.monotonic(), 0.0))
        except (KeyboardInterrupt, SystemExit):
            deadline = 0.0  # somebody does not want to wait
        except Exception as error:  # noqa: BLE001 - a strict one's failure, or worse: nobody is left to raise it to
            Notices().report("exit", located(error), error)


atexit.register(_close_all)
