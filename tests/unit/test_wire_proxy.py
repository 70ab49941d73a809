"""The wire proxy of the fault suite: frames, faults by api and by count, a network that stands still."""

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest

from tests.faults.proxy import LENGTH, Api, Proxy, parse_request, proxied, read_frame
from tests.ports import held_port


def request(api: int, correlation_id: int, body: bytes = b"") -> bytes:
    frame = struct.pack(">hhi", api, 0, correlation_id) + body
    return LENGTH.pack(len(frame)) + frame


class Echo:
    """A broker that answers each request with its correlation id and body, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                frame = await read_frame(reader)
                self.seen.append(parse_request(frame).correlation_id)
                reply = frame[4:]
                writer.write(LENGTH.pack(len(reply)) + reply)
        except (EOFError, OSError):
            writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, int]]:
    broker = Echo()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    yield broker, server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def link(echo: tuple[Echo, int]) -> AsyncIterator[tuple[Proxy, Echo, int]]:
    async with proxied(0, echo[1]) as proxy:
        yield proxy, echo[0], proxy.port


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    frame = await read_frame(reader)
    return LENGTH.unpack_from(frame)[0], frame[4:]


async def all_answers(reader: asyncio.StreamReader) -> None:
    while True:
        await answer(reader)


async def test_frames_pass_whole_however_they_are_cut(link: tuple[Proxy, Echo, int]) -> None:
    proxy, _, port = link
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = b"".join(request(Api.PRODUCE, number, bytes(number % 7) * 1000) for number in range(1, 40))
    for start in range(0, len(sent), 97):
        writer.write(sent[start : start + 97])
        await asyncio.sleep(0)
    for number in range(1, 40):
        assert await answer(reader) == (number, bytes(number % 7) * 1000)
    assert proxy.requests[Api.PRODUCE] == 39
    writer.close()


async def test_the_nth_reply_is_dropped_and_the_connection_goes_on(link: tuple[Proxy, Echo, int]) -> None:
    proxy, broker, port = link
    fault = proxy.inject(Api.END_TXN, "drop_reply", nth=2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number, api in enumerate([Api.END_TXN, Api.FETCH, Api.END_TXN, Api.END_TXN]):
        writer.write(request(api, number))
    assert [(await answer(reader))[0] for _ in range(3)] == [0, 1, 3]
    assert broker.seen == [0, 1, 2, 3]
    assert fault.struck.is_set()
    writer.close()


@pytest.mark.parametrize(("action", "seen"), [("cut_before", [0]), ("cut_after", [0, 1])])
async def test_a_connection_is_cut_before_or_after_the_broker_has_seen_the_request(
    link: tuple[Proxy, Echo, int], action: str, seen: list[int]
) -> None:
    proxy, broker, port = link
    proxy.inject(Api.END_TXN, action, nth=1, seconds=0.2)  # type: ignore[arg-type]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(Api.FETCH, 0))
    assert (await answer(reader))[0] == 0
    writer.write(request(Api.END_TXN, 1))
    with pytest.raises((EOFError, OSError)):
        await all_answers(reader)
    assert broker.seen == seen
    writer.close()


async def test_a_refused_request_never_reaches_the_broker(link: tuple[Proxy, Echo, int]) -> None:
    proxy, broker, port = link
    proxy.inject(Api.END_TXN, "error", error_code=51)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(Api.END_TXN, 5))
    assert await answer(reader) == (5, struct.pack(">ih", 0, 51))
    assert broker.seen == []
    writer.close()


async def test_nothing_passes_a_black_hole_until_it_heals(link: tuple[Proxy, Echo, int]) -> None:
    proxy, _, port = link
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    proxy.blackhole()
    writer.write(request(Api.FETCH, 1))
    waiting = asyncio.ensure_future(answer(reader))
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done
    proxy.heal()
    assert (await waiting)[0] == 1
    writer.close()


async def test_something_happens_just_before_the_broker_sees_it(link: tuple[Proxy, Echo, int]) -> None:
    proxy, broker, port = link
    seen_then: list[int] = []

    async def look() -> None:
        seen_then.extend(broker.seen)

    proxy.inject(Api.END_TXN, "call", call=look)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(Api.FETCH, 0))
    await answer(reader)
    writer.write(request(Api.END_TXN, 1))
    await answer(reader)
    assert (seen_then, broker.seen) == ([0], [0, 1])
    writer.close()


async def test_a_held_port_is_nobody_elses_and_a_proxy_listens_there_again_and_again(echo: tuple[Echo, int]) -> None:
    with held_port() as held:
        port = held.getsockname()[1]
        with pytest.raises(OSError):
            await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
        for number in range(2):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            async with proxied(port, echo[1]):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request(Api.FETCH, number))
                assert (await answer(reader))[0] == number
                writer.close()
