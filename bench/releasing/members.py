"""The ways to do them: asyncio alone, one member of the consumer group, members that come and go."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from bench.releasing.world import VALUE, Sleeper, Turn, World
from mira_stream.kafka import KafkaBroker
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.forwarding import ForwardingBroker
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker, TopicSpec, TransactionalProducer
from mira_stream.streaming.runner import Runner

PARTITIONS = 6
WRITTEN_AT_ONCE = 5_000


class _Counting:
    """A producer that tells the world what it has committed; with `void` it commits nothing."""

    def __init__(self, producer: TransactionalProducer, world: World, void: bool) -> None:
        self._producer = producer
        self._world = world
        self._void = void
        self.close = producer.close

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        if not self._void:
            await self._producer.commit(records, offsets, consumer_group)
        results = [record.partition for record in records if record.topic == "results"]
        self._world.commit(len(results), results.count(0))


class Watched(ForwardingBroker):
    """A broker whose producers are counted."""

    def __init__(self, broker: Broker, world: World, void: bool = False) -> None:
        super().__init__(broker)
        self._world = world
        self._void = void

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        return _Counting(await super().producer(transactional_id), self._world, self._void)


class Member:
    """One running member of the consumer group."""

    def __init__(self, servers: str, world: World, group: str, in_flight: int, void: bool = False) -> None:
        self.broker = KafkaBroker(BrokerSection(), servers)
        self.stop = asyncio.Event()

        def factory(partition: TopicPartition, reader: LogReader) -> Sleeper:
            return Sleeper(world, partition)

        watched = Watched(self.broker, world, void)
        self.task = asyncio.create_task(
            Runner(watched, world.settings(group, in_flight), factory, Metrics()).run(self.stop)
        )

    async def leave(self) -> None:
        self.stop.set()
        await self.task
        await self.broker.close()


async def write(servers: str, topic: str, documents: int) -> None:
    broker = KafkaBroker(BrokerSection(), servers)
    await broker.create_topics([TopicSpec(name, PARTITIONS) for name in (topic, "results", "progress")], 1)
    producer = await broker.producer(f"write.{topic}")
    for first in range(0, documents, WRITTEN_AT_ONCE):
        numbers = range(first, min(documents, first + WRITTEN_AT_ONCE))
        await producer.commit([Outgoing(topic, b"%d" % n, VALUE, n % PARTITIONS) for n in numbers], {}, None)
    await producer.close()
    await broker.close()


async def alone(world: World, in_flight: int) -> Turn:
    """The handler under asyncio, so many at once."""
    sleeper, left = Sleeper(world, TopicPartition(world.topic, 0)), iter(range(world.documents))

    async def one_after_the_other() -> None:
        for number in left:
            await sleeper.handle(Record(world.topic, 0, number + 1, 0, None, VALUE))

    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    return world.turn(world.documents)


async def run_one(servers: str, world: World, group: str, in_flight: int, *, void: bool = False) -> Turn:
    """One member, all documents; with a stuck one, all the others."""
    member = Member(servers, world, group, in_flight, void)
    await world.until(world.documents - bool(world.stuck_s), member.task)
    turn = world.turn(world.committed)
    await world.until(world.documents, member.task)
    await member.leave()
    return turn


async def run_members(servers: str, world: World, group: str, in_flight: int, rebalances: int) -> dict[str, Any]:
    """2 -> 3 -> 2 members, again and again. A stall is the longest time without a commit around one change."""
    members = [Member(servers, world, group, in_flight // 2) for _ in range(2)]
    await world.until(world.documents // 20, *(one.task for one in members))
    step = int(world.documents * 0.9 / (2 * rebalances + 1))
    stalls: list[float] = []
    for change in range(2 * rebalances):
        before = len(world.committed_at) - 1
        if change % 2 == 0:
            members.append(Member(servers, world, group, in_flight // 2))
        else:
            await members.pop(0).leave()
        goal = min(world.committed + step, world.documents)
        await world.until(goal, *(one.task for one in members))
        times = [at for at, _ in world.committed_at[before:]]
        stalls.append(max((later - at for at, later in pairwise(times)), default=0.0))
        if goal == world.documents:
            break  # a change took longer than planned: fewer of them are measured
    await world.until(world.documents, *(one.task for one in members))
    for member in members:
        await member.leave()
    again = sum(count - 1 for count in world.begun.values())
    return {"changes": len(stalls), "stalls_s": sorted(stalls), "again": again, "committed": world.committed}
