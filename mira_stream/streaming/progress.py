"""Progress of a consumer group on a partition, as a record of `mira.progress`.

It is written in every transaction, so the newest one stands near the end of its partition: it is looked for from
there backwards. What other consumer groups have open may hide it: before anything is read, the last stable offset must
have come to where the log's end was.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

import msgspec

from mira_stream.errors import DataLossError, DependencyError
from mira_stream.messages import decoder, encode
from mira_stream.progress_messages import Progress
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.streaming.limits import OPEN_TRANSACTION_FIX, unknown_topic

FIRST_STEP: Final = 64
GROWTH: Final = 8
LOOK_S: Final = 0.05
HIDDEN_S: Final = 90.0
"""An open transaction ends by its own timeout (20 s by default); beyond this it never will."""

_decode: Final = decoder(Progress).decode


def progress_key(consumer_group: str, partition: TopicPartition) -> bytes:
    return f"{consumer_group}|{partition.topic}|{partition.partition}".encode()


def place_of(topic: str, partition: TopicPartition, places: int) -> TopicPartition:
    """Which of the topic's `places` partitions holds the progress of `partition`: the one of its number."""
    return TopicPartition(topic, partition.partition % places)


def progress_record(consumer_group: str, place: TopicPartition, progress: Progress) -> Outgoing:
    key = progress_key(consumer_group, TopicPartition(progress.topic, progress.partition))
    return Outgoing(place.topic, key, encode(progress), place.partition)


def is_of_another_topic(progress: Progress, topic_id: str) -> bool:
    """Whether the topic of that id was made anew since; not to be told where the broker gives topics no ids."""
    return bool(topic_id) and progress.topic_id not in ("", topic_id)


def is_another(before: str, now: str) -> bool:
    """Whether the topic of these ids, as far as both are known, was made anew between."""
    return bool(before and now) and before != now


def results_gone(progress: Progress, results_id: str) -> bool:
    """Whether something was finished, and its results went to a topic that is another now."""
    return bool(progress.next_offset or progress.finished) and is_another(progress.results_id, results_id)


async def place_for(reader: LogReader, topic: str, partition: TopicPartition) -> TopicPartition:
    """Raises DependencyError(topic_missing)."""
    places = await reader.partitions(topic)
    if not places:
        raise unknown_topic(topic)
    return place_of(topic, partition, len(places))


async def newest_progress(
    reader: LogReader, place: TopicPartition, consumer_group: str, partition: TopicPartition
) -> Progress | None:
    """The last Progress committed for the partition. Only its owner, who has fenced all others, may rely on it."""
    bounds = await stable_bounds(reader, [place])
    record = await _last(reader, place, bounds[place], progress_key(consumer_group, partition))
    return None if record is None else _read(record)


async def progress_elsewhere(
    reader: LogReader, place: TopicPartition, consumer_group: str, partition: TopicPartition
) -> Progress | None:
    """The last Progress in another partition than `place`: where it lay before the topic was given more of them."""
    others = [other for other in await reader.partitions(place.topic) if other != place]
    if not others:
        return None
    key = progress_key(consumer_group, partition)
    bounds = await stable_bounds(reader, others)
    found = [await _last(reader, other, bounds[other], key) for other in others]
    newest = max((one for one in found if one is not None), key=lambda one: one.timestamp_ms, default=None)
    return None if newest is None else _read(newest)


async def newest_seen(
    reader: LogReader, topic: str, of: Iterable[tuple[str, TopicPartition]]
) -> Mapping[TopicPartition, Progress]:
    """Of each partition, read by one consumer group, the last Progress that can be seen now: for who only looks on."""
    places = await reader.partitions(topic)
    bounds = await reader.bounds(places) if places else {}
    keys = {progress_key(consumer_group, partition): partition for consumer_group, partition in of}
    found: dict[bytes, Record] = {}
    for place in places:
        here = {key for key, partition in keys.items() if place_of(topic, partition, len(places)) == place}
        found |= await _last_of(reader, place, bounds[place], here)
    elsewhere = keys.keys() - found.keys()
    for place in places:
        for key, record in (await _last_of(reader, place, bounds[place], elsewhere)).items():
            if key not in found or record.timestamp_ms > found[key].timestamp_ms:
                found[key] = record
    return {keys[key]: _read(record) for key, record in found.items()}


async def _last(reader: LogReader, place: TopicPartition, bounds: tuple[int, int], key: bytes) -> Record | None:
    return (await _last_of(reader, place, bounds, {key})).get(key)


async def _last_of(
    reader: LogReader, place: TopicPartition, bounds: tuple[int, int], keys: Set[bytes]
) -> dict[bytes, Record]:
    first, end = bounds
    step = FIRST_STEP
    found: dict[bytes, Record] = {}
    while end > first and keys - found.keys():
        begin = max(first, end - step)
        here = {key: record async for record in reader.read(place, begin, end) if (key := record.key or b"") in keys}
        found = here | found
        end, step = begin, step * GROWTH
    return found


async def stable_bounds(
    reader: LogReader, places: Sequence[TopicPartition]
) -> Mapping[TopicPartition, tuple[int, int]]:
    """The bounds of each, once everything that was in them at the call can be seen."""
    ends = await reader.high_watermarks(places)
    hidden: list[TopicPartition] = []
    try:
        async with asyncio.timeout(HIDDEN_S):
            while True:
                bounds = await reader.bounds(places)
                hidden = [place for place in places if bounds[place][1] < ends[place]]
                if not hidden:
                    return bounds
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        names = ", ".join(f"{topic}/{number}" for topic, number in hidden or places)
        raise DependencyError(
            "transaction_open",
            f"{names}: a transaction has been open for {HIDDEN_S:.0f} s",
            OPEN_TRANSACTION_FIX,
        ) from None


def _read(record: Record) -> Progress:
    try:
        return _decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataLossError(
            "progress_unreadable",
            f"{record.topic}/{record.partition} offset {record.offset}: {error}",
            "find out who wrote it: only a runner of this version or an older one may",
        ) from None
