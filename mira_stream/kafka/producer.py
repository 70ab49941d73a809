"""One transactional id of one owner over aiokafka 0.14, without its traps.

  1. refuse what is too large before anything is sent
  2. begin, send all, wait for every acknowledgement (aiokafka commits although one was refused)
  3. hand over the consumer group's offsets, commit
After any error this producer is thrown away: an error inside aiokafka makes it forget that a transaction is open,
its abort then sends nothing and its next commit would publish what was aborted. The next initialisation of the
transactional id aborts what is left open.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import aiokafka
from aiokafka.errors import KafkaError, LeaderNotAvailableError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.transaction_manager import TransactionState

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import CommitUnknown, DependencyError, ProducerFenced, TransactionExpired
from mira_stream.kafka.closing import finish
from mira_stream.kafka.connection import Connection, await_brokers
from mira_stream.kafka.expiry import Owner, ended_by_broker
from mira_stream.kafka.failures import FOREIGN, bounded, calling, translated
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.limits import RECORD_BYTES_MAX, check_partition, check_sizes
from mira_stream.streaming.partitioner import partitions_of

BATCH_BYTES: Final = 256 * 1024
OVERHEAD_BYTES: Final = 64 * 1024
ABORT_S: Final = 3.0

PartitionsOf = Callable[[str, int], Awaitable[int]]
"""How many partitions a topic has; asks the broker again if fewer than so many are known."""


class KafkaProducer:
    """Implements streaming.ports.TransactionalProducer."""

    def __init__(
        self,
        client: "TrackedProducer",
        transactional_id: str,
        timeout_s: float,
        partitions: PartitionsOf,
        batch_bytes: Mapping[str, int],
        transaction_s: float,
        now: Monotonic = monotonic,
    ):
        self._client = client
        self._transaction_s = transaction_s
        self._now = now
        self._batch_bytes = batch_bytes
        self._transactional_id = transactional_id
        self._timeout_s = timeout_s
        self._partitions = partitions
        self._usable = True

    def __repr__(self) -> str:
        return f"<KafkaProducer {self._transactional_id}{'' if self._usable else ' thrown away'}>"

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        if not self._usable:
            raise RuntimeError(f"{self!r} by an earlier error")
        check_sizes(records)
        await self._check_partitions(records)
        self._usable = False  # until this has ended well; a cancellation may strike anywhere
        doing, begun_s = f"transaction of {self._transactional_id}", self._now()
        try:
            async with asyncio.timeout(self._timeout_s):
                with calling(doing):
                    await self._fill(records, offsets, consumer_group)
        except FOREIGN as error:
            await self._abort()
            raise await self._by_whom(translated(self._client.cause() or error, doing), begun_s) from error
        try:
            async with asyncio.timeout(self._timeout_s):
                with calling(doing):
                    await self._client.commit_transaction()
        except DependencyError as error:  # interrupted
            raise CommitUnknown(str(error)) from error
        except FOREIGN as error:
            ours = translated(error, f"commit of {doing}")
            if not isinstance(ours, ProducerFenced):
                raise CommitUnknown(str(ours)) from error
            raise await self._by_whom(ours, begun_s) from error
        self._usable = True

    async def _by_whom(self, error: Exception, begun_s: float) -> Exception:
        """A fence behind a transaction that took as long as the broker lets one live may be the broker's own: one that
        stood still learns of it when it goes on. So does one that was replaced meanwhile; the coordinator knows."""
        if not isinstance(error, ProducerFenced) or self._now() - begun_s < self._transaction_s:
            return error
        expired = await self._client.expired(self._transactional_id, self._timeout_s)
        return TransactionExpired(f"{error}, by the broker's own timeout") if expired else error

    async def close(self) -> None:
        """Never raises: what was not committed is void whatever happens here."""
        if self._usable:
            self._usable = False
            await self._client.stop_in_time()
        else:
            await self._client.abandon()

    async def _check_partitions(self, records: Sequence[Outgoing]) -> None:
        """Raises DependencyError for a topic or partition that is not there. Partitions may have been added since
        the client asked last; it would trip over an assertion."""
        for (topic, partition), record in {(record.topic, record.partition): record for record in records}.items():
            check_partition(record, await self._partitions(topic, (partition or 0) + 1))
            if partition is not None:
                doing = f"asking for {topic}/{partition}"
                await bounded(doing, self._timeout_s, partial(self._client.learn_partition, topic, partition))

    async def _fill(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        client = self._client
        client.require(TransactionState.READY)
        await client.begin_transaction()
        for outcome in await asyncio.gather(*await self._sent(records), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        if offsets and consumer_group is not None:
            positions = {aiokafka.TopicPartition(*partition): offset for partition, offset in offsets.items()}
            await client.send_offsets_to_transaction(positions, consumer_group)
        client.require(TransactionState.IN_TRANSACTION)

    async def _sent(self, records: Sequence[Outgoing]) -> list[Awaitable[object]]:
        """What is to be awaited until all records are acknowledged: batches, since a future for every record costs as
        much as the record."""
        unplaced: dict[str, list[bytes]] = {}
        for record in records:
            if record.partition is None:
                keys = unplaced.setdefault(record.topic, [])
                if record.key is not None:
                    keys.append(record.key)
        found = {
            topic: iter(partitions_of(keys, len(await self._client.partitions_for(topic))))
            for topic, keys in unplaced.items()
        }
        places: dict[tuple[str, int], list[Outgoing]] = {}
        for record in records:
            place = record.partition
            if place is None:
                place = self._client.place_for_any(record.topic) if record.key is None else next(found[record.topic])
            places.setdefault((record.topic, place), []).append(record)
        return [
            self._client.deliver(topic, partition, placed, min(BATCH_BYTES, self._batch_bytes.get(topic, BATCH_BYTES)))
            for (topic, partition), placed in places.items()
        ]

    async def _abort(self) -> None:
        """Give readers their last stable offset back at once, where aiokafka still knows of the transaction."""
        if self._client.transaction_state is not TransactionState.IN_TRANSACTION:
            return
        try:
            async with asyncio.timeout(ABORT_S):
                with calling("abort"):
                    await self._client.abort_transaction()
        except (*FOREIGN, DependencyError):
            return  # the next initialisation of the transactional id aborts it


async def open_producer(
    connection: Connection, transactional_id: str, partitions: PartitionsOf, batch_bytes: Mapping[str, int]
) -> KafkaProducer:
    """InitProducerId: fences older owners and ends their open transaction. `batch_bytes`: the largest batch of topics
    that take less than BATCH_BYTES."""
    await connection.reach()
    client = TrackedProducer(
        **connection.arguments(),
        transactional_id=transactional_id,
        transaction_timeout_ms=connection.settings.transaction_timeout_ms,
        enable_idempotence=True,
        acks="all",
        max_request_size=RECORD_BYTES_MAX + OVERHEAD_BYTES,
        max_batch_size=BATCH_BYTES,
        linger_ms=0,
    )
    try:
        await bounded(f"initialising {transactional_id}", connection.timeout_s, client.start)
    except BaseException:
        await client.abandon()
        raise
    transaction_s = connection.settings.transaction_timeout_ms / 1000
    return KafkaProducer(client, transactional_id, connection.timeout_s, partitions, batch_bytes, transaction_s)


class TrackedProducer(aiokafka.AIOKafkaProducer):  # type: ignore[misc]
    """aiokafka's producer with a way out: `stop` may wait for ever for a broker that is gone, and the requests its
    sender has under way are tasks nobody else knows."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        await_brokers(self.client)
        self._requests: set[asyncio.Task[Any]] = set()
        start_request, send_batches = self._sender._maybe_do_transactional_request, self._sender._send_produce_req

        def tracked_request() -> asyncio.Task[Any] | None:
            task: asyncio.Task[Any] | None = start_request()
            if task is not None:
                self._track(task)
            return task

        async def tracked_batches(node: int, batches: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._track(task)
            await send_batches(node, batches)

        self._sender._maybe_do_transactional_request = tracked_request
        self._sender._send_produce_req = tracked_batches

    async def expired(self, transactional_id: str, timeout_s: float) -> bool:
        """Of a fenced one: whether the broker's own timeout ended its transaction, and nobody came after it."""
        owner = Owner(self._txn_manager.producer_id, self._txn_manager.producer_epoch)
        return await ended_by_broker(self.client, transactional_id, owner, timeout_s)

    @property
    def transaction_state(self) -> TransactionState:
        return self._txn_manager.state

    async def learn_partition(self, topic: str, partition: int) -> None:
        """Raises a retriable error as long as this client does not know of the partition."""
        if partition not in await self.partitions_for(topic):
            await self.client.force_metadata_update()
            raise LeaderNotAvailableError(topic)

    def place_for_any(self, topic: str) -> int:
        """A partition for a record without a key, of a topic that was asked for: one that has a leader, by chance."""
        number: int = self._partition(topic, None, None, None, None, None)
        return number

    async def deliver(self, topic: str, partition: int, records: Sequence[Outgoing], batch_bytes: int) -> None:
        """Send records of one partition, in order and in as few batches as hold them; returns when all are there."""
        delivered = []
        for batch in _batches(records, batch_bytes):
            delivered.append(await self.send_batch(batch, topic, partition=partition))
            delivered[-1].add_done_callback(_look_at_error)
        await asyncio.gather(*delivered)

    def require(self, state: TransactionState) -> None:
        """Raises what brought the transaction into another state; aiokafka itself would trip over an assertion."""
        if self.transaction_state is not state:
            raise self.cause() or KafkaError(f"the transaction is in state {self.transaction_state.name}")

    def cause(self) -> BaseException | None:
        """The error that broke the transaction, if one did."""
        waiter = self._txn_manager._transaction_waiter
        if waiter is None or not waiter.done() or waiter.cancelled():
            return None
        error: BaseException | None = waiter.exception()
        return error

    async def stop_in_time(self) -> None:
        """The orderly stop, and if that takes too long the other."""
        if not await finish(self.stop()):
            await self.abandon()

    async def abandon(self) -> None:
        """End all its tasks and connections now; nothing is delivered any more."""
        self._closed = True
        sender = self._sender.sender_task
        tasks = {*self._requests} | ({sender} if sender is not None else set())
        while tasks:
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=0.5)
        self._look_at_errors()
        await finish(self.client.close())

    def _look_at_errors(self) -> None:
        """aiokafka leaves errors in futures nobody waits for; asyncio would report them as overlooked."""
        self.cause()
        batches = self._message_accumulator
        for batch in (*batches._pending_batches, *(one for many in batches._batches.values() for one in many)):
            if batch._drain_waiter.done():
                batch._drain_waiter.exception()

    def _track(self, task: asyncio.Task[Any]) -> None:
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        task.add_done_callback(_look_at_error)


def _look_at_error(done: asyncio.Future[Any]) -> None:
    """Whoever waited may be gone; asyncio would report the error as overlooked."""
    if not done.cancelled():
        done.exception()


def _batches(records: Sequence[Outgoing], batch_bytes: int) -> Iterator[Any]:
    """What create_batch makes, but for its size. An empty one takes every record."""
    batch = BatchBuilder(batch_bytes, 0, is_transactional=True)
    for _, key, value, _, headers, timestamp_ms in records:
        if batch.append(timestamp=timestamp_ms, key=key, value=value, headers=list(headers)) is None:
            yield batch
            batch = BatchBuilder(batch_bytes, 0, is_transactional=True)
            taken = batch.append(timestamp=timestamp_ms, key=key, value=value, headers=list(headers))
            if taken is None:
                raise AssertionError("an empty batch took no record")  # it would be lost in silence
    yield batch
