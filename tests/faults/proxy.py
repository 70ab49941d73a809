"""A TCP proxy that knows enough of Kafka's protocol to tell requests apart, and can do to a reply what networks do.

A request is `length, api key, api version, correlation id, ...`, a reply `length, correlation id, ...`; on one
connection replies come in the order of their requests. The broker advertises the proxy's own port on a listener of
its own (kafka.py), so nothing inside a message needs rewriting.
"""

import asyncio
import contextlib
import struct
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, NamedTuple

FRAME_MAX: Final = 64 * 2**20
HEADER: Final = struct.Struct(">hhi")
LENGTH: Final = struct.Struct(">i")


class Api(IntEnum):
    """The requests that faults are made of."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


Action = Literal["drop_reply", "delay_reply", "cut_before", "cut_after", "error", "call"]
"""drop_reply: the broker does it and nobody hears; cut_before: the connection ends and the broker never sees it;
cut_after: the broker sees it, then the connection ends; error: the broker never sees it and refuses;
call: something else happens just before the broker sees it."""


class Request(NamedTuple):
    api: int
    version: int
    correlation_id: int


@dataclass
class Fault:
    """Strikes the `nth` request of `api` from now on, and `times` in a row."""

    api: Api
    action: Action
    nth: int = 1
    times: int = 1
    seconds: float = 0.0
    error_code: int = 0
    call: Callable[[], Awaitable[None]] | None = None
    seen: int = 0
    struck: asyncio.Event = field(default_factory=asyncio.Event)

    def strikes(self, request: Request) -> bool:
        """Count a request; whether it is one of ours."""
        if request.api != self.api:
            return False
        self.seen += 1
        if not self.nth <= self.seen < self.nth + self.times:
            return False
        self.struck.set()
        return True


class Proxy:
    """Listens on `port` of 127.0.0.1 (0: any free one, `port` says which once it is started; or one that is held, see
    tests/ports.py) and forwards to `target`."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._faults: list[Fault] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.latency_s = 0.0
        self.bytes_per_s: float | None = None
        self.requests: Counter[int] = Counter()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_port=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.heal()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    # -- faults --

    def inject(
        self,
        api: Api,
        action: Action,
        *,
        nth: int = 1,
        times: int = 1,
        seconds: float = 0.0,
        error_code: int = 0,
        call: Callable[[], Awaitable[None]] | None = None,
    ) -> Fault:
        """Let the `nth` request of `api` from now on (and `times` in a row) go wrong; `struck` is set when it has."""
        fault = Fault(api, action, nth, times, seconds, error_code, call)
        self._faults.append(fault)
        return fault

    def blackhole(self) -> None:
        """Connections stay, nothing passes: a half-open network."""
        self._flowing.clear()

    def cut(self) -> None:
        """End all connections."""
        for writers in list(self._connections.values()):
            for writer in writers:
                writer.transport.abort()

    def heal(self) -> None:
        """Everything passes again, at once."""
        self._faults.clear()
        self.latency_s, self.bytes_per_s = 0.0, None
        self._flowing.set()

    # -- one connection --

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = [writer]
        try:
            try:
                broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._target)
            except OSError:
                return
            self._connections[task].append(broker_writer)
            await _Link(self, reader, writer, broker_reader, broker_writer).run()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            for one in self._connections.pop(task):
                one.transport.abort()

    def fault_of(self, request: Request) -> Fault | None:
        self.requests[request.api] += 1
        return next((fault for fault in list(self._faults) if fault.strikes(request)), None)

    async def pass_on(self, size: int) -> None:
        """Wait as long as the network would take for `size` bytes."""
        if self.bytes_per_s is not None:
            await asyncio.sleep(size / self.bytes_per_s)
        await self._flowing.wait()


class _Link:
    """The two directions of one connection; requests whose replies are still to come, in order."""

    def __init__(
        self,
        proxy: Proxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        broker_reader: asyncio.StreamReader,
        broker_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._broker_reader, self._broker_writer = broker_reader, broker_writer
        self._waiting: deque[tuple[Request, Fault | None]] = deque()
        self._replies: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def run(self) -> None:
        sides = [
            asyncio.ensure_future(side) for side in (self._pass_requests(), self._pass_replies(), self._send_replies())
        ]
        await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        for side in sides:
            side.cancel()
        await asyncio.gather(*sides, return_exceptions=True)

    async def _pass_requests(self) -> None:
        while True:
            frame = await read_frame(self._reader)
            request = parse_request(frame)
            fault = self._proxy.fault_of(request)
            await self._proxy.pass_on(len(frame))
            if fault is not None and fault.call is not None:
                await fault.call()
            if fault is not None and fault.action == "cut_before":
                return
            if fault is not None and fault.action == "error":
                self._later(LENGTH.pack(request.correlation_id) + refusal(request, fault.error_code))
                continue
            self._waiting.append((request, fault))
            self._broker_writer.write(LENGTH.pack(len(frame)) + frame)
            await self._broker_writer.drain()
            if fault is not None and fault.action == "cut_after":
                await asyncio.sleep(fault.seconds)
                return

    async def _pass_replies(self) -> None:
        while True:
            frame = await read_frame(self._broker_reader)
            (correlation_id,) = LENGTH.unpack_from(frame)
            request, fault = self._waiting.popleft()
            if request.correlation_id != correlation_id:
                raise OSError(f"reply {correlation_id} where {request.correlation_id} was due")
            if fault is not None and fault.action == "drop_reply":
                continue
            if fault is not None and fault.action == "delay_reply":
                await asyncio.sleep(fault.seconds)
            self._later(frame)

    def _later(self, frame: bytes) -> None:
        """Latency holds back each reply and takes none of the throughput."""
        self._replies.put_nowait((asyncio.get_running_loop().time() + self._proxy.latency_s, frame))

    async def _send_replies(self) -> None:
        while True:
            due, frame = await self._replies.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            await self._proxy.pass_on(len(frame))
            self._writer.write(LENGTH.pack(len(frame)) + frame)
            await self._writer.drain()


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """One message without its length. Raises EOFError at the end of the stream, OSError for no Kafka at all."""
    (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if not 0 < size <= FRAME_MAX:
        raise OSError(f"a frame of {size} bytes")
    return await reader.readexactly(size)


def parse_request(frame: bytes) -> Request:
    """Raises OSError for a frame that is too short."""
    if len(frame) < HEADER.size:
        raise OSError(f"a request of {len(frame)} bytes")
    return Request(*HEADER.unpack_from(frame))


def refusal(request: Request, error_code: int) -> bytes:
    """The body of a reply that refuses: for the requests whose reply begins with throttle time and error code."""
    if request.api not in (Api.END_TXN, Api.ADD_OFFSETS_TO_TXN) or request.version > 2:
        raise OSError(f"no refusal is known for api {request.api} version {request.version}")
    return struct.pack(">ih", 0, error_code)


@contextlib.asynccontextmanager
async def proxied(port: int, target: int) -> AsyncIterator[Proxy]:
    """A running proxy, as long as the block lasts."""
    proxy = Proxy(port, target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
