"""What a Kafka says of itself: brokers, protocol, configuration, topics. Changes nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import aiokafka.errors as foreign
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from mira_stream.kafka.connection import Connection
from mira_stream.kafka.failures import bounded, translating
from mira_stream.sections import BrokerSection


class SeenTopic(NamedTuple):
    partitions: int
    replicas: int
    in_sync: int
    configs: dict[str, str]


class Seen(NamedTuple):
    """`apis`: keys of the protocol that one broker speaks; `configs`: that broker's."""

    brokers: int
    apis: frozenset[int]
    configs: dict[str, str]
    topics: dict[str, SeenTopic]


async def look(settings: BrokerSection, bootstrap_servers: str, topics: Sequence[str]) -> Seen:
    """These topics, those that are there, and the cluster. Raises DependencyError, ConfigError."""
    connection = Connection(settings, bootstrap_servers)
    await connection.reach()
    admin = AIOKafkaAdminClient(**connection.arguments())
    try:
        with translating("looking at the broker"):
            await admin.start()
            return await _look(admin, topics)
    finally:
        await admin.close()


async def create_stamped(settings: BrokerSection, bootstrap_servers: str, topic: str, replication_factor: int) -> None:
    """A topic whose records bear the broker's time, kept for an hour; nothing if it is there."""
    connection = Connection(settings, bootstrap_servers)
    admin = AIOKafkaAdminClient(**connection.arguments())
    try:
        with translating(f"creating {topic}"):
            await admin.start()
            configs = {"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000"}
            answer = await admin.create_topics([NewTopic(topic, 1, replication_factor, topic_configs=configs)])
            for _, code, *said in answer.topic_errors:
                if (error := foreign.for_code(code)) not in (foreign.NoError, foreign.TopicAlreadyExistsError):
                    raise error(f"creating topic {topic}: {said}")
        await bounded(f"topic {topic} to come up", connection.timeout_s, lambda: _led(admin, topic))
    finally:
        await admin.close()


async def _led(admin: AIOKafkaAdminClient, topic: str) -> None:
    """Raises a retriable error until the topic's partition has a leader."""
    described = (await admin.describe_topics([topic]))[0]
    if described["error_code"] or any(row["leader"] < 0 for row in described["partitions"]):
        raise foreign.LeaderNotAvailableError(topic)


async def _look(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> Seen:
    cluster = await admin.describe_cluster()
    node = cluster["brokers"][0]["node_id"]
    described = await admin.describe_topics(list(topics)) if topics else []
    there = [row for row in described if row["error_code"] == 0]
    resources = [ConfigResource(ConfigResourceType.TOPIC, row["topic"]) for row in there]
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, str(node)), *resources])
    configs = {
        (resource[2], resource[3]): {entry[0]: str(entry[1]) for entry in resource[4]}
        for answer in answers
        for resource in answer.resources
    }
    found = {
        row["topic"]: SeenTopic(
            len(row["partitions"]),
            min(len(one["replicas"]) for one in row["partitions"]),
            min(len(one["isr"]) for one in row["partitions"]),
            configs.get((int(ConfigResourceType.TOPIC), row["topic"]), {}),
        )
        for row in there
    }
    own = configs.get((int(ConfigResourceType.BROKER), str(node)), {})
    return Seen(len(cluster["brokers"]), _apis(admin), own, found)


def _apis(admin: AIOKafkaAdminClient) -> frozenset[int]:
    connections: dict[Any, Any] = admin._client._conns
    return frozenset(key for connection in connections.values() for key in connection._versions)
