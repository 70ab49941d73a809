"""Deciding on all cards, copying as many bytes, and a restart: each once, timed."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import NamedTuple

import aiokafka
from mira_stream.consumers.aggregator import TRANSACTIONS, aggregate

from bench.aggregating.cards import ends, write_log
from mira_stream.config import Project
from mira_stream.kafka import KafkaBroker
from mira_stream.records import LogReader, Record, TopicPartition
from mira_stream.selecting.handler import SelectingFactory
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker

LOOK_S = 0.05


FETCH_BYTES = 4 * 2**20


class Turn(NamedTuple):
    """One way through the whole log: wall clock and CPU of this process, first record to last commit."""

    seconds: float
    cpu_s: float


async def aggregate_once(broker: Broker, project: Project, wanted: dict[TopicPartition, int]) -> Turn:
    """The real aggregator from its first card to its last commit."""
    stop, metrics = asyncio.Event(), Metrics()
    group = project.consumer_group("aggregator")
    running = asyncio.create_task(aggregate(project, broker, metrics, stop))
    started, cpu, begun = time.perf_counter(), time.process_time(), False  # a small log may be over before a look at it
    try:
        while True:
            if not begun and _records_in(metrics):
                started, cpu, begun = time.perf_counter(), time.process_time(), True
            reached = await broker.committed(group, wanted)
            if all(reached.get(partition, 0) >= end for partition, end in wanted.items()):
                return Turn(time.perf_counter() - started, time.process_time() - cpu)
            if running.done():
                await running
            await asyncio.sleep(LOOK_S)
    finally:
        stop.set()
        await running


def _records_in(metrics: Metrics) -> bool:
    return any(sample.value for family in metrics.records_in.collect() for sample in family.samples)


async def copy_once(bootstrap: str, topic: str, to: str, records: int, wanted: dict[TopicPartition, int]) -> Turn:
    """aiokafka alone: read committed records, write their bytes, commit offsets, in transactions of `records`."""
    consumer = aiokafka.AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=f"{to}.copy", isolation_level="read_committed",
        enable_auto_commit=False, auto_offset_reset="earliest",
    )  # fmt: skip
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{to}.copy", linger_ms=5)
    await consumer.start()
    await producer.start()
    started = cpu = 0.0
    left = {aiokafka.TopicPartition(*partition): end for partition, end in wanted.items()}
    try:
        while left:
            fetched = await consumer.getmany(timeout_ms=200, max_records=records)
            if not fetched:
                continue
            if not started:
                started, cpu = time.perf_counter(), time.process_time()
            async with producer.transaction():
                await asyncio.gather(
                    *[await producer.send(to, one.value, one.key) for found in fetched.values() for one in found]
                )
                offsets = {at: found[-1].offset + 1 for at, found in fetched.items()}
                await producer.send_offsets_to_transaction(offsets, f"{to}.copy")
            left = {at: end for at, end in left.items() if offsets.get(at, 0) < end}
        return Turn(time.perf_counter() - started, time.process_time() - cpu)
    finally:
        await producer.stop()
        await consumer.stop()


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


async def one_turn(bootstrap: str, project: Project, cards: int, seed: int) -> tuple[Turn, Turn, Restored]:
    """Limit, ours, and a restore, over a log of the project's own prefix."""
    settings = project.settings
    broker = KafkaBroker(settings.broker, bootstrap)
    try:
        await write_log(broker, project, cards, seed)
        scores, to = project.topic("scores"), project.topic("decisions")
        wanted = await ends(broker, scores)
        limit = await copy_once(bootstrap, scores, to, TRANSACTIONS * settings.limits.transaction_records, wanted)
        ours = await aggregate_once(broker, project, wanted)
        return limit, ours, await restore_once(bootstrap, broker, project, wanted)
    finally:
        await broker.close()
