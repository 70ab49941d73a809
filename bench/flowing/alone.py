"""The limit of whatever moves records between topics: aiokafka alone reads, writes the same bytes and commits."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import aiokafka

POLL_MS: Final = 200
BATCH_BYTES: Final = 256 * 1024
FETCH_BYTES: Final = 8 << 20
SESSION_MS: Final = 6_000


async def copy(
    bootstrap: str,
    source: str,
    to: str,
    group: str,
    records: int,
    begun: Callable[[], None],
    copied: Callable[[int], None],
    stop: asyncio.Event,
    written: bytes | None = None,
) -> None:
    """Exactly once, until `stop`, by the only member of `group`. `written`: the value that is written for each record,
    if it is not the record's own. Set up as a stage of ours: a producer a partition, so
    that one partition is read while another is committed; batches are handed over, not records. A transaction takes
    what is there of its partition, `records` at most. `begun` is told when the first records have come, `copied` how
    many have been committed."""
    consumer = aiokafka.AIOKafkaConsumer(
        source, bootstrap_servers=bootstrap, group_id=group, isolation_level="read_committed",
        enable_auto_commit=False, auto_offset_reset="earliest", session_timeout_ms=SESSION_MS,
        fetch_max_bytes=FETCH_BYTES,
    )  # fmt: skip
    producers = await _producers(bootstrap, source, group)  # first: what a killed one left open is void before it reads
    await consumer.start()

    started = asyncio.Event()

    async def own(partition: aiokafka.TopicPartition, producer: Any) -> None:
        while not stop.is_set():
            fetched = (await consumer.getmany(partition, timeout_ms=POLL_MS, max_records=records)).get(partition)
            if not fetched:
                continue
            if not started.is_set():
                started.set()
                begun()
            async with producer.transaction():
                await asyncio.gather(*[
                    await producer.send_batch(batch, to, partition=partition.partition)
                    for batch in _batches(producer, fetched, written)
                ])  # fmt: skip
                await producer.send_offsets_to_transaction({partition: fetched[-1].offset + 1}, group)
            copied(len(fetched))

    try:
        async with asyncio.TaskGroup() as owners:
            for partition in consumer.assignment():
                owners.create_task(own(partition, producers[partition.partition]))
    finally:
        for producer in producers.values():
            await producer.stop()
        await consumer.stop()


async def _producers(bootstrap: str, topic: str, group: str) -> dict[int, Any]:
    """One started for each partition of the topic."""
    client = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap)
    await client.start()
    partitions = await client.partitions_for(topic)
    await client.stop()
    producers = {
        partition: aiokafka.AIOKafkaProducer(
            bootstrap_servers=bootstrap, transactional_id=f"{group}.limit.{partition}", max_batch_size=BATCH_BYTES
        )
        for partition in partitions
    }
    await asyncio.gather(*[producer.start() for producer in producers.values()])
    return producers


def _batches(producer: Any, records: list[Any], written: bytes | None) -> list[Any]:
    """As few as hold the records, in order."""
    left, batches = deque(records), []
    while left:
        batch = producer.create_batch()
        while left:
            value = left[0].value if written is None else written
            if not batch.append(key=left[0].key, value=value, timestamp=left[0].timestamp):
                break
            left.popleft()
        batches.append(batch)
    return batches
