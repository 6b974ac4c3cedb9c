"""A sink with a thread and a queue of its own: slow, blocked or hanging, it delays nothing but itself."""

from contextlib import suppress

from predlog.errors import NoThreadError
from predlog.handoff import HandOff
from predlog.notices import Notices
from predlog.outlets import Outlet
from predlog.records import Checked, Event


class Lane:
    """The way to one sink, for events of which at most `bound` wait; the newest is dropped where there are more."""

    def __init__(self, outlet: Outlet, notices: Notices, *, bound: int) -> None:
        self.outlet = outlet
        self.dropped = 0
        self._notices = notices
        self._bound = bound
        self._handoff: HandOff[Event] = HandOff(
            self._take, outlet.settle, outlet.finish, bound=bound, name=f"predlog {outlet.name}"
        )

    def start(self) -> None:
        """Start the thread, if that is possible now; each event tries again."""
        with suppress(NoThreadError):
            self._handoff.start()

    def submit(self, event: Event) -> None:
        """Hand over an event, and return at once."""
        try:
            # A copy, because each sink counts its lines in its own.
            accepted, why = self._handoff.submit(Checked(event)), f"{self.outlet.name} is too slow"
        except NoThreadError as error:
            accepted, why = False, f"no thread for {self.outlet.name}"
            self._notices.say(f"thread {self.outlet.name}", f"{self.outlet.name} gets nothing: {error}")
        else:
            if not accepted:
                self._notices.mention(
                    f"slow {self.outlet.name}",
                    f"{self.outlet.name} is slower than what comes: {self._bound} events wait for it, so the next are "
                    "dropped there, and nowhere else",
                )
        if not accepted:
            self.dropped += event["event"] == "predlog.comparison"
            self.outlet.lose(event, why)

    def flush(self, timeout: float) -> bool:
        """Wait until the sink has all that was handed over; False where `timeout` seconds passed first."""
        return self._handoff.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Refuse what comes, finish what is queued; False where that took over `timeout` seconds."""
        return self._handoff.close(timeout)

    def _take(self, event: Event) -> None:
        self.outlet.take(event)
