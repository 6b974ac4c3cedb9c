"""Forward predlog's events to the structlog logger of the host."""

from typing import Any, Final

import structlog

from predlog.records.codec import is_ours
from predlog.records.schema import Event
from predlog.records.window import kept

_LEFT_OUT: Final = frozenset({"event", "level", "facts", "rows"})


class ToStructlog:
    """Forward predlog's events to the host's logger, at their own level, and pass them on unchanged.

    Of a part, the columns of numbers that only a reader needs are left out.

    Without `logger`, each event goes to `structlog.get_logger()` as the host has configured it at that time.
    """

    def __init__(self, logger: Any = None) -> None:
        self._logger = logger

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Log one event with the host's logger, which adds a level and a timestamp of its own."""
        if is_ours(event):
            logger = structlog.get_logger() if self._logger is None else self._logger
            fields = {key: value for key, value in event.items() if key not in _LEFT_OUT}
            if "window" in fields:
                fields["window"] = kept(fields["window"])
            getattr(logger, event["level"])(event["event"], **fields)
        return event
