"""A member of a consumer group: gates, positions, rebalances, losses."""

import asyncio
from collections.abc import Sequence

import pytest

from mira_stream.errors import DataLossError, DependencyError, ProducerFenced
from mira_stream.records import Outgoing, Record, TopicPartition
from tests.contract.rig import PATIENCE_S, Listener, Rig, make_topic, poll_until, stable_end, write
from tests.settled import settle


async def test_the_gate_opens_by_seek(rig: Rig) -> None:
    topic = await make_topic(rig)
    await write(rig, topic, [b"%d" % number for number in range(5)])
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    (partition,) = await listener.owns(1)
    assert await consumer.poll(100, 0.3) == []
    consumer.seek(partition, 2)
    assert [record.value for record in await poll_until(consumer, 3)] == [b"2", b"3", b"4"]
    assert await consumer.poll(100, 0.05) == []
    await consumer.close()


async def test_the_gate_is_closed_although_an_offset_is_committed(rig: Rig) -> None:
    topic = await make_topic(rig)
    partition, group = TopicPartition(topic, 0), f"{rig.prefix}.g"
    await write(rig, topic, [b"%d" % number for number in range(5)])
    producer = await rig.broker.producer(f"{rig.prefix}.p")
    await producer.commit([], {partition: 3}, group)
    await producer.close()
    await settle(rig.broker, f"{rig.prefix}.p")
    listener = Listener()
    consumer = await rig.broker.consumer(group, [topic], listener)
    await listener.owns(1)
    assert await consumer.poll(100, 0.3) == []
    assert await consumer.committed(partition) == 3
    consumer.seek(partition, 3)
    assert [record.offset for record in await poll_until(consumer, 2)] == [3, 4]
    await consumer.close()


async def test_no_listener_is_called_before_the_consumer_is_there(rig: Rig) -> None:
    topic = await make_topic(rig)
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    assert listener.calls == []
    await listener.owns(1)
    assert listener.calls == [("assigned", (TopicPartition(topic, 0),))]
    await consumer.close()
    assert len(listener.calls) == 1  # who closes knows it


async def test_committed_is_none_at_first(rig: Rig) -> None:
    topic = await make_topic(rig)
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    (partition,) = await listener.owns(1)
    assert await consumer.committed(partition) is None
    await consumer.close()


async def test_a_poll_is_limited_and_goes_on_where_it_stopped(rig: Rig) -> None:
    topic = await make_topic(rig, partitions=2)
    for number in range(2):
        await write(rig, topic, [b"%d" % index for index in range(10)], number)
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    for partition in await listener.owns(2):
        consumer.seek(partition, 0)
    seen: dict[int, list[int]] = {0: [], 1: []}
    async with asyncio.timeout(PATIENCE_S):
        while sum(map(len, seen.values())) < 20:
            records = await consumer.poll(3, 1.0)
            assert len(records) <= 3
            for record in records:
                seen[record.partition].append(record.offset)
    assert seen == {0: list(range(10)), 1: list(range(10))}
    await consumer.close()


async def test_seek_goes_back_over_what_was_fetched(rig: Rig) -> None:
    topic = await make_topic(rig)
    await write(rig, topic, [b"%d" % number for number in range(20)])
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    (partition,) = await listener.owns(1)
    consumer.seek(partition, 0)
    assert [record.offset for record in await poll_until(consumer, 4)] == [0, 1, 2, 3]
    consumer.seek(partition, 1)
    assert [record.offset for record in await poll_until(consumer, 19)] == list(range(1, 20))
    await consumer.close()


async def test_a_seek_between_two_polls_voids_a_fetch_under_way(rig: Rig) -> None:
    topic = await make_topic(rig)
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    (partition,) = await listener.owns(1)
    consumer.seek(partition, 0)
    assert await consumer.poll(10, 0.0) == []  # on Kafka a fetch is under way now
    await write(rig, topic, [b"%d" % number for number in range(6)])
    consumer.seek(partition, 4)
    assert [record.offset for record in await poll_until(consumer, 2)] == [4, 5]
    consumer.seek(partition, 0)
    assert [record.offset for record in await poll_until(consumer, 6)] == [0, 1, 2, 3, 4, 5]
    await consumer.close()


async def test_a_poll_ends_behind_the_record_that_leaves_no_room_and_the_rest_comes_later(rig: Rig) -> None:
    topic = await make_topic(rig)
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    (partition,) = await listener.owns(1)
    await write(rig, topic, [b"%d" % number for number in range(6)])
    consumer.seek(partition, 0)
    asked: list[int] = []

    def more(record: Record) -> bool:
        asked.append(record.offset)
        return record.offset % 2 == 0

    found: list[list[int]] = []
    async with asyncio.timeout(PATIENCE_S):
        while sum(map(len, found)) < 6:
            found.append([record.offset for record in await consumer.poll(100, 0.3, more)])
    assert asked == [0, 1, 2, 3, 4, 5]
    assert [polled for polled in found if polled] == [[0, 1], [2, 3], [4, 5]]
    await consumer.close()


async def test_a_paused_partition_waits_and_the_others_go_on(rig: Rig) -> None:
    topic = await make_topic(rig, partitions=2)
    for number in range(2):
        await write(rig, topic, [b"%d" % index for index in range(8)], number)
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    for partition in await listener.owns(2):
        consumer.seek(partition, 0)
    first = await poll_until(consumer, 1)
    held = first[0].source
    consumer.pause([held, TopicPartition("never-assigned", 0)])
    others = await poll_until(consumer, 8)
    assert {record.source for record in others} == {TopicPartition(topic, 1 - held.partition)}
    assert await consumer.poll(100, 0.2) == []
    consumer.resume([held, TopicPartition("never-assigned", 0)])
    rest = await poll_until(consumer, 7)
    assert [record.offset for record in first + rest] == list(range(8))
    await consumer.close()


async def test_a_poll_sees_no_open_transaction(rig: Rig) -> None:
    topic = await make_topic(rig)
    await write(rig, topic, [b"before"])
    await rig.die_in_transaction(f"{rig.prefix}.owner", [Outgoing(topic, None, b"half", 0)])
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    (partition,) = await listener.owns(1)
    consumer.seek(partition, 0)
    assert [record.value for record in await poll_until(consumer, 1)] == [b"before"]
    assert await consumer.poll(100, 0.2) == []
    successor = await rig.broker.producer(f"{rig.prefix}.owner")
    await successor.commit([Outgoing(topic, None, b"after", 0)], {}, None)
    await successor.close()
    assert [record.value for record in await poll_until(consumer, 1)] == [b"after"]
    await consumer.close()


async def test_members_share_partitions_and_inherit_them(rig: Rig) -> None:
    topic = await make_topic(rig, partitions=4)
    group, one, two = f"{rig.prefix}.g", Listener(), Listener()
    first = await rig.broker.consumer(group, [topic], one)
    everything = await one.owns(4)
    for partition in everything:
        first.seek(partition, 0)
    second = await rig.broker.consumer(group, [topic], two)
    theirs, ours = await two.owns(2), await one.owns(2)
    assert theirs | ours == everything
    assert [name for name, _ in one.calls] == ["assigned", "revoked", "assigned"]
    await write(rig, topic, [b"x"], next(iter(ours)).partition)
    assert await first.poll(100, 0.2) == []  # its gates closed when everything was revoked
    await second.close()
    assert await one.owns(4) == everything
    await first.close()


async def test_consumer_groups_and_topics_do_not_mix(rig: Rig) -> None:
    left, right = await make_topic(rig, "left", 2), await make_topic(rig, "right", 2)
    listeners = [Listener(), Listener()]
    consumers = [
        await rig.broker.consumer(f"{rig.prefix}.{topic}", [topic], listener)
        for topic, listener in zip((left, right), listeners, strict=True)
    ]
    assert await listeners[0].owns(2) == {TopicPartition(left, 0), TopicPartition(left, 1)}
    assert await listeners[1].owns(2) == {TopicPartition(right, 0), TopicPartition(right, 1)}
    for consumer in consumers:
        await consumer.close()


async def test_what_a_listener_raises_comes_out_of_poll(rig: Rig) -> None:
    class Failing(Listener):
        async def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
            await super().on_assigned(partitions)
            raise ValueError("listener")

    topic = await make_topic(rig)
    listener = Failing()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    await listener.owns(1)
    with pytest.raises(ValueError, match="listener"):
        await poll_until(consumer, 1)
    await consumer.close()


async def test_a_position_that_retention_deleted_is_a_loss(rig: Rig) -> None:
    topic = await make_topic(rig)
    await write(rig, topic, [b"%d" % number for number in range(10)])
    await rig.delete_before(TopicPartition(topic, 0), 7)
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    (partition,) = await listener.owns(1)
    consumer.seek(partition, 4)
    with pytest.raises(DataLossError, match=r"records_deleted.*offsets 4 to 6"):
        await poll_until(consumer, 1)
    consumer.seek(partition, 7)
    assert [record.offset for record in await poll_until(consumer, 3)] == [7, 8, 9]
    await consumer.close()


async def test_a_position_behind_the_end_is_a_loss(rig: Rig) -> None:
    topic = await make_topic(rig)
    await write(rig, topic, [b"x"])
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    (partition,) = await listener.owns(1)
    consumer.seek(partition, 50)
    with pytest.raises(DataLossError, match=r"offset_beyond_end.*position 50"):
        await poll_until(consumer, 1)
    await consumer.close()


async def test_a_missing_topic_is_named(rig: Rig) -> None:
    with pytest.raises(DependencyError, match=r"topic_missing.*nowhere"):
        await rig.broker.consumer(f"{rig.prefix}.g", [f"{rig.prefix}.nowhere"], Listener())


async def test_a_zombie_doubles_nothing_and_rewinds_nothing(rig: Rig) -> None:
    """aiokafka#844: the old owner was stopped, its partition went to another member, and it goes on."""
    topic, out = await make_topic(rig), await make_topic(rig, "out")
    group, partition = f"{rig.prefix}.g", TopicPartition(topic, 0)
    transactional_id = f"{group}.{topic}.0"
    await write(rig, topic, [b"%d" % number for number in range(20)])

    zombie_listener = Listener()
    zombie = await rig.broker.consumer(group, [topic], zombie_listener)
    await zombie_listener.owns(1)
    zombie_producer = await rig.broker.producer(transactional_id)
    zombie.seek(partition, 0)
    started = await poll_until(zombie, 10)
    await rig.freeze(group, zombie)

    heir_listener = Listener()
    heir = await rig.broker.consumer(group, [topic], heir_listener)
    await heir_listener.owns(1)
    heir_producer = await rig.broker.producer(transactional_id)
    assert await heir.committed(partition) is None
    heir.seek(partition, 0)
    inherited = await poll_until(heir, 20)
    await heir_producer.commit([Outgoing(out, None, r.value or b"", 0) for r in inherited], {partition: 20}, group)

    with pytest.raises(ProducerFenced):
        await zombie_producer.commit([Outgoing(out, None, r.value or b"", 0) for r in started], {partition: 10}, group)
    await heir_producer.close()
    await settle(rig.broker, transactional_id)
    assert await heir.committed(partition) == 20
    reader = await rig.broker.reader()
    written = [
        r.value async for r in reader.read(TopicPartition(out, 0), 0, await stable_end(rig, TopicPartition(out, 0)))
    ]
    assert written == [b"%d" % number for number in range(20)]
    await reader.close()
    await zombie_producer.close()
    await heir.close()
    await zombie.close()


async def test_polls_may_be_cancelled(rig: Rig) -> None:
    topic = await make_topic(rig)
    listener = Listener()
    consumer = await rig.broker.consumer(f"{rig.prefix}.g", [topic], listener)
    (partition,) = await listener.owns(1)
    consumer.seek(partition, 0)
    for _ in range(3):
        polling = asyncio.create_task(consumer.poll(10, 30.0))
        await asyncio.sleep(0)
        polling.cancel()
        await asyncio.wait({polling})
    await write(rig, topic, [b"a", b"b"])
    assert [record.value for record in await poll_until(consumer, 2)] == [b"a", b"b"]
    await consumer.close()
