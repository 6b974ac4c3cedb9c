"""What a caller keeps beside a record → plain JSON values, copied at the moment of the call."""

import math
import sys
from collections.abc import Mapping
from typing import Any

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
