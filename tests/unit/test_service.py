"""A service told to stop drains; told twice it ends at once."""

import asyncio
import os
import signal

import pytest

from mira_stream.streaming.service import _supervised, done_before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_signal_asks_and_the_service_ends_in_its_own_time(number: signal.Signals) -> None:
    async def main(stop: asyncio.Event) -> str:
        os.kill(os.getpid(), number)
        await stop.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        return "drained"

    assert await _supervised(main) == "drained"


async def test_a_second_signal_ends_it_at_once() -> None:
    async def main(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()  # a drain without end

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(_supervised(main), 30)


async def test_what_is_not_done_when_the_stop_comes_is_cancelled() -> None:
    stop, ended = asyncio.Event(), asyncio.Event()

    async def load() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(done_before(stop, load()))
    await asyncio.sleep(0)
    stop.set()
    assert not await waiting
    assert ended.is_set()


async def test_what_is_done_before_the_stop_counts_and_its_error_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("no weights")

    assert await done_before(asyncio.Event(), asyncio.sleep(0))
    with pytest.raises(ValueError, match="no weights"):
        await done_before(asyncio.Event(), fail())


async def test_an_error_that_comes_with_the_stop_is_no_failure() -> None:
    stop = asyncio.Event()

    async def struck() -> None:
        stop.set()
        raise ValueError("the engine's processes were told to end")

    assert not await done_before(stop, struck())
