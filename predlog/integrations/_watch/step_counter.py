"""Which step a call of a watched module belongs to, and what its losses are named."""

import itertools
from collections.abc import Callable, Sequence

from torch import nn

from predlog.errors import PairError, SettingError


class StepCounter:
    """The number of the step that each call of a module belongs to, and the names of its losses."""

    def __init__(
        self, module: nn.Module, step: int | Callable[[], int], accumulate: int, streams: Sequence[str] | None
    ) -> None:
        if not isinstance(module, nn.Module):
            raise SettingError(f"watch takes a torch.nn.Module, not {type(module).__name__}")
        if type(accumulate) is not int or accumulate < 1:
            raise SettingError(f"accumulate={accumulate!r} must be an int above 0")
        if not callable(step) and (type(step) is not int or step < 0):
            raise SettingError(f"step={step!r} must be an int from 0, or a callable that returns one")
        if callable(step) and accumulate != 1:
            raise SettingError(f"accumulate={accumulate} counts calls, so it can't be combined with a callable step")
        if streams is not None and (
            isinstance(streams, str) or not streams or not all(type(one) is str for one in streams)
        ):
            raise SettingError(f"streams={streams!r} must be names, such as ('text', 'audio 0')")
        is_loss = next(module.parameters(), None) is None
        self._names = ("text",) if streams is None and is_loss else None if streams is None else tuple(streams)
        self.is_named = streams is not None
        # Of several streams it is not known whether a loss is the next one, or of the next chunk.
        self.may_join = self._names is None or len(self._names) == 1
        # The calls of the module that are recorded in one step.
        self.recorded_calls = len(self._names) if is_loss and self._names else 1
        self._of_one_step = self.recorded_calls * accumulate
        self._step = step
        self._calls = itertools.count()
        self._last: tuple[int, int] | None = None
        # At how many calls in a row a callable step has returned the same number.
        self.stays = 0

    @property
    def counts_from_0(self) -> bool:
        """Whether the steps are counted here, and the first is 0: a training that is resumed has another first step."""
        return self._step == 0 and not callable(self._step)

    def next(self) -> tuple[int, int]:
        """Return the step of the call that begins, and which of the calls of that step it is, from 0."""
        step = self._step
        if type(step) is int:
            number, place = divmod(next(self._calls), self._of_one_step)
            return step + number, place
        number = step()  # type: ignore[operator]
        if type(number) is not int:
            raise PairError(f"step() returned a {type(number).__name__}: it must return a Python int")
        place = self._last[1] + 1 if self._last is not None and self._last[0] == number else 0
        self._last, self.stays = (number, place), place + 1
        return number, place

    def name(self, place: int) -> str | None:
        """Return the stream of a loss by its place in the step; None if it is not recorded."""
        if self._names is not None:
            return self._names[place] if place < len(self._names) else None
        return "text" if place == 0 else f"loss {place}"
