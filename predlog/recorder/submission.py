"""What the training thread passes to the worker: a captured pair with its context, or why there is none."""

import math
import sys
from collections.abc import Mapping, Sequence
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


_DEEPEST = 8


def plain_context(context: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Give the context as plain values, null for what is none, and the names and reasons of those.

    A tensor is none: reading it would stop the device.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in context.items():
        try:
            values[name] = _plain(value, _DEEPEST)
        except _NotPlainError as error:
            values[name] = None
            problems.append(f"{name}={error}")
        except Exception as error:  # noqa: BLE001 - a foreign mapping's own code
            values[name] = None
            problems.append(f"{name}=<{type(value).__name__}, which raised {type(error).__name__}>")
    return values, problems


class _NotPlainError(Exception):
    """Says what a value is instead."""


def _plain(value: Any, deepest: int) -> Any:
    if value is None or type(value) in {bool, str}:
        return value
    if type(value) is int and -(2**63) <= value < 2**64:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else None
    if deepest and isinstance(value, list | tuple):
        return [_plain(item, deepest - 1) for item in value]
    if deepest and isinstance(value, Mapping):
        return {str(key): _plain(item, deepest - 1) for key, item in value.items()}
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic) and value.item() is not value:
        return _plain(value.item(), 0)
    raise _NotPlainError(f"<{type(value).__name__}>")
