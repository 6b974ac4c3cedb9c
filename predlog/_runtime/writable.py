"""Whether a stream takes text now: asked before it is written to, so that nobody is stuck inside of it.

A pipe that nobody reads, or a terminal that was stopped, holds whoever writes to it, for as long as it likes, and with
them every lock that they hold: tqdm's, rich's, and the stream's own, for which the interpreter waits at its end, and
aborts. So it is asked first, while nothing is held.
"""

import fcntl
import os
import select
import stat
import struct
import termios
import time
from typing import Any

# What the host may have written, and the stream has not passed on yet, goes out before what we write, which is less.
_ROOM = 32 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PAUSE = 0.02


def is_writable(stream: Any) -> bool:
    """Say whether a few kilobytes can be written without waiting, as far as can be known.

    Of a pipe that is known, if nobody else fills it at the same moment; of a terminal, that it takes something.
    """
    try:
        file: int = stream.fileno()
        kind = os.fstat(file).st_mode
    except Exception:  # noqa: BLE001 - no file behind it, so nothing to be stuck in; or closed, as writing will say
        return True
    if not (stat.S_ISFIFO(kind) or stat.S_ISCHR(kind) or stat.S_ISSOCK(kind)):
        return True
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    return len(poll.poll(0)) > 0 and (not stat.S_ISFIFO(kind) or _has_room(file))


def wait(stream: Any, patience: float) -> bool:
    """Wait until the stream takes something; False where it does not within so many seconds."""
    deadline = time.monotonic() + patience
    while not is_writable(stream):
        if time.monotonic() > deadline:
            return False
        # A pipe that has some room, and not enough, says that it is ready: it is asked again, not waited for.
        time.sleep(_PAUSE)
    return True


def _has_room(pipe: int) -> bool:
    try:
        capacity = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
        (waiting,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    except (AttributeError, OSError):  # not on this system
        return True
    # Writes of a little over half a page take a page each, and so twice the room that they need.
    return not waiting or bool(capacity - 2 * waiting - _PAGE >= _ROOM)
