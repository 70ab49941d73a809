"""A topic of the embedded Kafka, restored from the files of its partition: every record at its offset, another id."""

import asyncio
import shutil
from pathlib import Path

import pytest

from mira_stream.kafka import KafkaBroker
from mira_stream.progress_messages import Progress
from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import TopicSpec
from mira_stream.streaming.progress import progress_record
from mira_stream.streaming.same_log import check_same
from mira_stream.streaming.standing_offsets import go_on_in, known, stands
from tests.faults.kafka import Kafka
from tests.faults.topic_faults import Admin
from tests.settled import settle

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]

GROUP, TOPIC, PROGRESS = "g", "restored.documents", "restored.progress"
THERE, PLACE = TopicPartition(TOPIC, 0), TopicPartition(PROGRESS, 0)


async def written(kafka: Kafka) -> list[Record]:
    """Three transactions, so that markers stand between records; all but the last are done with."""
    broker = KafkaBroker(BrokerSection(), kafka.servers)
    try:
        await broker.create_topics([TopicSpec(TOPIC, 1), TopicSpec(PROGRESS, 1, compacted=True)], 1)
        topic_id = await broker.topic_id(TOPIC)
        owner = await broker.producer(f"{GROUP}.{TOPIC}.0")
        for number in range(3):
            documents = [Outgoing(TOPIC, None, b"%d" % (4 * number + at), 0) for at in range(4)]
            said = Progress(topic=TOPIC, partition=0, next_offset=10, topic_id=topic_id)
            await owner.commit([*documents, progress_record(GROUP, PLACE, said)], {THERE: 10}, GROUP)
        await owner.close()
        await settle(broker, f"{GROUP}.{TOPIC}.0")
        return await all_of(broker)
    finally:
        await broker.close()


async def all_of(broker: KafkaBroker) -> list[Record]:
    reader = await broker.reader()
    try:
        return [record async for record in reader.read(THERE, *(await reader.bounds([THERE]))[THERE])]
    finally:
        await reader.close()


async def made_anew(kafka: Kafka) -> None:
    async with Admin(kafka.servers) as admin:
        await admin.delete_topic(TOPIC)
    broker = KafkaBroker(BrokerSection(), kafka.servers)
    reader = await broker.reader()
    try:
        async with asyncio.timeout(120):
            while await reader.partitions(TOPIC):  # noqa: ASYNC110 - only the broker knows
                await asyncio.sleep(0.1)
        await broker.create_topics([TopicSpec(TOPIC, 1)], 1)
    finally:
        await reader.close()
        await broker.close()


async def test_the_files_of_a_partition_in_the_folder_of_a_new_topic_are_the_same_log(tmp_path: Path) -> None:
    kafka = Kafka(tmp_path / "kafka")
    await kafka.start()
    try:
        before = await written(kafka)
        assert [record.offset for record in before] == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13]
        (folder,) = (tmp_path / "kafka").rglob(f"{TOPIC}-0")
        backup = shutil.copytree(folder, tmp_path / "backup")
        await made_anew(kafka)
        await kafka.stop()
        for file in folder.iterdir():
            if file.name != "partition.metadata":
                file.unlink()
        for file in backup.glob("*.log"):
            shutil.copy(file, folder)
        await kafka.start()
        broker = KafkaBroker(BrokerSection(), kafka.servers)
        reader = await broker.reader()
        try:
            assert await all_of(broker) == before
            (stand,) = await stands(broker, reader, PROGRESS, [(GROUP, TOPIC)])
            assert stand.standing == "topic made anew"
            await check_same(reader, TOPIC, [await known(reader, PROGRESS, stand)], {})
            assert await go_on_in(broker, reader, PROGRESS, stand, await broker.topic_id(TOPIC)) == 10
            (stand,) = await stands(broker, reader, PROGRESS, [(GROUP, TOPIC)])
            assert (stand.standing, stand.committed) == ("agrees", 10)
            producer = await broker.producer("another")
            await producer.commit([Outgoing(TOPIC, None, b"12", 0)], {}, None)
            await producer.close()
            await settle(broker, "another")
            assert [int(record.value or b"") for record in await all_of(broker)] == list(range(13))
        finally:
            await reader.close()
            await broker.close()
    finally:
        await kafka.stop()
