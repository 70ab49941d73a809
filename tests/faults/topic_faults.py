"""Faults of topics: deleted, made anew, widened, narrowed; records deleted; the aggregator's state lost or broken."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from mira_stream.audit.run import audit
from mira_stream.records import TopicPartition
from mira_stream.streaming.topics import topic_specs
from tests.faults.engines import EngineSettings
from tests.faults.lab import Lab
from tests.faults.services import PATIENCE_S
from tests.faults.stream import CALM, Stream
from tests.faults.witness import read_all

SAID_S: Final = 30.0
NEW_PARTITIONS_S: Final = 60.0


class Admin:
    """The broker's administration, as a person or a script would use it."""

    def __init__(self, servers: str) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=servers)

    async def __aenter__(self) -> "Admin":
        await self._client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def widen(self, topics: Sequence[str], partitions: int) -> None:
        await self._client.create_partitions({topic: NewPartitions(partitions) for topic in topics})

    async def configure(self, topic: str, values: Mapping[str, str]) -> None:
        await self._client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(values))])

    async def delete_topic(self, topic: str) -> None:
        await self._client.delete_topics([topic])

    async def delete_before(self, topic: str, partition: int, offset: int) -> None:
        at = aiokafka.TopicPartition(topic, partition)
        await self._client.delete_records({at: RecordsToDelete(before_offset=offset)})


async def _make_anew(stream: Stream, name: str) -> None:
    """Delete a topic and create it as it was."""
    topic = stream.project.topic(name)
    async with Admin(stream.kafka.servers) as admin:
        await admin.delete_topic(topic)
    async with asyncio.timeout(PATIENCE_S):
        while topic in await stream.topics():  # noqa: ASYNC110 - only the broker knows
            await asyncio.sleep(0.1)
    await stream.broker.create_topics([spec for spec in topic_specs(stream.project) if spec.name == topic], 1)


async def changed(lab: Lab) -> None:
    """F21: partitions added, a topic's limit lowered and raised again, the documents' topic deleted and made anew."""
    stream = await lab.stream(partitions=2)
    await stream.feed(200)
    engine = EngineSettings(delay_s=0.05)
    stream.start("aggregate")
    scorer = stream.start("score", engine=engine)
    await stream.until_seen(50)
    wide = [stream.project.topic(name) for name in ("decisions", "dead-letters", "exports", "documents.text")]
    async with Admin(stream.kafka.servers) as admin:
        await admin.widen(wide, 4)
        await stream.witness.widen(4)
        await stream.until_seen(200)
        started = time.monotonic()
        await stream.feed(400)
        found = await stream.until_seen(600, NEW_PARTITIONS_S + 30.0)
        lab.require(found, f"{len(stream.witness.seen)} of 600 with new partitions: {scorer.last_words()}")
        lab.gap(time.monotonic() - started, NEW_PARTITIONS_S + 5.0, "new partitions picked up")
        await admin.configure(stream.project.topic("scores"), {"max.message.bytes": "300"})
        code = None
        async with asyncio.timeout(PATIENCE_S):  # it is acknowledged before the log obeys it
            while code is None:
                await stream.feed(200)
                code = await scorer.wait(5.0)
        lab.require(code == 3, f"with a topic too narrow the scorer ended with {code}: {scorer.last_words()}")
        lab.require(scorer.said("record_too_large") > 0, f"no clear word of it: {scorer.last_words()}")
        await admin.configure(stream.project.topic("scores"), {"max.message.bytes": "18874368", "retention.ms": "-1"})
    stream.start("score", engine=engine)
    await lab.finish(stream)
    await _deleted_and_made_anew(lab)


async def _deleted_and_made_anew(lab: Lab) -> None:
    stream = await lab.stream(partitions=2)
    engine = EngineSettings(delay_s=0.05)
    await stream.feed(300)
    scorer = stream.start("score", engine=engine)
    stream.start("aggregate")
    await stream.until_seen(60)
    topic, group = stream.project.documents_topic("text"), stream.project.consumer_group("scorer.text")
    before = await stream.committed(group, topic)
    started = time.monotonic()
    async with Admin(stream.kafka.servers) as admin:
        await admin.delete_topic(topic)
    code = await scorer.wait(PATIENCE_S)
    lab.require(code == 4, f"without its topic the scorer ended with {code}: {scorer.last_words()}")
    lab.gap(time.monotonic() - started, SAID_S, "deleted topic noticed")
    lab.require(scorer.said("topic_missing") > 0, f"no clear word of it: {scorer.last_words()}")
    await _make_anew(stream, "documents.text")
    first = stream.fed
    for more, kept in ((10, False), (590, False), (0, True)):  # fewer documents than before, and more
        await stream.feed(more)
        if kept:  # the broker has forgotten them with the topic; it may take its time
            tool = await stream.broker.producer(f"{group}.a-tool")
            await tool.commit([], {TopicPartition(topic, number): at for number, at in before.items()}, group)
            await tool.close()
        again = stream.start("score", engine=engine)
        code = await again.wait(PATIENCE_S)
        what = f"{more} more, offsets {'kept' if kept else 'as the broker has them'}"
        lab.require(code == 5, f"on a topic made anew ({what}) the scorer ended with {code}: {again.last_words()}")
        lab.require(again.said("topic_made_anew") > 0, f"no clear word of it ({what}): {again.last_words()}")
    stream.start("score", "--accept-loss", engine=engine)
    ends = await _until_ended(stream, {f"d{number}" for number in range(first, stream.fed)})
    lab.lost += sum(not times for times in ends.values())
    lab.duplicated += sum(times > 1 for times in ends.values())
    result = await audit(stream.project, stream.broker, None)
    lab.require(result.ok and result.earlier > 0, f"{result.line()}, {result.earlier} of the earlier topic")


async def _until_ended(stream: Stream, ids: set[str]) -> dict[str, int]:
    """How often each of these documents has ended, once all have or time is up. By id: in a topic made anew a document
    stands where another one stood."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = await read_all(stream.kafka.servers, {stream.project.topic("decisions"): 2})
        times = Counter(json.loads(record.value)["id"] for record in found)
        ended = {one: times[one] for one in ids}
        if all(ended.values()) or time.monotonic() > deadline:
            return ended
        await asyncio.sleep(0.5)


async def deleted_before_read(lab: Lab) -> None:
    """F22: records are deleted before they were read: the scorer stops and names them; on order it goes on."""
    stream = await lab.stream(partitions=2, timeouts=CALM)
    engine = EngineSettings(delay_s=0.3)
    await stream.feed(200)
    stream.start("aggregate")
    scorer = stream.start("score", engine=engine)
    await stream.until_seen(200)
    topic = stream.project.documents_topic("text")
    group = stream.project.consumer_group("scorer.text")
    async with asyncio.timeout(PATIENCE_S):  # the offsets' own marker comes when it comes
        while sum((found := await stream.committed(group, topic)).values()) < 200:
            pass
    await scorer.stop()
    await stream.feed(400)
    partition, at = min(found.items())
    beyond = at + lab.chance.randint(5, 60)
    async with Admin(stream.kafka.servers) as admin:
        await admin.delete_before(topic, partition, beyond)
    stream.deleted |= {(topic, partition, offset) for offset in range(beyond)}
    refusing = stream.start("score", engine=engine)
    code = await refusing.wait(PATIENCE_S)
    lab.require(code == 5, f"with lost records the scorer ended with {code}: {refusing.last_words()}")
    lab.require(refusing.said(f"offsets {at} to {beyond - 1}") > 0, f"not the exact range: {refusing.last_words()}")
    struck = time.monotonic()
    going_on = stream.start("score", "--accept-loss", engine=engine)
    await lab.finish(stream)
    lab.gap(stream.witness.first_after(struck) or 60.0, 20.0, "going on after the loss")
    lab.require(going_on.exit_code in (None, 0), f"--accept-loss does not go on: {going_on.last_words()}")
    lab.require(going_on.said(str(at)) > 0, f"the loss is not in the log: {going_on.last_words()}")


async def state_lost(lab: Lab) -> None:
    """F25: aggregators killed at work; their state lost, then broken: refused, and after a restore all is equal."""
    stream = await lab.stream()
    await stream.feed(2_500)
    stream.start("score", engine=EngineSettings(delay_s=0.05))
    for _ in range(4):
        aggregator = stream.start("aggregate")
        await stream.until_more(lab.chance.randint(50, 300))
        struck = time.monotonic()
        await aggregator.kill()
        lab.gap(time.monotonic() - struck)
    lab.wrong += await stream.unstable({stream.project.topic("state"): 4})  # what the last one committed can be read
    saved = await _state(stream)
    await _make_anew(stream, "state")
    await _refused(lab, stream, "state_lost")
    broken = list(saved)
    at = max(number for number, record in enumerate(saved) if record.key != b"@checkpoint")
    await _write_state(stream, broken)
    await _write_state(stream, [saved[at]], b"{broken")
    await _refused(lab, stream, "state_unreadable")
    await _make_anew(stream, "state")
    await _write_state(stream, saved)
    stream.start("aggregate")
    await lab.finish(stream)


async def _state(stream: Stream) -> list[Any]:
    found = await read_all(stream.kafka.servers, {stream.project.topic("state"): 4})
    return sorted(found, key=lambda record: (record.partition, record.offset))


async def _write_state(stream: Stream, kept: Sequence[Any], value: bytes | None = None) -> None:
    """Put records where they stood, or another value in their place."""
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=stream.kafka.servers, acks="all")
    await producer.start()
    try:
        for record in kept:
            await producer.send_and_wait(record.topic, value or record.value, record.key, record.partition)
    finally:
        await producer.stop()


async def _refused(lab: Lab, stream: Stream, word: str) -> None:
    service = stream.start("aggregate")
    code = await service.wait(PATIENCE_S)
    lab.require(code == 5, f"{word}: the aggregator ended with {code}: {service.last_words()}")
    lab.require(service.said(word) > 0, f"{word} was not said: {service.last_words()}")
