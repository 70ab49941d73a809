"""The runner over real Kafka while members come, go and are cut off: each record is copied exactly once."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from mira_stream.kafka import KafkaBroker
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker, TopicSpec
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.settings import RunnerSettings

pytestmark = pytest.mark.broker

IN, OUT, PROGRESS, PARTITIONS, RECORDS = "runner-in", "runner-out", "runner-progress", 4, 2_000

SETTINGS = RunnerSettings(
    stage="copy",
    consumer_group="runner-copy",
    topics=(IN,),
    concurrent=True,
    limit=Amount(64, 10**9, 10**9),
    partition_span=200,
    transaction_records=20,
    transaction_linger_s=0.0,
    drain_s=5.0,
    progress=PROGRESS,
    start="earliest",
)


class Copier:
    """Copies each record; later ones of a turn may finish first."""

    def __init__(self, partition: TopicPartition, reader: LogReader) -> None:
        self.partition = partition

    async def open(self, next_offset: int) -> None: ...

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        for _ in range(record.offset % 7):
            await asyncio.sleep(0)
        return [Outgoing(OUT, record.key, record.value or b"", self.partition.partition)]

    async def seal(self, next_offset: int) -> Sequence[Outgoing]:
        return []

    async def committed(self) -> None: ...

    async def close(self) -> None: ...


class Member:
    def __init__(self, servers: str) -> None:
        self.broker = KafkaBroker(BrokerSection(), servers)
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(Runner(self.broker, SETTINGS, Copier, Metrics()).run(self.stop))

    async def leave(self) -> None:
        self.stop.set()
        await self.task
        await self.broker.close()

    async def cut_off(self) -> None:
        """End in the middle of whatever it does."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.broker.close()


async def copied(broker: Broker) -> list[bytes]:
    reader = await broker.reader()
    try:
        bounds = await reader.bounds([TopicPartition(OUT, number) for number in range(PARTITIONS)])
        return [r.value or b"" for at, (first, end) in bounds.items() async for r in reader.read(at, first, end)]
    finally:
        await reader.close()


async def until_copied(broker: Broker, count: int, *members: Member) -> None:
    async with asyncio.timeout(120):
        while len(await copied(broker)) < count:
            for member in members:
                if member.task.done():
                    member.task.result()


async def test_members_come_and_go_and_each_record_is_copied_once(kafka: str) -> None:
    broker = KafkaBroker(BrokerSection(), kafka)
    await broker.create_topics([TopicSpec(name, PARTITIONS) for name in (IN, OUT, PROGRESS)], 1)
    producer = await broker.producer("runner-feed")
    await producer.commit([Outgoing(IN, None, str(n).encode(), n % PARTITIONS) for n in range(RECORDS)], {}, None)
    await producer.close()

    first = Member(kafka)
    await until_copied(broker, 40, first)
    second = Member(kafka)
    await until_copied(broker, 200, first, second)
    await first.cut_off()
    third = Member(kafka)
    await until_copied(broker, 600, second, third)
    await second.leave()
    await until_copied(broker, 900, third)
    await third.cut_off()
    fourth = Member(kafka)
    await until_copied(broker, RECORDS, fourth)
    inputs = [TopicPartition(IN, number) for number in range(PARTITIONS)]
    behind_the_marker = dict.fromkeys(inputs, RECORDS // PARTITIONS + 1)  # it follows the feed's last record
    async with asyncio.timeout(120):
        while await broker.committed("runner-copy", inputs) != behind_the_marker:
            assert not fourth.task.done()
    await fourth.leave()

    assert Counter(await copied(broker)) == Counter(str(number).encode() for number in range(RECORDS))
    await broker.close()
