"""Where the audit sees a scorer stand: what was deleted unread or written off, and that a topic is another one."""

import asyncio
from pathlib import Path

from mira_stream.audit.standing import Standing, read_standing
from mira_stream.config import Project, load_project
from mira_stream.progress_messages import Progress, WrittenOff
from mira_stream.records import LogReader, Outgoing, TopicPartition
from mira_stream.streaming.ports import TopicSpec
from mira_stream.streaming.progress import progress_record
from tests.contract.rig import PATIENCE_S, Rig
from tests.contract.test_audit_brokers import MIRA_TOML
from tests.settled import settle


async def stands(rig: Rig, project: Project, reader: LogReader, there: TopicPartition) -> Standing:
    return await read_standing(project, rig.broker, reader, await reader.bounds([there]), [])


async def test_what_is_written_off_follows_what_was_deleted_unread(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "mira.toml").write_text(MIRA_TOML.format(prefix=rig.prefix))
    project = load_project(tmp_path, {})
    there = TopicPartition(project.documents_topic("text"), 0)
    place, scorer = TopicPartition(project.topic("progress"), 0), project.consumer_group("scorer.text")
    specs = [TopicSpec(there.topic, 1), TopicSpec(place.topic, 1, compacted=True)]
    await rig.broker.create_topics(specs, 1)
    topic_id = await rig.broker.topic_id(there.topic)

    async def commit(next_offset: int, written_off: WrittenOff | None = None, documents: int = 0) -> None:
        said = Progress(
            topic=there.topic, partition=0, next_offset=next_offset, topic_id=topic_id, written_off=written_off
        )
        records = [*[Outgoing(there.topic, None, b"{}", 0)] * documents, progress_record(scorer, place, said)]
        owner = await rig.broker.producer(scorer)
        await owner.commit(records, {there: next_offset}, scorer)
        await owner.close()
        await settle(rig.broker, scorer)

    reader = await rig.broker.reader()
    try:
        await commit(3, documents=9)
        await rig.delete_before(there, 6)
        found = await stands(rig, project, reader, there)
        assert (found.scored, found.unread, found.anew, found.written_off) == ({there: 3}, {there: [(3, 5)]}, {}, {})
        three = WrittenOff(offsets=3, ranges=[(3, 5)])
        await commit(6, three)
        found = await stands(rig, project, reader, there)
        assert (found.scored, found.unread, found.written_off) == ({there: 6}, {}, {there: three})
        await rig.delete_topic(there.topic)
        async with asyncio.timeout(PATIENCE_S):
            while await reader.partitions(there.topic):  # noqa: ASYNC110 - only the broker knows
                await asyncio.sleep(0.05)
        await rig.broker.create_topics(specs, 1)
        found = await stands(rig, project, reader, there)
        assert (found.scored, found.unread, found.anew, found.written_off) == (
            {there: 0},
            {},
            {there: 6},
            {there: three},
        )
    finally:
        await reader.close()
