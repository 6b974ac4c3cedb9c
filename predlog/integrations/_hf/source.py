"""The source of the `forward` of a model's class, which shows what names and configurations do not."""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

_COMMENTS = re.compile(r'r?""".*?"""|#[^\n]*', re.DOTALL)
_FORWARD = re.compile(r"^    def forward\(.*?(?=^    @|^    def |\Z)", re.MULTILINE | re.DOTALL)


def classes(kind: type) -> Iterator[type]:
    """Yield a class and its base classes that have a `forward` of their own, in the order of resolution."""
    return (one for one in kind.__mro__ if "forward" in one.__dict__)


def forwards(kind: type) -> tuple[str, ...]:
    """Return the texts of a class's own `forward`, without comments: first the one that runs, then the one in the file.

    The result is empty if the source is not available.
    """
    return _forwards(kind, kind.__dict__["forward"])


# Reading a class's source takes milliseconds. A `forward` that was replaced is read anew.
@lru_cache(maxsize=64)
def _forwards(kind: type, forward: Callable[..., object]) -> tuple[str, ...]:
    found = []
    for read, one in ((_as_running, forward), (_as_written, kind)):
        with suppress(OSError, TypeError):
            found.append(_COMMENTS.sub("", read(one)))
    return tuple(found)


def _as_running(forward: Any) -> str:
    return inspect.getsource(inspect.unwrap(forward))


def _as_written(kind: Any) -> str:
    """Return the text of a class's `forward` as its file has it, even if it was replaced since."""
    match = _FORWARD.search(inspect.getsource(kind))
    return match[0] if match is not None else ""
