"""`predlog serve` in a process of its own, as a user starts it."""

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tests import ROOT


class Answer(NamedTuple):
    """What the server answered: its status, its headers in lower case, its body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Server:
    """A running server, begun in a folder, and the address that it has printed."""

    def __init__(self, *arguments: str | Path, folder: Path | None = None) -> None:
        command = [sys.executable, "-m", "predlog", "serve", *map(str, arguments)]
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.line = self.process.stdout.readline()
        found = re.search(r"http://\S+", self.line)
        assert found, (self.line, self.process.communicate())
        self.address = found[0]
        self.port = urlsplit(self.address).port or 0
        self.path = urlsplit(self.address).path

    def ask(self, path: str = "", method: str = "GET", **headers: str) -> Answer:
        """Send a request as it is, below the token; names of headers have _ for -."""
        return self.ask_whole(f"{self.path}{path}", method, **headers)

    def ask_whole(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Send a request with a path of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection._validate_path = lambda _: None  # type: ignore[attr-defined]  # what is wrong is sent, too
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": f"127.0.0.1:{self.port}", **headers}.items():
                if value:
                    connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def end(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """End it with a signal; return its exit status, and what it wrote since it began."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err

    def most_memory(self) -> int:
        """Return how much memory it has had at most, in bytes."""
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024


@contextmanager
def serving(*arguments: str | Path, folder: Path | None = None) -> Iterator[Server]:
    """Serve on a free port, as begun in a folder, and end it."""
    server = Server("--port", "0", *arguments, folder=folder)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()
