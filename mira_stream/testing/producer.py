"""A transactional producer over a broker in memory."""

from collections.abc import Mapping, Sequence

from mira_stream.errors import CommitUnknown, DependencyError, ProducerFenced, TransactionExpired
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.limits import check_partition, check_sizes, unknown_topic
from mira_stream.testing.cluster import Cluster


class MemoryProducer:
    """Implements streaming.ports.TransactionalProducer; of no use any more after the first error."""

    def __init__(self, cluster: Cluster, transactional_id: str) -> None:
        self._cluster = cluster
        self._transactional_id = transactional_id
        self._epoch = cluster.initialise(transactional_id)
        self._usable = True

    def __repr__(self) -> str:
        return f"<MemoryProducer {self._transactional_id} epoch {self._epoch}>"

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        if not self._usable:
            raise RuntimeError(f"{self!r} was thrown away by an earlier error")
        check_sizes(records)
        for record in records:
            partitions = len(self._cluster.partitions(record.topic))
            if not partitions:
                raise unknown_topic(record.topic)
            check_partition(record, partitions)
        self._usable = False
        await self._commit(records, offsets, consumer_group)
        self._usable = True

    async def close(self) -> None:
        self._usable = False

    async def _commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        cluster, faults, name = self._cluster, self._cluster.faults, self._transactional_id
        self._check_fence()
        transaction = cluster.begin(name)
        for record in records:
            cluster.append(record, transaction)
        transaction.consumer_group, transaction.offsets = consumer_group, dict(offsets)
        await faults.stand(name, ended=False)
        self._check_fence()
        failure = faults.take_failure(name)
        if failure == "aborted":
            cluster.end(transaction, "aborted")
            raise DependencyError("commit_refused", f"{name}: made to fail by a test", "run it again")
        if failure == "unknown_open":
            raise CommitUnknown(f"{name}: no answer; made to fail by a test")
        cluster.end(transaction, "committed")
        if failure == "unknown_committed":
            raise CommitUnknown(f"{name}: no answer; made to fail by a test")
        await faults.stand(name, ended=True)

    def _check_fence(self) -> None:
        if self._cluster.is_fenced(self._transactional_id, self._epoch):
            expired = self._cluster.is_expired(self._transactional_id, self._epoch)
            raise (TransactionExpired if expired else ProducerFenced)(self._transactional_id)
