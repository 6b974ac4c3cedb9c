"""All sinks of a recorder: the run's file, and others that have a thread of their own; made with the first pair."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from structlog.typing import Processor

from predlog._runtime.notices import Notices
from predlog.recorder.outlet import Outlet
from predlog.recorder.queued_outlet import QueuedOutlet
from predlog.recorder.stats import Accounts
from predlog.records.schema import Event
from predlog.sinks.notebook import Notebook

# Seconds for which the end of a notebook's cell is held up, at most.
_PATIENCE: Final = 2.0


class Outlets:
    """The file and the other sinks, as soon as they are open.

    Args:
        make: Returns the file, or None, and the other sinks.
        bound: How many events may wait for a sink that has a thread.
        accounts: Gets the sinks, whose counts it includes.
        notices: Where failures are reported.
    """

    def __init__(
        self,
        make: Callable[[], tuple[Processor | None, Sequence[Processor]]],
        bound: int,
        accounts: Accounts,
        notices: Notices,
    ) -> None:
        self._make = make
        self._bound = bound
        self._accounts = accounts
        self._notices = notices
        # Waits, at most so many seconds, until what was compared has come this far.
        self.upstream: Callable[[float], bool] = lambda _timeout: True
        self._notebooks: list[Notebook] = []
        self._open: dict[str, tuple[Outlet | None, list[QueuedOutlet]]] = {}

    def open(self) -> None:
        """Make the sinks and start their threads, in the thread that compares first, before the worker starts.

        Not earlier, because the process group, and with it the rank, may not exist before the first pair. Not in the
        worker, because an interpreter that is ending starts no more threads, and the worker may get that far only then.
        """
        if not self._open:
            file, others = self._make()
            queued = [QueuedOutlet(Outlet(sink, self._notices), self._notices, bound=self._bound) for sink in others]
            # Several threads may compare at once.
            self._open.setdefault("sinks", (self._outlet(file), queued))
        # Done again if a signal's handler has interrupted the call before.
        self._accounts.file, self._accounts.queued = self.file, self.queued
        for one in self.queued:
            if one.outlet.notebook is not None and one.outlet.notebook not in self._notebooks:
                one.outlet.notebook.lead(partial(self._catch_up, one))
                self._notebooks.append(one.outlet.notebook)
            one.start()
        self.begin_table()

    def begin_table(self) -> None:
        """Begin a notebook's table below the cell that compares, whose thread calls this; elsewhere, do nothing."""
        for one in self._notebooks:
            one.begin()

    def _catch_up(self, outlet: QueuedOutlet) -> None:
        """Wait, shortly, until a notebook's table has all that was compared, because its cell has ended."""
        deadline = time.monotonic() + _PATIENCE
        self.upstream(_PATIENCE)
        outlet.flush(deadline - time.monotonic())

    def open_file(self) -> bool:
        """Make the file alone, without a thread; return False if there is none, or if the sinks are open already."""
        file, _ = self._make()
        if file is None or self._open:
            return False
        self._open["sinks"] = self._outlet(file), []
        self._accounts.file = self.file
        return True

    def _outlet(self, file: Processor | None) -> Outlet | None:
        return None if file is None else Outlet(file, self._notices)

    @property
    def file(self) -> Outlet | None:
        """The run's file, if there is one and it is open."""
        return self._open["sinks"][0] if self._open else None

    @property
    def queued(self) -> list[QueuedOutlet]:
        """The sinks that have a thread."""
        return self._open["sinks"][1] if self._open else []

    @property
    def all(self) -> list[Outlet]:
        """The file, if there is one, and all others."""
        return [*([self.file] if self.file is not None else []), *(one.outlet for one in self.queued)]

    def write(self, event: Event) -> bool:
        """Write an event to every sink; return False if the run's file failed."""
        is_written = self.file is None or self.file.write(event)
        for one in self.queued:
            one.submit(event)
        return is_written

    def end_pair(self) -> None:
        """Tell the sinks with a thread that the pair has no more comparisons."""
        for one in self.queued:
            one.end_pair()

    def flush(self, timeout: float) -> bool:
        """Wait until every sink has what is queued; return False after `timeout` seconds. Any thread may call it."""
        deadline = time.monotonic() + timeout
        done = [one.flush(deadline - time.monotonic()) for one in self.queued]
        return all(done)

    def close(self, deadline: float) -> bool:
        """Close the sinks that have a thread; return False at the deadline, of the monotonic clock. Any thread may."""
        done = [one.close(deadline - time.monotonic()) for one in self.queued]
        return all(done)
