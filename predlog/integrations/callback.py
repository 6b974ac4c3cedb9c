"""What the callbacks of all frameworks share: they end no training, they can be copied, and they know what is due."""

import copy
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ClassVar, TypeVar

from predlog._runtime.failure import located, own_failure, raised_at
from predlog._runtime.notices import Notices
from predlog.errors import PredlogError
from predlog.recorder import copies

Kind = TypeVar("Kind", bound=type)
_WHAT = "a callback"


def harmless(kind: Kind) -> Kind:
    """Have the methods of a class that a framework calls, `on_...`, report what they raise: it must end no training.

    What a strict recorder raises passes, and so does a SettingError.
    """
    for name, method in list(vars(kind).items()):
        if name.startswith("on_"):
            setattr(kind, name, _harmless(method))
    return kind


def _harmless(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *given: Any, **named: Any) -> Any:
        try:
            return method(self, *given, **named)
        except PredlogError:
            raise
        except own_failure(Exception) as error:  # a run must not die of its log
            self.report_failure(method.__name__, error)
            return None

    return call


class CopiedCallback:
    """A callback whose copies and pickles have its arguments, and nothing of the training that it is in.

    `_of_training` has the names of the attributes that belong to one training, and the values without one; `_foreign`
    those that hold arguments of the user's, which are shared by copies and may not be picklable.
    """

    _of_training: ClassVar[dict[str, Callable[[], Any]]] = {}
    _foreign: ClassVar[tuple[str, ...]] = ("_make", "_decode")
    _notices: Notices
    _outer: list[dict[str, Any]]

    def report_failure(self, what: str, error: Exception) -> None:
        """Report that something went wrong which the training does not need; each cause once."""
        self._notices.report_once(
            f"failed at {raised_at(error)}", f"{type(self).__name__}, {what}: not recorded: {located(error)}", error
        )

    def _begin_inner(self) -> None:
        """Keep what belongs to a training in which another one begins."""
        self._outer.append({name: getattr(self, name) for name in self._of_training if name != "_outer"})
        self._begin()

    def _end_inner(self) -> None:
        """Go on with the training in which another one has ended, if there is one."""
        if self._outer:
            self.__dict__.update(self._outer.pop())

    def _untrained(self) -> dict[str, Any]:
        return {**vars(self), **{name: make() for name, make in self._of_training.items()}}

    def __copy__(self) -> Any:
        made = type(self).__new__(type(self))
        made.__dict__.update(vars(self))
        made.__setstate__({})
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = memo[id(self)] = type(self).__new__(type(self))
        for name, value in vars(self).items():
            if name not in self._of_training:
                made.__dict__[name] = value if name in self._foreign else copy.deepcopy(value, memo)
        made.__setstate__({})
        return made

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in self._of_training}
        for name in self._foreign:
            if isinstance(made := state.get(name), partial):
                state[name] = (made.func, copies.pickled(made.keywords, _WHAT))
            elif name in state:
                state[name] = copies.pickled({name: made}, _WHAT)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in self._foreign:
            given = state.get(name)
            if isinstance(given, tuple):
                state[name] = partial(given[0], **copies.unpickled(given[1], _WHAT))
            elif isinstance(given, dict):
                state[name] = copies.unpickled(given, _WHAT).get(name)
        self.__dict__.update(state)
        self.__dict__.update(self._untrained())
        self._begin()

    def _begin(self) -> None:
        """Make what belongs to this object alone."""


class DueSteps:
    """Which steps are due, of numbers that may jump: the first that is a multiple of `every`, or has passed one."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._last: int | None = None
        self._was_due = False

    def is_due(self, step: int) -> bool:
        """Return whether a step is due; the answer for a step stays until another step is asked for."""
        last = self._last
        if step != last:
            self._was_due = step % self.every == 0 or (last is not None and step // self.every > last // self.every)
            self._last = step
        return self._was_due
