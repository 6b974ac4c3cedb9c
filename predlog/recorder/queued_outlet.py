"""A sink that has a thread and a queue of its own, so that it delays neither the run's file nor another sink."""

from contextlib import suppress

from predlog._runtime.notices import Notices
from predlog.errors import NoThreadError
from predlog.recorder.outlet import Outlet
from predlog.recorder.worker import Worker
from predlog.records.schema import Checked, Event


class QueuedOutlet:
    """A sink with a thread and a queue of at most `bound` events; if the queue is full, the newest event is dropped."""

    def __init__(self, outlet: Outlet, notices: Notices, *, bound: int) -> None:
        self.outlet = outlet
        self.dropped = 0
        self._notices = notices
        self._bound = bound
        self._worker: Worker[Event] = Worker(
            self._write, outlet.settle, outlet.finish, bound=bound, name=f"predlog {outlet.name}"
        )

    def start(self) -> None:
        """Start the thread, if that is possible now; otherwise each event tries again."""
        with suppress(NoThreadError):
            self._worker.start()

    def submit(self, event: Event) -> None:
        """Queue an event, and return at once."""
        try:
            # A copy, because each sink numbers its own lines.
            accepted, why = self._worker.submit(Checked(event)), f"{self.outlet.name} is too slow"
        except NoThreadError as error:
            accepted, why = False, f"no thread for {self.outlet.name}"
            self._notices.report(f"thread {self.outlet.name}", f"{self.outlet.name} gets nothing: {error}", error)
        else:
            if not accepted:
                self._notices.note(
                    f"slow {self.outlet.name}",
                    f"{self.outlet.name} is too slow: {self._bound} events wait for it, so the next are dropped there,"
                    " and nowhere else; a larger `every` helps",
                )
        if not accepted:
            self.dropped += event["event"] == "predlog.comparison"
            self.outlet.miss(event, why)

    def flush(self, timeout: float) -> bool:
        """Wait until the sink has all that was queued; return False if that takes over `timeout` seconds."""
        return self._worker.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Refuse new events, write what is queued; return False if that takes over `timeout` seconds."""
        return self._worker.close(timeout)

    def _write(self, event: Event) -> None:
        self.outlet.write(event)
