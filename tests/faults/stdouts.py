"""Things that a program's stdout can be, each given as a file descriptor to start the program with."""

import fcntl
import os
import pty
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Starts a program with its descriptor 1 closed.
CLOSED = ("sh", "-c", 'exec "$@" >&-', "sh")


@contextmanager
def full_pipe() -> Iterator[int]:
    """Return the end of a pipe that is full, and that nobody reads while this lasts."""
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        for size in (1 << 16, 1):  # the last bytes, too
            with suppress(BlockingIOError):
                while True:
                    os.write(writer, b"." * size)
        os.set_blocking(writer, True)
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


@contextmanager
def pipe_without_reader() -> Iterator[int]:
    """Return the end of a pipe whose other end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Return both ends of a terminal, the program's second; the first is the caller's to close."""
    controller, end = pty.openpty()
    fcntl.fcntl(controller, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    try:
        yield controller, end
    finally:
        os.close(end)


@contextmanager
def drained_terminal() -> Iterator[int]:
    """Return the program's end of a terminal, of which all is read."""
    with terminal() as (controller, end):
        drain = threading.Thread(target=_drain, args=[controller])
        drain.start()
        yield end
    drain.join()


def _drain(controller: int) -> None:
    # Linux says EIO where the last writer has gone.
    with suppress(OSError):
        while os.read(controller, 1 << 16):
            pass
    os.close(controller)


@contextmanager
def file(path: str) -> Iterator[int]:
    """Return a file or a device."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
