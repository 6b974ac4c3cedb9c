"""Who gets an answer: those who read, name this server as it is named, and have the token; and what headers it has.

The token is the first part of each address's path, so that relative addresses work behind any prefix, and no cookie
is needed: browsers send a cookie of `localhost` to the servers of all users of a machine.
"""

import hmac
import ipaddress
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import urlsplit

from predlog.errors import required
from predlog.reading.words import seen

with required("serve"):
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.responses import PlainTextResponse, RedirectResponse, Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_METHODS: Final = ("GET", "HEAD")
# Characters of a name in a message; whoever asks may send any.
_LONGEST_NAME = 100
# What every answer says to browsers. A page has its own policy, which allows its own scripts.
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Pass on only requests that may be answered, without the token in their path, and add headers to each answer.

    `hosts` are the names that the Host header may have, beside the loopback's. With `any_address` it may also be the
    address at which the request arrived: a page of somebody else's can't have that one as its name.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str] = (), *, any_address: bool = False) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = frozenset({*LOOPBACK, *map(plain, hosts)})
        self._any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope) or self._inside(scope) or self._app
        await answer(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        names = headers.getlist("host")
        host = plain(_name(names[0])) if len(names) == 1 else ""
        if not host or host not in self._allowed(scope):
            asked = seen(host[:_LONGEST_NAME]) or "no name"
            hint = f": if you trust it, start predlog serve with --allow-host {asked}" if host else ""
            return PlainTextResponse(f"This server does not answer to {asked}{hint}\n", 403)
        if scope["method"] not in _METHODS:
            return PlainTextResponse("Runs can be read only.\n", 405, {"allow": ", ".join(_METHODS)})
        if not self._is_own(headers, scope):
            return PlainTextResponse("Pages of other sites may not read this one.\n", 403)
        return None

    def _inside(self, scope: Scope) -> Response | None:
        """Check the token and take it from the path."""
        whole: bytes = scope.get("raw_path") or scope["path"].encode()
        start, token, *rest = whole.split(b"/", 2) if whole.startswith(b"/") else (b"", b"", b"")
        if not hmac.compare_digest(token, self._token):
            return PlainTextResponse("Open the address that predlog serve has printed: it contains a token.\n", 403)
        if not rest:
            return RedirectResponse(f"{self._token.decode()}/", 307)
        scope["raw_path"] = start + b"/" + rest[0]
        return None

    def _allowed(self, scope: Scope) -> Collection[str]:
        server = scope.get("server")
        return {*self._hosts, plain(server[0])} if self._any_address and server else self._hosts

    def _is_own(self, headers: Headers, scope: Scope) -> bool:
        """Return whether a request comes from a page of this server, or from a person who opens an address."""
        site = headers.get("sec-fetch-site")
        if site is not None:
            opens = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            return site in {"same-origin", "none"} or opens
        origin = headers.get("origin")
        return origin is None or plain(_name(urlsplit(origin).netloc)) in self._allowed(scope)


def plain(host: str) -> str:
    """Return a host's name or address as all its spellings are compared: without brackets, port and capitals."""
    name = host.removeprefix("[").removesuffix("]").lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def _name(host: str) -> str:
    """Return the name of a Host header, without the port; empty if it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
