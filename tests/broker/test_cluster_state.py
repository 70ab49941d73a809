"""What a real Kafka says of a transaction that does not end, of its replicas and of its disk."""

import shutil

import aiokafka
import pytest

from mira_stream.kafka import KafkaBroker
from mira_stream.records import TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.held_back import Held, HeldBack
from mira_stream.streaming.ports import TopicSpec
from tests.settled import settle

pytestmark = pytest.mark.broker


async def test_an_open_transaction_holds_back_its_topic_until_it_ends(kafka: str, prefix: str) -> None:
    broker, at, held = KafkaBroker(BrokerSection(), kafka), TopicPartition(f"{prefix}.documents", 0), HeldBack()
    await broker.create_topics([TopicSpec(at.topic, 1)], 1)
    reader = await broker.reader()
    hanging = aiokafka.AIOKafkaProducer(
        bootstrap_servers=kafka, transactional_id=f"{prefix}.hanging", transaction_timeout_ms=900_000
    )
    await hanging.start()

    async def seen(now_s: float) -> Held | None:
        bounds = await reader.bounds([at])
        return held.look({at: bounds[at][1]}, await reader.high_watermarks([at]), now_s).get(at)

    try:
        assert await seen(0.0) is None
        await hanging.begin_transaction()
        await hanging.send_and_wait(at.topic, b"well?", partition=0)
        assert await seen(1.0) == Held(1, 0.0)
        assert await seen(41.0) == Held(1, 40.0)
        await hanging.commit_transaction()
        await settle(broker, f"{prefix}.hanging")
        assert await seen(42.0) is None
    finally:
        await hanging.stop()
        await reader.close()
        await broker.close()


async def test_replicas_and_the_disk_of_a_real_broker(kafka: str, prefix: str) -> None:
    broker, topic = KafkaBroker(BrokerSection(), kafka), f"{prefix}.documents"
    await broker.create_topics([TopicSpec(topic, 3)], 1)
    try:
        state = await broker.state([topic, f"{prefix}.not-there"])
    finally:
        await broker.close()
    assert state.under_replicated == {topic: 0}
    ((_, share),) = state.disk_free.items()
    disk = shutil.disk_usage("/tmp")
    assert share == pytest.approx(disk.free / disk.total, abs=0.05)
