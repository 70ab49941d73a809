"""What a producer remembers of the log is whole, whatever happens while it reads."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from mira_stream.errors import DependencyError
from mira_stream.ingest.known import Known
from mira_stream.messages import Document, encode
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.streaming.forwarding import ForwardingBroker
from mira_stream.streaming.ports import TopicSpec
from mira_stream.streaming.remembering import Remembering
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.loop import VirtualLoop

TOPIC, PARTITIONS, DOCUMENTS = "documents", 4, 40


class Hiccups:
    """A reader that fails once, behind the first record of one partition, and takes `record_s` for each."""

    def __init__(self, inner: LogReader, partition: int, record_s: float = 0.0) -> None:
        self._inner = inner
        self._left = {partition}
        self._record_s = record_s
        self.partitions = inner.partitions
        self.bounds = inner.bounds
        self.high_watermarks = inner.high_watermarks
        self.close = inner.close

    async def read(self, partition: TopicPartition, start: int, end: int) -> AsyncIterator[Record]:
        async for record in self._inner.read(partition, start, end):
            await asyncio.sleep(self._record_s)
            yield record
            if partition.partition in self._left:
                self._left.clear()
                raise DependencyError("broker_unreachable", "one hiccup", "none needed")


def on_virtual_time(work: Callable[[], Awaitable[None]]) -> None:
    loop = VirtualLoop(random.Random(3))
    try:
        loop.run_until_complete(asyncio.wait_for(work(), 600))
    finally:
        loop.close()


async def written() -> ForwardingBroker:
    broker = ForwardingBroker(MemoryBroker())
    await broker.create_topics([TopicSpec(TOPIC, PARTITIONS)], 1)
    producer = await broker.producer("writer")
    documents = [Document(id=f"d{n}", source="s", text=f"{n}") for n in range(DOCUMENTS)]
    await producer.commit([Outgoing(TOPIC, one.id.encode(), encode(one)) for one in documents], {}, None)
    return broker


@pytest.mark.parametrize("partition", range(PARTITIONS))
def test_a_hiccup_of_the_broker_forgets_no_id(partition: int) -> None:
    async def work() -> None:
        known = Known(1_000)
        remembering = Remembering(Hiccups(await (await written()).reader(), partition), [TOPIC], known, 5.0)
        with pytest.raises(DependencyError, match="hiccup"):
            await remembering.catch_up()
        await remembering.catch_up()
        assert len(known) == DOCUMENTS

    on_virtual_time(work)


def test_reading_may_take_as_long_as_it_gets_on() -> None:
    async def work() -> None:
        known = Known(1_000)
        slow = Hiccups(await (await written()).reader(), -1, record_s=1.0)
        await Remembering(slow, [TOPIC], known, 5.0).catch_up()
        assert len(known) == DOCUMENTS

    on_virtual_time(work)


def test_a_log_that_gives_nothing_more_is_told_of() -> None:
    async def work() -> None:
        stuck = Hiccups(await (await written()).reader(), -1, record_s=60.0)
        with pytest.raises(DependencyError, match=r"nothing more .* for 5 s"):
            await Remembering(stuck, [TOPIC], Known(1_000), 5.0).catch_up()

    on_virtual_time(work)
