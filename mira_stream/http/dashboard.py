"""The dashboard: one page of ours, and a stream of Snapshots. Reading only; nothing of another host is loaded."""

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Final

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mira_stream.clock import Monotonic, monotonic
from mira_stream.http.operations import probes
from mira_stream.streaming.health import Check, Health

CLIENTS_MAX: Final = 200
PING_S: Final = 15
LOOK_MAX_S: Final = 60.0
"""Older looks are no life: one waits 15 s for the broker, and as long as it takes to resolve a name."""
HEADERS: Final = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
mimetypes.add_type("text/javascript", ".js")


class Newest:
    """The newest Snapshot as JSON, and whoever waits for the next. A slow reader misses some and keeps nobody up."""

    def __init__(self, now: Monotonic = monotonic) -> None:
        self._now = now
        self._snapshot = b""
        self._published_s = 0.0
        self._version = 0
        self._published = asyncio.Event()
        self.readers = 0

    @property
    def snapshot(self) -> bytes:
        """Empty before the first one."""
        return self._snapshot

    def check(self) -> Check:
        """Whether the page shows what is: a look that never ends leaves the last one standing."""
        if not self._snapshot:
            return Check("look", False, None, "the first look is not over yet", "wait")
        age_s = self._now() - self._published_s
        if age_s <= LOOK_MAX_S:
            return Check("look", True, age_s)
        cause = f"the newest look is {age_s:.0f} s old (at most {LOOK_MAX_S:g})"
        return Check("look", False, age_s, cause, "look whether names resolve and the project's disk answers")

    def publish(self, snapshot: bytes) -> None:
        self._snapshot = snapshot
        self._published_s = self._now()
        self._version += 1
        self._published.set()
        self._published = asyncio.Event()

    async def updates(self) -> AsyncIterator[bytes]:
        """The newest one at once, then each newer one that there is when the reader comes back."""
        seen = 0
        self.readers += 1
        try:
            while True:
                published = self._published
                if seen == self._version:
                    await published.wait()
                seen = self._version
                yield self._snapshot
        finally:
            self.readers -= 1


@asynccontextmanager
async def watched(newest: Newest) -> AsyncIterator[Health]:
    """While the block runs: it lives while its loop and its looks go on, and has started with the first look."""
    health = Health()
    with health.checked("live", newest.check), health.checked("started", newest.check):
        async with health.loop.beating():
            yield health


def dashboard(newest: Newest, health: Health) -> ASGIApp:
    """The page at /, its files, /snapshot.json, /events and the probes. For the outside it still needs `guarded`, which
    may leave PROBES open."""
    page = _page()

    async def file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in page:
            return JSONResponse({"error": {"code": "not_found", "cause": "there is no such file"}}, 404)
        return Response(page[name], media_type=mimetypes.guess_type(name)[0])

    async def snapshot(_: Request) -> Response:
        if not newest.snapshot:
            return JSONResponse({"error": {"code": "not_ready", "cause": "the first look is not over yet"}}, 503)
        return Response(newest.snapshot, media_type="application/json")

    async def events(_: Request) -> Response:
        if newest.readers >= CLIENTS_MAX:
            return JSONResponse({"error": {"code": "too_many", "cause": f"{CLIENTS_MAX} pages are open"}}, 503)
        return EventSourceResponse(_events(newest), ping=PING_S, headers={"cache-control": "no-store"})

    routes = [
        Route("/", file),
        Route("/events", events),
        Route("/snapshot.json", snapshot),
        *probes(health),
        Route("/{name}", file),
    ]
    return _headed(Starlette(routes=routes, middleware=[Middleware(GZipMiddleware)]))


async def _events(newest: Newest) -> AsyncIterator[Mapping[str, str]]:
    async for snapshot in newest.updates():
        yield {"event": "snapshot", "data": snapshot.decode()}


def _page() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (files(__package__) / "page").iterdir() if path.is_file()}


def _headed(app: ASGIApp) -> ASGIApp:
    """With HEADERS on every answer, errors too."""
    more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def headed(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.decode().lower() not in HEADERS]
                message = {**message, "headers": [*kept, *more]}
            await send(message)

        await app(scope, receive, sending)

    return headed
