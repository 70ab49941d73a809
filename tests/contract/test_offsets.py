"""A committed offset that somebody moved, beside the Progress that was written with it."""

import asyncio

from mira_stream.progress_messages import Progress
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.ports import TopicSpec
from mira_stream.streaming.progress import progress_record
from mira_stream.streaming.same_log import check_same
from mira_stream.streaming.standing_offsets import go_on_in, known, set_back, stands
from tests.contract.rig import PATIENCE_S, Rig, reaches
from tests.settled import settle


async def test_an_offset_that_was_moved_is_set_back_to_its_progress(rig: Rig) -> None:
    group, topic, progress = (f"{rig.prefix}.{name}" for name in ("group", "in", "progress"))
    await rig.broker.create_topics([TopicSpec(topic, 1), TopicSpec(progress, 1, compacted=True)], 1)
    there, place = TopicPartition(topic, 0), TopicPartition(progress, 0)
    owner = await rig.broker.producer(f"{group}.{topic}.0")
    said = Progress(topic=topic, partition=0, next_offset=7, topic_id=await rig.broker.topic_id(topic))
    documents = [Outgoing(topic, None, b"{}", 0)] * 9
    await owner.commit([*documents, progress_record(group, place, said)], {there: 7}, group)
    await reaches(rig, place, 2)
    async with asyncio.timeout(PATIENCE_S):
        while await rig.broker.committed(group, [there]) != {there: 7}:
            pass  # it has a marker of its own
    reader = await rig.broker.reader()
    try:
        (stand,) = await stands(rig.broker, reader, progress, [(group, topic)])
        assert (stand.standing, stand.committed, stand.next_offset) == ("agrees", 7, 7)
        for moved in (3, 9):
            tool = await rig.broker.producer(f"{rig.prefix}.a tool")
            await tool.commit([], {there: moved}, group)
            await tool.close()
            await settle(rig.broker, f"{rig.prefix}.a tool")
            (stand,) = await stands(rig.broker, reader, progress, [(group, topic)])
            assert (stand.standing, stand.committed) == ("moved", moved)
            assert await set_back(rig.broker, reader, progress, stand) == 7
            assert await rig.broker.committed(group, [there]) == {there: 7}
    finally:
        await reader.close()
        await owner.close()


async def test_a_topic_that_was_restored_is_gone_on_in(rig: Rig) -> None:
    group, topic, progress = (f"{rig.prefix}.{name}" for name in ("group", "in", "progress"))
    specs = [TopicSpec(topic, 1), TopicSpec(progress, 1, compacted=True)]
    await rig.broker.create_topics(specs, 1)
    there, place = TopicPartition(topic, 0), TopicPartition(progress, 0)
    said = Progress(
        topic=topic, partition=0, next_offset=7, finished=[(8, 8)], topic_id=await rig.broker.topic_id(topic)
    )
    owner = await rig.broker.producer(f"{group}.{topic}.0")
    documents = [Outgoing(topic, None, b"{}", 0)] * 9
    await owner.commit([*documents, progress_record(group, place, said)], {there: 7}, group)
    await reaches(rig, place, 2)
    await owner.close()
    await settle(rig.broker, f"{group}.{topic}.0")  # before the topic goes: its marker, and that of the offsets
    await rig.delete_topic(topic)
    reader = await rig.broker.reader()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while await reader.partitions(topic):  # noqa: ASYNC110 - only the broker knows
                await asyncio.sleep(0.05)
        await rig.broker.create_topics(specs, 1)
        tool = await rig.broker.producer(f"{rig.prefix}.a tool")
        await tool.commit(documents, {}, None)
        await tool.close()
        await settle(rig.broker, f"{rig.prefix}.a tool")
        (stand,) = await stands(rig.broker, reader, progress, [(group, topic)])
        assert (stand.standing, stand.next_offset) == ("topic made anew", 7)
        topic_id = await rig.broker.topic_id(topic)
        await check_same(reader, topic, [await known(reader, progress, stand)], {})
        assert await go_on_in(rig.broker, reader, progress, stand, topic_id) == 7
        (stand,) = await stands(rig.broker, reader, progress, [(group, topic)])
        assert (stand.standing, stand.committed, stand.next_offset) == ("agrees", 7, 7)
        newest = await known(reader, progress, stand)
        assert (newest.finished, newest.topic_id) == ([(8, 8)], topic_id)
    finally:
        await reader.close()
