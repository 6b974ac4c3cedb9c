"""One line on stderr for trouble that must not stop a training run."""

import re
import sys
import time
from collections.abc import Callable

_NOT_PLAIN = re.compile("[^ -~]")


class Notices:
    """Say what went wrong: the first of a kind at once, then at most one line a minute a kind, with a count.

    Never raises: a closed or missing stderr loses the line, not the run.
    """

    def __init__(self, interval: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._said: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def say(self, kind: str, message: str) -> None:
        """Write `message` unless one of this `kind` was written within the last interval."""
        now = self._clock()
        if kind in self._said and now - self._said[kind] < self._interval:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return
        self._said[kind] = now
        held_back = self._held_back.pop(kind, 0)
        _write(f"{message} ({held_back} more like this since the last line)" if held_back else message)


def _write(message: str) -> None:
    line = _NOT_PLAIN.sub(lambda found: found[0].encode("unicode_escape").decode(), message.replace("\n", " "))
    try:
        sys.stderr.write(f"predlog: {line}\n")
        sys.stderr.flush()
    except Exception:  # noqa: BLE001, S110 - stderr is the last resort: there is nowhere left to say it
        pass
