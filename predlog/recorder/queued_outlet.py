"""A sink that has a thread and a queue of its own, so that it delays neither the run's file nor another sink."""

from collections.abc import Sequence
from contextlib import suppress

from predlog._runtime.notices import Notices
from predlog.errors import NoThreadError
from predlog.recorder.outlet import Outlet
from predlog.recorder.worker import Worker
from predlog.records.schema import OF_PAIRS, Checked, Event
from predlog.sinks.notebook import INTERVAL


class QueuedOutlet:
    """A sink with a thread and a queue of at most `bound` events; if the queue is full, the newest event is dropped.

    The comparisons of one pair wait together, and count as one, for a console: it draws them side by side.
    """

    def __init__(self, outlet: Outlet, notices: Notices, *, bound: int) -> None:
        self.outlet = outlet
        self.dropped = 0
        self._notices = notices
        self._bound = bound
        self._pair: list[Event] = []
        self._worker: Worker[Sequence[Event]] = Worker(
            self._write, outlet.settle, outlet.finish, bound=bound, name=f"predlog {outlet.name}",
            settle_after=None if outlet.notebook is None else INTERVAL,
        )  # fmt: skip

    def start(self) -> None:
        """Start the thread, if that is possible now; otherwise each event tries again."""
        with suppress(NoThreadError):
            self._worker.start()

    def submit(self, event: Event) -> None:
        """Queue an event, and return at once; a console's comparisons at the end of the pair, or before another event.

        One thread at a time calls this and `end_pair`.
        """
        # A copy, because each sink numbers its own lines.
        event = Checked(event)
        if self.outlet.is_console and event["event"] in OF_PAIRS:
            self._pair.append(event)
        else:
            self.end_pair()
            self._submit((event,))

    def end_pair(self) -> None:
        """Queue what is held back until the pair has no more comparisons."""
        if self._pair:
            pair, self._pair = self._pair, []
            self._submit(pair)

    def _submit(self, events: Sequence[Event]) -> None:
        try:
            accepted, why = self._worker.submit(events), f"{self.outlet.name} is too slow"
        except NoThreadError as error:
            accepted, why = False, f"no thread for {self.outlet.name}"
            self._notices.report(f"thread {self.outlet.name}", f"{self.outlet.name} gets nothing: {error}", error)
        else:
            if not accepted:
                what = "pairs" if self.outlet.is_console else "events"
                self._notices.note(
                    f"slow {self.outlet.name}",
                    f"{self.outlet.name} is too slow: {self._bound} {what} wait for it, so the next are dropped there,"
                    " and nowhere else; a larger `every` helps",
                )
        if not accepted:
            for event in events:
                self.dropped += event["event"] in OF_PAIRS
                self.outlet.miss(event, why)

    def flush(self, timeout: float) -> bool:
        """Wait until the sink has all that was queued; return False if that takes over `timeout` seconds."""
        return self._worker.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Refuse new events, write what is queued; return False if that takes over `timeout` seconds."""
        return self._worker.close(timeout)

    def _write(self, events: Sequence[Event]) -> None:
        self.outlet.expect(events)
        for event in events:
            self.outlet.write(event)
