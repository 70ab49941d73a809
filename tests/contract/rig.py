"""What the contract tests need beside the ports: deleting old records, killing owners, throwing members out."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Protocol

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.protocol.group import LeaveGroupRequest

from mira_stream.kafka import KafkaBroker
from mira_stream.kafka.consumer import KafkaConsumer
from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import Broker, Consumer, TopicSpec, TransactionalProducer
from mira_stream.testing.broker import MemoryBroker

PATIENCE_S = 120.0
"""How long a test waits for what must come: the machine may be busy with other things."""
SESSION_MS: Final = 600_000
"""Of members on Kafka: none is missed because the machine stood still, and what waited for one's end would not come."""
TRANSACTION_MS: Final = 900_000
"""The most that Kafka takes: what a test leaves open stays open."""


class Rig(Protocol):
    broker: Broker
    prefix: str

    async def delete_before(self, partition: TopicPartition, offset: int) -> None: ...

    async def delete_topic(self, topic: str) -> None: ...

    async def die_in_transaction(self, transactional_id: str, records: Sequence[Outgoing]) -> None:
        """An owner writes records and dies before it commits."""
        ...

    async def freeze(self, consumer_group: str, consumer: Consumer) -> None:
        """The member hears nothing any more, and its session is over: a process that was stopped too long."""
        ...

    async def kill(self, consumer: Consumer) -> None:
        """Its process is gone without a goodbye; its session is not over yet."""
        ...


class MemoryRig:
    def __init__(self, prefix: str) -> None:
        self.memory = MemoryBroker()
        self.broker: Broker = self.memory
        self.prefix = prefix

    async def delete_before(self, partition: TopicPartition, offset: int) -> None:
        self.memory.delete_before(partition, offset)

    async def delete_topic(self, topic: str) -> None:
        self.memory.delete_topic(topic)

    async def die_in_transaction(self, transactional_id: str, records: Sequence[Outgoing]) -> None:
        producer = await self.broker.producer(transactional_id)
        hold = self.memory.hold_next_commit(transactional_id)
        committing = asyncio.create_task(producer.commit(records, {}, None))
        await hold.reached.wait()
        committing.cancel()
        await asyncio.wait({committing})

    async def freeze(self, consumer_group: str, consumer: Consumer) -> None:
        self.memory.expel(consumer_group, consumer)

    async def kill(self, consumer: Consumer) -> None:
        """The group of a broker in memory does not notice."""


class KafkaRig:
    def __init__(self, prefix: str, bootstrap_servers: str) -> None:
        settings = BrokerSection(
            session_timeout_ms=SESSION_MS, request_timeout_ms=60_000, transaction_timeout_ms=TRANSACTION_MS
        )
        self.broker: Broker = KafkaBroker(settings, bootstrap_servers)
        self.prefix = prefix
        self._bootstrap_servers = bootstrap_servers

    async def delete_before(self, partition: TopicPartition, offset: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)
        await admin.start()
        try:
            await admin.delete_records({aiokafka.TopicPartition(*partition): RecordsToDelete(offset)})
        finally:
            await admin.close()

    async def delete_topic(self, topic: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)
        await admin.start()
        try:
            await admin.delete_topics([topic])
        finally:
            await admin.close()

    async def die_in_transaction(self, transactional_id: str, records: Sequence[Outgoing]) -> None:
        producer: Any = await self.broker.producer(transactional_id)
        await producer._fill(records, {}, None)
        await producer._client.abandon()

    async def freeze(self, consumer_group: str, consumer: Consumer) -> None:
        assert isinstance(consumer, KafkaConsumer)
        coordinator: Any = consumer._client._coordinator
        coordinator._heartbeat_task.cancel()
        coordinator._coordination_task.cancel()
        await coordinator._send_req(LeaveGroupRequest(consumer_group, coordinator.member_id))

    async def kill(self, consumer: Consumer) -> None:
        assert isinstance(consumer, KafkaConsumer)
        coordinator: Any = consumer._client._coordinator
        coordinator._maybe_leave_group = partial(asyncio.sleep, 0)
        await consumer.close()


class Listener:
    """Notes what it is told; `of` waits until the partitions are exactly these many."""

    def __init__(self) -> None:
        self.owned: set[TopicPartition] = set()
        self.calls: list[tuple[str, tuple[TopicPartition, ...]]] = []
        self._changed = asyncio.Event()

    async def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self.calls.append(("assigned", tuple(partitions)))
        self.owned |= set(partitions)
        self._changed.set()

    async def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.calls.append(("revoked", tuple(partitions)))
        self.owned -= set(partitions)
        self._changed.set()

    async def owns(self, count: int) -> set[TopicPartition]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.owned) != count:
                self._changed.clear()
                await self._changed.wait()
        return set(self.owned)


async def make_topic(rig: Rig, name: str = "in", partitions: int = 1) -> str:
    topic = f"{rig.prefix}.{name}"
    await rig.broker.create_topics([TopicSpec(topic, partitions)], 1)
    return topic


async def write(rig: Rig, topic: str, values: Sequence[bytes], partition: int = 0) -> None:
    """Commit values in one transaction, and wait until they can be read."""
    producer = await rig.broker.producer(f"{rig.prefix}.writer")
    end = await stable_end(rig, TopicPartition(topic, partition))
    await commit(producer, [Outgoing(topic, None, value, partition) for value in values])
    await producer.close()
    await reaches(rig, TopicPartition(topic, partition), end + len(values) + 1)


async def commit(producer: TransactionalProducer, records: Sequence[Outgoing]) -> None:
    await producer.commit(records, {}, None)


async def stable_end(rig: Rig, partition: TopicPartition) -> int:
    reader = await rig.broker.reader()
    try:
        return (await reader.bounds([partition]))[partition][1]
    finally:
        await reader.close()


async def reaches(rig: Rig, partition: TopicPartition, end: int) -> None:
    """Until the last stable offset is there: markers are written after a commit is acknowledged."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await stable_end(rig, partition) >= end:
                return
            await asyncio.sleep(0.01)


async def read_all(rig: Rig, partition: TopicPartition) -> list[Record]:
    reader = await rig.broker.reader()
    try:
        first, end = (await reader.bounds([partition]))[partition]
        return [record async for record in reader.read(partition, first, end)]
    finally:
        await reader.close()


async def poll_until(consumer: Consumer, count: int) -> list[Record]:
    """Poll until `count` records have come."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            records += await consumer.poll(count - len(records), 1.0)
    return records
