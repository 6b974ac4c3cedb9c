"""A guard around each of the user's processors: its failure is reported with its name, and ends nothing else."""

from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from predlog.errors import PredlogError, located


class ProcessorError(PredlogError):
    """A user's processor failed; the arguments are its name, and what happened."""

    def __str__(self) -> str:
        return " ".join(self.args)


def named(processor: Processor) -> Processor:
    """Return the processor with its name in all its errors; one that does not return the event is an error, too."""
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
    """Return the name by which a processor or sink is reported."""
    return getattr(processor, "__name__", type(processor).__name__)
