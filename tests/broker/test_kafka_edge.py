"""What only a real Kafka can do to the edge: refuse a record, stand still in a commit, go away, come back."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiokafka.errors as foreign
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher

from mira_stream.broker_local import EmbeddedBroker, Runtime
from mira_stream.errors import CommitUnknown, ConfigError, DependencyError
from mira_stream.kafka import KafkaBroker
from mira_stream.kafka.producer import BATCH_BYTES
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import Consumer, TopicSpec
from tests.contract.rig import PATIENCE_S, Listener
from tests.frozen import freeze
from tests.ports import lasting_port
from tests.settled import settle

pytestmark = pytest.mark.broker

PATIENT = BrokerSection(session_timeout_ms=20_000, request_timeout_ms=60_000)


class Own:
    """A broker that a test may stop, freeze and start again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._process = EmbeddedBroker(folder, port=lasting_port())
        self.runtime: Runtime = self._process.start()

    def connect(self) -> KafkaBroker:
        return KafkaBroker(PATIENT, self.runtime.bootstrap_servers)

    def freeze(self) -> None:
        freeze(self.runtime.pid)

    def thaw(self) -> None:
        os.kill(self.runtime.pid, signal.SIGCONT)

    def stop(self) -> None:
        self._process.stop()

    def start(self) -> None:
        self.runtime = self._process.start()


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    made = Own(tmp_path_factory.mktemp("own") / "broker")
    yield made
    made.stop()


@pytest.fixture
async def own(own_broker: Own) -> AsyncIterator[Own]:
    yield own_broker
    own_broker.thaw()  # also when a test failed half-way
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not {task for task in left if "aiokafka" in repr(task)}, "the edge left tasks behind"


def _lose_patience(broker: Any, *others: Any) -> None:
    """From here on no call is given more than a second: set when everything is open, however long that took."""
    broker._connection.timeout_s = 1.0
    for one in others:
        one._timeout_s = 1.0


async def _values(broker: KafkaBroker, topic: str) -> list[bytes | None]:
    reader = await broker.reader()
    found = [record.value async for record in reader.read(TopicPartition(topic, 0), 0, 1_000)]
    await reader.close()
    return found


async def _narrow(servers: str, topic: str, partitions: int) -> None:
    """A topic that takes 2,000 bytes from its first record on: that a limit is lowered is acknowledged before the log
    obeys it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs={"max.message.bytes": "2000"})])
    while len((await admin.describe_topics([topic]))[0]["partitions"]) < partitions:
        pass  # acknowledged before the broker says so to others
    await admin.close()


async def test_a_transaction_with_a_refused_record_is_not_committed(kafka: str, prefix: str) -> None:
    """aiokafka alone commits the others and loses the refused one."""
    topic = f"{prefix}.narrow"
    broker = KafkaBroker(PATIENT, kafka)
    await _narrow(kafka, topic, 2)
    producer = await broker.producer(f"{prefix}.p")
    records = [Outgoing(topic, None, b"fits", 0), Outgoing(topic, None, b"x" * 5_000, 1)]
    with pytest.raises(ConfigError, match=r"record_too_large.*max\.message\.bytes"):
        await producer.commit(records, {TopicPartition(topic, 0): 9}, f"{prefix}.g")
    await producer.close()
    await settle(broker, f"{prefix}.p")
    assert await _values(broker, topic) == []
    assert await broker.committed(f"{prefix}.g", [TopicPartition(topic, 0)]) == {}
    await broker.close()


async def test_batches_fit_a_topic_whose_limit_was_asked_for(kafka: str, prefix: str) -> None:
    """Without asking, small records share a batch that a topic with a lowered max.message.bytes refuses."""
    topic = f"{prefix}.low"
    broker = KafkaBroker(PATIENT, kafka)
    await _narrow(kafka, topic, 1)
    records = [Outgoing(topic, None, b"%d" % number + b"x" * 500, 0) for number in range(50)]
    unasked = await broker.producer(f"{prefix}.p")
    with pytest.raises(ConfigError, match="record_too_large"):
        await unasked.commit(records, {}, None)
    await unasked.close()
    assert await broker.batch_bytes_max(topic) == 2000
    producer = await broker.producer(f"{prefix}.p")
    await producer.commit(records, {}, None)
    await producer.close()
    await settle(broker, f"{prefix}.p")
    assert await _values(broker, topic) == [record.value for record in records]
    await broker.close()


async def test_a_look_at_one_record_fetches_no_more_than_its_batch(
    kafka: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage whose partitions stand still looks at the next record of each: that must not fetch the whole backlog."""
    topic, came = f"{prefix}.t", 0
    handle = AIOKafkaConnection._handle_frame

    def counted(connection: Any, frame: bytes) -> None:
        nonlocal came
        came += len(frame)
        handle(connection, frame)

    broker = KafkaBroker(PATIENT, kafka)
    await broker.create_topics([TopicSpec(topic, 1)], 1)
    producer = await broker.producer(f"{prefix}.p")
    await producer.commit([Outgoing(topic, None, b"x" * 1_000, 0) for _ in range(4_000)], {}, None)
    await producer.close()
    await settle(broker, f"{prefix}.p")
    reader = await broker.reader()
    monkeypatch.setattr(AIOKafkaConnection, "_handle_frame", counted)
    found = [record.offset async for record in reader.read(TopicPartition(topic, 0), 7, 9)]
    assert found == [7, 8]
    assert 0 < came < 1.1 * BATCH_BYTES
    all_ = [record.offset async for record in reader.read(TopicPartition(topic, 0), 0, 4_000)]
    assert all_ == list(range(4_000))
    await reader.close()
    await broker.close()


async def test_nothing_of_a_broken_transaction_is_ever_published(kafka: str, prefix: str) -> None:
    """After an abortable error aiokafka forgets that its transaction is open: its next commit would publish it."""
    topic = f"{prefix}.t"
    broker = KafkaBroker(PATIENT, kafka)
    await broker.create_topics([TopicSpec(topic, 1)], 1)
    producer: Any = await broker.producer(f"{prefix}.p")
    hand_over = producer._client.send_offsets_to_transaction

    async def break_before(*arguments: Any) -> None:
        producer._client._txn_manager.error_transaction(foreign.GroupAuthorizationFailedError("g"))
        await hand_over(*arguments)

    producer._client.send_offsets_to_transaction = break_before
    with pytest.raises(DependencyError, match="broker_refused"):
        await producer.commit([Outgoing(topic, None, b"void", 0)], {TopicPartition(topic, 0): 1}, f"{prefix}.g")
    with pytest.raises(RuntimeError, match="thrown away"):
        await producer.commit([Outgoing(topic, None, b"next", 0)], {}, None)
    await producer.close()
    successor = await broker.producer(f"{prefix}.p")
    await successor.commit([Outgoing(topic, None, b"next", 0)], {}, None)
    await successor.close()
    await settle(broker, f"{prefix}.p")
    assert await _values(broker, topic) == [b"next"]
    await broker.close()


async def test_partitions_may_grow_under_a_producer(kafka: str, prefix: str) -> None:
    topic = f"{prefix}.t"
    broker = KafkaBroker(PATIENT, kafka)
    await broker.create_topics([TopicSpec(topic, 1)], 1)
    producer = await broker.producer(f"{prefix}.p")
    await producer.commit([Outgoing(topic, None, b"old", 0)], {}, None)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_partitions({topic: NewPartitions(3)})
    while len((await admin.describe_topics([topic]))[0]["partitions"]) < 3:
        pass  # acknowledged before the broker says so to others
    await admin.close()
    await producer.commit([Outgoing(topic, None, b"new", 2)], {}, None)
    with pytest.raises(DependencyError, match=r"partition_missing.*it has 3"):
        await producer.commit([Outgoing(topic, None, b"none", 3)], {}, None)
    await producer.close()
    await broker.close()


async def test_a_commit_without_an_answer_is_unknown_and_then_known(own: Own) -> None:
    broker = own.connect()
    await broker.create_topics([TopicSpec("unknown", 1)], 1)
    producer: Any = await broker.producer("unknown")
    end = producer._client.commit_transaction

    async def freeze_before_the_end() -> None:
        own.freeze()
        async with asyncio.timeout(1.0):
            await end()

    producer._client.commit_transaction = freeze_before_the_end
    partition = TopicPartition("unknown", 0)
    with pytest.raises(CommitUnknown):
        await producer.commit([Outgoing("unknown", None, b"value", 0)], {partition: 1}, "unknown")
    own.thaw()
    await producer.close()
    await settle(broker, "unknown")
    committed = await broker.committed("unknown", [partition])
    assert await _values(broker, "unknown") == ([b"value"] if committed else [])  # both or neither
    await broker.close()


async def test_a_broker_that_stands_still_does_not_hold_us(own: Own) -> None:
    broker = own.connect()
    await broker.create_topics([TopicSpec("still", 1)], 1)
    producer = await broker.producer("still")
    idle = await broker.producer("idle")
    reader = await broker.reader()
    listener = Listener()
    consumer = await broker.consumer("still", ["still"], listener)
    await listener.owns(1)
    _lose_patience(broker, producer, consumer)
    own.freeze()
    async with asyncio.timeout(PATIENCE_S):  # every one of these would hang for ever if one of its waits had no bound
        with pytest.raises(DependencyError, match="broker_unreachable"):
            await producer.commit([Outgoing("still", None, b"", 0)], {}, None)
        with pytest.raises(DependencyError, match="broker_unreachable"):
            await broker.producer("other")
        with pytest.raises(DependencyError, match="broker_unreachable"):
            await consumer.committed(TopicPartition("still", 0))
        with pytest.raises(DependencyError, match="broker_unreachable"):
            await reader.bounds([TopicPartition("still", 0)])
        with pytest.raises(DependencyError, match="broker_unreachable"):
            await broker.committed("still", [TopicPartition("still", 0)])
        for opened in (producer, idle, consumer, reader, broker):
            await opened.close()
    own.thaw()


async def test_a_consumer_and_a_producer_live_through_a_restart(own: Own) -> None:
    broker = own.connect()
    await broker.create_topics([TopicSpec("restart", 1)], 1)
    partition, listener = TopicPartition("restart", 0), Listener()
    consumer = await broker.consumer("restart", ["restart"], listener)
    await listener.owns(1)
    producer = await broker.producer("restart")
    await producer.commit([Outgoing("restart", None, b"before", 0)], {partition: 1}, "restart")
    assert await _next(consumer, listener, partition, 0) == b"before"

    await asyncio.to_thread(own.stop)
    assert await consumer.poll(10, 0.2) == []
    await asyncio.to_thread(own.start)

    await producer.commit([Outgoing("restart", None, b"after", 0)], {partition: 3}, "restart")
    assert await _next(consumer, listener, partition, 2) == b"after"
    await consumer.close()
    await producer.close()
    await broker.close()


async def _next(consumer: Consumer, listener: Listener, partition: TopicPartition, offset: int) -> bytes | None:
    """The first record from `offset` on, however often the group has to form again until it comes."""
    formed = -1
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await listener.owns(1)
            if formed != len(listener.calls):
                formed = len(listener.calls)
                consumer.seek(partition, offset)
            for record in await consumer.poll(1, 0.2):
                return record.value


async def test_a_client_that_has_read_to_the_end_asks_for_no_more_records(
    kafka: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka answers a connection's requests in order, and a fetch at the log's end only when its wait is over: every
    question asked behind it would take as long."""
    fetches: list[object] = []
    proc = Fetcher._proc_fetch_request

    async def noted(fetcher: Fetcher, assignment: object, node_id: int, request: object) -> bool:
        fetches.append(request)
        return bool(await proc(fetcher, assignment, node_id, request))

    monkeypatch.setattr(Fetcher, "_proc_fetch_request", noted)
    broker = KafkaBroker(PATIENT, kafka)
    topics = [f"{prefix}.a", f"{prefix}.b"]
    await broker.create_topics([TopicSpec(topic, 1) for topic in topics], 1)
    producer = await broker.producer(f"{prefix}.p")
    await producer.commit([Outgoing(topic, None, b"%d" % n, 0) for n in range(20) for topic in topics], {}, None)
    await producer.close()
    await settle(broker, f"{prefix}.p")
    reader = await broker.reader()
    for topic in topics:
        partition = TopicPartition(topic, 0)
        end = (await reader.bounds([partition]))[partition][1]
        assert len([record async for record in reader.read(partition, 0, end)]) == 20
        so_far = len(fetches)
        assert so_far > 0
        for _ in range(20):
            await reader.bounds([partition])
        assert len(fetches) == so_far
    await reader.close()
    await broker.close()
