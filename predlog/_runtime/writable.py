"""Whether a stream can be written to now: checked before each write, so that no thread is stuck in one.

A pipe that nobody reads, or a terminal that was stopped, blocks a thread that writes to it without a limit. The thread
keeps every lock that it holds: tqdm's, rich's, and the stream's own, for which the interpreter waits when it ends, and
aborts. So the stream is checked first, while no lock is held.
"""

import mmap
import os
import stat
import struct
import time
from typing import Any

from predlog._runtime.failure import own_failure

try:
    import fcntl
    import termios
    from select import POLLOUT, poll
except ImportError:  # Only POSIX systems have all of these. Elsewhere no stream is known to be stuck.
    _CAN_TELL = False
else:
    _CAN_TELL = True

# Bytes. What the program has written and the stream still buffers is written before our text; together it is less.
_ROOM = 32 * 1024
_PAUSE = 0.02


def is_writable(stream: Any) -> bool:
    """Return whether a few kilobytes can be written without waiting, as far as can be known.

    For a pipe that is known, unless another process fills it at the same time; for a terminal, only that it has room.
    """
    if not _CAN_TELL:
        return True
    try:
        file: int = stream.fileno()
        kind = os.fstat(file).st_mode
    except own_failure(Exception, stream):  # no file, so nothing blocks; or closed, which the write reports
        return True
    if not (stat.S_ISFIFO(kind) or stat.S_ISCHR(kind) or stat.S_ISSOCK(kind)):
        return True
    asked = poll()
    asked.register(file, POLLOUT)
    return len(asked.poll(0)) > 0 and (not stat.S_ISFIFO(kind) or _has_room(file))


def wait(stream: Any, patience: float) -> bool:
    """Wait until the stream is writable; return False if it is not within `patience` seconds."""
    deadline = time.monotonic() + patience
    while not is_writable(stream):
        if time.monotonic() > deadline:
            return False
        # A pipe with too little room is ready for `poll`, which would return at once: so this sleeps.
        time.sleep(_PAUSE)
    return True


def _has_room(pipe: int) -> bool:
    try:
        capacity = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
        (waiting,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    except (AttributeError, OSError):  # not on this system
        return True
    # A write of a little over half a page takes a whole page: twice the room that it needs.
    return not waiting or bool(capacity - 2 * waiting - mmap.PAGESIZE >= _ROOM)
