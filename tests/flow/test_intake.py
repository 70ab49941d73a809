"""How requests share transactions, on a clock that jumps: a commit takes 20 ms, a client 1 ms to post again."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mira_stream.errors import DependencyError
from mira_stream.ingest.known import Known
from mira_stream.ingest.posted import Taken
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.forwarding import ForwardingBroker
from mira_stream.streaming.intake import Intake
from mira_stream.streaming.ports import TopicSpec, TransactionalProducer
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.loop import VirtualLoop

COMMIT_S, POST_S = 0.02, 0.001
POSTS = 20


class SlowBroker(ForwardingBroker):
    """`sizes`: documents of each transaction."""

    def __init__(self) -> None:
        super().__init__(MemoryBroker())
        self.sizes: list[int] = []

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        return SlowProducer(await super().producer(transactional_id), self.sizes)


class SlowProducer:
    def __init__(self, inner: TransactionalProducer, sizes: list[int]) -> None:
        self._inner, self._sizes = inner, sizes

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        await asyncio.sleep(COMMIT_S)
        await self._inner.commit(records, offsets, consumer_group)
        self._sizes.append(len(records))

    async def close(self) -> None:
        await self._inner.close()


@pytest.mark.parametrize("clients", [1, 2, 8, 16])
def test_clients_that_post_again_when_answered_share_transactions(clients: int) -> None:
    took_s, sizes = run(clients, leaves=0)
    assert sum(sizes) == clients * POSTS
    assert len(sizes) <= POSTS + 2, "each transaction but the first holds a document of every client"
    assert took_s <= (POSTS + 2) * (COMMIT_S + 4 * POST_S)


def test_clients_that_are_gone_are_not_waited_for_again() -> None:
    took_s, sizes = run(32, leaves=31)
    assert sum(sizes) == 31 + POSTS
    assert took_s <= (POSTS + 2) * (COMMIT_S + 2 * POST_S) + COMMIT_S


def run(clients: int, leaves: int) -> tuple[float, list[int]]:
    """Seconds from the first post to the last answer, and each transaction's documents; some clients post only once."""
    loop = VirtualLoop(random.Random(5))
    try:
        return loop.run_until_complete(asyncio.wait_for(_run(clients, leaves), 60))
    finally:
        loop.close()


async def _run(clients: int, leaves: int) -> tuple[float, list[int]]:
    broker = SlowBroker()
    await broker.create_topics([TopicSpec("documents", 2)], 1)
    intake = Intake(broker, "produce", ["documents"], Known(10_000), 1.0)
    running = asyncio.create_task(intake.run())
    while intake.down is not None:  # noqa: ASYNC110 - on a clock that jumps
        await asyncio.sleep(POST_S)

    async def client(name: int) -> None:
        for post in range(1 if name < leaves else POSTS):
            await asyncio.sleep(POST_S)
            await intake.put([Taken(f"{name}/{post}", b"mark", "documents", b"{}")], b"00")

    now = asyncio.get_running_loop().time
    begun = now()
    await asyncio.gather(*map(client, range(clients)))
    took_s = now() - begun
    intake.drain()
    await running
    return took_s, broker.sizes


class SilentBroker(ForwardingBroker):
    """Commits end only while `answers` is set."""

    def __init__(self) -> None:
        self.memory = MemoryBroker()
        super().__init__(self.memory)
        self.answers = asyncio.Event()

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        return SilentProducer(await super().producer(transactional_id), self.answers)


class SilentProducer:
    def __init__(self, inner: TransactionalProducer, answers: asyncio.Event) -> None:
        self._inner, self._answers = inner, answers

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        await self._answers.wait()
        await self._inner.commit(records, offsets, consumer_group)

    async def close(self) -> None:
        await self._inner.close()


def test_nobody_waits_for_a_silent_broker_longer_than_told_and_nothing_is_doubled() -> None:
    loop = VirtualLoop(random.Random(7))
    try:
        loop.run_until_complete(asyncio.wait_for(_silent(), 600))
    finally:
        loop.close()


async def _silent() -> None:
    broker = SilentBroker()
    await broker.create_topics([TopicSpec("documents", 2)], 1)
    now = asyncio.get_running_loop().time
    intake = Intake(broker, "produce", ["documents"], Known(10_000), 1.0, now, answer_s=5.0)
    running = asyncio.create_task(intake.run())

    def down() -> bool:
        return intake.down is not None

    while down():  # noqa: ASYNC110 - on a clock that jumps
        await asyncio.sleep(POST_S)

    async def post(*names: str) -> Any:
        begun = now()
        try:
            said: object = await intake.put([Taken(name, b"mark", "documents", b"{}") for name in names], b"00")
        except DependencyError as error:
            said = error.code
        return said, now() - begun

    first = asyncio.create_task(post("a"))
    await asyncio.sleep(2.0)  # it is in a transaction; what comes now waits behind it
    second, same = asyncio.create_task(post("b")), asyncio.create_task(post("a"))
    assert await first == ("broker_silent", pytest.approx(5.0, abs=0.1))
    assert await second == ("broker_silent", pytest.approx(5.0, abs=0.1))
    assert await same == ("broker_silent", pytest.approx(5.0, abs=0.1))
    assert down()
    assert await post("c") == ("broker_silent", pytest.approx(0.0, abs=0.1)), "known by now: nobody waits again"
    broker.answers.set()
    while down():  # noqa: ASYNC110 - on a clock that jumps
        await asyncio.sleep(POST_S)
    assert [(await post(name))[0] for name in "abca"] == [["duplicate"], ["accepted"], ["accepted"], ["duplicate"]]
    intake.drain()
    await running
    assert sorted(record.key or b"" for record in broker.memory.records("documents") if record.key) == [
        b"a",
        b"b",
        b"c",
    ]


@pytest.mark.parametrize(("timed_out", "replaced"), [(True, False), (True, True), (False, True)])
def test_a_fence_by_the_brokers_own_timeout_is_no_other_process(timed_out: bool, replaced: bool) -> None:
    """It stood still in the midst of a transaction for so long that the broker ended it, somebody else came, or both:
    whoever came after it is left alone."""
    loop = VirtualLoop(random.Random(3))
    try:
        loop.run_until_complete(asyncio.wait_for(_fenced(timed_out, replaced), 600))
    finally:
        loop.close()


async def _fenced(timed_out: bool, replaced: bool) -> None:
    broker, now = MemoryBroker(), asyncio.get_running_loop().time
    await broker.create_topics([TopicSpec("documents", 2)], 1)
    intake = Intake(broker, "produce", ["documents"], Known(10_000), 1.0, now, answer_s=100.0)
    running = asyncio.create_task(intake.run())
    while intake.down is not None:  # noqa: ASYNC110 - on a clock that jumps
        await asyncio.sleep(POST_S)
    hold = broker.hold_next_commit("produce")
    posted = asyncio.create_task(intake.put([Taken("a", b"mark", "documents", b"{}")], b"00"))
    await hold.reached.wait()
    await asyncio.sleep(25.0)
    if timed_out:
        broker.time_out("produce")
    successor = await broker.producer("produce") if replaced else None
    hold.release()
    if successor is None:
        assert await posted == ["accepted"]
        assert len(broker.records("documents")) == 1
        intake.drain()
        await running
    else:
        with pytest.raises(DependencyError, match="producer_fenced"):
            await running
        with pytest.raises(DependencyError, match="producer_fenced"):
            await posted
        assert broker.records("documents") == []
        await successor.commit([Outgoing("documents", None, b"{}", 0)], {}, None)
