"""Where the step of a training loop left its pair: in what it returned, in its batch, or on its module."""

import weakref
from collections.abc import Mapping
from operator import attrgetter
from typing import Any


def item(place: object, name: str) -> Any:
    """Give what a mapping has under a name; None where it is no mapping or has no value there."""
    return _value(place.get(name)) if isinstance(place, Mapping) else None


def attribute(module: object, path: str) -> Any:
    """Give the value of a module's attribute, such as `logits` or `decoder.logits`; None where there is none."""
    try:
        return _value(attrgetter(path)(module))
    except AttributeError:
        return None


def mark(value: object) -> "weakref.ref[Any] | None":
    """Remember a value, or the first of several chunks, without keeping it alive; None where that can't be done."""
    try:
        return weakref.ref(_first(value))
    except TypeError:
        return None


def is_marked(value: object, marked: "weakref.ref[Any] | None") -> bool:
    """Say whether a value is the one that was marked."""
    return marked is not None and marked() is _first(value)


def shape(value: object) -> list[int] | None:
    """Give the shape of what has one."""
    found = getattr(value, "shape", None)
    return None if found is None else list(found)


def described(returned: object) -> str:
    """Say what a step returned, as its author would."""
    if returned is None or (isinstance(returned, Mapping) and not returned):
        return "nothing"
    if isinstance(returned, Mapping):
        names = ", ".join(map(repr, list(returned)[:8]))
        return "a loss only" if names == "'loss'" else f"a dict with {names}"
    return "a loss only" if type(returned).__name__ == "Tensor" else f"a {type(returned).__name__}"


def _value(found: Any) -> Any:
    """Give what may be one of a pair: a head or a method that goes by the name is none."""
    return None if callable(found) or isinstance(found, str) else found


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and value else value
