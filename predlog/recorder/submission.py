"""What the training thread hands to the worker: a captured pair and the future of its records, or why there is none."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

from predlog.capture.snapshot import Capture
from predlog.records import codec
from predlog.records.schema import Comparison, Event


@dataclass(frozen=True, slots=True)
class Submission:
    """A captured pair on its way, and the future that waits for its records."""

    capture: Capture
    step: int
    stream: str
    context: dict[str, Any]
    at: float
    future: "Recorded"


class Recorded(Future[tuple[Comparison, ...]]):
    """A standard future of the records that reached the sinks; typed when somebody asks, which few do."""

    def result(self, timeout: float | None = None) -> tuple[Comparison, ...]:
        """Wait for the records, and give them."""
        events: Any = super().result(timeout)
        return tuple(record for record in map(codec.from_event, events) if isinstance(record, Comparison))

    def set_events(self, events: Sequence[Event]) -> None:
        """Resolve with what reached the sinks."""
        super().set_result(cast(Any, events))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pair that could not be captured, and the finding that says why."""

    code: str
    message: str
    evidence: dict[str, Any]
    step: int
    stream: str
    at: float
