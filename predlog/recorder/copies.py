"""Copies and pickles of what holds a recorder: a copy in the same process records nothing, in another one it is new.

Models, callbacks and trainers are copied and pickled with all that they hold, and none of that may fail. So what can't
be pickled, such as a function around a tokenizer, is left out and reported.
"""

import os
import pickle
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from structlog import DropEvent

from predlog._runtime.failure import described, own_failure
from predlog._runtime.notices import Notices

# A forked child has the name of its parent's process, and another number.
_PROCESS = uuid.uuid4().hex
# Arguments that are objects of others.
_FOREIGN = frozenset({"decode", "special_tokens", "processors", "sinks"})
_notices = Notices()


def this_process() -> tuple[str, int]:
    """Return what names this process, among all that ever were."""
    return _PROCESS, os.getpid()


def pickled(arguments: Mapping[str, Any], what: str) -> dict[str, bytes]:
    """Return each argument as a pickle of its own, without those that can't be pickled, which is reported once."""
    made: dict[str, bytes] = {}
    for name, value in arguments.items():
        try:
            made[name] = pickle.dumps(value)
        except own_failure(Exception, value) as error:  # a foreign object's own code
            _report_left_out(name, what, error, "can't be pickled")
    return made


def unpickled(given: Mapping[str, bytes], what: str) -> dict[str, Any]:
    """Return a recorder's arguments that `pickled` returned, without those that can't be unpickled here.

    What is left out is reported once; without its processors a recorder records nothing.
    """
    made: dict[str, Any] = {}
    for name, value in given.items():
        try:
            made[name] = pickle.loads(value)  # noqa: S301 - a part of a pickle that is being loaded
        except own_failure(Exception, value) as error:  # a foreign object's own code
            _report_left_out(name, what, error, "can't be unpickled")
    # They were to change what is written, perhaps to redact it.
    made.setdefault("processors", [withhold])
    return made


def copied(kind: Any, arguments: Mapping[str, Any], original: str) -> Any:
    """Return a recorder that records nothing; it copies no tokenizer, and can be pickled as its original."""
    made = kind.__new__(kind)
    plain = {name: value for name, value in arguments.items() if name not in _FOREIGN}
    kind.__init__(made, **{**plain, "strict": False})
    made.__dict__.update(_arguments=dict(arguments), _original=original)
    made.gate.silenced = partial(report_copy, original)
    return made


def reduced(kind: Any, arguments: Mapping[str, Any], original: str) -> tuple[Any, ...]:
    """Return what a recorder is pickled as."""
    return _made, (kind, pickled(arguments, "a recorder"), original, this_process())


def _made(kind: Any, given: Mapping[str, bytes], original: str, where: tuple[str, int]) -> Any:
    """Return a recorder as it was pickled: in the same process one that records nothing, as a copy."""
    arguments = unpickled(given, "a recorder")
    return copied(kind, arguments, original) if where == this_process() else kind(**arguments)


def report_copy(original: str) -> None:
    """Report that a copy was called, once for all copies of a recorder."""
    _notices.report_once(
        f"copy of {original}",
        "compare was called on a copy of a recorder, as of a model that was copied with it, and records nothing: only"
        " the recorder that was copied does",
    )


def withhold(_logger: object, _name: str, _event: object) -> Any:
    """Drop an event, in place of processors that could not be pickled."""
    _notices.report_once(
        "without processors",
        "a recorder was unpickled without its processors, and records nothing, because these were to change what is"
        " written: make them of functions and classes that can be imported",
    )
    raise DropEvent


def _report_left_out(name: str, what: str, error: Exception, why: str) -> None:
    _notices.report_once(
        f"{what} {name} {why}",
        f"{what} was pickled without {name}=, which {why}: {described(error)}; make it of functions and classes that"
        " can be imported",
        error,
    )
