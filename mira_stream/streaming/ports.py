"""What the runner needs of a broker and of a handler. kafka/ and testing/ keep these promises alike."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from mira_stream.records import LogReader, Outgoing, Record, TopicPartition


class AssignmentListener(Protocol):
    """Both are awaited before the consumer group goes on."""

    async def on_assigned(self, partitions: Sequence[TopicPartition]) -> None: ...

    async def on_revoked(self, partitions: Sequence[TopicPartition]) -> None: ...


def always(record: Record) -> bool:
    return True


class Consumer(Protocol):
    """A member of a consumer group. A partition gives no record before `seek` was called for it since its
    (re)assignment: the gate of the exactly-once recipe."""

    async def poll(self, records_max: int, timeout_s: float, more: Callable[[Record], bool] = always) -> list[Record]:
        """Committed records of opened partitions, at most `records_max`; empty after `timeout_s`. `more` is asked once
        with each that is handed out: False ends the poll behind it, and what follows is handed out by later ones.
        Raises DataLossError if a position was deleted by retention."""
        ...

    async def committed(self, partition: TopicPartition) -> int | None:
        """The consumer group's committed offset, asked of the broker now; None if there is none."""
        ...

    async def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        """The first offset whose record is not older than that (ms since 1970); None if there is none."""
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on from `offset` and open the partition's gate."""
        ...

    def pause(self, partitions: Iterable[TopicPartition]) -> None: ...

    def resume(self, partitions: Iterable[TopicPartition]) -> None: ...

    async def close(self) -> None:
        """Leave the group."""
        ...


class TransactionalProducer(Protocol):
    """The only owner of one transactional id; opening it fenced every older one."""

    async def commit(
        self,
        records: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, int],
        consumer_group: str | None,
    ) -> None:
        """One transaction: all records, then the next offsets of `consumer_group`.

        Raises ProducerFenced, CommitUnknown (do not use this producer again), or DependencyError after an abort.
        """
        ...

    async def close(self) -> None: ...


class TopicSpec(NamedTuple):
    """`compacted` keeps the newest record of a key; `kept` keeps all of them for ever."""

    name: str
    partitions: int
    compacted: bool = False
    kept: bool = False


class ClusterState(NamedTuple):
    """Of topics: partitions with fewer replicas in sync than they have. Of brokers that tell: the free share of the
    fullest disk."""

    under_replicated: Mapping[str, int]
    disk_free: Mapping[int, float]


class Broker(Protocol):
    async def consumer(
        self, consumer_group: str, topics: Sequence[str], listener: AssignmentListener, instance: str = ""
    ) -> Consumer:
        """With `instance` a static member `<consumer group>.<instance>`: gone without a goodbye and back within its
        session, it takes its partitions up without a rebalance. Its poll raises DependencyError(instance_taken) once
        another process has joined by that name."""
        ...

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        """Initialises the transactional id: fences its older owners and ends their open transaction."""
        ...

    async def reader(self) -> LogReader: ...

    async def create_topics(self, topics: Sequence[TopicSpec], replication_factor: int) -> None:
        """Creates what is missing; leaves what exists."""
        ...

    async def committed(
        self, consumer_group: str, partitions: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """Committed offsets of a consumer group, seen from outside; partitions without one are left out."""
        ...

    async def retention_ms(self, topic: str) -> int | None:
        """After so long the broker may delete a record; None if it keeps them for ever, or does not tell us."""
        ...

    async def batch_bytes_max(self, topic: str) -> int | None:
        """The largest batch of records that the topic takes; None if the broker does not tell us. Producers opened
        afterwards put no more than that together; one record that is larger is a ConfigError(record_too_large)."""
        ...

    async def topic_id(self, topic: str) -> str:
        """The broker's own for it: a topic that is deleted and made anew has another. Empty from a broker that gives
        none (before Kafka 2.8). Raises DependencyError(topic_missing)."""
        ...

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        """Those of several topics, in one request."""
        ...

    async def state(self, topics: Sequence[str]) -> ClusterState: ...

    async def close(self) -> None: ...


class Handler(Protocol):
    """The work on one partition. Made anew whenever the partition's ownership starts anew."""

    async def open(self, next_offset: int) -> None:
        """Restore state up to `next_offset` (exclusive), before the first record."""
        ...

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        """What the record becomes: at least one decision, score card or dead letter. Raises EngineError if the
        engine failed (the record is tried again in a fresh ownership), MiraError to stop the service."""
        ...

    async def seal(self, next_offset: int) -> Sequence[Outgoing]:
        """More records for the transaction that commits `next_offset`, called right before it."""
        ...

    async def committed(self) -> None:
        """The last sealed transaction is committed."""
        ...

    async def close(self) -> None:
        """Ownership ends; what was not committed is void."""
        ...


@runtime_checkable
class Ticking(Protocol):
    """A handler that has something to say without records, too."""

    async def tick(self, next_offset: int, *, last: bool = False) -> Sequence[Outgoing]:
        """Asked every few seconds while no records come, and a last time when the stage stops in order. What it
        returns is committed with the unchanged next offset; then `committed` is called. Nothing is committed if it is
        empty."""
        ...


class HandlerFactory(Protocol):
    def __call__(self, partition: TopicPartition, reader: LogReader) -> Handler: ...
