"""Reads committed records by offset, outside any consumer group."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiokafka
from aiokafka.errors import OffsetOutOfRangeError

from mira_stream.kafka.closing import stop_consumer
from mira_stream.kafka.connection import Connection
from mira_stream.kafka.consumer import bounds_of, record_of
from mira_stream.kafka.failures import bounded, translating, unreachable
from mira_stream.records import Record, TopicPartition
from mira_stream.streaming.limits import lost, unknown_topic

RECORDS: Final = 2_000
POLL_MS: Final = 200
FETCH_BYTES: Final = 4 * 2**20
FEW: Final = 128
"""Offsets: to read no more than these, as a look at the next record does, no batch but the first is fetched at once."""
FEW_BYTES: Final = 16 * 2**10
FETCH_WAIT_MS: Final = 100

PartitionsOf = Callable[[str], Awaitable[int]]
"""How many partitions a topic has now; 0 if there is none."""


class KafkaReader:
    """Implements records.LogReader. Reads may run side by side: each borrows a client of its own.

    Those that read are not those that ask for offsets: a client that is given another partition forgets the topics it
    knew, and pauses before it finds their leaders again."""

    def __init__(self, connection: Connection, partitions: PartitionsOf) -> None:
        self._connection = connection
        self._partitions = partitions
        self._asking: list[Any] = []
        self._asking_for_all: list[Any] = []
        self._reading: dict[int, list[Any]] = {FETCH_BYTES: [], FEW_BYTES: []}
        """Idle clients; those that read by how much they fetch."""
        self._all: set[Any] = set()

    async def partitions(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(await self._partitions(topic))]

    async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        wanted = list(partitions)
        await self._require(wanted)
        at = [aiokafka.TopicPartition(*partition) for partition in wanted]
        timeout_s = self._connection.timeout_s
        async with self._client(self._asking, FEW_BYTES) as client:
            first = await bounded("first offsets", timeout_s, lambda: client.beginning_offsets(at))
            end = await bounded("last stable offsets", timeout_s, lambda: client.end_offsets(at))
        return {TopicPartition(*partition): (first[partition], end[partition]) for partition in at}

    async def high_watermarks(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        wanted = list(partitions)
        await self._require(wanted)
        at = [aiokafka.TopicPartition(*partition) for partition in wanted]
        async with self._client(self._asking_for_all, FEW_BYTES, "read_uncommitted") as client:
            end = await bounded("high watermarks", self._connection.timeout_s, lambda: client.end_offsets(at))
        return {TopicPartition(*partition): offset for partition, offset in end.items()}

    async def read(self, partition: TopicPartition, first: int, end: int) -> AsyncIterator[Record]:
        """Ends at the last stable offset of its start if `end` lies behind it. Raises DataLossError if retention
        has deleted `first`."""
        if first >= end:
            return
        start, stable = (await self.bounds([partition]))[partition]
        if first < start:
            raise lost(partition, first, start, stable)
        fetch_bytes = FEW_BYTES if end - first <= FEW else FETCH_BYTES
        async with self._client(self._reading[fetch_bytes], fetch_bytes) as client:
            async for records in self._read(client, partition, first, min(end, stable)):
                for record in records:
                    yield record

    async def close(self) -> None:
        clients, self._all = self._all, set()
        for idle in (self._asking, self._asking_for_all, *self._reading.values()):
            idle.clear()
        for client in clients:
            await stop_consumer(client)

    async def _read(self, client: Any, partition: TopicPartition, first: int, end: int) -> AsyncIterator[list[Record]]:
        """Goes by the client's position, not by records: a log may end in markers and aborted records."""
        at, position, doing = aiokafka.TopicPartition(*partition), first, f"reading {partition.topic}"
        client.assign([at])
        client.seek(at, first)
        loop = asyncio.get_running_loop()
        moved = loop.time()
        while position < end:
            with translating(doing):
                try:
                    # No more than wanted: behind a fetch that is used up aiokafka begins the next one by itself.
                    most = min(RECORDS, end - position)
                    fetched = await client.getmany(at, timeout_ms=POLL_MS, max_records=most)
                except OffsetOutOfRangeError:
                    start, stable = await bounds_of(client, partition, self._connection.timeout_s)
                    raise lost(partition, position, start, stable) from None
                after = await bounded(
                    doing, self._connection.timeout_s, lambda: client.position(at)
                )  # may wait for ever
            if after >= end:  # at once: a fetch from here on waits for new records, and whatever is asked next for it
                client.pause(at)
                _let_go(client, at)
            yield [record_of(record) for record in fetched.get(at, ()) if record.offset < end]
            if after != position:
                position, moved = after, loop.time()
            elif loop.time() - moved > self._connection.timeout_s:
                raise unreachable(f"{doing}: no record behind offset {position} in {self._connection.timeout_s:.0f} s")

    async def _require(self, partitions: Iterable[TopicPartition]) -> None:
        for topic in {partition.topic for partition in partitions}:
            if not await self._partitions(topic):
                raise unknown_topic(topic)

    @asynccontextmanager
    async def _client(
        self, idle: list[Any], fetch_bytes: int, isolation_level: str = "read_committed"
    ) -> AsyncIterator[Any]:
        """An idle client or a new one; one that was interrupted is not used again."""
        client = idle.pop() if idle else await self._open(isolation_level, fetch_bytes)
        try:
            yield client
        except BaseException:
            self._all.discard(client)
            await stop_consumer(client)
            raise
        idle.append(client)

    async def _open(self, isolation_level: str, fetch_bytes: int) -> Any:
        await self._connection.reach()
        client = aiokafka.AIOKafkaConsumer(
            **self._connection.arguments(),
            group_id=None,
            isolation_level=isolation_level,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=fetch_bytes,
            fetch_max_bytes=fetch_bytes,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        try:
            await bounded("opening a reader", self._connection.timeout_s, client.start)
        except BaseException:
            await stop_consumer(client)
            raise
        self._all.add(client)
        return client


def _let_go(client: Any, at: Any) -> None:
    """Of a paused partition: what was fetched and not handed out refers to itself through its own iterator, up to the
    garbage collector, unless that is closed."""
    left = client._fetcher._records.pop(at, None)
    records = getattr(left, "_partition_records", None)
    if records is not None and records._records_iterator is not None:
        records._records_iterator.close()
