"""New processes that have imported torch already, which takes longer than most of what is tested in them.

One process that has imported nothing but torch forks them. Each runs its program as `python -c` does, in the folder of
the repository, and ends as any other does; predlog is not there until a program imports it. What is about importing,
or about how a process is started, needs an interpreter of its own.
"""

import atexit
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO

from tests import ROOT

_SERVER = "import sys, torch; from tests import fresh; exec(fresh.program(int(sys.argv[1])), {'__name__': '__main__'})"
# What most runs report on stderr.
ORDINARY = re.compile("the inputs are not known|^predlog: [0-9]+ comparisons?( in |, and no file).*; no open findings")
_MOST = 1 << 20  # bytes of a request, and far more than a program and an environment have


def run(
    code: str, *arguments: str | Path, environment: Mapping[str, str] = os.environ, within: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own; return how it ended and what it printed.

    Lines on stderr that few tests are about are left out: that inputs are not known, and at the end that all is well.
    """
    with Path(os.devnull).open() as stdin, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        start(code, *arguments, streams=(stdin, out, errors), environment=environment)
        status = wait(within)
        out.seek(0)
        errors.seek(0)
        told = "".join(line for line in errors.readlines() if not ORDINARY.search(line))
        return subprocess.CompletedProcess(code, status, out.read(), told)


def said(errors: str) -> list[str]:
    """Return the lines of a process's stderr, without what torch's own logger writes where triton is not installed."""
    return [line for line in errors.splitlines() if "triton not found" not in line]


def start(
    code: str,
    *arguments: str | Path,
    streams: tuple[int | IO[str], int | IO[str], int | IO[str]],
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Start a program with these standard streams; `wait` must be called before the next one is started."""
    request = {"code": code, "arguments": [str(one) for one in arguments], "environment": dict(environment)}
    files = [one if isinstance(one, int) else one.fileno() for one in streams]
    socket.send_fds(_server()[1], [json.dumps(request).encode()], files)


def wait(within: float) -> int:
    """Return the exit code of the program that was started last, negative for a signal; end it if it takes longer."""
    process, channel = _server()
    channel.settimeout(within)
    try:
        return int(channel.recv(_MOST))
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        _server.cache_clear()
        raise


@cache
def _server() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(theirs.fileno())], pass_fds=[theirs.fileno()], cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    atexit.register(_end, process, ours)
    return process, ours


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    channel.close()
    process.wait()


def program(channel: int) -> str:
    """Fork a process for each request; return in each of them, with the program that it is to run."""
    with socket.socket(fileno=channel) as requests:
        while True:
            request, files, _, _ = socket.recv_fds(requests, _MOST, 3)
            if not request:
                sys.exit()
            if not (child := os.fork()):
                return _prepared(request, files)
            for file in files:
                os.close(file)
            requests.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _prepared(request: bytes, files: list[int]) -> str:
    """Make everything as it is in a process that begins, and return the program."""
    asked = json.loads(request)
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115 - for good
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 - as well
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["-c", *asked["arguments"]]
    code: str = asked["code"]
    return code
