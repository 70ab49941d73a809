"""A consumer group member over aiokafka 0.14 with a gate at every partition.

A partition is closed from its assignment until `seek`: aiokafka would hand out its records before the assignment
has been told to anybody. Closed partitions are paused at position 0 in aiokafka, so that nothing is fetched for them
and no committed offset is looked up behind our back; what was fetched before they closed is dropped.
A partition that its owner pauses is not asked for (`getmany` names those that are): aiokafka keeps what it has fetched
of it until it goes on. A pause of aiokafka's own throws that away at the next look, and it is fetched again.
A fetch (`getmany`) is never cancelled, because that would leave aiokafka's count of running fetches wrong for ever:
a poll that ends before its fetch leaves the fetch to the next poll.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import aiokafka
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from mira_stream.errors import DependencyError
from mira_stream.kafka.closing import stop_consumer
from mira_stream.kafka.connection import Connection, await_brokers
from mira_stream.kafka.failures import FOREIGN, bounded, calling, translated
from mira_stream.kafka.membership import StaticMember
from mira_stream.kafka.offset_fetch import checked
from mira_stream.records import Record, TopicPartition
from mira_stream.streaming.limits import lost
from mira_stream.streaming.ports import AssignmentListener, always

DAY_MS: Final = 86_400_000
HEARTBEAT_MS: Final = 1_000
REBALANCE_MS: Final = 30_000
FETCH_WAIT_MS: Final = 100
FETCH_RECORDS: Final = 500
"""Taken from aiokafka at once: a poll for a handful of records costs as much as one for many."""
FETCH_AGAIN: Final = 250
"""Fewer left than this: the next are taken from aiokafka while these are handed out, so that no poll waits for it."""
AHEAD_BYTES_MAX: Final = 2 * 2**20
"""Of values that are left: from here on nothing is taken ahead, or long documents would fill the memory."""
NARROW_S: Final = 0.02
"""A fetch that leaves partitions out ends so soon: it cannot be told of one that goes on meanwhile."""
NOTHING: Final = aiokafka.TopicPartition("", 0)
"""To aiokafka no name means all partitions; this means none."""
FETCH_BYTES: Final = 16 * 2**20
PARTITION_FETCH_BYTES: Final = 2 * 2**20
"""A broker fills a fetch up with a piece of a batch, which is thrown away and fetched again: of a batch of 256 KiB half
is lost on average, so a fetch of 1 MiB (aiokafka's own) loses an eighth."""


class KafkaConsumer:
    """Implements streaming.ports.Consumer."""

    def __init__(self, client: aiokafka.AIOKafkaConsumer, listener: AssignmentListener, timeout_s: float) -> None:
        self._client = client
        self._listener = listener
        self._timeout_s = timeout_s
        self._opened: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()
        self._fetch: asyncio.Task[Any] | None = None
        self._fetched: deque[Record] = deque()
        self._fetched_bytes = 0
        self._error: Exception | None = None
        self._out_of_range: dict[TopicPartition, int] = {}
        self.static: StaticMember | None = None

    def __repr__(self) -> str:
        return f"<KafkaConsumer {len(self._opened)} partitions open, {len(self._fetched)} records fetched>"

    # -- streaming.ports.Consumer --

    async def poll(self, records_max: int, timeout_s: float, more: Callable[[Record], bool] = always) -> list[Record]:
        self._absorb()
        await self._raise_errors()  # before anything is handed out: there may always be something left
        records = self._take(records_max, more)
        if records and (len(self._fetched) >= FETCH_AGAIN or self._fetched_bytes >= AHEAD_BYTES_MAX):
            return records
        if self._fetch is None:
            self._fetch = asyncio.create_task(self._ask(max(records_max, FETCH_RECORDS), timeout_s))
        if records:
            return records
        await asyncio.wait({self._fetch}, timeout=timeout_s)
        self._absorb()
        await self._raise_errors()
        return self._take(records_max, more)

    async def committed(self, partition: TopicPartition) -> int | None:
        offset: int | None = await bounded(
            f"committed offset of {partition.topic}/{partition.partition}",
            self._timeout_s,
            lambda: self._client.committed(aiokafka.TopicPartition(*partition)),
        )
        return offset

    async def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        at = aiokafka.TopicPartition(*partition)
        found = await bounded(
            f"offset of {partition.topic}/{partition.partition} at {timestamp_ms} ms",
            self._timeout_s,
            lambda: self._client.offsets_for_times({at: timestamp_ms}),
        )
        return None if found[at] is None else int(found[at].offset)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if partition not in self._assigned():
            return  # revoked meanwhile: the listener has been or will be told
        self._forget_fetched({partition})
        self._opened.add(partition)
        self._client.seek(aiokafka.TopicPartition(*partition), offset)
        self._client.resume(aiokafka.TopicPartition(*partition))

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self._paused |= set(partitions) & self._assigned()

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self._paused -= set(partitions)

    async def close(self) -> None:
        """Leave the consumer group; never raises and never hangs. The listener is not called."""
        self._opened.clear()
        self._fetched.clear()
        fetch, self._fetch = self._fetch, None
        await stop_consumer(self._client, fetch)

    # -- the consumer group's changes; called by aiokafka's coordinator --

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self._close_gates()
        if partitions:
            await self._tell(self._listener.on_revoked(partitions))

    async def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self._close_gates()
        for partition in partitions:
            closed = aiokafka.TopicPartition(*partition)
            self._client.seek(closed, 0)
            self._client.pause(closed)
        await self._tell(self._listener.on_assigned(partitions))

    async def _tell(self, callback: Any) -> None:
        """aiokafka logs and forgets what a listener raises; we raise it from the next poll."""
        try:
            await callback
        except Exception as error:
            self._error = error

    # -- fetched records --

    async def _ask(self, records_max: int, timeout_s: float) -> Any:
        asked: list[aiokafka.TopicPartition] = []
        if self._paused:
            timeout_s = min(timeout_s, NARROW_S)
            going_on = self._assigned() - self._paused
            asked = [aiokafka.TopicPartition(*partition) for partition in going_on] or [NOTHING]
        return await self._client.getmany(*asked, timeout_ms=int(timeout_s * 1000), max_records=records_max)

    def _close_gates(self) -> None:
        self._forget_fetched(set(self._opened))
        self._opened.clear()
        self._paused.clear()

    def _forget_fetched(self, partitions: set[TopicPartition]) -> None:
        self._absorb()
        self._fetched = deque(record for record in self._fetched if record.source not in partitions)
        self._fetched_bytes = sum(map(_bytes_of, self._fetched))
        for partition in partitions:
            self._out_of_range.pop(partition, None)

    def _absorb(self) -> None:
        """Take over what the running fetch brought, if it has ended."""
        if self._fetch is None or not self._fetch.done():
            return
        fetch, self._fetch = self._fetch, None
        try:
            with calling("reading"):
                fetched = fetch.result()
        except NoOffsetForPartitionError:
            return  # of a partition not opened yet: its offset is ours to choose
        except OffsetOutOfRangeError as error:
            self._out_of_range |= {TopicPartition(*at): offset for at, offset in error.args[0].items()}
            return
        except FOREIGN as error:
            self._error = translated(error, "reading")
            return
        except DependencyError as error:  # interrupted
            self._error = error
            return
        for partition, records in fetched.items():
            if partition in self._opened:
                ours = list(map(record_of, records))
                self._fetched += ours
                self._fetched_bytes += sum(map(_bytes_of, ours))

    def _take(self, records_max: int, more: Callable[[Record], bool]) -> list[Record]:
        taken: list[Record] = []
        passed: list[Record] = []
        while self._fetched and len(taken) < records_max:
            record = self._fetched.popleft()
            if record.source in self._paused:
                passed.append(record)
                continue
            taken.append(record)
            self._fetched_bytes -= _bytes_of(record)
            if not more(record):
                break
        self._fetched.extendleft(reversed(passed))
        return taken

    async def _raise_errors(self) -> None:
        if self.static is not None:
            self.static.check()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        while self._out_of_range:
            partition, position = self._out_of_range.popitem()
            if partition in self._opened:
                first, end = await bounds_of(self._client, partition, self._timeout_s)
                if not first <= position <= end:
                    raise lost(partition, position, first, end)

    def _assigned(self) -> set[TopicPartition]:
        return {TopicPartition(*at) for at in self._client.assignment()}


async def open_consumer(
    connection: Connection, consumer_group: str, topics: Sequence[str], listener: AssignmentListener, instance: str
) -> KafkaConsumer:
    """Join the consumer group. The listener is first called after this has returned."""
    await connection.reach()
    # The assignor keeps the last assignment on its class: two consumer groups of a process would share it.
    assignor = type("StickyAssignor", (StickyPartitionAssignor,), {})
    client = aiokafka.AIOKafkaConsumer(
        **connection.arguments(),
        group_id=consumer_group,
        group_instance_id=f"{consumer_group}.{instance}" if instance else None,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        session_timeout_ms=connection.settings.session_timeout_ms,
        heartbeat_interval_ms=HEARTBEAT_MS,
        rebalance_timeout_ms=REBALANCE_MS,
        max_poll_interval_ms=DAY_MS,
        partition_assignment_strategy=(assignor,),
        fetch_max_wait_ms=FETCH_WAIT_MS,
        fetch_max_bytes=FETCH_BYTES,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
    )
    await_brokers(client._client)
    consumer = KafkaConsumer(client, listener, connection.timeout_s)
    try:
        await bounded(f"opening consumer group {consumer_group}", connection.timeout_s, client.start)
    except BaseException:
        await stop_consumer(client)
        raise
    coordinator = client._coordinator
    coordinator._send_req = checked(coordinator._send_req, coordinator.coordinator_dead)
    if instance:
        consumer.static = StaticMember(coordinator, f"{consumer_group}.{instance}")
    client.subscribe(list(topics), listener=_Rebalance(consumer))
    return consumer


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        await self._consumer.revoked(sorted(TopicPartition(*at) for at in revoked))

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        await self._consumer.assigned(sorted(TopicPartition(*at) for at in assigned))


def record_of(fetched: Any) -> Record:
    """aiokafka's record as ours."""
    return Record(
        fetched.topic,
        fetched.partition,
        fetched.offset,
        fetched.timestamp,
        fetched.key,
        fetched.value,
        tuple(fetched.headers),
    )


def _bytes_of(record: Record) -> int:
    return 0 if record.value is None else len(record.value)


async def bounds_of(client: Any, partition: TopicPartition, timeout_s: float) -> tuple[int, int]:
    """(first retained offset, last stable offset) seen by a read_committed client."""
    at, doing = aiokafka.TopicPartition(*partition), f"bounds of {partition.topic}/{partition.partition}"
    first = await bounded(doing, timeout_s, lambda: client.beginning_offsets([at]))
    end = await bounded(doing, timeout_s, lambda: client.end_offsets([at]))
    return first[at], end[at]
