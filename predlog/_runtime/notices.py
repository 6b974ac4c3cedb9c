"""One line on stderr for a failure that must not stop a training run."""

import re
import sys
import time
from collections.abc import Callable

from predlog._runtime import line_start, writable
from predlog._runtime.failure import own_failure, traceback_of

# Characters. A stream that is writable has room for a line of this length; the message of an error may be longer.
_LONGEST = 2000
# Kinds of lines held back that are named.
_MOST_KINDS = 5
_NOT_PLAIN = re.compile("[^ -~]")


class Notices:
    """Report failures: the first of a kind at once, then at most one line per minute and kind, with a count.

    Never raises and never waits: if stderr is closed, missing or blocked, the line is lost and the run goes on. With
    `keep` nothing is written; the first message is kept for `take`, for a caller that raises it. With `collect` lines
    are passed to that instead of stderr.
    """

    def __init__(
        self,
        *,
        keep: bool = False,
        interval: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        collect: Callable[[str], None] | None = None,
    ) -> None:
        self._collect = collect
        self._keep = keep
        self._kept: str | None = None
        self._interval = interval
        self._clock = clock
        self._reported: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def report(self, kind: str, message: str, error: BaseException | None = None) -> None:
        """Write `message` unless one of this `kind` was written within the last interval.

        With PREDLOG_TRACEBACK=1 in the environment the whole traceback of `error` follows.
        """
        if self._keep:
            self._kept = self._kept or message
        else:
            self._report(kind, message, error)

    def note(self, kind: str, message: str) -> None:
        """Write `message`, which reports no failure, unless one of this `kind` was written within the last interval."""
        if not self._keep:
            self._report(kind, message)

    def _report(self, kind: str, message: str, error: BaseException | None = None) -> None:
        now = self._clock()
        if kind in self._reported and now - self._reported[kind] < self._interval:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return
        count = self._held_back.pop(kind, 0)
        if self._wrote(f"{message} ({count} more like this since the last line)" if count else message):
            self._reported[kind] = now
            _write_traceback(error)
        else:
            self._held_back[kind] = count + 1

    def report_once(self, kind: str, message: str, error: BaseException | None = None) -> None:
        """Write `message`, which reports no failure of predlog's, unless one of this `kind` was written before."""
        if kind not in self._reported:
            self._reported[kind] = self._clock()
            self.write(message)
            _write_traceback(None if self._keep else error)

    def trace(self, kind: str, error: BaseException) -> None:
        """Write the traceback of an error that is reported elsewhere, such as in a finding; each kind once.

        Only PREDLOG_TRACEBACK=1 in the environment asks for it.
        """
        if kind not in self._reported and not self._keep:
            self._reported[kind] = self._clock()
            _write_traceback(error)

    def report_held_back(self) -> None:
        """Write how many lines are still held back, if any are, and of which kinds."""
        held_back, self._held_back = self._held_back, {}
        if held_back:
            kinds = sorted(held_back, key=lambda kind: -held_back[kind])
            listed = [f"{held_back[kind]} of {kind!r}" for kind in kinds[:_MOST_KINDS]]
            more = [f"{len(kinds) - _MOST_KINDS} other kinds"] if len(kinds) > _MOST_KINDS else []
            self._wrote(f"{sum(held_back.values())} more lines were held back: {', '.join([*listed, *more])}")

    def write(self, message: str) -> None:
        """Write a line that reports no failure of predlog's: it is never kept or held back."""
        if not self._keep:
            self._wrote(message)

    def _wrote(self, message: str) -> bool:
        if self._collect is None:
            return _write(message)
        self._collect(message)
        return True

    def take(self) -> str | None:
        """Return the first message kept since the last call, or None."""
        kept, self._kept = self._kept, None
        return kept


def _write_traceback(error: BaseException | None) -> None:
    if error is not None:
        for line in traceback_of(error).splitlines():
            _write(line)


def _write(message: str) -> bool:
    """Write one line, and return whether that worked."""
    line = _NOT_PLAIN.sub(lambda found: found[0].encode("unicode_escape").decode(), message.replace("\n", " "))
    line = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
    try:
        if not writable.is_writable(sys.stderr):
            return False
        with line_start.begun(sys.stderr) as start:
            sys.stderr.write(f"{start}predlog: {line}\n")
            sys.stderr.flush()
    except own_failure(Exception, sys.stderr):  # the last resort: there is nowhere left to report to
        return False
    return True
