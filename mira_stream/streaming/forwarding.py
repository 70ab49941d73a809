"""A broker behind another: whoever wraps one changes a call and passes on the rest."""

from collections.abc import Iterable, Mapping, Sequence

from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.ports import (
    AssignmentListener,
    Broker,
    ClusterState,
    Consumer,
    TopicSpec,
    TransactionalProducer,
)


class ForwardingBroker:
    """Keeps the promises of `Broker` as far as the one inside does."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def consumer(
        self, consumer_group: str, topics: Sequence[str], listener: AssignmentListener, instance: str = ""
    ) -> Consumer:
        return await self._broker.consumer(consumer_group, topics, listener, instance)

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        return await self._broker.producer(transactional_id)

    async def reader(self) -> LogReader:
        return await self._broker.reader()

    async def create_topics(self, topics: Sequence[TopicSpec], replication_factor: int) -> None:
        await self._broker.create_topics(topics, replication_factor)

    async def committed(
        self, consumer_group: str, partitions: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        return await self._broker.committed(consumer_group, partitions)

    async def retention_ms(self, topic: str) -> int | None:
        return await self._broker.retention_ms(topic)

    async def batch_bytes_max(self, topic: str) -> int | None:
        return await self._broker.batch_bytes_max(topic)

    async def topic_id(self, topic: str) -> str:
        return await self._broker.topic_id(topic)

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        return await self._broker.topic_ids(topics)

    async def state(self, topics: Sequence[str]) -> ClusterState:
        return await self._broker.state(topics)

    async def close(self) -> None:
        await self._broker.close()
