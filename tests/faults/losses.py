"""Pairs that are lost because something of predlog's own fails: no call raises, and each due one has a fate.

The rule: whatever of a capture fails, and with whatever error, each due call is submitted or refused, the file's
records and gaps add up to the calls, and the next pair is recorded again.
"""

import importlib
import pkgutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from types import FunctionType
from typing import Any

import torch

import predlog.capture
from predlog import Projection, Recorder
from tests import events
from tests.faults.accounting import unaccounted
from tests.faults.experiment import Figure, Size, at_least, equals
from tests.faults.lines import Lines

_ERRORS: tuple[Callable[[], Exception], ...] = (
    MemoryError,
    lambda: OSError(24, "Too many open files"),
    lambda: torch.cuda.OutOfMemoryError("Tried to allocate 20.00 GiB"),
)
# While a foreign array is read, these say that it can't be: such a pair is refused for what it is, and makes no gap.
_OF_AN_ARRAY = (lambda: RuntimeError("an illegal memory access"), RecursionError, IndexError, KeyError)
_Pair = Callable[[], tuple[Any, Any, dict[str, Any]]]
# A module or a class, and the name of what is to fail in it.
_Place = tuple[Any, str]
_LOGITS, _LABELS = events.pair(samples=1)
# Between them these take each way through a capture.
_PAIRS: tuple[_Pair, ...] = (
    lambda: (_LOGITS, _LABELS, {"inputs": _LABELS, "note": {"a": [1]}}),
    lambda: (Projection(torch.ones(1, 20, 4), torch.ones(50, 4)), _LABELS, {}),
    lambda: (_LOGITS.mT, _LABELS, {"layout": "b v t, b t"}),
)
_ARRAYS: _Pair = lambda: (_LOGITS.numpy(), _LABELS.numpy(), {})  # noqa: E731 - as those above


def run(size: Size) -> Iterator[Figure]:
    """Let each function of the capture fail, one at a time, with each error."""
    tensors = [(pair, place) for pair in size.of(_PAIRS, _PAIRS[:1]) for place in _reached_by(pair)]
    arrays = [(_ARRAYS, place) for place in _reached_by(_ARRAYS)]
    errors, raised, calls, unhealthy, without_fate = size.of(_ERRORS + _OF_AN_ARRAY, _ERRORS[:1]), 0, 0, 0, 0
    for make in errors:
        ways = tensors + (arrays if make in _ERRORS else [])
        with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
            recorder = Recorder(folder, every=1, console=False)
            for number, (pair, place) in enumerate(ways):
                with _replaced(place, lambda _real, *_given, make=make, **_named: _fail(make())):
                    raised += _raises(recorder, pair, 2 * number)
                raised += _raises(recorder, _PAIRS[0], 2 * number + 1)
                unhealthy += recorder.gate._latest.get("text") != 2 * number + 1
            recorder.close(60)
            stats, lines = recorder.stats(), Lines.of(Path(folder, "predictions.jsonl"))
        calls += (made := 2 * len(ways))
        without_fate += abs(made - stats["submitted"] - stats["refused"]) + unaccounted(stats)
        without_fate += abs(made - len(lines.all_of("comparison")) - lines.missing) + len(lines.damaged)
    what = f"{len(errors)} kind{'s' * (len(errors) > 1)} of errors"
    yield at_least(f"{what}: functions that failed", len({place for _, place in tensors + arrays}), 40)
    yield equals(f"{what}: calls that raised", raised, 0, f"of {calls:,}")
    yield equals(f"{what}: due calls without a fate, or of which no record or gap tells", without_fate, 0)
    yield equals(f"{what}: next pairs that were not recorded", unhealthy, 0)


def _raises(recorder: Recorder, make: _Pair, step: int) -> bool:
    logits, labels, how = make()
    try:
        recorder.compare(logits, labels, step, **how)
    except Exception:  # noqa: BLE001 - which must not be
        return True
    finally:
        recorder._worker.flush(30)  # what fails in the worker fails before it works again
    return False


def _fail(error: Exception) -> Any:
    raise error


def _places() -> Iterator[_Place]:
    """Yield each function and method of the modules that make a snapshot."""
    names = [f"predlog.capture.{one.name}" for one in pkgutil.iter_modules(predlog.capture.__path__)]
    modules = [importlib.import_module(name) for name in (*names, "predlog.recorder.context")]
    kinds = [
        one for module in modules for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__
    ]
    for owner in (*modules, *(one for one in kinds if isinstance(one, type))):
        for name, function in vars(owner).items():
            if isinstance(function, FunctionType) and function.__module__.startswith("predlog.") and name[:2] != "__":
                yield owner, name


def _reached_by(pair: _Pair) -> list[_Place]:
    """Return those that are called on the way of a pair."""
    reached: dict[_Place, None] = {}

    def note(place: _Place, real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        reached[place] = None
        return real(*given, **named)

    with (
        ExitStack() as stack,
        redirect_stderr(StringIO()),
        Recorder(every=1, console=False, sinks=[lambda *given: given[2]]) as recorder,
    ):
        for place in _places():
            stack.enter_context(_replaced(place, partial(note, place)))
        assert not _raises(recorder, pair, 0)
        assert recorder.stats()["written"] == 1
    return list(reached)


@contextmanager
def _replaced(place: _Place, other: Callable[..., Any]) -> Iterator[None]:
    owner, name = place
    real = vars(owner)[name]

    def call(*given: Any, **named: Any) -> Any:
        return other(real, *given, **named)

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, real)
