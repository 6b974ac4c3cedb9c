"""When something that fails again and again is tried next."""

import time
from collections.abc import Callable

_PATIENCE = 5
_SHORTEST, _LONGEST = 1.0, 60.0


class Backoff:
    """Five failures in a row, and a rest of one second begins; each further one doubles it, up to a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._length = _SHORTEST
        self._until: float | None = None

    @property
    def failures(self) -> int:
        """How many failures there were in a row."""
        return self._failures

    def may_try(self) -> bool:
        """Say whether it is time to try."""
        return self._until is None or self._clock() >= self._until

    def skip_wait(self) -> None:
        """Let the next try be now."""
        self._until = None

    def record_success(self) -> None:
        """Begin anew: it has worked."""
        self._failures, self._length, self._until = 0, _SHORTEST, None

    def record_failure(self) -> float:
        """Count a failure; give the seconds of the rest that begins with it, 0 where none does."""
        self._failures += 1
        if self._failures < _PATIENCE:
            return 0.0
        length, self._length = self._length, min(2 * self._length, _LONGEST)
        self._until = self._clock() + length
        return length
