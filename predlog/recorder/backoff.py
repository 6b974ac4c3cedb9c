"""When a sink that keeps failing is tried next."""

import time
from collections.abc import Callable

_PATIENCE = 5
_SHORTEST, _LONGEST = 1.0, 60.0


class Backoff:
    """After five failures in a row, wait for one second; after each further one twice as long, up to a minute.

    `reason` is that of the first of them: what is missing until it works again is missing for one reason.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._length = _SHORTEST
        self._until: float | None = None
        self.reason = ""

    @property
    def failures(self) -> int:
        """How many failures there were in a row."""
        return self._failures

    def may_try(self) -> bool:
        """Return whether the wait is over."""
        return self._until is None or self._clock() >= self._until

    def skip_wait(self) -> None:
        """End the wait now."""
        self._until = None

    def record_success(self) -> None:
        """Start counting from zero."""
        self._failures, self._length, self._until = 0, _SHORTEST, None

    def record_failure(self, reason: str = "") -> float:
        """Count a failure; return the seconds to wait from now on, 0 before the fifth."""
        self.reason = self.reason if self._failures else reason
        self._failures += 1
        if self._failures < _PATIENCE:
            return 0.0
        length, self._length = self._length, min(2 * self._length, _LONGEST)
        self._until = self._clock() + length
        return length
