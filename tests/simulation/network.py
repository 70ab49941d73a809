"""The broker as one process sees it: calls take time and fail, commits end unknown, members are thrown out.

Faults are injected at the ports (streaming/ports.py), on both sides of every await; the MemoryBroker behind them stays
right. A fault that was injected is counted under its kind when it has happened, not when it was planned.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from mira_stream.errors import CommitUnknown, DependencyError, ProducerFenced
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.streaming.ports import (
    AssignmentListener,
    ClusterState,
    Consumer,
    TopicSpec,
    TransactionalProducer,
    always,
)
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.cluster import Cluster, Failure, Faults
from mira_stream.testing.consumer import MemoryConsumer, MemoryReader
from mira_stream.testing.group import Group
from mira_stream.testing.log import Transaction
from mira_stream.testing.loop import Process, VirtualLoop, current_process
from mira_stream.testing.producer import MemoryProducer
from tests.simulation.plan import SESSION_S, TRANSACTION_S, Plan


class Network(Faults):
    """Delays and faults between all processes and the one broker; ends with `heal`."""

    def __init__(
        self, loop: VirtualLoop, plan: Plan, rng: random.Random, reached: Counter[str], tell: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.loop = loop
        self.plan = plan
        self.rng = rng
        self.reached = reached
        self.tell = tell
        self.faulty = True
        self.violations: list[str] = []
        self.up_at = 0.0
        """The broker answers nothing before."""
        self.memory = MemoryBroker(lambda: START_MS + int(loop.time() * 1000))
        self.cluster: Cluster = self.memory._cluster
        self.cluster.faults = self
        self.kill: Callable[[Process], None] = Process.kill
        self.stop: Callable[[Process], None] = Process.pause
        """What the world does beside it."""

    def heal(self) -> None:
        self.faulty = False
        self.up_at = self.loop.time()

    def happens(self, share: float, kind: str) -> bool:
        if self.faulty and share and self.rng.random() < share:
            self.reached[kind] += 1
            return True
        return False

    async def hop(self) -> None:
        """A request or an answer on its way."""
        if self.rng.random() < 0.5:
            await asyncio.sleep(self.rng.random() * self.plan.latency_s)
        while self.up_at > self.loop.time():  # noqa: ASYNC110 - another pause may begin while this one lasts
            await asyncio.sleep(self.up_at - self.loop.time())

    def fail(self, doing: str, kind: str) -> None:
        if self.happens(self.plan.call_failed, kind):
            self.tell(f"{doing}: {kind}")
            raise DependencyError("broker_unreachable", f"{doing}: made to fail", "it is a simulation")

    # -- testing.cluster.Faults: inside a commit --

    def take_failure(self, transactional_id: str) -> Failure | None:
        plan = self.plan
        if self.happens(plan.refused, "commit refused"):
            return "aborted"
        if self.happens(plan.unknown_open, "commit unknown, left open"):
            return "unknown_open"
        return "unknown_committed" if self.happens(plan.unknown_committed, "commit unknown, committed") else None

    async def stand(self, transactional_id: str, *, ended: bool) -> None:
        process = current_process()
        assert process is not None
        if not ended:
            begun = self.cluster.open[transactional_id]
            self.loop.call_later(TRANSACTION_S, self._time_out, begun, context=self.loop.outside)
        share, kind = (
            (self.plan.killed_after_commit, "killed after commit")
            if ended
            else (self.plan.killed_in_transaction, "killed in transaction")
        )
        if self.happens(share, kind):
            self.tell(f"{process} {kind} ({transactional_id})")
            self.kill(process)
        elif not ended and self.happens(self.plan.stopped_in_transaction, "stopped in transaction"):
            self.stop(process)
        await asyncio.sleep(self.rng.random() * self.plan.latency_s)  # here a dead process ends

    def _time_out(self, transaction: Transaction) -> None:
        """What a broker does with a transaction that nobody ends: abort it, and fence whoever began it."""
        name = transaction.transactional_id
        if self.cluster.open.get(name) is transaction:
            self.reached["transaction timed out"] += 1
            self.tell(f"{name}: the broker ends a transaction")
            self.cluster.time_out(name)


class SimulatedBroker:
    """Implements streaming.ports.Broker for one process."""

    def __init__(self, network: Network, process: Process, instance: str = "") -> None:
        self.network = network
        self.process = process
        self.instance = instance
        """Of a static member: what `--instance` would say."""
        self.members: list[SimulatedConsumer] = []
        """What outlives the process in the broker, until its session ends."""

    async def consumer(
        self, consumer_group: str, topics: Sequence[str], listener: AssignmentListener, instance: str = ""
    ) -> Consumer:
        network = self.network
        await network.hop()
        network.fail(f"{self.process} joins", "call failed, not done")
        group = network.cluster.group(consumer_group)
        member = SimulatedConsumer(self, group, tuple(topics), listener)
        self.members.append(member)
        network.loop.do_outside(group.join, member, self.instance)  # the rebalance is the broker's work and outlives us
        await network.hop()
        return member

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        network = self.network
        await network.hop()
        network.fail(f"{self.process} initialises {transactional_id}", "call failed, not done")
        producer = SimulatedProducer(network, self.process, transactional_id)
        network.tell(f"{self.process} initialises {transactional_id}")
        await network.hop()
        network.fail(f"{self.process} initialises {transactional_id}", "call failed, done")
        return producer

    async def reader(self) -> LogReader:
        await self.network.hop()
        return SimulatedReader(self.network, self.process)

    async def create_topics(self, topics: Sequence[TopicSpec], replication_factor: int) -> None:
        await self.network.memory.create_topics(topics, replication_factor)

    async def committed(
        self, consumer_group: str, partitions: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        await self.network.hop()
        return await self.network.memory.committed(consumer_group, partitions)

    async def batch_bytes_max(self, topic: str) -> int | None:
        return await self.network.memory.batch_bytes_max(topic)

    async def retention_ms(self, topic: str) -> int | None:
        return await self.network.memory.retention_ms(topic)

    async def topic_id(self, topic: str) -> str:
        return await self.network.memory.topic_id(topic)

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        return await self.network.memory.topic_ids(topics)

    async def state(self, topics: Sequence[str]) -> ClusterState:
        return await self.network.memory.state(topics)

    async def close(self) -> None:
        """Nothing to give back."""


class SimulatedProducer(MemoryProducer):
    """A producer whose process may die, sleep or lose the answer in the middle of a commit."""

    def __init__(self, network: Network, process: Process, transactional_id: str) -> None:
        super().__init__(network.cluster, transactional_id)
        self._network = network
        self._process = process

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        network = self._network
        await network.hop()
        try:
            await super().commit(records, offsets, consumer_group)
        except ProducerFenced:
            network.tell(f"{self._process} fenced ({self._transactional_id})")
            network.reached["fenced"] += 1
            raise
        except (CommitUnknown, DependencyError) as error:
            network.tell(f"{self._process} commit of {len(records)} records: {error}")
            raise
        network.tell(f"{self._process} commits {len(records)} records, {_shown(offsets)}")
        await network.hop()


class SimulatedReader(MemoryReader):
    """A log reader whose questions take time and fail."""

    def __init__(self, network: Network, process: Process) -> None:
        super().__init__(network.cluster)
        self._network = network
        self._process = process

    async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        await self._network.hop()
        self._network.fail(f"{self._process} asks for bounds", "call failed, not done")
        return await super().bounds(partitions)

    async def read(self, partition: TopicPartition, first: int, end: int) -> AsyncIterator[Record]:
        await self._network.hop()
        async for record in super().read(partition, first, end):
            yield record


class SimulatedConsumer(MemoryConsumer):
    """A member that may be thrown out without knowing it, or die without leaving."""

    def __init__(
        self, broker: SimulatedBroker, group: Group, topics: tuple[str, ...], listener: AssignmentListener
    ) -> None:
        self._network = broker.network
        self.process = broker.process
        super().__init__(self._network.cluster, group, topics, _Listener(self, listener))
        self.gone: asyncio.Future[None] = self._network.loop.create_future()
        """Set when the consumer group goes on without this member."""
        self.closed = False
        self.call: asyncio.Task[None] | None = None
        """The listener's last call."""

    async def poll(self, records_max: int, timeout_s: float, more: Callable[[Record], bool] = always) -> list[Record]:
        await self._network.hop()
        if self._network.rng.random() < 0.1:  # it is called far more often than all others
            self._network.fail(f"{self.process} polls", "call failed, not done")
        return await super().poll(records_max, timeout_s, more)

    async def committed(self, partition: TopicPartition) -> int | None:
        await self._network.hop()
        self._network.fail(f"{self.process} asks for the offset", "call failed, not done")
        found = await super().committed(partition)
        await self._network.hop()
        return found

    async def close(self) -> None:
        if not self.process.dead:
            await self._network.hop()
            self.closed = True
            if self.call is not None:
                self.call.cancel()  # as aiokafka ends its coordinator before it leaves
            self._network.tell(f"{self.process} leaves")
            self._network.loop.do_outside(self._group.leave, self)
            self._end_session()

    def fail(self, error: Exception) -> None:
        super().fail(error)
        if isinstance(error, DependencyError) and error.code == "instance_taken":
            self._network.reached["instance taken over"] += 1
            self.closed = True  # it will not join again
            self._end_session()

    def throw_out(self) -> bool:
        """The session has ended: the group goes on without the member. Whether it still was one."""
        if self not in self._group.members:
            return False
        self._network.tell(f"{self.process} is thrown out")
        self._end_session()
        self._network.loop.do_outside(self._group.expel, self)
        return True

    def come_back(self) -> None:
        """The member learns that it was thrown out and joins again."""
        if self.process.runs and not self.closed and self not in self._group.members:
            self._network.tell(f"{self.process} joins again")
            self.gone = self._network.loop.create_future()
            self._network.loop.do_outside(self._group.join, self)

    def session_ends(self) -> None:
        """No heartbeat comes any more."""
        self._network.loop.call_later(SESSION_S, self.throw_out, context=self._network.loop.outside)

    def _end_session(self) -> None:
        if not self.gone.done():
            self.gone.set_result(None)


class _Listener:
    """Calls the member's listener in its process; the group waits until it has answered or its session has ended."""

    def __init__(self, member: SimulatedConsumer, listener: AssignmentListener) -> None:
        self._member = member
        self._listener = listener

    async def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self._member._network.tell(f"{self._member.process} gets {_names(partitions)}")
        await self._call(self._listener.on_assigned(partitions))

    async def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        await self._call(self._listener.on_revoked(partitions))

    async def _call(self, call: Coroutine[Any, Any, None]) -> None:
        member = self._member
        if member.process.dead or member.gone.done() or member.closed:
            call.close()
            if not member.gone.done() and not member.closed:
                member.session_ends()  # once more: it may have become a member after its first session's end
                await asyncio.wait({member.gone})
            return
        if member.call is not None and not member.call.done():  # one after the other, as aiokafka's coordinator has it
            await asyncio.wait({member.call, member.gone}, return_when=asyncio.FIRST_COMPLETED)
            if not member.call.done():
                call.close()
                return
        task = member.call = member.process.spawn(call)
        await asyncio.wait({task, member.gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done() and not task.cancelled():
            task.result()


def _names(partitions: Iterable[TopicPartition]) -> str:
    return " ".join(f"{partition.topic}/{partition.partition}" for partition in partitions) or "nothing"


def _shown(offsets: Mapping[TopicPartition, int]) -> str:
    return " ".join(f"{partition.topic}/{partition.partition}@{offset}" for partition, offset in offsets.items())


START_MS = 1_700_000_000_000
