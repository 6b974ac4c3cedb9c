"""Streams that are stuck are seen before they are written to."""

import fcntl
import io
import os
import pty
import socket
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console as RichConsole

from predlog._runtime import writable
from predlog._runtime.notices import Notices
from predlog.sinks import Console
from tests import events


@pytest.fixture
def pipe() -> Iterator[tuple[int, Any]]:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
        os.set_blocking(reader, False)
        while_full = b"-"
        while while_full:
            try:
                while_full = os.read(reader, 1 << 20)
            except BlockingIOError:
                break
    os.close(reader)


def fill(stream: Any) -> int:
    """Write until nothing more goes, and give how much went."""
    file, written = stream.fileno(), 0
    os.set_blocking(file, False)
    try:
        while True:
            written += os.write(file, b"-" * 1024)
    except BlockingIOError:
        return written
    finally:
        os.set_blocking(file, True)


def test_a_pipe_that_nobody_reads(pipe: tuple[int, Any]) -> None:
    """An empty pipe takes something, a full one does not, and one that is read again does again."""
    reader, stream = pipe
    assert writable.is_writable(stream)
    written = fill(stream)
    assert not writable.is_writable(stream)
    assert not writable.wait(stream, 0.05)
    timer = threading.Timer(0.05, os.read, (reader, written))
    timer.start()
    assert writable.wait(stream, 10)


def test_a_pipe_that_takes_some_and_not_enough(pipe: tuple[int, Any]) -> None:
    """Room for less than what may come is no room: half of it would go out, and the rest wait."""
    _, stream = pipe
    fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, 65536)
    os.write(stream.fileno(), b"-" * 40_000)
    assert not writable.is_writable(stream)


def test_a_pipe_that_is_small(pipe: tuple[int, Any]) -> None:
    """A pipe that never has as much room as others is written to while it is empty."""
    _, stream = pipe
    fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, 4096)
    assert writable.is_writable(stream)
    os.write(stream.fileno(), b"-")
    assert not writable.is_writable(stream)


def test_a_terminal_that_is_stopped() -> None:
    """Ctrl-S stops a terminal, Ctrl-Q lets it go on."""
    controller, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream, os.fdopen(controller, "r+b", buffering=0):
        assert writable.is_writable(stream)
        termios.tcflow(terminal, termios.TCOOFF)
        assert not writable.is_writable(stream)
        termios.tcflow(terminal, termios.TCOON)
        assert writable.is_writable(stream)


def test_a_socket_that_nobody_reads() -> None:
    """A full socket takes nothing."""
    here, there = socket.socketpair()
    with here, there, here.makefile("w") as stream:
        assert writable.is_writable(stream)
        fill(here)
        assert not writable.is_writable(stream)


@pytest.mark.parametrize("kind", ["text", "file", "closed", "none"])
def test_what_cannot_be_stuck_is_written_to(tmp_path: Path, kind: str) -> None:
    """Strings and files take everything; what is closed or missing says so itself when it is written to."""
    stream: Any = io.StringIO() if kind == "text" else None
    if kind in {"file", "closed"}:
        stream = (tmp_path / "log").open("w")
        if kind == "closed":
            stream.close()
    assert writable.is_writable(stream)
    if kind == "file":
        stream.close()


def test_a_full_stderr_loses_the_line_and_keeps_the_count(
    pipe: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notice never waits: what stderr does not take is counted, and told with the next that it takes."""
    reader, stream = pipe
    monkeypatch.setattr(sys, "stderr", stream)
    written = fill(stream)
    notices = Notices()
    notices.report("disk", "the disk is full")
    notices.report("disk", "the disk is full still")
    os.read(reader, written)
    notices.report("disk", "the disk is as full as ever")
    said = os.read(reader, 1000).decode()
    assert said == "predlog: the disk is as full as ever (2 more like this since the last line)\n"


def test_a_blocked_console_fails_within_a_moment(pipe: tuple[int, Any]) -> None:
    """The console raises instead of waiting for ever, has printed nothing by halves, and prints again later."""
    reader, stream = pipe
    sink = Console(RichConsole(file=stream, width=80), patience=0.1)
    written = fill(stream)
    with pytest.raises(
        TimeoutError, match=r"the console has accepted nothing for 0\.1 s or more: is it stopped, or a pipe"
    ):
        sink(None, "info", events.gap())
    os.read(reader, written)
    sink(None, "info", events.gap(count=7))
    assert os.read(reader, 1000).decode() == "predlog: 7 comparisons missing, steps 130 to 180: queue full\n"


def test_a_pipe_whose_pages_are_half_empty(pipe: tuple[int, Any]) -> None:
    """A pipe counts pages and not bytes: many small writes fill it long before it has its number of bytes."""
    _, stream = pipe
    fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, 65536)
    for _ in range(15):
        os.write(stream.fileno(), b"-" * 2049)
    assert not writable.is_writable(stream)


def test_a_line_on_stderr_is_short(pipe: tuple[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that quotes a book is cut: a pipe that takes something takes the line."""
    reader, stream = pipe
    monkeypatch.setattr(sys, "stderr", stream)
    Notices().report("book", "x" * 100_000)
    said = os.read(reader, 200_000).decode()
    assert said == f"predlog: {'x' * 2000}...\n"


def test_two_of_us_on_one_console() -> None:
    """Recorders that print on the same console of rich's, at once, leave it as it was, and print everything."""
    stream = io.StringIO()
    console = RichConsole(file=stream, width=80)
    before = dict(vars(console))
    failures: list[BaseException] = []

    def work() -> None:
        sink = Console(console)
        try:
            for _ in range(200):
                sink(None, "info", events.gap())
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert stream.getvalue().count("comparisons missing") == 800
    assert dict(vars(console)).keys() == before.keys()
