"""The settings that the environment makes: an argument that is not passed is taken from there, before its default.

Each argument of a `Recorder` that is a plain value has a variable, named after it: PREDLOG_EVERY, PREDLOG_SAMPLES. They
count wherever a recorder is made: by `compare`, `configure`, `Recorder` and the callbacks.
"""

import difflib
import inspect
import os
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from predlog._runtime import process
from predlog._runtime.notices import Notices
from predlog.errors import SettingError
from predlog.recorder.settings import CHECKS, check_together

Parameters = ParamSpec("Parameters")
Made = TypeVar("Made")

_FLAGS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
# Characters of a name or a value that a line shows.
_LONGEST: Final = 60
_notices = Notices()


def is_disabled() -> bool:
    """Return whether PREDLOG_DISABLE switches predlog off: any value does but 0, false, no and off."""
    value = os.environ.get("PREDLOG_DISABLE", "").strip().lower()
    return bool(value) and _FLAGS.get(value, True)


# What reads a variable. A text that it can't read stays one: the check of the argument says what is allowed.


def _word(text: str) -> Any:
    return text


def _flag(text: str) -> Any:
    return _FLAGS.get(text.lower(), text)


def _number(text: str) -> Any:
    return int(text) if re.fullmatch("[-+]?[0-9]{1,18}", text) else text


def _number_or_flag(text: str) -> Any:
    return found if type(found := _number(text)) is int else _flag(text)


def _decimal(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _octal(text: str) -> Any:
    return int(text, 8) if re.fullmatch("(0o)?[0-7]{1,6}", text) else text


def _names(text: str) -> Any:
    return tuple(one.strip() for one in text.split(",") if one.strip())


def _places(text: str) -> Any:
    listed = [_number(one) for one in _names(text)]
    return text if not listed or str in map(type, listed) else tuple(listed) if "," in text else listed[0]


def _ranks(text: str) -> Any:
    listed = [_number(one) for one in _names(text)]
    return 0 if text == "0" else tuple(listed) if "," in text and str not in map(type, listed) else text.lower()


def _form(text: str) -> Any:
    return _FLAGS.get(text.lower(), text.lower())


READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "directory": _word, "every": _number, "samples": _places, "follow": _names, "first": _number, "last": _number,
    "codebooks": _number, "ranks": _ranks, "streams": _names, "score": _flag, "worst": _number,
    "alternatives": _number, "all_tokens": _number_or_flag, "console": _form, "ignore": _names, "queue": _number,
    "strict": _flag, "durable_every": _decimal, "text": _flag, "text_window": _number_or_flag, "mode": _octal,
    "rank_folders": _flag,
}  # fmt: skip
# The variable of each setting.
VARIABLES: Final[Mapping[str, str]] = {
    name: "PREDLOG_DIR" if name == "directory" else f"PREDLOG_{name.upper()}" for name in READERS
}
_KNOWN: Final = frozenset({*VARIABLES.values(), "PREDLOG_DISABLE", "PREDLOG_TRACEBACK"})
# Those of predlog's own tests.
_OF_TESTS: Final = "PREDLOG_TESTS_"


def completed(function: Callable[Parameters, Made]) -> Callable[Parameters, Made]:
    """Return a function that takes the settings it was not passed from the environment, if that has them.

    One that is passed a `recorder` takes none: that recorder has its settings.
    """
    usual = {name: one.default for name, one in inspect.signature(function).parameters.items()}
    in_order = [
        one.name for one in inspect.signature(function).parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD
    ]

    @wraps(function)
    def call(*given: Parameters.args, **named: Parameters.kwargs) -> Made:
        if named.get("recorder") is not None:
            return function(*given, **named)
        passed = {**dict.fromkeys(in_order[: len(given)]), **named}
        found = of_environment({name for name in READERS if name in usual and name not in passed})
        return function(*given, **{**_agreeing(found, {**usual, **passed}), **named})

    return call


def of_environment(names: set[str]) -> dict[str, Any]:
    """Return the settings of these names that the environment has; report others, and values that make no sense.

    Each is reported once, by one process of each node. There are none if PREDLOG_DISABLE is set.
    """
    if is_disabled():
        return {}
    _report_unknown()
    found: dict[str, Any] = {}
    for name in sorted(names):
        text = os.environ.get(VARIABLES[name], "").strip()
        if not text:
            continue
        value = READERS[name](text)
        value = value[:_LONGEST] if value == text and name != "directory" else value  # the message has it once more
        try:
            CHECKS[name](value)
        except SettingError as error:
            _report(f"{VARIABLES[name]}={text[:_LONGEST]!r} is ignored: {error}")
        else:
            found[name] = value
    return found


def _agreeing(found: dict[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the environment without those that make no sense with the others."""
    if "first" in found or "last" in found:
        try:
            check_together({**arguments, **found})
        except SettingError as error:
            wrong = [name for name in ("first", "last") if name in found]
            _report(f"{' and '.join(f'{VARIABLES[name]}={found[name]}' for name in wrong)} is ignored: {error}")
            return {name: value for name, value in found.items() if name not in wrong}
    return found


def _report_unknown() -> None:
    for name in os.environ:
        if name.startswith("PREDLOG_") and name not in _KNOWN and not name.startswith(_OF_TESTS):
            (nearest,) = difflib.get_close_matches(name[:_LONGEST], sorted(_KNOWN), n=1, cutoff=0.0)
            _report(f"{name[:_LONGEST]} in the environment is no setting and changes nothing; was {nearest} meant?")


def _report(message: str) -> None:
    if process.local_rank() == 0:
        _notices.report_once(message, message)
