"""Where a consumer group stands in a log that goes on without it: behind what was deleted, or at its end."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.ports import Broker

log: Final = structlog.get_logger("mira_stream.runner")

IDLE_S: Final = 0.2
LOOK_RECORDS: Final = 50
PEEK_OFFSETS: Final = 16
"""Looked through at once for a record: the next offsets may be markers of transactions, and documents are large."""


async def skip_deleted(
    broker: Broker, reader: LogReader, consumer_group: str, partitions: Sequence[TopicPartition]
) -> int:
    """Move a group that stands before the first retained offset (or has never stood anywhere) onto it; how many
    offsets that passes over. Only for stages that may leave records out and write no Progress, and before their runner
    starts."""
    if not partitions:
        return 0
    committed = await broker.committed(consumer_group, partitions)
    missed = 0
    for partition, (first, _) in (await reader.bounds(partitions)).items():
        stood = committed.get(partition, 0)
        if stood >= first:
            continue
        producer = await broker.producer(f"{consumer_group}.{partition.topic}.{partition.partition}")
        try:
            await producer.commit([], {partition: first}, consumer_group)
        finally:
            await producer.close()
        missed += first - stood
        log.warning(
            "passed over what was deleted", consumer_group=consumer_group, partition=partition, offsets=first - stood
        )
    return missed


async def lag(broker: Broker, reader: LogReader, consumer_group: str, partitions: Sequence[TopicPartition]) -> int:
    """Offsets between what the group has committed and the ends of the logs, markers of transactions included."""
    committed = await broker.committed(consumer_group, partitions) if partitions else {}
    bounds = await reader.bounds(partitions) if partitions else {}
    return sum(max(0, end - committed.get(partition, first)) for partition, (first, end) in bounds.items())


async def oldest_ms(
    broker: Broker, reader: LogReader, consumer_group: str, partitions: Sequence[TopicPartition]
) -> int | None:
    """The timestamp of the oldest record the group has not committed; None if there is none."""
    committed = await broker.committed(consumer_group, partitions) if partitions else {}
    bounds = await reader.bounds(partitions) if partitions else {}
    found = [
        await first_ms(reader, partition, max(retained, committed.get(partition, 0)), end)
        for partition, (retained, end) in bounds.items()
    ]
    return min((stamp_ms for stamp_ms in found if stamp_ms is not None), default=None)


async def first_ms(reader: LogReader, partition: TopicPartition, first: int, end: int) -> int | None:
    """The timestamp of the first record in [first, end); None if only markers are there. Raises DataLossError."""
    for begin in range(first, end, PEEK_OFFSETS):
        # Read to the end of each piece: a reader that is left early gives its connection up.
        piece = [record.timestamp_ms async for record in reader.read(partition, begin, min(end, begin + PEEK_OFFSETS))]
        if piece:
            return piece[0]
    return None


async def stamps(reader: LogReader, partition: TopicPartition, first: int, end: int) -> list[int] | None:
    """The timestamps of the records in [first, end), if these are PEEK_OFFSETS at most; else None. Behind the last
    record of a topic stand markers of transactions, which no reader has to read. Raises DataLossError."""
    if end - first > PEEK_OFFSETS:
        return None
    return [record.timestamp_ms async for record in reader.read(partition, first, end)]


async def until_idle(
    broker: Broker, reader: LogReader, consumer_group: str, ends: Mapping[TopicPartition, int]
) -> None:
    """Until the group has committed all records before these ends."""
    while not await is_idle(broker, reader, consumer_group, ends):  # noqa: ASYNC110 - only the broker knows
        await asyncio.sleep(IDLE_S)


async def is_idle(broker: Broker, reader: LogReader, consumer_group: str, ends: Mapping[TopicPartition, int]) -> bool:
    """Whether no record before these ends is left; behind the last one there may be markers of transactions."""
    committed = await broker.committed(consumer_group, list(ends))
    for partition, end in ends.items():
        for first in range(committed.get(partition, 0), end, LOOK_RECORDS):
            # Read to the end of each piece: a reader that is left early gives its connection up.
            if [record async for record in reader.read(partition, first, min(end, first + LOOK_RECORDS))]:
                return False
    return True
