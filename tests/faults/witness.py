"""The suite's own look at the topics: aiokafka alone, nothing of the product's but the topic names.

A witness reads decisions and dead letters with read_committed all the time, before, during and after a fault; what
it saw must be what a reader finds that comes when all is over.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import aiokafka
import msgspec
from aiokafka.errors import KafkaError

from mira_stream.kafka.closing import stop_consumer

POLL_MS: Final = 50


class End(NamedTuple):
    """A decision or a dead letter as it stands in the log, and the origin it is for."""

    topic: str
    partition: int
    offset: int
    origin: tuple[str, int, int] | None


class _Origin(msgspec.Struct):
    topic: str
    partition: int
    offset: int


class _Message(msgspec.Struct):
    origin: _Origin | None = None
    stage: str = ""


def end_of(record: Any) -> End:
    message = msgspec.json.decode(record.value, type=_Message)
    origin = None if message.origin is None else msgspec.structs.astuple(message.origin)
    return End(record.topic, record.partition, record.offset, origin)


def client(servers: str, isolation: str = "read_committed") -> aiokafka.AIOKafkaConsumer:
    return aiokafka.AIOKafkaConsumer(
        bootstrap_servers=servers,
        group_id=None,
        isolation_level=isolation,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=120_000,
        metadata_max_age_ms=5_000,
        fetch_max_wait_ms=100,
        retry_backoff_ms=50,
    )


class Witness:
    """Reads until it is closed; `seen` and `times` (monotonic seconds) belong together."""

    def __init__(self, servers: str, topics: Sequence[str], partitions: int) -> None:
        self._client = client(servers)
        self._at = [aiokafka.TopicPartition(topic, number) for topic in topics for number in range(partitions)]
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self.seen: list[End] = []
        self.times: list[float] = []

    async def start(self) -> None:
        await self._client.start()
        self._client.assign(self._at)
        await self._client.seek_to_beginning(*self._at)
        self._task = asyncio.create_task(self._read())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await stop_consumer(self._client)

    async def _read(self) -> None:
        while True:
            try:
                fetched = await self._client.getmany(timeout_ms=POLL_MS, max_records=2_000)
            except KafkaError:
                await asyncio.sleep(0.1)
                continue
            now = time.monotonic()
            found = [end_of(record) for records in fetched.values() for record in records]
            if found:
                async with self._changed:
                    self.seen += found
                    self.times += [now] * len(found)
                    self._changed.notify_all()

    async def widen(self, partitions: int) -> None:
        """Topics have more partitions now."""
        topics = {at.topic for at in self._at}
        more = [aiokafka.TopicPartition(topic, number) for topic in topics for number in range(partitions)]
        new = [at for at in more if at not in self._at]
        positions = {at: await self._client.position(at) for at in self._at}
        self._at = more
        await self._client.client.force_metadata_update() if hasattr(self._client, "client") else None
        self._client.assign(more)
        for at, position in positions.items():
            self._client.seek(at, position)
        await self._client.seek_to_beginning(*new)

    async def until(self, count: int, timeout_s: float) -> bool:
        """Until so many ends were seen in all; False if they do not come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: len(self.seen) >= count)
        return len(self.seen) >= count

    async def until_going(self, count: int, stall_s: float) -> bool:
        """Until so many ends were seen in all; False if none comes for `stall_s`."""
        while len(self.seen) < count:
            if not await self.until(len(self.seen) + 1, stall_s):
                return False
        return True

    def first_after(self, moment: float) -> float | None:
        """Seconds from `moment` to the first end seen after it."""
        return next((at - moment for at in self.times if at > moment), None)

    def gap_s(self, first: float, last: float | None = None) -> float:
        """The longest time without a new end between two moments."""
        until = self.times[-1] if last is None and self.times else (last or first)
        marks = [first, *(at for at in self.times if first < at <= until)]
        return max((later - earlier for earlier, later in pairwise(marks)), default=0.0)

    def partition_gap_s(self, first: float, partition: int, last: float) -> float:
        """The same for one partition of the documents."""
        both = zip(self.seen, self.times, strict=True)
        marks = [first, *(at for end, at in both if first < at < last and end.partition == partition), last]
        return max((later - earlier for earlier, later in pairwise(marks)), default=0.0)

    def is_in_order(self) -> bool:
        """Whether offsets of each partition only grew."""
        last: dict[tuple[str, int], int] = {}
        for topic, partition, offset, _ in self.seen:
            if offset <= last.get((topic, partition), -1):
                return False
            last[topic, partition] = offset
        return True


async def bounds(
    servers: str, topics: Mapping[str, int], isolation: str = "read_committed"
) -> dict[tuple[str, int], tuple[int, int]]:
    """(first, end) of all partitions of topics; the end is the last stable offset, or the high watermark for a
    reader of everything."""
    reader = client(servers, isolation)
    await reader.start()
    try:
        at = [aiokafka.TopicPartition(topic, number) for topic, count in topics.items() for number in range(count)]
        first, end = await reader.beginning_offsets(at), await reader.end_offsets(at)
        return {(one.topic, one.partition): (first[one], end[one]) for one in at}
    finally:
        await stop_consumer(reader)


async def read_all(servers: str, topics: Mapping[str, int], isolation: str = "read_committed") -> list[Any]:
    """All records between the first and the last offset of now, as aiokafka gives them."""
    ends = {at: end for at, (first, end) in (await bounds(servers, topics, isolation)).items() if first < end}
    reader, found = client(servers, isolation), []
    await reader.start()
    try:
        at = [aiokafka.TopicPartition(*one) for one in ends]
        reader.assign(at)
        if at:
            await reader.seek_to_beginning(*at)
        left = set(at)
        while left:
            fetched = await reader.getmany(*left, timeout_ms=POLL_MS)
            for one, records in fetched.items():
                found += [record for record in records if record.offset < ends[one]]
            for one in list(left):
                if await reader.position(one) >= ends[one]:
                    left.discard(one)
    finally:
        await stop_consumer(reader)
    return found


def counted(ends: Iterable[End]) -> Counter[tuple[str, int, int] | None]:
    return Counter(end.origin for end in ends)
