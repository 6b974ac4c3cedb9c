"""The process that serves: its socket, its signals, its end."""

import asyncio
import errno
import os
import secrets
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from predlog.errors import PredlogError, required

with required("serve"):
    import uvicorn
    from starlette.types import ASGIApp

# Bytes that may wait for the rest of a request: of an address that is longer than any path.
_LONGEST_REQUEST = 1 << 20
# A token has at least so many characters.
_SHORTEST = 20


class _Server(uvicorn.Server):
    """A server that ends at once and with status 0, also while pages are open, whatever signal ends it."""

    def __init__(self, app: ASGIApp, end: Callable[[], object]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                date_header=False,  # uvicorn would wake up ten times per second to have the time
                proxy_headers=False,
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=_LONGEST_REQUEST,
            )
        )
        self._end = end
        self._ended = asyncio.Event()

    async def main_loop(self) -> None:
        """Wait until a signal comes; uvicorn's own loop looks ten times per second whether one has come."""
        await self.on_tick(0)
        await self._ended.wait()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self._end()
        self._ended.set()


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        PredlogError: The port is in use, or the host has no such address.
    """
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = known[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PredlogError(f"--host {host}: {error.strerror or error}") from None
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(place)
        made.listen(128)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise PredlogError(f"{host} port {port} is in use; --port 0 takes a free one") from None
        raise PredlogError(f"{host} port {port}: {error.strerror or error}") from None
    made.setblocking(False)
    return made


def address(opened: socket.socket, host: str, token: str) -> str:
    """Return the address of the list, with the token, as a person on this machine opens it."""
    port = opened.getsockname()[1]
    shown = socket.gethostname() if is_wildcard(host) else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/{token}/"


def is_wildcard(host: str) -> bool:
    """Return whether a host stands for all addresses of this machine."""
    return host in {"", "0.0.0.0", "::"}  # noqa: S104 - it is compared, not used


def own_names(host: str) -> list[str]:
    """Return the names that an address with this host may have."""
    return [socket.gethostname(), socket.getfqdn()] if is_wildcard(host) else [host]


def token_of(file: Path | None) -> str:
    """Return a new token; with a file, the one that it contains, or a new one that is written there.

    Raises:
        PredlogError: Others may read the file, or it contains no token.
    """
    token = secrets.token_urlsafe(24)
    if file is None:
        return token
    with suppress(FileExistsError):
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
            made.write(f"{token}\n")
        return token
    if file.stat().st_mode & 0o077:
        raise PredlogError(f"{file} may be read by others: chmod 600 it, or remove it to have a new token")
    known = file.read_text("utf-8", "replace").strip()
    if len(known) < _SHORTEST or not known.isascii() or not known.replace("-", "").replace("_", "").isalnum():
        raise PredlogError(f"{file} contains no token of {_SHORTEST} or more letters, digits, - and _: remove it")
    return known


def serve(opened: socket.socket, app: ASGIApp, end: Callable[[], object]) -> None:
    """Serve until SIGINT or SIGTERM; `end` is called then, so that streams that are open end."""
    asyncio.run(_Server(app, end).serve(sockets=[opened]))
