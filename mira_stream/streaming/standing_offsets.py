"""Where consumer groups stand beside what their Progress says, and back to it: for a person whose offsets were moved
by somebody, or forgotten by the broker; back to the first record for one whose results are gone; and on in a topic
that was restored.

Progress was written in the transaction of the results, so where both differ it is the offset that is wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Literal, NamedTuple

from msgspec import structs

from mira_stream.errors import CommitUnknown, DependencyError, ProducerFenced
from mira_stream.progress_messages import Progress
from mira_stream.records import LogReader, Outgoing, TopicPartition
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.progress import (
    is_of_another_topic,
    newest_progress,
    place_for,
    progress_elsewhere,
    progress_record,
)
from mira_stream.streaming.written_off import Lost, added, left_out, rest, taken_back

ATTEMPTS: Final = 8
PAUSE_S: Final = 0.5
Standing = Literal["agrees", "moved", "forgotten", "no progress", "topic made anew", "records deleted"]


class Stand(NamedTuple):
    """One partition of one consumer group. `committed`: None where the broker knows of none."""

    consumer_group: str
    partition: TopicPartition
    committed: int | None
    next_offset: int | None
    standing: Standing


async def stands(broker: Broker, reader: LogReader, progress: str, groups: Iterable[tuple[str, str]]) -> list[Stand]:
    """Of each consumer group on its topic, where one of the two is known. Raises DependencyError."""
    found = []
    for consumer_group, topic in groups:
        partitions = await reader.partitions(topic)
        topic_id = await broker.topic_id(topic) if partitions else ""
        bounds = await reader.bounds(partitions) if partitions else {}
        before = await broker.committed(consumer_group, partitions)
        said = {partition: await newest_of(reader, progress, consumer_group, partition) for partition in partitions}
        after = await broker.committed(consumer_group, partitions)
        for partition in partitions:
            newest = said[partition]
            if newest is None and partition not in after:
                continue
            first, _ = bounds[partition]
            standing = standing_of(newest, before.get(partition), after.get(partition), topic_id, first)
            stood = None if newest is None else newest.next_offset
            found.append(Stand(consumer_group, partition, after.get(partition), stood, standing))
    return found


def standing_of(
    progress: Progress | None, before: int | None, after: int | None, topic_id: str, first: int
) -> Standing:
    """`before` and `after`: the committed offset on both sides of the look for Progress, which a stage that runs
    moves on meanwhile; `first`: the log's first offset, before all that. Pure."""
    if progress is None:
        return "no progress"
    if is_of_another_topic(progress, topic_id):
        return "topic made anew"
    if after is None:
        return "forgotten"
    if not (after if before is None else before) <= progress.next_offset <= after:
        return "moved"
    return "records deleted" if left_out(progress.next_offset, first, progress.finished) else "agrees"


async def set_back(broker: Broker, reader: LogReader, progress: str, stand: Stand) -> int:
    """The offset that is committed now: what Progress says once every owner of the partition is fenced, so that none
    moves it meanwhile. One that runs takes its partition back and goes on from there. Raises DependencyError."""

    async def said() -> tuple[list[Outgoing], int]:
        return [], (await known(reader, progress, stand)).next_offset

    return await _set(broker, stand.consumer_group, stand.partition, said)


async def known(reader: LogReader, progress: str, stand: Stand) -> Progress:
    """The Progress of a stand that has one."""
    newest = await newest_of(reader, progress, stand.consumer_group, stand.partition)
    assert newest is not None
    return newest


async def go_on_in(broker: Broker, reader: LogReader, progress: str, stand: Stand, topic_id: str) -> int:
    """The offset at which its group goes on in the topic of that id, which is the same log: offset and Progress are
    written for it. As `set_back`."""

    async def said() -> tuple[list[Outgoing], int]:
        place = await place_for(reader, progress, stand.partition)
        own = structs.replace(await known(reader, progress, stand), topic_id=topic_id)
        return [progress_record(stand.consumer_group, place, own)], own.next_offset

    return await _set(broker, stand.consumer_group, stand.partition, said)


async def results_in(broker: Broker, reader: LogReader, progress: str, stand: Stand, results_id: str) -> int:
    """Its offset, where the topic of that id is the same log that its results went to: so its Progress says then. As
    `set_back`."""

    async def said() -> tuple[list[Outgoing], int]:
        place = await place_for(reader, progress, stand.partition)
        own = structs.replace(await known(reader, progress, stand), results_id=results_id)
        return [progress_record(stand.consumer_group, place, own)], own.next_offset

    return await _set(broker, stand.consumer_group, stand.partition, said)


async def rewind(
    broker: Broker,
    reader: LogReader,
    progress: str,
    consumer_group: str,
    partition: TopicPartition,
    said_of: Callable[[int], Outgoing],
) -> int:
    """Set offset and Progress of a partition to its first retained record, in one transaction with what is said of
    that offset; it. As `set_back`."""
    topic, number = partition

    async def said() -> tuple[list[Outgoing], int]:
        place = await place_for(reader, progress, partition)
        first = (await reader.bounds([partition]))[partition][0]
        topic_id = await broker.topic_id(topic)
        newest, lost = await newest_of(reader, progress, consumer_group, partition), list[Lost]()
        if newest is not None and is_of_another_topic(newest, topic_id):
            lost = rest(newest.next_offset, newest.finished)
        elif newest is not None:
            lost.extend(left_out(newest.next_offset, first, newest.finished))
        written_off = taken_back(added(None if newest is None else newest.written_off, lost), first)
        own = Progress(topic=topic, partition=number, next_offset=first, topic_id=topic_id, written_off=written_off)
        return [progress_record(consumer_group, place, own), said_of(first)], first

    return await _set(broker, consumer_group, partition, said)


async def _set(
    broker: Broker,
    consumer_group: str,
    partition: TopicPartition,
    said: Callable[[], Awaitable[tuple[list[Outgoing], int]]],
) -> int:
    """Commit what is `said` once all owners are fenced. One that runs may take its partition back in between (one that
    waits for its folder does now and then): then it is done again."""
    transactional_id = f"{consumer_group}.{partition.topic}.{partition.partition}"
    for attempt in range(1, ATTEMPTS + 1):
        producer = await broker.producer(transactional_id)
        try:
            records, offset = await said()
            await producer.commit(records, {partition: offset}, consumer_group)
            break
        except (ProducerFenced, CommitUnknown):
            if attempt == ATTEMPTS:
                raise DependencyError(
                    "offset_contested",
                    f"{partition.topic}/{partition.partition}: {consumer_group} was not set in {ATTEMPTS} tries",
                    "its owner may take it back each time: stop that service, and run this again",
                ) from None
            await asyncio.sleep(PAUSE_S)
        finally:
            await producer.close()
    await (await broker.producer(transactional_id)).close()  # a broker may answer before the offset can be seen
    return offset


async def newest_of(
    reader: LogReader, progress: str, consumer_group: str, partition: TopicPartition
) -> Progress | None:
    """The last Progress of the group on the partition, in whichever partition of the topic it lies."""
    place = await place_for(reader, progress, partition)
    newest = await newest_progress(reader, place, consumer_group, partition)
    return newest if newest is not None else await progress_elsewhere(reader, place, consumer_group, partition)
