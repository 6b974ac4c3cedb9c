"""Around each of the user's processors: what it raises is told with its name, and ends nothing else."""

from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from predlog.errors import PredlogError, located


class ProcessorError(PredlogError):
    """A user's processor failed; its arguments are who, and what it did."""

    def __str__(self) -> str:
        return " ".join(self.args)


def named(processor: Processor) -> Processor:
    """Let errors of a user's processor carry its name, and catch the one that forgets to return the event."""
    who = f"processor {name_of(processor)}"

    def call(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        try:
            result = processor(logger, name, event)
        except structlog.DropEvent:
            raise
        except BaseException as error:  # SystemExit and CancelledError would end the worker
            raise ProcessorError(who, f"raised {located(error)}") from error
        if not isinstance(result, MutableMapping):
            raise ProcessorError(who, f"returned {type(result).__name__}, not the event")
        return result

    return call


def name_of(processor: Any) -> str:
    """Give the name that a processor or sink is told of by."""
    return getattr(processor, "__name__", type(processor).__name__)
