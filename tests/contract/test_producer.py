"""One transaction: all or nothing, one owner a transactional id."""

import pytest

from mira_stream.errors import ConfigError, DependencyError, ProducerFenced
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.limits import RECORD_BYTES_MAX
from mira_stream.streaming.partitioner import partition_of
from tests.contract.rig import Rig, commit, make_topic, reaches, read_all, stable_end, write


async def test_a_record_comes_back_as_it_was_written(rig: Rig) -> None:
    topic = await make_topic(rig, partitions=3)
    producer = await rig.broker.producer(f"{rig.prefix}.p")
    headers = (("traceparent", b"00-abc"), ("empty", b""))
    stamp = 1_795_000_000_000
    await commit(producer, [Outgoing(topic, "key-ü".encode(), b"value", 2, headers, stamp)])
    await producer.close()
    await reaches(rig, TopicPartition(topic, 2), 2)

    (record,) = await read_all(rig, TopicPartition(topic, 2))
    assert record.key == "key-ü".encode()
    assert record.value == b"value"
    assert record.headers == headers
    assert record.timestamp_ms == stamp
    assert record.offset == 0
    assert record.source == TopicPartition(topic, 2)


async def test_keys_go_where_every_kafka_client_puts_them(rig: Rig) -> None:
    topic = await make_topic(rig, partitions=5)
    keys = [f"document-{number}".encode() for number in range(40)]
    producer = await rig.broker.producer(f"{rig.prefix}.p")
    await commit(producer, [Outgoing(topic, key, b"") for key in keys])
    await producer.close()
    for number in range(5):
        expected = [key for key in keys if partition_of(key, 5) == number]
        partition = TopicPartition(topic, number)
        await reaches(rig, partition, len(expected) + 1)
        assert [record.key for record in await read_all(rig, partition)] == expected


async def test_a_second_owner_fences_the_first(rig: Rig) -> None:
    topic = await make_topic(rig)
    first = await rig.broker.producer(f"{rig.prefix}.owner")
    await commit(first, [Outgoing(topic, None, b"first", 0)])
    second = await rig.broker.producer(f"{rig.prefix}.owner")
    with pytest.raises(ProducerFenced):
        await first.commit([Outgoing(topic, None, b"zombie", 0)], {TopicPartition(topic, 0): 7}, f"{rig.prefix}.g")
    await commit(second, [Outgoing(topic, None, b"second", 0)])
    await first.close()
    await second.close()
    await reaches(rig, TopicPartition(topic, 0), 4)

    assert [record.value for record in await read_all(rig, TopicPartition(topic, 0))] == [b"first", b"second"]
    assert await rig.broker.committed(f"{rig.prefix}.g", [TopicPartition(topic, 0)]) == {}


async def test_a_producer_is_of_no_use_after_an_error(rig: Rig) -> None:
    topic = await make_topic(rig)
    first = await rig.broker.producer(f"{rig.prefix}.owner")
    second = await rig.broker.producer(f"{rig.prefix}.owner")
    with pytest.raises(ProducerFenced):
        await commit(first, [Outgoing(topic, None, b"zombie", 0)])
    with pytest.raises(RuntimeError, match=r"thrown away"):
        await commit(first, [Outgoing(topic, None, b"zombie", 0)])
    await first.close()
    await second.close()


async def test_a_dead_owners_transaction_is_aborted_by_the_next_owner(rig: Rig) -> None:
    topic = await make_topic(rig)
    await write(rig, topic, [b"before"])
    await rig.die_in_transaction(f"{rig.prefix}.owner", [Outgoing(topic, None, b"half", 0)] * 3)
    partition = TopicPartition(topic, 0)
    assert await stable_end(rig, partition) == 2  # nobody reads past an open transaction
    producer = await rig.broker.producer(f"{rig.prefix}.owner")
    await commit(producer, [Outgoing(topic, None, b"after", 0)])
    await producer.close()
    await reaches(rig, partition, 2 + 3 + 1 + 2)
    assert [(record.offset, record.value) for record in await read_all(rig, partition)] == [
        (0, b"before"),
        (6, b"after"),
    ]


async def test_offsets_move_with_the_records_of_their_transaction(rig: Rig) -> None:
    topic = await make_topic(rig, partitions=2)
    group, zero, one = f"{rig.prefix}.g", TopicPartition(topic, 0), TopicPartition(topic, 1)
    producer = await rig.broker.producer(f"{rig.prefix}.p")
    assert await rig.broker.committed(group, [zero, one]) == {}
    await producer.commit([Outgoing(topic, None, b"x", 0)], {zero: 5}, group)
    await producer.commit([], {zero: 8}, group)
    await producer.close()
    successor = await rig.broker.producer(f"{rig.prefix}.p")  # waits until the last transaction is complete
    assert await rig.broker.committed(group, [zero, one]) == {zero: 8}
    await successor.close()


async def test_too_large_a_record_is_refused_before_anything_is_sent(rig: Rig) -> None:
    topic = await make_topic(rig)
    producer = await rig.broker.producer(f"{rig.prefix}.p")
    small, large = Outgoing(topic, None, b"small", 0), Outgoing(topic, None, b"x" * (RECORD_BYTES_MAX + 1), 0)
    with pytest.raises(ConfigError, match="record_too_large"):
        await commit(producer, [small, large])
    await commit(producer, [small])
    await producer.close()
    await reaches(rig, TopicPartition(topic, 0), 2)
    assert [record.offset for record in await read_all(rig, TopicPartition(topic, 0))] == [0]


async def test_a_record_of_the_largest_size_passes(rig: Rig) -> None:
    topic = await make_topic(rig)
    producer = await rig.broker.producer(f"{rig.prefix}.p")
    await commit(producer, [Outgoing(topic, None, bytes(RECORD_BYTES_MAX), 0)])
    await producer.close()
    await reaches(rig, TopicPartition(topic, 0), 2)
    (record,) = await read_all(rig, TopicPartition(topic, 0))
    assert record.value is not None
    assert len(record.value) == RECORD_BYTES_MAX


async def test_a_missing_topic_or_partition_is_named(rig: Rig) -> None:
    topic = await make_topic(rig, partitions=2)
    producer = await rig.broker.producer(f"{rig.prefix}.p")
    with pytest.raises(DependencyError, match=r"topic_missing.*nowhere"):
        await commit(producer, [Outgoing(f"{rig.prefix}.nowhere", None, b"", 0)])
    with pytest.raises(DependencyError, match=r"partition_missing.*no partition 2"):
        await commit(producer, [Outgoing(topic, None, b"", 2)])
    await commit(producer, [Outgoing(topic, None, b"", 1)])
    await producer.close()


async def test_create_topics_leaves_what_exists(rig: Rig) -> None:
    topic = await make_topic(rig, partitions=2)
    await write(rig, topic, [b"kept"])
    assert await make_topic(rig, partitions=6) == topic
    reader = await rig.broker.reader()
    assert await reader.partitions(topic) == [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    await reader.close()
    assert [record.value for record in await read_all(rig, TopicPartition(topic, 0))] == [b"kept"]
