"""VirtualLoop: time that jumps, an order that is drawn, processes that die as processes die."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from mira_stream.testing.loop import Process, Stalled, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(random.Random(1))
    yield loop
    loop.close()


def test_time_jumps_to_the_next_timer(loop: VirtualLoop) -> None:
    async def sleeper() -> list[float]:
        await asyncio.sleep(3600)
        first = loop.time()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 60)
        return [first, loop.time()]

    times = loop.run_until_complete(sleeper())
    assert times == pytest.approx([3600, 3660], abs=0.01)


def test_what_is_ready_runs_in_an_order_that_the_seed_draws() -> None:
    def order(seed: int) -> list[int]:
        loop = VirtualLoop(random.Random(seed))
        seen: list[int] = []

        async def main() -> None:
            for number in range(6):
                loop.call_soon(seen.append, number)
            await asyncio.sleep(1)

        loop.run_until_complete(main())
        loop.close()
        return seen

    orders = [order(seed) for seed in range(8)]
    assert orders == [order(seed) for seed in range(8)]
    assert all(sorted(one) == list(range(6)) for one in orders)
    assert len({tuple(one) for one in orders}) > 4


def test_a_killed_process_runs_no_clean_up_and_its_children_die_with_it(loop: VirtualLoop) -> None:
    said: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            said.append("child cleaned up")

    async def parent() -> None:
        try:
            await asyncio.gather(child(), child())
        finally:
            said.append("parent cleaned up")

    process = Process(loop, "p")

    async def main() -> None:
        process.spawn(parent())
        await asyncio.sleep(5)
        assert len(process.left()) == 3
        process.kill()
        await asyncio.sleep(100)

    loop.run_until_complete(main())
    assert said == []
    process.bury()
    assert sorted(said) == ["child cleaned up", "child cleaned up", "parent cleaned up"]
    assert process.left() == []


def test_a_paused_process_goes_on_where_it_stood(loop: VirtualLoop) -> None:
    times: list[float] = []

    async def ticking() -> None:
        for _ in range(4):
            await asyncio.sleep(1)
            times.append(loop.time())

    process = Process(loop, "p")

    async def main() -> None:
        task = process.spawn(ticking())
        await asyncio.sleep(1.5)
        process.pause()
        await asyncio.sleep(10)
        process.resume()
        await task

    loop.run_until_complete(main())
    assert times == pytest.approx([1.0, 11.5, 12.5, 13.5], abs=0.01)


def test_nothing_left_to_happen_is_an_error_and_no_hang(loop: VirtualLoop) -> None:
    with pytest.raises(Stalled):
        loop.run_until_complete(asyncio.Event().wait())


def test_work_for_a_thread_is_done_at_once_and_its_error_comes_back(loop: VirtualLoop) -> None:
    async def main() -> int:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread(lambda: 7)

    assert loop.run_until_complete(main()) == 7
