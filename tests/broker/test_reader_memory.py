"""What a look at the next record leaves in memory: nothing that waits for the garbage collector."""

import gc
from collections.abc import Iterator

import pytest
from aiokafka.consumer.fetcher import PartitionRecords

from mira_stream.kafka import KafkaBroker
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import TopicSpec
from tests.settled import settle

pytestmark = pytest.mark.broker
RECORDS, LOOKS = 1_000, 12


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_look_leaves_nothing_for_the_collector(kafka: str, prefix: str, no_collector: None) -> None:
    topic = f"{prefix}.documents"
    broker = KafkaBroker(BrokerSection(), kafka)
    await broker.create_topics([TopicSpec(topic, 1)], 1)
    producer = await broker.producer(f"{prefix}.writer")
    await producer.commit([Outgoing(topic, b"%d" % n, b"x" * 1_000, 0) for n in range(RECORDS)], {}, None)
    await producer.close()
    await settle(broker, f"{prefix}.writer")
    reader = await broker.reader()
    for look in range(LOOKS):
        first = look * 50
        found = [record async for record in reader.read(TopicPartition(topic, 0), first, first + 1)]
        assert [record.key for record in found] == [b"%d" % first]
    left = sum(isinstance(one, PartitionRecords) for one in gc.get_objects())
    await reader.close()
    await broker.close()
    assert left <= 1, "records of a look that is over wait for the collector"
