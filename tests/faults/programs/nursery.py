"""Forked children that are waited for, each no longer than it may take."""

import os
import select
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Nursery:
    """Up to `many` children at once; how those that are gone ended, by exit code, and those that hung apart.

    Those are asked where they hang, as `telling` sees to it, before they are killed.
    """

    many: int
    patience: float
    ends: Counter[int] = field(default_factory=Counter)
    hung: int = 0
    _due: dict[int, float] = field(default_factory=dict)

    def add(self, child: int) -> None:
        """Take a child in; where there are too many, wait for the oldest."""
        self._due[child] = time.monotonic() + self.patience
        while len(self._due) > self.many:
            self._see_off(next(iter(self._due)))

    def empty(self) -> None:
        """Wait for all."""
        for child in list(self._due):
            self._see_off(child)

    def _see_off(self, child: int) -> None:
        due = self._due.pop(child)
        if not _has_ended(child, due - time.monotonic()):
            self.hung += 1
            sys.stderr.write(f"\n{child} hangs:\n")
            sys.stderr.flush()
            os.kill(child, signal.SIGUSR1)
            _has_ended(child, 0.5)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        else:
            self.ends[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1


def _has_ended(child: int, within: float) -> bool:
    handle = os.pidfd_open(child)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(max(within, 0) * 1000))
    finally:
        os.close(handle)
