"""Deciding on all cards, writing as many bytes, and a restart: each once, timed."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiokafka
from mira_stream.consumers.aggregator import TRANSACTIONS, aggregate

from bench.aggregating.cards import ends, write_log
from bench.flowing.alone import copy
from bench.flowing.meter import Meter, MeteredBroker
from mira_stream.benching.alternating import order
from mira_stream.benching.observing import Committed, ObservedBroker
from mira_stream.config import Project
from mira_stream.kafka import KafkaBroker
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.selecting.handler import SelectingFactory
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker

FETCH_BYTES = 4 * 2**20


class Turn(NamedTuple):
    """One way through the whole log: wall clock and CPU of this process, first record to last commit."""

    seconds: float
    cpu_s: float


@asynccontextmanager
async def kafka_of(bootstrap: str, project: Project) -> AsyncIterator[KafkaBroker]:
    broker = KafkaBroker(project.settings.broker, bootstrap)
    try:
        yield broker
    finally:
        await broker.close()


async def aggregate_once(broker: Broker, project: Project, cards: int, told: Committed = lambda records: None) -> Turn:
    """The real aggregator from its first card to the commit of its last decision."""
    meter, stop = Meter(cards, [project.topic("decisions")]), asyncio.Event()
    metered = ObservedBroker(MeteredBroker(broker, meter), told)
    running = asyncio.create_task(aggregate(project, metered, Metrics(), stop))
    return await _until_enough(meter, running, stop)


async def copy_once(bootstrap: str, project: Project, cards: int, written: int) -> Turn:
    """aiokafka alone: read the cards, write `written` bytes for each, commit, a partition beside the others."""
    meter, stop = Meter(cards), asyncio.Event()
    scores, to, group = project.topic("scores"), project.topic("decisions"), project.consumer_group("copy")
    records = TRANSACTIONS * project.settings.limits.transaction_records
    copying = copy(bootstrap, scores, to, group, records, meter.begin, meter.add, stop, bytes(written))
    return await _until_enough(meter, asyncio.create_task(copying), stop)


async def _until_enough(meter: Meter, running: asyncio.Task[None], stop: asyncio.Event) -> Turn:
    enough = asyncio.create_task(meter.enough.wait())
    try:
        await asyncio.wait((running, enough), return_when=asyncio.FIRST_COMPLETED)
    finally:
        enough.cancel()
        stop.set()
        await running
    samples = meter.turn().samples
    return Turn(samples[-1].wall_s - samples[0].wall_s, samples[-1].cpu_s - samples[0].cpu_s)


class Noting:
    """A LogReader that notes what is read through it."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self.ranges: set[tuple[TopicPartition, int, int]] = set()

    async def partitions(self, topic: str) -> list[TopicPartition]:
        return await self._reader.partitions(topic)

    async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        return await self._reader.bounds(partitions)

    async def high_watermarks(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return await self._reader.high_watermarks(partitions)

    def read(self, partition: TopicPartition, first: int, end: int) -> AsyncIterator[Record]:
        self.ranges.add((partition, first, end))
        return self._reader.read(partition, first, end)

    async def close(self) -> None:
        await self._reader.close()


class Restored(NamedTuple):
    """What a restart costs until all partitions could go on, and what it costs to read the same records alone."""

    ours: Turn
    limit: Turn
    records: int


async def restore_once(bootstrap: str, broker: Broker, project: Project, wanted: dict[TopicPartition, int]) -> Restored:
    """Policy, states and replay of all partitions side by side, as after a kill; then the limit."""
    factory, reader = SelectingFactory(project, Metrics()), Noting(await broker.reader())
    try:
        handlers = [(factory(partition, reader), end) for partition, end in wanted.items()]
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(handler.open(end) for handler, end in handlers))
        ours = Turn(time.perf_counter() - started, time.process_time() - cpu)
        for handler, _ in handlers:
            await handler.close()
    finally:
        await reader.close()
    started, cpu = time.perf_counter(), time.process_time()
    read = await asyncio.gather(*(read_alone(bootstrap, *one) for one in reader.ranges))
    return Restored(ours, Turn(time.perf_counter() - started, time.process_time() - cpu), sum(read))


async def read_alone(bootstrap: str, partition: TopicPartition, first: int, end: int) -> int:
    """aiokafka alone: the committed records of a range, counted."""
    client = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES,
    )  # fmt: skip
    at, records = aiokafka.TopicPartition(*partition), 0
    await client.start()
    try:
        client.assign([at])
        client.seek(at, first)
        while await client.position(at) < end:
            records += sum(map(len, (await client.getmany(at, timeout_ms=200)).values()))
        return records
    finally:
        await client.stop()


async def written_a_card(bootstrap: str, project: Project, cards: int, seed: int) -> int:
    """Bytes that the aggregator writes for a card, in the mean: decisions, epochs, windows, states and progress. A turn
    that is not counted."""
    total = 0

    def told(records: Sequence[Outgoing]) -> None:
        nonlocal total
        total += sum(len(record.value or b"") for record in records)

    async with kafka_of(bootstrap, project) as broker:
        await write_log(broker, project, cards, seed)
        await aggregate_once(broker, project, cards, told)
    return round(total / cards)


async def one_turn(
    bootstrap: str, project: Project, cards: int, seed: int, written: int, number: int
) -> tuple[Turn, Turn, Restored]:
    """Limit, ours, and a restore, over a log of the project's own prefix; who is first changes with the `number`."""
    async with kafka_of(bootstrap, project) as broker:
        await write_log(broker, project, cards, seed)
        wanted = await ends(broker, project.topic("scores"))
        turns: dict[str, Turn] = {}
        for side in order(("limit", "ours"), number):
            if side == "limit":
                turns[side] = await copy_once(bootstrap, project, cards, written)
            else:
                turns[side] = await aggregate_once(broker, project, cards)
        return turns["limit"], turns["ours"], await restore_once(bootstrap, broker, project, wanted)
