"""What a user may pass in any amount is bounded: contexts in time, texts in memory; and no one waits twice.

The rule: whatever the context, passing it on takes at most a millisecond of the training thread; the texts of a decoder
take at most 16 MiB of a cache; and a recorder that did not close in time is not waited for again.
"""

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

from structlog.typing import EventDict

from predlog import Recorder
from predlog.processors import decode
from predlog.recorder.context import plain_context
from tests import events
from tests.faults.experiment import Figure, Size, at_most, equals


def _nested(levels: int, width: int, *, mapped: bool = False) -> Any:
    """Return what is wide and deep without much memory: on each level the same object many times."""
    value: Any = 1
    for _ in range(levels):
        value = dict.fromkeys(map(str, range(width)), value) if mapped else [value] * width
    return value


# Each is passed as a context of its own.
_CONTEXTS: dict[str, Callable[[], dict[str, Any]]] = {
    "8 lists of 10 in another": lambda: {"a": _nested(8, 10)},
    "8 mappings of 10 in another": lambda: {"a": _nested(8, 10, mapped=True)},
    "1,000 lists in another": lambda: {"a": _nested(1000, 1)},
    "a million numbers": lambda: {"a": [0] * 10**6},
    "a mapping of 100,000": lambda: {"a": dict.fromkeys(map(str, range(10**5)), 0)},
    "10,000 names": lambda: {f"name {number}": number for number in range(10**4)},
    "10,000 objects": lambda: {"a": [object() for _ in range(10**4)]},
    "a list of itself": lambda: {"a": _looped()},
    "a text of 10 MB": lambda: {"a": "x" * 10**7},
}


def run(size: Size) -> Iterator[Figure]:
    """Pass each context, decode long texts, and close twice what hangs."""
    for what, make in _CONTEXTS.items():
        context = make()
        took = min(_seconds(context) for _ in range(size.of(301, 21)))  # others have the core, too
        yield at_most(f"context, {what}: the training thread's time", 1e3 * took, 1, "ms")
    ids, length = size.of(100_000, 30_000), size.of(10_000, 2_000)
    what = f"{ids:,} texts of {length:,} characters"
    yield at_most(f"{what}: memory of their decoder", _decoded(ids, length) / 2**20, 20, "MiB")
    first, second = _closed()
    yield at_most("a sink that hangs: the first close, of 0.5 s", first, 1, "s")
    yield at_most("a sink that hangs: the second close, of 0.5 s", second, 0.2, "s")
    yield equals("a recorder that has closed: the second close is in time", _closes_again(), 1)


def _looped() -> list[Any]:
    one: list[Any] = []
    one += [one] * 10
    return one


def _seconds(context: dict[str, Any]) -> float:
    start = time.thread_time()
    plain_context(context, lambda *_: None, lambda: None)
    return time.thread_time() - start


def _decoded(ids: int, length: int) -> int:
    """Return how many bytes are in use at most while a decoder makes texts of that many ids."""
    texts = decode.Decode(lambda token: f"{token:0{length}}")
    tracemalloc.start()
    for first in range(0, ids, 10):
        tokens = [events.token(0, label=first + at, prediction=None) for at in range(10)]
        texts(None, "info", events.comparison(tokens=tokens, vocabulary=None))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def _closed() -> tuple[float, float]:
    held = threading.Event()

    def hang(_logger: Any, _name: str, event: EventDict) -> EventDict:
        held.wait()
        return event

    with redirect_stderr(StringIO()):
        recorder = Recorder(every=1, console=False, sinks=[hang])
        recorder.compare(*events.pair(), 0)
        took = []
        for timeout in (0.5, 0.5):
            start = time.monotonic()
            recorder.close(timeout)
            took.append(time.monotonic() - start)
        held.set()
        recorder._worker._thread.join(10)  # type: ignore[union-attr]
    return took[0], took[1]


def _closes_again() -> bool:
    recorder = Recorder(every=1, console=False, sinks=[lambda *given: given[2]])
    recorder.compare(*events.pair(), 0)
    return recorder.close(30) and recorder.close(0)
