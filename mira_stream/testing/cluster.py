"""What the parts of a MemoryBroker share: logs, consumer groups, transactions by their ids, planned faults."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final, Literal

from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.streaming.limits import unknown_topic
from mira_stream.streaming.partitioner import partition_of
from mira_stream.streaming.ports import TopicSpec
from mira_stream.testing.group import Group
from mira_stream.testing.log import PartitionLog, Transaction

Failure = Literal["unknown_committed", "unknown_open", "aborted"]
"""How a commit goes wrong: the answer was lost after it took place; it was lost before, and the transaction stays
open until its id is initialised again; the broker refused, and the transaction was aborted."""

START_MS: Final = 1_700_000_000_000


class Hold:
    """A commit that stands still: wait for `reached`, look around, then `release()` (or cancel the committer)."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._released = asyncio.Event()

    def release(self) -> None:
        self._released.set()

    async def stand(self) -> None:
        self.reached.set()
        await self._released.wait()


class Faults:
    """Faults planned by a test, each for the next commit of a transactional id with this prefix."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, Failure]] = []
        self.holds: list[tuple[str, bool, Hold]] = []

    def take_failure(self, transactional_id: str) -> Failure | None:
        for planned in self.failures:
            if transactional_id.startswith(planned[0]):
                self.failures.remove(planned)
                return planned[1]
        return None

    async def stand(self, transactional_id: str, *, ended: bool) -> None:
        """Others may run here, as they may while a request is under way."""
        for planned in self.holds:
            if transactional_id.startswith(planned[0]) and planned[1] == ended:
                self.holds.remove(planned)
                return await planned[2].stand()
        return await asyncio.sleep(0)


class Cluster:
    """The state of one broker in memory."""

    def __init__(self, now_ms: Callable[[], int] | None) -> None:
        ticks = count(START_MS)
        self._now_ms = now_ms if now_ms is not None else lambda: next(ticks)
        self._logs: dict[TopicPartition, PartitionLog] = {}
        self._topics: dict[str, TopicSpec] = {}
        self._groups: dict[str, Group] = {}
        self._epochs: dict[str, int] = {}
        self._timed_out: dict[str, int] = {}
        """The epoch of an id after the broker's own timeout."""
        self._keyless = count()
        self._made = count(1)
        self._ids: dict[str, str] = {}
        self._changed = asyncio.Event()
        self.open: dict[str, Transaction] = {}
        self.faults = Faults()

    # -- topics --

    def create(self, spec: TopicSpec) -> None:
        if spec.name in self._topics:
            return
        self._topics[spec.name] = spec
        self._ids[spec.name] = f"topic-{next(self._made)}"
        for partition in self.partitions(spec.name):
            self._logs[partition] = PartitionLog(partition)

    def widen(self, topic: str, partitions: int) -> None:
        """Add partitions to a topic; consumer groups see them when they deal out anew."""
        self._topics[topic] = self._topics[topic]._replace(partitions=partitions)
        for partition in self.partitions(topic):
            if partition not in self._logs:
                self._logs[partition] = PartitionLog(partition)

    def delete(self, topic: str) -> None:
        for partition in self.partitions(topic):
            del self._logs[partition]
        del self._topics[topic]
        self.notify()

    def restore(self, topic: str) -> None:
        """Delete it, and make it anew with every record and marker where it was."""
        spec = self._topics[topic]
        logs = {partition: self._logs[partition] for partition in self.partitions(topic)}
        self.delete(topic)
        self.create(spec)
        self._logs.update(logs)
        self.notify()

    def topic_id(self, topic: str) -> str:
        if topic not in self._topics:
            raise unknown_topic(topic)
        return self._ids[topic]

    def partitions(self, topic: str) -> Sequence[TopicPartition]:
        spec = self._topics.get(topic)
        return [TopicPartition(topic, number) for number in range(spec.partitions)] if spec is not None else []

    def log(self, partition: TopicPartition) -> PartitionLog:
        if partition not in self._logs:
            raise unknown_topic(partition.topic)
        return self._logs[partition]

    def append(self, outgoing: Outgoing, transaction: Transaction | None = None) -> Record:
        partitions = len(self.partitions(outgoing.topic))
        if not partitions:
            raise unknown_topic(outgoing.topic)
        number = outgoing.partition
        if number is None:
            number = (
                next(self._keyless) % partitions if outgoing.key is None else partition_of(outgoing.key, partitions)
            )
        stamp = outgoing.timestamp_ms if outgoing.timestamp_ms is not None else self._now_ms()
        record = self.log(TopicPartition(outgoing.topic, number)).append(outgoing, stamp, transaction)
        self.notify()
        return record

    def group(self, name: str) -> Group:
        if name not in self._groups:
            self._groups[name] = Group(self.partitions, self.notify)
        return self._groups[name]

    # -- transactions --

    def initialise(self, transactional_id: str) -> int:
        """A new epoch: older owners are fenced, their open transaction is aborted."""
        epoch = self._epochs[transactional_id] = self._epochs.get(transactional_id, -1) + 1
        left_open = self.open.get(transactional_id)
        if left_open is not None:
            self.end(left_open, "aborted")
        return epoch

    def time_out(self, transactional_id: str) -> None:
        """What a broker does with a transaction that nobody ends: abort it, and fence whoever began it."""
        self._timed_out[transactional_id] = self.initialise(transactional_id)

    def is_expired(self, transactional_id: str, epoch: int) -> bool:
        """Whether that epoch was fenced by the broker's own timeout, and nobody came after it."""
        return self._epochs[transactional_id] == epoch + 1 == self._timed_out.get(transactional_id)

    def is_fenced(self, transactional_id: str, epoch: int) -> bool:
        return self._epochs[transactional_id] != epoch

    def begin(self, transactional_id: str) -> Transaction:
        transaction = self.open[transactional_id] = Transaction(transactional_id)
        return transaction

    def end(self, transaction: Transaction, state: Literal["committed", "aborted"]) -> None:
        """Markers on every log it touched; the offsets it carried count from here on."""
        del self.open[transaction.transactional_id]
        transaction.state = state
        for log in transaction.logs:
            log.end(transaction)
        if state == "committed" and transaction.consumer_group is not None:
            self.group(transaction.consumer_group).offsets.update(transaction.offsets)
        self.notify()

    # -- waiting --

    def notify(self) -> None:
        """Wake every poll."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_changed(self) -> None:
        await self._changed.wait()
