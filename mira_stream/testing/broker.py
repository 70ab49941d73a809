"""MemoryBroker: a broker in memory that keeps the promises of streaming/ports.py as Kafka keeps them.

Partitions, consumer groups with eager rebalances, transactions with fencing, markers that take an offset,
read_committed up to the last stable offset, retention. It has no clock of its own; waits are on events.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from mira_stream.records import Headers, LogReader, Outgoing, Record, TopicPartition
from mira_stream.streaming.limits import unknown_topic
from mira_stream.streaming.ports import AssignmentListener, ClusterState, Consumer, TopicSpec, TransactionalProducer
from mira_stream.testing.cluster import Cluster, Failure, Hold
from mira_stream.testing.consumer import MemoryConsumer, MemoryReader
from mira_stream.testing.producer import MemoryProducer


class MemoryBroker:
    """Implements streaming.ports.Broker. `now_ms` stamps records that bring no time of their own."""

    def __init__(self, now_ms: Callable[[], int] | None = None) -> None:
        self._cluster = Cluster(now_ms)
        self.retention: dict[str, int] = {}
        """In ms by topic, as told; `delete_before` is what deletes."""

    async def consumer(
        self, consumer_group: str, topics: Sequence[str], listener: AssignmentListener, instance: str = ""
    ) -> Consumer:
        """The listener is first called after this has returned."""
        for topic in topics:
            if not self._cluster.partitions(topic):
                raise unknown_topic(topic)
        group = self._cluster.group(consumer_group)
        consumer = MemoryConsumer(self._cluster, group, tuple(topics), listener)
        group.join(consumer, instance)
        return consumer

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        return MemoryProducer(self._cluster, transactional_id)

    async def reader(self) -> LogReader:
        return MemoryReader(self._cluster)

    async def create_topics(self, topics: Sequence[TopicSpec], replication_factor: int) -> None:
        for spec in topics:
            self._cluster.create(spec)

    async def committed(
        self, consumer_group: str, partitions: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        offsets = self._cluster.group(consumer_group).offsets
        return {partition: offsets[partition] for partition in partitions if partition in offsets}

    async def retention_ms(self, topic: str) -> int | None:
        return self.retention.get(topic)

    async def batch_bytes_max(self, topic: str) -> int | None:
        """It has no limit but that of a record."""
        return None

    async def topic_id(self, topic: str) -> str:
        return self._cluster.topic_id(topic)

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        return {topic: await self.topic_id(topic) for topic in topics}

    async def state(self, topics: Sequence[str]) -> ClusterState:
        """One copy of everything, and no disk."""
        return ClusterState(dict.fromkeys(topics, 0), {})

    async def close(self) -> None:
        """Nothing to give back."""

    # -- what a test may do and see --

    def append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        partition: int | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> Record:
        """Write one record outside any transaction."""
        return self._cluster.append(Outgoing(topic, key, value, partition, headers, timestamp_ms))

    def records(self, topic: str) -> list[Record]:
        """All committed records of a topic, partition by partition."""
        logs = [self._cluster.log(partition) for partition in self._cluster.partitions(topic)]
        return [record for log in logs for record in log.committed_from(log.first, log.next_offset, log.next_offset)[0]]

    def delete_before(self, partition: TopicPartition, offset: int) -> None:
        """Retention: everything under `offset` is gone."""
        self._cluster.log(partition).delete_before(offset)
        self._cluster.notify()

    def widen(self, topic: str, partitions: int) -> None:
        """An operator adds partitions."""
        self._cluster.widen(topic, partitions)

    def delete_topic(self, topic: str) -> None:
        """Its offsets stay, as they may for a while."""
        self._cluster.delete(topic)

    def restore_topic(self, topic: str) -> None:
        """An operator brings it back from a copy of its logs; it has another id."""
        self._cluster.restore(topic)

    def forget_offsets(self, consumer_group: str) -> None:
        """What a broker does with the offsets of a group that has long been away."""
        self._cluster.group(consumer_group).offsets.clear()

    def fail_next_commit(self, failure: Failure, transactional_id_prefix: str = "") -> None:
        """Make the next commit of a transactional id with this prefix go wrong."""
        self._cluster.faults.failures.append((transactional_id_prefix, failure))

    def hold_next_commit(self, transactional_id_prefix: str = "", *, ended: bool = False) -> Hold:
        """Stop the next commit when its records are written, or with `ended` after the transaction is committed.
        To kill a producer in mid transaction, cancel its task while it is held."""
        hold = Hold()
        self._cluster.faults.holds.append((transactional_id_prefix, ended, hold))
        return hold

    def time_out(self, transactional_id: str) -> None:
        """The broker ends the open transaction of this id for its age."""
        self._cluster.time_out(transactional_id)

    def expel(self, consumer_group: str, consumer: Consumer) -> None:
        """The member's session timed out: others get its partitions, and it does not know."""
        assert isinstance(consumer, MemoryConsumer)
        self._cluster.group(consumer_group).expel(consumer)

    def readmit(self, consumer_group: str, consumer: Consumer) -> None:
        """The member learns that it was thrown out, loses its partitions and joins again."""
        assert isinstance(consumer, MemoryConsumer)
        self._cluster.group(consumer_group).join(consumer)

    async def settled(self, consumer_group: str) -> None:
        """Until the consumer group's rebalance is over."""
        await self._cluster.group(consumer_group).wait_settled()

    def open_transactions(self) -> list[str]:
        """Transactional ids with a transaction that has not ended."""
        return sorted(self._cluster.open)
