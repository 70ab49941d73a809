"""The gate of a partition, against a client that hands out exactly what a test says, when it says so."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import aiokafka
import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import GroupAuthorizationFailedError, NoOffsetForPartitionError

from mira_stream.errors import DependencyError
from mira_stream.kafka.consumer import AHEAD_BYTES_MAX, FETCH_AGAIN, NOTHING, KafkaConsumer
from mira_stream.records import Record, TopicPartition

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Client:
    """Every `getmany` waits for the next `answer`. Running fetches are counted by aiokafka's own code."""

    def __init__(self) -> None:
        self.subscription = SubscriptionState()
        self.fetching = asyncio.Event()
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.asked: list[set[TopicPartition]] = []
        self.value = b""
        self._answers: asyncio.Queue[Mapping[TopicPartition, Sequence[int]] | Exception] = asyncio.Queue()

    def answer(self, fetched: Mapping[TopicPartition, Sequence[int]] | Exception) -> None:
        self._answers.put_nowait(fetched)

    async def getmany(self, *asked: Any, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        self.asked.append({TopicPartition(*partition) for partition in asked})
        with self.subscription.fetch_context():
            self.fetching.set()
            fetched = await self._answers.get()
        if isinstance(fetched, Exception):
            raise fetched
        return {
            aiokafka.TopicPartition(*partition): [
                SimpleNamespace(
                    topic=partition.topic,
                    partition=partition.partition,
                    offset=offset,
                    timestamp=0,
                    key=None,
                    value=self.value,
                    headers=(),
                )
                for offset in offsets
            ]
            for partition, offsets in fetched.items()
        }

    async def stop(self) -> None: ...

    def assignment(self) -> set[Any]:
        return {aiokafka.TopicPartition(*partition) for partition in (A, B)}

    def seek(self, partition: Any, offset: int) -> None:
        self.positions[TopicPartition(*partition)] = offset

    def pause(self, partition: Any) -> None:
        self.paused.add(TopicPartition(*partition))

    def resume(self, partition: Any) -> None:
        self.paused.discard(TopicPartition(*partition))


class Silent:
    async def on_assigned(self, partitions: Sequence[TopicPartition]) -> None: ...

    async def on_revoked(self, partitions: Sequence[TopicPartition]) -> None: ...


@pytest.fixture
async def client() -> Client:
    return Client()


@pytest.fixture
async def consumer(client: Client) -> AsyncIterator[KafkaConsumer]:
    made = KafkaConsumer(client, Silent(), 1.0)
    await made.assigned([A, B])
    yield made
    await made.close()


def _places(records: Sequence[Record]) -> list[tuple[int, int]]:
    return [(record.partition, record.offset) for record in records]


async def test_a_partition_is_paused_until_seek_opens_it(client: Client, consumer: KafkaConsumer) -> None:
    assert client.paused == {A, B}
    assert client.positions == {A: 0, B: 0}  # a position of its own: no committed offset is looked up
    consumer.seek(A, 7)
    assert client.paused == {B}
    assert client.positions == {A: 7, B: 0}


async def test_records_of_a_closed_partition_are_dropped(client: Client, consumer: KafkaConsumer) -> None:
    consumer.seek(A, 0)
    client.answer({A: [0, 1], B: [0, 1]})
    assert _places(await consumer.poll(10, 5.0)) == [(0, 0), (0, 1)]


async def test_a_missing_offset_of_a_closed_partition_is_nobodys_business(
    client: Client, consumer: KafkaConsumer
) -> None:
    consumer.seek(A, 0)
    client.answer(NoOffsetForPartitionError(B))
    assert await consumer.poll(10, 5.0) == []
    client.answer({A: [0]})
    assert _places(await consumer.poll(10, 5.0)) == [(0, 0)]


async def test_other_errors_are_translated_once(client: Client, consumer: KafkaConsumer) -> None:
    client.answer(GroupAuthorizationFailedError("g"))
    with pytest.raises(DependencyError, match="broker_refused"):
        await consumer.poll(10, 5.0)
    client.answer({})
    assert await consumer.poll(10, 5.0) == []


async def _leave_a_fetch(client: Client, consumer: KafkaConsumer) -> None:
    polling = asyncio.create_task(consumer.poll(10, 60.0))
    await client.fetching.wait()
    polling.cancel()
    await asyncio.wait({polling})


async def _fetch_ends(consumer: KafkaConsumer) -> None:
    assert consumer._fetch is not None
    await asyncio.wait({consumer._fetch})


async def test_a_cancelled_poll_leaves_its_fetch_to_the_next(client: Client, consumer: KafkaConsumer) -> None:
    consumer.seek(A, 0)
    await _leave_a_fetch(client, consumer)
    client.answer({A: [0]})
    assert _places(await consumer.poll(10, 5.0)) == [(0, 0)]
    assert client.subscription.fetcher_idle_time > 0  # 0 for ever where one is thought to be running still


async def test_the_next_are_fetched_while_the_last_are_handed_out(client: Client, consumer: KafkaConsumer) -> None:
    consumer.seek(A, 0)
    client.answer({A: [*range(FETCH_AGAIN + 2)]})
    assert len(await consumer.poll(1, 5.0)) == 1
    assert len(await consumer.poll(1, 5.0)) == 1
    assert consumer._fetch is None  # FETCH_AGAIN are left
    assert len(await consumer.poll(1, 5.0)) == 1  # without waiting for the fetch it begins: there is no answer yet
    client.answer({A: [FETCH_AGAIN + 2]})
    await _fetch_ends(consumer)
    assert len(await consumer.poll(FETCH_AGAIN, 5.0)) == FETCH_AGAIN


async def test_an_error_is_told_however_much_is_left(client: Client, consumer: KafkaConsumer) -> None:
    """Fetched ahead, there may always be something left; what is left is handed out behind the error."""
    consumer.seek(A, 0)
    client.answer({A: [*range(FETCH_AGAIN)]})
    assert len(await consumer.poll(1, 5.0)) == 1
    assert len(await consumer.poll(1, 5.0)) == 1
    client.answer(GroupAuthorizationFailedError("g"))
    await _fetch_ends(consumer)
    with pytest.raises(DependencyError, match="broker_refused"):
        await consumer.poll(1, 5.0)
    assert _places(await consumer.poll(1, 5.0)) == [(0, 2)]


async def test_long_documents_are_not_fetched_ahead(client: Client, consumer: KafkaConsumer) -> None:
    """So many records as short ones would be ahead of them would fill the memory."""
    consumer.seek(A, 0)
    client.value = b"x" * (AHEAD_BYTES_MAX // 4)
    client.answer({A: [*range(6)]})
    asked: list[int] = []
    for _ in range(6):
        assert len(await consumer.poll(1, 5.0)) == 1
        await asyncio.sleep(0)
        asked.append(len(client.asked))
    assert asked == [1, 1, 2, 2, 2, 2]  # five left, four, three: the next are asked for, once


async def test_a_poll_waits_when_all_that_is_left_is_paused(client: Client, consumer: KafkaConsumer) -> None:
    """However much that is: a poll that returned nothing at once would be called again at once, for ever."""
    consumer.seek(A, 0)
    consumer.seek(B, 0)
    client.answer({A: [*range(2 * FETCH_AGAIN)]})
    assert len(await consumer.poll(1, 5.0)) == 1
    consumer.pause([A])
    poll = asyncio.create_task(consumer.poll(1, 5.0))
    await asyncio.wait({poll}, timeout=0)
    client.answer({B: [0]})
    assert _places(await poll) == [(1, 0)]


async def test_seek_voids_what_a_fetch_has_brought_meanwhile(client: Client, consumer: KafkaConsumer) -> None:
    consumer.seek(A, 0)
    consumer.seek(B, 0)
    await _leave_a_fetch(client, consumer)
    client.answer({A: [0, 1], B: [0]})
    await _fetch_ends(consumer)
    consumer.seek(A, 5)
    assert _places(await consumer.poll(10, 5.0)) == [(1, 0)]


@pytest.mark.parametrize("change", ["revoked", "assigned"])
async def test_a_rebalance_voids_it_too(change: str, client: Client, consumer: KafkaConsumer) -> None:
    consumer.seek(A, 0)
    await _leave_a_fetch(client, consumer)
    client.answer({A: [0, 1]})
    await _fetch_ends(consumer)
    await getattr(consumer, change)([A, B])
    client.answer({A: [2]})
    assert await consumer.poll(10, 5.0) == []  # not even what comes now: the gate is closed again
    consumer.seek(A, 0)
    client.answer({A: [0]})
    assert _places(await consumer.poll(10, 5.0)) == [(0, 0)]


async def test_what_is_over_the_limit_or_paused_waits_in_order(client: Client, consumer: KafkaConsumer) -> None:
    consumer.seek(A, 0)
    consumer.seek(B, 0)
    await _leave_a_fetch(client, consumer)
    client.answer({A: [0, 1, 2], B: [0, 1]})
    await _fetch_ends(consumer)
    assert _places(await consumer.poll(1, 5.0)) == [(0, 0)]
    consumer.pause([A])
    assert client.paused == set()  # aiokafka would throw away what it has of it
    assert _places(await consumer.poll(10, 5.0)) == [(1, 0), (1, 1)]
    consumer.resume([A])
    assert _places(await consumer.poll(10, 5.0)) == [(0, 1), (0, 2)]


async def test_a_partition_paused_before_its_seek_stays_paused(client: Client, consumer: KafkaConsumer) -> None:
    consumer.pause([A])
    consumer.seek(A, 3)
    consumer.seek(B, 0)
    client.answer({B: [0]})
    await consumer.poll(10, 5.0)
    assert A not in client.asked[-1]
    consumer.resume([A])
    assert client.paused == set()


async def test_a_closed_partition_is_not_opened_by_going_on(client: Client, consumer: KafkaConsumer) -> None:
    consumer.pause([B])
    consumer.resume([B])
    assert B in client.paused


async def test_what_is_paused_is_not_asked_for_and_all_that_is_not_is(client: Client, consumer: KafkaConsumer) -> None:
    """No name at all means every partition to aiokafka."""
    consumer.seek(A, 0)
    consumer.seek(B, 0)
    for paused, asked in (([], set()), ([A], {B}), ([A, B], {TopicPartition(*NOTHING)})):
        consumer.pause(paused)
        client.answer({})
        await consumer.poll(10, 5.0)
        assert client.asked[-1] == asked


async def test_a_pause_does_not_outlive_the_assignment(client: Client, consumer: KafkaConsumer) -> None:
    consumer.seek(A, 0)
    consumer.pause([A])
    await consumer.revoked([A, B])
    await consumer.assigned([A, B])
    consumer.seek(A, 0)
    client.answer({A: [0]})
    assert _places(await consumer.poll(10, 5.0)) == [(0, 0)]
    assert client.asked[-1] == set()
