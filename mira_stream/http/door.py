"""Connections before a request is read from them: not more than a number, and none that only stands there.

Whoever can reach the port can connect, before any token is asked for. A process has a limited number of sockets, and
needs some for its broker and its probes.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from mira_stream.http.refusals import Refusals

CONNECTIONS_MAX: Final = 512
HEADER_S: Final = 10.0
"""So long a connection may take to send a request's header. (uvicorn itself closes what idles after a request.)"""
FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Door:
    """Of one server. `connections`: how many are open now."""

    def __init__(self, refusals: Refusals, connections_max: int = CONNECTIONS_MAX, header_s: float = HEADER_S) -> None:
        self.connections = 0
        self.connections_max = connections_max
        self.header_s = header_s
        self.refusals = refusals

    def protocol(self, **arguments: Any) -> asyncio.Protocol:
        """As uvicorn makes one for each connection."""
        return _Connection(self, **arguments)


class _Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    def __init__(self, door: Door, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._door = door
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._door.connections += 1
        if self._door.connections > self._door.connections_max:
            self._refuse("connections_full", f"{self._door.connections_max} connections are open")
            transport.write(FULL)
            transport.close()
        else:
            self._await_header()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:  # a header is complete; its request is answered
            self._forget()
        elif self._late is None:
            self._await_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.connections -= 1
        self._forget()
        super().connection_lost(exc)

    def _await_header(self) -> None:
        self._late = self.loop.call_later(self._door.header_s, self._close)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        self._refuse("header_slow", f"no whole header within {self._door.header_s:g} s")
        self.transport.close()

    def _refuse(self, code: str, cause: str) -> None:
        self._door.refusals.add(code, cause, self.client[0] if self.client else "")
