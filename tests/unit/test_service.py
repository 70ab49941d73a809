"""A service told to stop drains; told twice it ends at once."""

import asyncio
import os
import signal

import pytest

from mira_stream.streaming.service import _supervised


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
        await asyncio.wait_for(_supervised(main), 10)
