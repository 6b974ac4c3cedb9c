"""Calls that are interrupted: at each point where Python lets a signal's handler in, or by another thread.

Python runs the handlers of signals, and raises what another thread has set, where a call of Python code begins and
where one of C code has returned. A profiling function is called there, too; so each point can be had, in order.
"""

import itertools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NUMBER = signal.SIGUSR1


class Preempted(Exception):  # noqa: N818 - as a program would name it
    """What a scheduler's signal becomes in somebody's training: an ordinary exception."""


@contextmanager
def handled(kind: type[Exception] = Preempted) -> Iterator[None]:
    """Raise an exception of this kind when the signal comes."""

    def handle(number: int, _frame: FrameType | None) -> None:
        raise kind(f"signal {number}")

    before = signal.signal(NUMBER, handle)
    try:
        yield
    finally:
        signal.signal(NUMBER, before)


def interruptions(
    call: Callable[[int], object], stride: int = 1, within: str = ""
) -> Iterator[tuple[int, BaseException | None]]:
    """Make a call again and again, with the signal at its first point, then `stride` further on, up to its end.

    Yields the number of the point, with which it was called, and what it raised. `within` limits the points to the
    code of a package. What is raised while an object is freed, Python itself drops: such points are left out.
    """
    dropped: list[object] = []
    for point in itertools.count(1, stride):
        found, error = _Points(point, within), None
        hook, sys.unraisablehook = sys.unraisablehook, lambda lost: dropped.append(lost.exc_type)
        try:
            found.run(lambda point=point: call(point))  # type: ignore[misc]
        except BaseException as raised:  # noqa: BLE001 - it is to be looked at
            error = raised.with_traceback(None)
        finally:
            sys.unraisablehook = hook
        if found.passed < point:
            assert error is None
            return
        if dropped:
            dropped.clear()
        else:
            yield point, error


def points_of(call: Callable[[], object], within: str = "") -> int:
    """Return at how many points a call can be interrupted."""
    counted = _Points(0, within)
    counted.run(call)
    return counted.passed


class _Points:
    """The profiling function, which is taken off when it raises."""

    def __init__(self, point: int, within: str) -> None:
        self.passed = 0
        self._point = point
        self._within = within

    def run(self, call: Callable[[], object]) -> None:
        sys.setprofile(self)
        try:
            call()
        finally:
            sys.setprofile(None)

    def __call__(self, frame: FrameType, event: str, _arg: Any) -> None:
        if (
            event in {"call", "c_return"}
            and frame.f_code.co_filename != __file__
            and frame.f_globals.get("__name__", "").startswith(self._within)
        ):
            self.passed += 1
            if self.passed == self._point:
                signal.raise_signal(NUMBER)
