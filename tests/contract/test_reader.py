"""Reading by offset: what is committed, in order, up to an end that may hold nothing to read."""

import pytest

from mira_stream.errors import DataLossError, DependencyError
from mira_stream.records import Outgoing, TopicPartition
from tests.contract.rig import Rig, commit, make_topic, reaches, read_all, write


async def test_a_range_is_read_exactly(rig: Rig) -> None:
    topic = await make_topic(rig)
    await write(rig, topic, [b"%d" % number for number in range(10)])
    await write(rig, topic, [b"10", b"11"])  # offsets 11 and 12: 10 is the marker
    reader = await rig.broker.reader()
    partition = TopicPartition(topic, 0)
    assert await reader.bounds([partition]) == {partition: (0, 14)}
    assert [record.offset async for record in reader.read(partition, 3, 7)] == [3, 4, 5, 6]
    assert [record.offset async for record in reader.read(partition, 8, 12)] == [8, 9, 11]
    assert [record.offset async for record in reader.read(partition, 5, 5)] == []
    assert [record.offset async for record in reader.read(partition, 13, 14)] == []
    await reader.close()


async def test_reading_ends_behind_aborted_records_and_markers(rig: Rig) -> None:
    topic = await make_topic(rig)
    partition = TopicPartition(topic, 0)
    await rig.die_in_transaction(f"{rig.prefix}.owner", [Outgoing(topic, None, b"half", 0)] * 50)
    await (await rig.broker.producer(f"{rig.prefix}.owner")).close()
    await reaches(rig, partition, 51)
    assert await read_all(rig, partition) == []


async def test_reading_stops_before_an_open_transaction(rig: Rig) -> None:
    topic = await make_topic(rig)
    partition = TopicPartition(topic, 0)
    await write(rig, topic, [b"a", b"b"])
    await rig.die_in_transaction(f"{rig.prefix}.owner", [Outgoing(topic, None, b"half", 0)])
    reader = await rig.broker.reader()
    assert [record.value async for record in reader.read(partition, 0, 1_000)] == [b"a", b"b"]
    await reader.close()


async def test_two_reads_do_not_disturb_each_other(rig: Rig) -> None:
    topic = await make_topic(rig, partitions=2)
    for number in range(2):
        await write(rig, topic, [b"%d-%d" % (number, index) for index in range(20)], number)
    reader = await rig.broker.reader()
    zero, one = (reader.read(TopicPartition(topic, number), 0, 20) for number in range(2))
    both = [(await anext(zero), await anext(one)) for _ in range(20)]
    assert [first.value for first, _ in both] == [b"0-%d" % index for index in range(20)]
    assert [second.value for _, second in both] == [b"1-%d" % index for index in range(20)]
    await reader.close()


async def test_a_reader_goes_on_after_a_read_was_left(rig: Rig) -> None:
    topic = await make_topic(rig)
    await write(rig, topic, [b"%d" % number for number in range(5)])
    reader = await rig.broker.reader()
    partition = TopicPartition(topic, 0)
    async for record in reader.read(partition, 0, 5):
        assert record.offset == 0
        break
    assert [record.offset async for record in reader.read(partition, 1, 5)] == [1, 2, 3, 4]
    await reader.close()


async def test_records_that_retention_deleted_are_a_loss(rig: Rig) -> None:
    topic = await make_topic(rig)
    partition = TopicPartition(topic, 0)
    await write(rig, topic, [b"%d" % number for number in range(10)])
    await rig.delete_before(partition, 6)
    reader = await rig.broker.reader()
    assert (await reader.bounds([partition]))[partition] == (6, 11)
    with pytest.raises(DataLossError, match=r"records_deleted.*offsets 2 to 5"):
        _ = [record async for record in reader.read(partition, 2, 10)]
    assert [record.offset async for record in reader.read(partition, 6, 10)] == [6, 7, 8, 9]
    await reader.close()


async def test_a_topic_that_is_not_there(rig: Rig) -> None:
    reader = await rig.broker.reader()
    partition = TopicPartition(f"{rig.prefix}.nowhere", 0)
    assert await reader.partitions(partition.topic) == []
    with pytest.raises(DependencyError, match="topic_missing"):
        await reader.bounds([partition])
    with pytest.raises(DependencyError, match="topic_missing"):
        _ = [record async for record in reader.read(partition, 0, 1)]
    await reader.close()


async def test_bounds_of_many_partitions(rig: Rig) -> None:
    topic = await make_topic(rig, partitions=3)
    producer = await rig.broker.producer(f"{rig.prefix}.p")
    await commit(producer, [Outgoing(topic, None, b"x", 1)])
    await producer.close()
    await reaches(rig, TopicPartition(topic, 1), 2)
    reader = await rig.broker.reader()
    found = await reader.bounds(await reader.partitions(topic))
    assert [found[TopicPartition(topic, number)] for number in range(3)] == [(0, 0), (0, 2), (0, 0)]
    assert await reader.bounds([]) == {}
    await reader.close()


async def test_a_high_watermark_counts_what_an_open_transaction_holds(rig: Rig) -> None:
    topic = await make_topic(rig)
    partition = TopicPartition(topic, 0)
    await write(rig, topic, [b"a", b"b"])
    await rig.die_in_transaction(f"{rig.prefix}.owner", [Outgoing(topic, None, b"half", 0)] * 4)
    reader = await rig.broker.reader()
    assert (await reader.bounds([partition]))[partition] == (0, 3)
    assert await reader.high_watermarks([partition]) == {partition: 7}
    await (await rig.broker.producer(f"{rig.prefix}.owner")).close()
    await reaches(rig, partition, 8)
    assert (await reader.high_watermarks([partition]))[partition] == (await reader.bounds([partition]))[partition][1]
    await reader.close()
