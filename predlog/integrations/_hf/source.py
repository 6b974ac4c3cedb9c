"""What the `forward` of a model's class reads like: the source says what names and configurations do not."""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

_SPOKEN = re.compile(r'r?""".*?"""|#[^\n]*', re.DOTALL)
_FORWARD = re.compile(r"^    def forward\(.*?(?=^    @|^    def |\Z)", re.MULTILINE | re.DOTALL)


def classes(kind: type) -> Iterator[type]:
    """Yield the classes that a class comes from and that have a `forward`, itself first."""
    return (one for one in kind.__mro__ if "forward" in one.__dict__)


def forwards(kind: type) -> tuple[str, ...]:
    """Give the texts of a class's own `forward`, without comments: first what runs, then what was written.

    There are none where the source is not to be had.
    """
    return _forwards(kind, kind.__dict__["forward"])


# Reading a class's source takes milliseconds; who puts another `forward` in its place has it read anew.
@lru_cache(maxsize=64)
def _forwards(kind: type, forward: Callable[..., object]) -> tuple[str, ...]:
    found = []
    for read, one in ((_as_running, forward), (_as_written, kind)):
        with suppress(OSError, TypeError):
            found.append(_SPOKEN.sub("", read(one)))
    return tuple(found)


def _as_running(forward: Any) -> str:
    return inspect.getsource(inspect.unwrap(forward))


def _as_written(kind: Any) -> str:
    """Give the text of a class's `forward` as its file has it, whoever has put another in its place since."""
    match = _FORWARD.search(inspect.getsource(kind))
    return match[0] if match is not None else ""
