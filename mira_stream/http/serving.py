"""An ASGI application served for as long as a context lasts."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, cast

import uvicorn
from starlette.types import ASGIApp

from mira_stream.errors import UsageError
from mira_stream.http.door import Door
from mira_stream.http.refusals import Refusals

GRACE_S: Final = 2
"""Answers that are on their way when the context ends get so long; what streams for ever is cut off then."""


@asynccontextmanager
async def serve(app: ASGIApp, host: str, port: int, door: Door | None = None) -> AsyncIterator[str]:
    """Serve `app` on the running loop until the context ends; gives the base URL, `http://HOST:PORT`. Port 0: any
    free one. The port is open when the block begins. Signals stay the service's, and no lifespan event is sent: what
    the application needs, the caller opens around it.

    `door` limits the connections, and how long one may take to ask for something. Raises UsageError(port_in_use) if
    the address cannot be bound.
    """
    with _bound(host, port) as listening:
        settings = uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", (door or Door(Refusals())).protocol),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        server = _Server(settings)
        running = asyncio.create_task(server.serve(sockets=[listening]), name=f"http {host}:{port}")
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process that serves, not to this server."""
        yield


def _bound(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()  # from here on a client waits for the server instead of being refused
    except OSError as error:
        listening.close()
        raise UsageError(
            "port_in_use", f"{host}:{port}: {error.strerror}", "choose another one, or 0 for any"
        ) from None
    return listening
