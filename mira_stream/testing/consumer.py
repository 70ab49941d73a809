"""A consumer group member and a log reader over a broker in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from mira_stream.records import Record, TopicPartition
from mira_stream.streaming.limits import lost
from mira_stream.streaming.ports import AssignmentListener, always
from mira_stream.testing.cluster import Cluster
from mira_stream.testing.group import Group


class MemoryConsumer:
    """Implements streaming.ports.Consumer (and testing.group.Member for its group)."""

    def __init__(self, cluster: Cluster, group: Group, topics: tuple[str, ...], listener: AssignmentListener) -> None:
        self.topics = topics
        self.listener = listener
        self.assignment: tuple[TopicPartition, ...] = ()
        self._cluster = cluster
        self._group = group
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._error: Exception | None = None

    def __repr__(self) -> str:
        return f"<MemoryConsumer of {len(self.assignment)} partitions, {len(self._positions)} open>"

    # -- streaming.ports.Consumer --

    async def poll(self, records_max: int, timeout_s: float, more: Callable[[Record], bool] = always) -> list[Record]:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    records = self._take(records_max, more)
                    if records:
                        return records
                    await self._cluster.wait_changed()
        except TimeoutError:
            return []

    async def committed(self, partition: TopicPartition) -> int | None:
        await asyncio.sleep(0)
        return self._group.offsets.get(partition)

    async def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        await asyncio.sleep(0)
        log = self._cluster.log(partition)
        records, _ = log.committed_from(log.first, log.next_offset, log.next_offset)
        return next((record.offset for record in records if record.timestamp_ms >= timestamp_ms), None)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if partition in self.assignment:
            self._positions[partition] = offset
            self._cluster.notify()

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self._paused.update(set(partitions) & set(self.assignment))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self._paused.difference_update(partitions)
        self._cluster.notify()

    async def close(self) -> None:
        self._group.leave(self)

    # -- testing.group.Member --

    def close_gates(self) -> None:
        self._positions.clear()
        self._paused.clear()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._cluster.notify()

    def _take(self, records_max: int, more: Callable[[Record], bool]) -> list[Record]:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        records: list[Record] = []
        for partition in list(self._positions):
            if partition in self._paused or len(records) >= records_max:
                continue
            position = self._positions.pop(partition)  # goes to the back: partitions take turns
            self._positions[partition] = position
            log = self._cluster.log(partition)
            if not log.first <= position <= log.next_offset:
                raise lost(partition, position, log.first, log.next_offset)
            found, after = log.committed_from(position, log.next_offset, records_max - len(records))
            self._positions[partition] = after
            for record in found:
                records.append(record)
                if not more(record):
                    self._positions[partition] = record.offset + 1
                    return records
        return records


class MemoryReader:
    """Implements records.LogReader."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def partitions(self, topic: str) -> list[TopicPartition]:
        return list(self._cluster.partitions(topic))

    async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        logs = {partition: self._cluster.log(partition) for partition in partitions}
        return {partition: (log.first, log.last_stable_offset) for partition, log in logs.items()}

    async def high_watermarks(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {partition: self._cluster.log(partition).next_offset for partition in partitions}

    async def read(self, partition: TopicPartition, first: int, end: int) -> AsyncIterator[Record]:
        log = self._cluster.log(partition)
        position, end = first, min(end, log.last_stable_offset)
        while position < end:
            if position < log.first:
                raise lost(partition, position, log.first, log.next_offset)
            records, position = log.committed_from(position, end, 100)
            for record in records:
                yield record
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Nothing to give back."""
