"""Where the step of a training loop left its pair: in what it returned, in its batch, or in attributes."""

import weakref
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from predlog._runtime.failure import own_failure


class Names:
    """The names under which a step leaves its pair, and what else is known of it, by the arguments of `compare`.

    A name is a key of what the step returned or of its batch, or the path of an attribute of its module. The values of
    attributes are marked before a step: a value that is the same after it is of an earlier step.
    """

    def __init__(self, **names: str | None) -> None:
        self.names = names
        self._before: dict[str, weakref.ref[Any] | None] = {}

    def mark(self, module: object) -> None:
        """Mark the attributes' values before a step."""
        self._before = {name: mark(attribute(module, name)) for name in self.names.values() if name is not None}

    def find(self, argument: str, places: Sequence[object], module: object) -> Any:
        """Return the value of an argument that is found first; None if there is none."""
        if (name := self.names[argument]) is None:
            return None
        for place in places:
            if (value := item(place, name)) is not None:
                return value
        value = attribute(module, name)
        return None if is_marked(value, self._before.get(name)) else value

    def labels(self, places: Sequence[object], module: object) -> tuple[Any, dict[str, int]]:
        """Return the labels and, if they were shifted before, as Hugging Face's models take them, that shift: 0."""
        shifted = self.find("shift_labels", places, module)
        return (self.find("labels", places, module), {}) if shifted is None else (shifted, {"shift": 0})


def item(place: object, name: str) -> Any:
    """Return the value of a name in a mapping; None if it is no mapping, or has no value of that name."""
    return _value(place.get(name)) if isinstance(place, Mapping) else None


def attribute(module: object, path: str) -> Any:
    """Return the value of a module's attribute, such as `logits` or `decoder.logits`; None if there is none."""
    try:
        return _value(attrgetter(path)(module))
    except own_failure(AttributeError):
        return None


def mark(value: object) -> "weakref.ref[Any] | None":
    """Return a weak reference to a value, or to the first of several chunks; None if there can be none."""
    try:
        return weakref.ref(_first(value))
    except own_failure(TypeError):
        return None


def is_marked(value: object, marked: "weakref.ref[Any] | None") -> bool:
    """Return whether a value is the one that was marked."""
    return marked is not None and marked() is _first(value)


def shape(value: object) -> list[int] | None:
    """Return the shape of a value; None if it has none."""
    found = getattr(value, "shape", None)
    return None if found is None else list(found)


def described(returned: object) -> str:
    """Return what a step returned in words, as its author would describe it."""
    if returned is None or (isinstance(returned, Mapping) and not returned):
        return "nothing"
    if isinstance(returned, Mapping):
        names = ", ".join(map(repr, list(returned)[:8]))
        return "a loss only" if names == "'loss'" else f"a dict with {names}"
    return "a loss only" if type(returned).__name__ == "Tensor" else f"a {type(returned).__name__}"


def why_missing(missing: Sequence[str], step: str, returned: object, batch: object, module: object) -> str:
    """Return why values can't be found by their names in what a step returned, in its batch and in its module."""
    no_tensors = [
        f"{name!r} of {where} is {kind}"
        for name in missing
        for where, place in ((f"what {step} returned", returned), ("the batch", batch))
        if (kind := _no_tensor(place, name))
    ]
    if no_tensors:
        return " and ".join(no_tensors)
    names = " and ".join(map(repr, missing))
    old = [name for name in missing if attribute(module, name) is not None]
    has = f"did not set {' and '.join(map(repr, old))} in this step" if old else "has no such attribute"
    return f"{names} can't be found: {step} returned {described(returned)}, and {type(module).__name__} {has}"


def is_of_samples(logits: Any, labels: Any, batch: object) -> bool:
    """Return whether [b, c] logits and [b] labels belong to the b samples of a batch, as a classifier's do."""
    if getattr(logits, "ndim", None) != 2 or getattr(labels, "ndim", None) != 1:
        return False
    values = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return any(getattr(one, "ndim", 0) > 1 and len(one) == len(labels) for one in values)


def _no_tensor(place: object, name: str) -> str | None:
    if not isinstance(place, Mapping) or name not in place:
        return None
    found = place.get(name)
    return "None" if found is None else f"a {type(found).__name__}, no tensor" if isinstance(found, str) else None


def _value(found: Any) -> Any:
    """Return a value that may be logits or labels; None for a head, a method or a string of that name."""
    return None if callable(found) or isinstance(found, str) else found


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and value else value
