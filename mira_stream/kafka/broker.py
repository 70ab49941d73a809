"""KafkaBroker: streaming.ports.Broker over aiokafka."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import aiokafka
import aiokafka.errors as foreign
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from mira_stream.kafka.connection import Connection
from mira_stream.kafka.consumer import open_consumer
from mira_stream.kafka.disks import disks_free
from mira_stream.kafka.failures import bounded
from mira_stream.kafka.offset_fetch import checked
from mira_stream.kafka.producer import open_producer
from mira_stream.kafka.reader import KafkaReader
from mira_stream.kafka.topic_ids import ids_of
from mira_stream.records import LogReader, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.limits import RECORD_BYTES_MAX, unknown_topic
from mira_stream.streaming.ports import AssignmentListener, ClusterState, Consumer, TopicSpec, TransactionalProducer

BATCH_BYTES_MAX: Final = RECORD_BYTES_MAX + 2**20
BATCH_BYTES_CONFIG: Final = "max.message.bytes"

# aiokafka logs what we translate and raise, and harmless retries while internal topics come up.
_foreign_log: Final = logging.getLogger("aiokafka")
if _foreign_log.level == logging.NOTSET:
    _foreign_log.setLevel(logging.CRITICAL)


class KafkaBroker:
    """Every call ends within the request timeout; an unreachable broker is a DependencyError within seconds."""

    def __init__(self, settings: BrokerSection, bootstrap_servers: str) -> None:
        self._connection = Connection(settings, bootstrap_servers)
        self._admin_client: AIOKafkaAdminClient | None = None
        self._admin_opening = asyncio.Lock()
        self._partitions: dict[str, int] = {}
        self._batch_bytes: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<KafkaBroker {self._connection.bootstrap_servers}>"

    # -- streaming.ports.Broker --

    async def consumer(
        self, consumer_group: str, topics: Sequence[str], listener: AssignmentListener, instance: str = ""
    ) -> Consumer:
        """The listener is first called after this has returned."""
        for topic in topics:
            await self._known_partitions(topic)
        return await open_consumer(self._connection, consumer_group, topics, listener, instance)

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        return await open_producer(self._connection, transactional_id, self._known_partitions, dict(self._batch_bytes))

    async def reader(self) -> LogReader:
        await self._connection.reach()
        return KafkaReader(self._connection, self._partitions_now)

    async def create_topics(self, topics: Sequence[TopicSpec], replication_factor: int) -> None:
        missing = [spec for spec in topics if not await self._partitions_now(spec.name)]
        if not missing:
            return
        new = [
            NewTopic(spec.name, spec.partitions, replication_factor, topic_configs=_topic_configs(spec))
            for spec in missing
        ]
        admin = await self._admin()
        await bounded("creating topics", self._connection.timeout_s, lambda: _create(admin, new))
        for spec in missing:
            waiting = partial(self._require_leaders, spec.name)
            await bounded(f"topic {spec.name} to come up", self._connection.timeout_s, waiting)

    async def committed(
        self, consumer_group: str, partitions: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        admin = await self._admin()
        at = [aiokafka.TopicPartition(*partition) for partition in partitions]
        if not at:
            return {}
        found = await bounded(
            f"committed offsets of {consumer_group}",
            self._connection.timeout_s,
            lambda: admin.list_consumer_group_offsets(consumer_group, partitions=at),
        )
        return {TopicPartition(*partition): value.offset for partition, value in found.items() if value.offset >= 0}

    async def retention_ms(self, topic: str) -> int | None:
        return retention_of(await self._topic_config(topic, "retention.ms", "cleanup.policy"))

    async def batch_bytes_max(self, topic: str) -> int | None:
        most = config_of(await self._topic_config(topic, BATCH_BYTES_CONFIG)).get(BATCH_BYTES_CONFIG)
        self._batch_bytes.pop(topic, None)
        if most is None:
            return None
        self._batch_bytes[topic] = int(most)
        return int(most)

    async def topic_id(self, topic: str) -> str:
        return (await self.topic_ids([topic]))[topic]

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        admin = await self._admin()
        asking = f"asking for topic {', '.join(topics)}"
        return await bounded(asking, self._connection.timeout_s, lambda: ids_of(admin, topics))

    async def state(self, topics: Sequence[str]) -> ClusterState:
        admin = await self._admin()
        return await bounded("looking at the brokers", self._connection.timeout_s, lambda: _state(admin, topics))

    async def close(self) -> None:
        admin, self._admin_client = self._admin_client, None
        if admin is not None:
            await admin.close()

    # -- metadata --

    async def _known_partitions(self, topic: str, at_least: int = 1) -> int:
        """How many partitions a topic has; asked of the broker unless `at_least` so many are known.
        Raises DependencyError if there is no such topic."""
        known = self._partitions.get(topic, 0)
        if known < at_least:
            known = await self._partitions_now(topic)
            if not known:
                raise unknown_topic(topic)
            self._partitions[topic] = known
        return known

    async def _partitions_now(self, topic: str) -> int:
        described = await self._describe(topic)
        return len(described["partitions"]) if described["error_code"] == 0 else 0

    async def _require_leaders(self, topic: str) -> None:
        """Raises a retriable error until every partition has a leader."""
        described = await self._describe(topic)
        if described["error_code"] or any(row["leader"] < 0 for row in described["partitions"]):
            raise foreign.LeaderNotAvailableError(topic)

    async def _describe(self, topic: str) -> dict[str, Any]:
        admin = await self._admin()
        found: list[dict[str, Any]] = await bounded(
            f"asking for topic {topic}", self._connection.timeout_s, lambda: admin.describe_topics([topic])
        )
        return found[0]

    async def _topic_config(self, topic: str, *names: str) -> Any:
        """A DescribeConfigs answer for one topic."""
        admin = await self._admin()
        wanted = [ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(names))]
        answers = await bounded(
            f"asking for the settings of {topic}", self._connection.timeout_s, lambda: admin.describe_configs(wanted)
        )
        return answers[0]

    async def _admin(self) -> AIOKafkaAdminClient:
        async with self._admin_opening:
            if self._admin_client is None:
                await self._connection.reach()
                admin = AIOKafkaAdminClient(**self._connection.arguments())
                try:
                    await bounded("connecting", self._connection.timeout_s, admin.start)
                except BaseException:
                    await admin.close()
                    raise
                admin._send_request = checked(admin._send_request)
                self._admin_client = admin
            return self._admin_client


async def _state(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> ClusterState:
    described = await admin.describe_topics(list(topics))
    cluster = await admin.describe_cluster()
    behind = {
        row["topic"]: sum(len(one["isr"]) < len(one["replicas"]) for one in row["partitions"])
        for row in described
        if row["error_code"] == 0
    }
    return ClusterState(behind, await disks_free(admin, [broker["node_id"] for broker in cluster["brokers"]]))


async def _create(admin: AIOKafkaAdminClient, new: list[NewTopic]) -> None:
    """Raises a retriable error while there are too few live brokers: one that is busy is fenced for a moment."""
    answer = await admin.create_topics(new)
    for topic, code, *said in answer.topic_errors:
        error = foreign.for_code(code)
        if error is foreign.InvalidReplicationFactorError:
            raise foreign.LeaderNotAvailableError(f"creating topic {topic}: {said}")
        if error not in (foreign.NoError, foreign.TopicAlreadyExistsError):
            raise error(f"creating topic {topic}: {said}")


def config_of(answer: Any) -> dict[str, str]:
    """Of a DescribeConfigs answer for one topic; empty where we may not ask."""
    code, _, _, _, entries = answer.resources[0]
    return {} if code else {entry[0]: entry[1] for entry in entries}


def retention_of(answer: Any) -> int | None:
    """Of a DescribeConfigs answer for one topic; None also where we may not ask."""
    values = config_of(answer)
    if "delete" not in values.get("cleanup.policy", "delete"):
        return None
    retention_ms = int(values.get("retention.ms") or -1)
    return retention_ms if retention_ms >= 0 else None


def _topic_configs(spec: TopicSpec) -> dict[str, str]:
    configs = {BATCH_BYTES_CONFIG: str(BATCH_BYTES_MAX)}
    if spec.compacted:
        configs["cleanup.policy"] = "compact"
    if spec.kept:
        configs |= {"retention.ms": "-1", "retention.bytes": "-1"}
    return configs
