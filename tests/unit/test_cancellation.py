"""A CancelledError that nobody asked for is an error that is seen."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from mira_stream.cancellation import only_ours, to_the_end
from mira_stream.errors import DependencyError
from mira_stream.kafka import closing
from mira_stream.kafka.closing import finish, stop_consumer
from mira_stream.kafka.failures import bounded


async def of_a_library() -> None:
    given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    given_up.cancel()
    await given_up


async def test_the_librarys_own_is_an_error() -> None:
    with pytest.raises(DependencyError, match="interrupted: reading"), only_ours("reading"):
        await of_a_library()
    with pytest.raises(DependencyError, match="interrupted: reading"):
        await bounded("reading", 10.0, of_a_library)


async def test_ours_stays_one() -> None:
    async def waiting() -> None:
        with only_ours("waiting"):
            await asyncio.Event().wait()

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await waiting()


class Connections:
    """As aiokafka's client closes: waits for futures that a cancelled close has cancelled for all that come after."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        await asyncio.gather(self.closed)


class Client:
    _coordinator = _fetcher = None

    def __init__(self) -> None:
        self._client = Connections()

    async def stop(self) -> None:
        await self._client.close()


async def test_a_consumer_that_does_not_stop_in_time_is_ended_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "CLOSE_S", 0.01)
    client: Any = Client()
    await stop_consumer(client)
    assert client._client.closed.cancelled()


async def test_a_close_that_suppresses_cancellation_does_not_keep_ours_from_us() -> None:
    begun = asyncio.Event()

    async def closing() -> None:  # as aiokafka's client waits for the end of its tasks
        with suppress(asyncio.CancelledError):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(finish(closing()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await finish(asyncio.sleep(0))


async def test_a_clean_up_ends_before_its_caller_however_often_that_is_cancelled() -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), list[str]()

    async def clean_up() -> None:
        begun.set()
        await may_end.wait()
        ended.append("clean-up")

    async def caller() -> None:
        try:
            await to_the_end(clean_up())
        finally:
            ended.append("caller")

    task = asyncio.create_task(caller())
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["clean-up", "caller"]


async def test_a_clean_up_that_nobody_cancels_has_its_own_result() -> None:
    assert await to_the_end(asyncio.sleep(0, 7)) == 7
    with pytest.raises(DependencyError, match="interrupted"):
        await to_the_end(bounded("closing", 10.0, of_a_library))
