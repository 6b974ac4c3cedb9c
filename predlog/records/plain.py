"""Any value → a plain one, which JSON can represent: null, a bool, a number, a text, a list or a mapping of these."""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

_SIMPLE: Final = frozenset({type(None), bool, int, float, str})
# Levels of lists and mappings, and how many of these altogether.
_DEEPEST: Final = 32
_MOST: Final = 100_000
# The methods of the built-in types: a subclass may have others, and lists that never end.
_METHODS: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (float, float.__float__),
    (int, int.__int__),
)


class NotPlainError(Exception):
    """A value is none that JSON can represent; the message is what it is instead."""


class Conversion:
    """Convert the values of one event; what can't be converted becomes null, and is named in `refused`."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self._left = _MOST
        self._around: set[int] = set()

    def of(self, value: Any, name: str) -> Any:
        """Return a value as a plain one, of the same structure; never raise."""
        try:
            if type(value) in _SIMPLE or not (isinstance(value, list | tuple | Mapping) or _is_dataclass(value)):
                return scalar(value)
            return self._inside(value, name)
        except NotPlainError as error:
            what = str(error)
        except Exception as error:  # noqa: BLE001 - a foreign value's own code
            what = f"<{type(value).__name__}, which raised {type(error).__name__}>"
        self.refused.append(f"{name}={what}")
        return None

    def _inside(self, value: Any, name: str) -> Any:
        self._left -= 1
        if self._left < 0 or len(self._around) == _DEEPEST or id(value) in self._around:
            raise NotPlainError("<too many levels or values, or one that contains itself>")
        self._around.add(id(value))
        try:
            if isinstance(value, list | tuple):
                items = list.__iter__(value) if isinstance(value, list) else tuple.__iter__(value)
                return [self.of(item, name) for item in items]
            if not isinstance(value, Mapping):
                return {one.name: self.of(getattr(value, one.name), f"{name}.{one.name}") for one in fields(value)}
            return self._mapping(value, name)
        finally:
            self._around.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], name: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, item in value.items():
            text = _key(key)
            if text in made:
                self.refused.append(f"{name}.{text}=<a second value, since {key!r} is the same key as a text>")
            else:
                made[text] = self.of(item, f"{name}.{text}")
        return made


def scalar(value: Any) -> Any:
    """Return a single value as null, a bool, a number or a text; a number that is not finite becomes null.

    Scalars of NumPy, tensors without dimensions on the CPU, paths, dates, times, enums and UUIDs are converted. A
    tensor of another device is not read, because that would wait for the device.

    Raises:
        NotPlainError: It is none of these.
    """
    if value is None or type(value) is bool or type(value) is str:
        return value
    if type(value) is int and -(2**63) <= value < 2**64:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else None
    return _converted(value)


def _converted(value: Any) -> Any:
    if isinstance(value, Enum):
        return scalar(value.value)
    if isinstance(value, PurePath | UUID):
        return str(value)
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    for kind, method in _METHODS:
        if isinstance(value, kind) and type(value) is not kind:
            return scalar(method(value))
    if type(value) is int:
        raise NotPlainError(f"<int of {value.bit_length()} bits>")
    number = _number(value)
    if number is value:
        raise NotPlainError(f"<{type(value).__name__}>")
    return scalar(number)


def _number(value: Any) -> Any:
    """Return what a scalar of NumPy or a CPU tensor without dimensions holds; any other value as it is."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray) and value.ndim == 0:
        if value.dtype.kind == "M":
            return None if numpy.isnat(value) else str(value)  # its item may be a bare number of nanoseconds
        if value.dtype.kind == "m":
            return value  # a number alone would have no unit
        number = value.item()
        return float(number) if isinstance(number, numpy.floating) else number  # a long double is its own item
    # Only of torch's own classes: the code of another may wait for a device, or for other processes.
    if torch is None or type(value) not in {torch.Tensor, torch.nn.Parameter} or value.device.type != "cpu":
        return value
    if value.ndim or value.untyped_storage().nbytes() < (value.storage_offset() + 1) * value.element_size():
        return value  # several numbers, or none: the memory was freed
    return value.item()


def _is_dataclass(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _key(key: Any) -> str:
    text = key if type(key) is str else scalar(key)
    return text if isinstance(text, str) else str(text)
