"""A finished stream as plain lists of records, so that a test can do to it what no broker would."""

import shutil
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from mira_stream.audit.result import AuditResult
from mira_stream.audit.run import audit
from mira_stream.config import Project
from mira_stream.messages import Policy, Wire, encode
from mira_stream.records import LogReader, Record, TopicPartition
from mira_stream.streaming.ports import AssignmentListener, ClusterState, Consumer, TopicSpec, TransactionalProducer
from tests.flow.selecting_world import World
from tests.unit.selecting_cards import card, mask

TOPICS = (
    "documents.text",
    "scores",
    "decisions",
    "epochs",
    "windows",
    "state",
    "exports",
    "dead-letters",
    "policy",
    "ingest",
    "progress",
)
Logs = dict[str, list[Record]]
"""Records by topic without prefix, partition by partition."""


class FrozenReader:
    """A LogReader over lists; offsets stay what they were."""

    def __init__(
        self,
        logs: Mapping[TopicPartition, list[Record]],
        bounds: Mapping[TopicPartition, tuple[int, int]],
        high: Mapping[TopicPartition, int],
    ) -> None:
        self._logs = logs
        self._bounds = bounds
        self._high = high

    async def partitions(self, topic: str) -> list[TopicPartition]:
        return sorted(partition for partition in self._bounds if partition.topic == topic)

    async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        return {partition: self._bounds[partition] for partition in partitions}

    async def high_watermarks(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {p: max(self._bounds[p][1], self._high.get(p, 0)) for p in partitions}

    async def read(self, partition: TopicPartition, first: int, end: int) -> AsyncIterator[Record]:
        for record in self._logs.get(partition, []):
            if first <= record.offset < end:
                yield record

    async def close(self) -> None: ...


class FrozenStream:
    """All topics of a finished stream, its committed offsets and its files; a Broker that can only be read."""

    def __init__(
        self,
        project: Project,
        logs: Logs,
        bounds: dict[TopicPartition, tuple[int, int]],
        committed: dict[tuple[str, TopicPartition], int],
        out: Path,
    ) -> None:
        self.project = project
        self.logs = logs
        self.bounds = bounds
        self.offsets = committed
        self.out = out
        self.ids_of_topics: dict[str, str] = {}
        self.high: dict[TopicPartition, int] = {}
        """High watermarks that last stable offsets have not reached."""

    @classmethod
    async def of(cls, world: World, out: Path) -> "FrozenStream":
        reader = await world.broker.reader()
        logs: Logs = {}
        bounds: dict[TopicPartition, tuple[int, int]] = {}
        committed: dict[tuple[str, TopicPartition], int] = {}
        for topic in TOPICS:
            name = world.project.topic(topic)
            logs[topic] = world.broker.records(name)
            bounds |= await reader.bounds(await reader.partitions(name))
        for stage in ("scorer.text", "aggregator", "exporter"):
            group = world.project.consumer_group(stage)
            committed |= {(group, p): o for p, o in (await world.broker.committed(group, bounds)).items()}
        return cls(world.project, logs, bounds, committed, out)

    def copy(self, out: Path) -> "FrozenStream":
        shutil.copytree(self.out, out)
        logs = {topic: list(records) for topic, records in self.logs.items()}
        return FrozenStream(self.project, logs, dict(self.bounds), dict(self.offsets), out)

    async def audit(self, *, unique_ids: bool = False) -> AuditResult:
        return await audit(self.project, self, self.out, unique_ids=unique_ids, patience_s=0.0)

    def append(self, topic: str, record: Record, partition: int | None = None) -> None:
        """Put a copy of a record at the end of its partition."""
        number = record.partition if partition is None else partition
        place = TopicPartition(record.topic, number)
        first, end = self.bounds[place]
        self.logs[topic].append(record._replace(offset=end, partition=number))
        self.bounds[place] = (first, end + 1)

    # -- streaming.ports.Broker, as far as an audit needs it --

    async def reader(self) -> LogReader:
        logs: dict[TopicPartition, list[Record]] = {}
        for records in self.logs.values():
            for record in records:
                logs.setdefault(record.source, []).append(record)
        for found in logs.values():
            found.sort(key=lambda record: record.offset)
        return FrozenReader(logs, self.bounds, self.high)

    async def committed(
        self, consumer_group: str, partitions: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        return {p: self.offsets[consumer_group, p] for p in partitions if (consumer_group, p) in self.offsets}

    async def consumer(
        self, consumer_group: str, topics: Sequence[str], listener: AssignmentListener, instance: str = ""
    ) -> Consumer:
        raise AssertionError("an audit joins no consumer group")

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        raise AssertionError("an audit writes nothing")

    async def create_topics(self, topics: Sequence[TopicSpec], replication_factor: int) -> None:
        raise AssertionError("an audit creates nothing")

    async def batch_bytes_max(self, topic: str) -> int | None:
        return None

    async def retention_ms(self, topic: str) -> int | None:
        return None

    async def topic_id(self, topic: str) -> str:
        return self.ids_of_topics.get(topic, "")

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        return {topic: await self.topic_id(topic) for topic in topics}

    async def state(self, topics: Sequence[str]) -> ClusterState:
        raise AssertionError("an audit looks at no broker")

    async def close(self) -> None: ...


def edited(record: Record, kind: type[Wire], **changes: object) -> Record:
    """The record with some fields of its message changed."""
    message = msgspec.json.decode(record.value or b"", type=kind)
    return record._replace(value=encode(replace(message, **changes)))


async def finished_stream(root: Path) -> FrozenStream:
    """362 documents of three sources, six dead letters of two kinds, policies and masks changed under way."""
    world = await World.create(root)
    world.publish_masks()
    world.fill(120, pace_s=2)
    world.score(card(0, source="late", id="early-bird", origin=world.document("early-bird", "late")))
    world.score(card(0, [None] * 15, id="silent", origin=world.document("silent")))
    await world.aggregate()
    world.publish(mask(source="late"))
    world.publish(Policy(retention=0.2))
    world.fill(160, seed=2, sources=("books", "wiki", "late"), pace_s=2)
    await world.aggregate()
    world.publish(mask("m2", source="wiki", dimensions=["A1", "A4", "A9"]))
    world.fill(80, seed=3, pace_s=2)
    await world.aggregate((3, 11))
    await world.tick(0)  # corrections that were held back
    await world.commit_scorer()
    await world.export(root / "out")
    return await FrozenStream.of(world, root / "out")
