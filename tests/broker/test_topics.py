"""What a restart must read again outlives Kafka's retention."""

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from mira_stream.kafka import KafkaBroker
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import TopicSpec

pytestmark = pytest.mark.broker


async def test_kept_topics_have_no_retention(kafka: str) -> None:
    broker = KafkaBroker(BrokerSection(), kafka)
    await broker.create_topics([TopicSpec("kept-for-ever", 1, kept=True), TopicSpec("kept-a-while", 1)], 1)
    await broker.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in ("kept-for-ever", "kept-a-while")]
        answers = await admin.describe_configs(resources)
    finally:
        await admin.close()
    retention = {
        resource[3]: {entry[0]: entry[1] for entry in resource[4]}["retention.ms"]
        for answer in answers
        for resource in answer.resources
    }
    assert retention["kept-for-ever"] == "-1"
    assert int(retention["kept-a-while"]) > 0


async def test_retention_is_told_as_the_broker_has_it(kafka: str) -> None:
    broker = KafkaBroker(BrokerSection(), kafka)
    specs = [
        TopicSpec("told-for-ever", 1, kept=True),
        TopicSpec("told-a-while", 1),
        TopicSpec("told-compacted", 1, True),
    ]
    await broker.create_topics(specs, 1)
    try:
        assert await broker.retention_ms("told-for-ever") is None
        assert await broker.retention_ms("told-compacted") is None
        assert await broker.retention_ms("told-nowhere") is None
        week_ms = await broker.retention_ms("told-a-while")
    finally:
        await broker.close()
    assert week_ms == 7 * 24 * 3600 * 1000
