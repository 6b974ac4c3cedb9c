"""Guards around the user's processors: a failure is reported with its name, and what they add is made plain."""

from collections.abc import Iterable, MutableMapping
from typing import Any, Final

import structlog
from structlog.typing import Processor

from predlog._runtime.failure import located
from predlog._runtime.notices import Notices
from predlog.errors import PredlogError, RecordError
from predlog.records import codec
from predlog.records.plain import Conversion
from predlog.records.schema import OF_PAIRS, Checked

# Fields of events that hold whatever the caller and the processors put there.
_FREE = ("context", "evidence", "settings", "stats")
_MOST_NAMED = 3
# What a processor was to change in the first and last line, but failed.
WITHHELD: Final[dict[str, Any]] = {"host": "", "settings": {}, "context": {}}


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


def checked(event: MutableMapping[str, Any], notices: Notices, *, is_foreign: bool) -> Checked:
    """Return an event in the schema's shape, with plain values only; the others become null, which is reported.

    Unless it `is_foreign`, no processor has seen it, and the values of a comparison are plain.

    Raises:
        RecordError: A key is missing, or a value has the wrong type.
    """
    conformed = Checked(codec.conform(event))
    if not is_foreign and conformed["event"] in OF_PAIRS:
        return conformed
    _convert(conformed, _FREE, notices)
    if is_foreign:
        try:
            codec.from_event(conformed)
        except RecordError:  # a typed field has a NumPy scalar, say: to look at all of them takes longer
            _convert(conformed, conformed, notices)
            codec.from_event(conformed)
    return conformed


def without_message(event: dict[str, Any]) -> dict[str, Any]:
    """Return a finding without its message, which a processor was to change but dropped, or failed on."""
    return {**event, "message": f"{event['code']}: a processor dropped the message, or failed", "evidence": {}}


def _convert(event: Checked, names: Iterable[str], notices: Notices) -> None:
    conversion = Conversion()
    for name in names:
        if name in event:
            event[name] = conversion.of(event[name], name)
    if refused := conversion.refused:
        more = f" (and {len(refused) - _MOST_NAMED} more)" if len(refused) > _MOST_NAMED else ""
        where = f"step {event['step']}, stream {event['stream']!r}" if "stream" in event else event["event"]
        are = "is no plain value and is" if len(refused) == 1 else "are no plain values and are"
        notices.report(
            f"values of {event['event']}",
            f"{where}: {', '.join(refused[:_MOST_NAMED])}{more} {are} recorded as null; pass numbers and texts",
        )
