"""Addresses → answers: the list of runs, the page of each, and what keeps both up to date."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from predlog.errors import NoRecordsError, PredlogError, required
from predlog.serve import places
from predlog.serve.feed import Feed
from predlog.serve.run_list import RunList
from predlog.serve.run_page import RunPage

with required("serve"):
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
    from starlette.types import Receive, Scope, Send

# Streams per browser: it has six connections for all of its tabs, and a tab that loads needs some, too. Further tabs
# ask again and again.
_MOST_STREAMS = 4
# Characters of the name that a browser gives itself.
_LONGEST_NAME = 64
_EVENTS: Final = "events"
# Proxies that keep an answer until it is whole do not keep this one.
_UNBUFFERED: Final = {"x-accel-buffering": "no"}


class App:
    """The pages of the runs in a folder: `most` comparisons at most in the film strip of each.

    Raises:
        NoRecordsError: There is no such folder.
    """

    def __init__(self, folder: Path, most: int) -> None:
        if not folder.is_dir():
            raise NoRecordsError(f"{folder} {'is no folder' if folder.exists() else 'does not exist'}")
        self._root = folder
        self._most = most
        self._list = RunList(folder)
        self._runs: dict[Path, RunPage] = {}
        self._streams = Counter[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whose path has no token any more."""
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except (PredlogError, OSError) as error:
            answer = PlainTextResponse(f"{error}\n", 404 if isinstance(error, FileNotFoundError) else 500)
        await answer(scope, receive, send)

    def end(self) -> None:
        """End all streams, and what feeds them."""
        for feed in (self._list, *self._runs.values()):
            feed.stop()

    async def _answer(self, request: Request) -> Response:
        path: bytes = request.scope["raw_path"]
        inside, _, part = path.rpartition(b"/")
        if inside == b"":
            return await self._part(self._list, part, request)
        if inside != b"/run" and not inside.startswith(b"/run/"):
            return _nothing()
        if _is_part(RunPage.parts, part) and (folder := await self._found(inside[5:])):
            return await self._part(self._run(folder), part, request)
        if part and await self._found(path[5:]):
            return RedirectResponse(f"./{part.decode('latin-1')}/", 307)
        return _nothing()

    async def _found(self, written: bytes) -> Path | None:
        return await asyncio.to_thread(places.found, self._root, written)

    def _run(self, folder: Path) -> RunPage:
        for known in [known for known, feed in self._runs.items() if not feed.is_watched and known != folder]:
            del self._runs[known]
        return self._runs.setdefault(folder, RunPage(self._root, folder, self._most))

    async def _part(self, feed: Feed, part: bytes, request: Request) -> Response:
        if not _is_part(feed.parts, part):
            return _nothing()
        name, is_get = part.decode(), request.method == "GET"
        if name == _EVENTS:
            headers = {"content-type": "text/event-stream", **_UNBUFFERED}
            return (
                StreamingResponse(self._events(feed, request), headers=headers)
                if is_get
                else Response(None, 200, headers)
            )
        async with feed.watched():
            spool = await feed.made(name)
        return StreamingResponse(spool.chunks(), headers=spool.headers)

    async def _events(self, feed: Feed, request: Request) -> AsyncIterator[bytes]:
        browser = request.query_params.get("browser", "")[:_LONGEST_NAME]
        is_one_of_many = self._streams[browser] >= _MOST_STREAMS
        if not is_one_of_many:
            self._streams[browser] += 1
        try:
            async with feed.watched():
                async for event in feed.stream(request.query_params.get("since", ""), stays=not is_one_of_many):
                    yield event
        except (PredlogError, OSError) as error:
            yield Feed.gone(error)
        finally:
            if not is_one_of_many:
                self._streams[browser] -= 1
                self._streams += Counter()  # forget browsers without a stream


def _is_part(parts: frozenset[str], part: bytes) -> bool:
    return part.isascii() and (part.decode() in parts or part.decode() == _EVENTS)


def _nothing() -> Response:
    return PlainTextResponse("There is nothing at this address.\n", 404)
