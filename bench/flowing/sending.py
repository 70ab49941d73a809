"""What `produce` is measured beside: aiokafka alone sends the same records, which lie in memory, in transactions of the
same size."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiokafka

from bench.flowing.job import GROUP, SOURCE, Job
from bench.flowing.meter import Meter
from mira_stream.config import Project
from mira_stream.ingest.positions import Positions
from mira_stream.ingest.source import SourceReader
from mira_stream.kafka import KafkaBroker
from mira_stream.parquet import READERS
from mira_stream.records import Outgoing

BATCH_BYTES: Final = 256 * 1024
LOOP_BATCH_BYTES: Final = 512 * 1024


async def run_limit(job: Job, meter: Meter, stop: asyncio.Event) -> None:
    """The limit: aiokafka's partitioner places the records, whole batches are handed over."""
    project = job.project()
    ready = await _ready(job, project)
    async with _started(job, BATCH_BYTES) as producer:
        for topic in {one.topic for records in ready for one in records}:
            await producer.partitions_for(topic)
        meter.begin()
        for records in ready:
            async with producer.transaction():
                await asyncio.gather(*[
                    await producer.send_batch(batch, topic, partition=partition)
                    for (topic, partition), placed in _placed(producer, records).items()
                    for batch in _batches(producer, placed)
                ])  # fmt: skip
            meter.add(_documents(project, records))


async def run_loop(job: Job, meter: Meter, stop: asyncio.Event) -> None:
    """A bare loop, as one writes it first: record by record."""
    project = job.project()
    ready = await _ready(job, project)
    async with _started(job, LOOP_BATCH_BYTES) as producer:
        meter.begin()
        for records in ready:
            async with producer.transaction():
                sent = [
                    await producer.send(one.topic, one.value, one.key, headers=list(one.headers)) for one in records
                ]
                await asyncio.gather(*sent)
            meter.add(_documents(project, records))


async def _ready(job: Job, project: Project) -> list[list[Outgoing]]:
    """What `produce` would make of the file, a list a transaction."""
    broker = KafkaBroker(project.settings.broker, job.bootstrap)
    source, log = project.settings.sources[SOURCE], await broker.reader()
    opened = SourceReader(project, SOURCE, source, READERS).open(Positions(log, project.topic("ingest")), again=False)
    await log.close()
    await broker.close()
    return [batch.records for batch in opened.batches]


def _documents(project: Project, records: Sequence[Outgoing]) -> int:
    return sum(one.topic == project.documents_topic(GROUP) for one in records)


@asynccontextmanager
async def _started(job: Job, batch_bytes: int) -> AsyncIterator[Any]:
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=job.bootstrap, transactional_id=f"{job.prefix}.alone", max_batch_size=batch_bytes
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def _placed(producer: Any, records: Sequence[Outgoing]) -> dict[tuple[str, int], deque[Outgoing]]:
    """By topic and partition, in order."""
    places: dict[tuple[str, int], deque[Outgoing]] = {}
    for one in records:
        partition = producer._partition(one.topic, one.partition, one.key, one.value, one.key, one.value)
        places.setdefault((one.topic, partition), deque()).append(one)
    return places


def _batches(producer: Any, left: deque[Outgoing]) -> list[Any]:
    """As few as hold the records, in order."""
    batches = []
    while left:
        batch = producer.create_batch()
        while left and batch.append(
            key=left[0].key, value=left[0].value, timestamp=left[0].timestamp_ms, headers=list(left[0].headers)
        ):
            left.popleft()
        batches.append(batch)
    return batches
