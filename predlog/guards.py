"""Around each processor and sink: what one of them raises is told with its name, and ends nothing else."""

from collections.abc import Callable, MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from predlog.errors import PredlogError, described
from predlog.records import Event
from predlog.sinks import JSONL, Console


class ProcessorError(PredlogError):
    """A user's processor failed; its arguments are who, and what it did."""

    def __str__(self) -> str:
        return " ".join(self.args)


def named(processor: Processor) -> Processor:
    """Let errors of a user's processor carry its name, and catch the one that forgets to return the event."""
    who = f"processor {_name_of(processor)}"

    def call(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        try:
            result = processor(logger, name, event)
        except structlog.DropEvent:
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit and CancelledError would end the worker
            raise ProcessorError(who, f"raised {described(error)}") from None
        if not isinstance(result, MutableMapping):
            raise ProcessorError(who, f"returned {type(result).__name__}, not the event")
        return result

    return call


class GuardedSink:
    """A sink that can't take the others, or the worker, down with it.

    `failed` is called with the sink's name and the error, `lost` with each event that a file did not take and why.
    """

    def __init__(
        self, sink: Processor, failed: Callable[[str, BaseException], None], lost: Callable[[Event, str], None]
    ) -> None:
        self._sink = sink
        self._is_ours = type(sink) in {JSONL, Console}
        self._name = _name_of(sink)
        self._tell_failed = failed
        self._tell_lost = lost

    def __call__(self, logger: Any, name: str, event: Event) -> Event:
        """Give the sink the event, and pass it on whatever becomes of it."""
        if not self._is_ours:
            event = dict(event)  # it may be changed, so it is known to fit the schema no longer
        try:
            self._sink(logger, name, event)
        except structlog.DropEvent:
            pass  # it took the event; structlog's own LogCapture ends like that
        except BaseException as error:  # noqa: BLE001 - as above
            self._failed(error)
            if isinstance(self._sink, JSONL):
                self._tell_lost(event, f"{self._name} failed: {type(error).__name__}")
        return event

    def call(self, method: str) -> None:
        """Call one of the methods that a sink may have: flush, close."""
        try:
            getattr(self._sink, method, lambda: None)()
        except BaseException as error:  # noqa: BLE001 - as above
            self._failed(error)

    def last_attempt(self) -> int:
        """Give the newest attempt in the sink's file; 0 where it has none, or none that can be read."""
        try:
            return self._sink.last_attempt() if isinstance(self._sink, JSONL) else 0
        except OSError as error:
            self._failed(error)
            return 0

    def _failed(self, error: BaseException) -> None:
        self._tell_failed(self._name, error)


def _name_of(processor: Any) -> str:
    return getattr(processor, "__name__", type(processor).__name__)
