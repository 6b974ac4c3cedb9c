r"""Whether what is written next to a stream begins a line: a progress bar leaves the last one open.

A bar that is redrawn in place writes `\r` and no newline. If the program's stdout and stderr are one file, as in a
Slurm job, a line of ours would begin behind it.
"""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from predlog._runtime.failure import own_failure

# Seconds that a line waits for a bar that is being drawn.
_MOMENT = 0.5


def is_open(stream: Any) -> bool:
    """Return whether the last line of what the stream goes to has no end yet, as far as can be known.

    The end of a file tells, whoever wrote it. Of a pipe nobody knows; there, a bar of tqdm's that goes to the same pipe
    and is not closed may have written last.
    """
    try:
        stream.flush()
        number: int = stream.fileno()
        status = os.fstat(number)
    except own_failure(Exception, stream):  # no file; or closed, which the write reports
        return False
    if stat.S_ISREG(status.st_mode) and (ends_open := _ends_open(number, status.st_size)) is not None:
        return ends_open
    is_shared = stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)
    return is_shared and any(_is_same(bar, status) for bar in _bars())


def bars_quiet() -> AbstractContextManager[Any]:
    """Keep tqdm's bars from writing meanwhile, if this program has any."""
    tqdm = sys.modules.get("tqdm")
    if tqdm is None or not _bars():
        return nullcontext()
    lock: AbstractContextManager[Any] = tqdm.tqdm.get_lock()
    return lock


@contextmanager
def begun(stream: Any) -> Iterator[str]:
    """Yield what must precede a line for it to begin in the first column: a newline, or nothing.

    Bars on the same terminal are cleared, and drawn again below the line. Whoever else holds the lock of the bars is
    not waited for longer than a moment; then a newline parts them.
    """
    if not (bars := _bars()):
        yield "\n" if is_open(stream) else ""
        return
    tqdm = sys.modules["tqdm"].tqdm
    is_screen = _is_terminal(stream)
    with ExitStack() as held:
        is_ours = all(_taken(lock, held) for lock in getattr(tqdm.get_lock(), "locks", [tqdm.get_lock()]))
        if not is_screen:
            yield "\n" if is_open(stream) else ""
        elif is_ours:
            with tqdm.external_write_mode(file=stream, nolock=True):
                yield ""
        else:
            yield "\n" if any(_is_same(bar, os.fstat(stream.fileno())) for bar in bars) else ""


def _taken(lock: Any, held: ExitStack) -> bool:
    """Return whether a lock could be taken, which `held` then releases."""
    if is_taken := lock.acquire(True, _MOMENT):
        held.callback(lock.release)
    return bool(is_taken)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except own_failure(Exception, stream):  # no file
        return False


def _ends_open(number: int, size: int) -> bool | None:
    """Return whether a file lacks a newline at its end; None if that is not known."""
    try:
        # The stream itself is open for writing only.
        with Path(f"/proc/self/fd/{number}").open("rb", buffering=0) as file:
            file.seek(max(size - 1, 0))
            return size > 0 and file.read(1) != b"\n"
    except OSError:  # another system, or a file that may not be read
        return None


def _bars() -> list[Any]:
    """Return tqdm's bars that are not closed; a program that shows one has imported tqdm."""
    tqdm = sys.modules.get("tqdm")
    return [] if tqdm is None else list(getattr(tqdm.tqdm, "_instances", ()))


def _is_same(bar: Any, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(bar.fp.fileno()), status)
    except own_failure(Exception, bar):  # a bar that is drawn elsewhere, as in a notebook
        return False
