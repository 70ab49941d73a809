"""How far scorers and exporter are behind is known while none of them lives: the aggregator asks the broker."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import structlog
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from mira_stream.config import Project, Settings
from mira_stream.errors import DependencyError
from mira_stream.messages import Document, encode
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.sections import GroupSection, TopicsSection
from mira_stream.streaming import committed_lag
from mira_stream.streaming.committed_lag import CommittedLag, CommittedLagMetrics, Left, readers_of
from mira_stream.streaming.forwarding import ForwardingBroker
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from tests.flow.pipeline import Pipeline, make_project

DOCUMENTS = "mira.documents.text"
SCORER = "mira.scorer.text"
P0 = TopicPartition(DOCUMENTS, 0)


class World:
    def __init__(self, root: Path, start: str = "earliest") -> None:
        topics = TopicsSection(partitions=2, start=start)
        self.project = Project(root, Settings(groups={"text": GroupSection(family="text")}, topics=topics))
        self.broker, self.registry, self.now_ms = MemoryBroker(), CollectorRegistry(), 0
        self.metrics = CommittedLagMetrics(self.registry)

    async def create(self) -> "World":
        await self.broker.create_topics(topic_specs(self.project), 1)
        self.broker.retention[DOCUMENTS] = 100_000
        return self

    def add(self, *times_ms: int, partition: int = 0, topic: str = DOCUMENTS) -> None:
        for number, time_ms in enumerate(times_ms):
            document = encode(Document(id=f"d{number}", source="s", text="x"))
            self.broker.append(topic, b"k", document, partition, timestamp_ms=time_ms)

    async def commit(self, offset: int, group: str = SCORER, partition: TopicPartition = P0) -> None:
        producer = await self.broker.producer(group)
        await producer.commit([], {partition: offset}, group)

    def lag(self, broker: Broker | None = None) -> CommittedLag:
        readers = readers_of(self.project)
        return CommittedLag(broker or self.broker, readers, self.metrics, lambda: self.now_ms, lambda: 0.0)

    async def of_documents(self) -> Left | None:
        return await self.lag().measure(await self.broker.reader(), readers_of(self.project)[0])

    def shown(self, name: str, topic: str = DOCUMENTS) -> float | None:
        return self.registry.get_sample_value(f"mira_committed_{name}", {"topic": topic})


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await World(tmp_path).create()


async def test_documents_that_no_scorer_has_ever_read_count_from_the_first(world: World) -> None:
    assert await world.of_documents() == Left(0, 0.0, 1.0)
    world.add(10_000, 20_000)
    world.add(5_000, partition=1)
    world.now_ms = 30_000
    assert await world.of_documents() == Left(3, 25.0, 0.75)


async def test_what_is_committed_counts_no_more_and_the_next_record_is_the_oldest(world: World) -> None:
    world.add(10_000, 20_000)
    world.now_ms = 30_000
    await world.commit(1)
    assert await world.of_documents() == Left(1, 10.0, 0.9)
    await world.commit(2)
    assert await world.of_documents() == Left(0, 0.0, 1.0)


async def test_a_record_that_was_deleted_before_it_was_read_leaves_no_headroom(world: World) -> None:
    world.add(10_000, 20_000, 30_000)
    await world.commit(1)
    world.broker.delete_before(P0, 2)
    world.now_ms = 30_000
    assert await world.of_documents() == Left(1, 0.0, 0.0)


async def test_what_stands_behind_an_open_transaction_waits_until_it_ends(world: World) -> None:
    """Nobody can read when it was written: its age counts from when it was first seen."""
    world.add(10_000)
    await world.commit(1)
    lag, now_s = world.lag(), [0.0]
    lag._now = lambda: now_s[0]
    reader, one = await world.broker.reader(), readers_of(world.project)[0]
    assert await lag.measure(reader, one) == Left(0, 0.0, 1.0)
    hold = world.broker.hold_next_commit()
    stranger = await world.broker.producer("stranger")
    committing = asyncio.create_task(stranger.commit([Outgoing(DOCUMENTS, b"k", b"x", 0)], {}, None))
    await hold.reached.wait()
    world.add(20_000, 21_000)
    world.now_ms = 30_000
    assert await lag.measure(reader, one) == Left(3, 0.0, 1.0)
    now_s[0] = 40.0
    assert await lag.measure(reader, one) == Left(3, 40.0, 0.6)
    hold.release()
    await committing
    await world.commit(4)
    assert await lag.measure(reader, one) == Left(0, 0.0, 1.0), "only its marker is left"


async def test_of_what_is_kept_for_ever_no_headroom_is_known(world: World) -> None:
    del world.broker.retention[DOCUMENTS]
    world.add(10_000)
    world.now_ms = 30_000
    assert await world.of_documents() == Left(1, 20.0, None)


@pytest.mark.parametrize("start", ["latest", "1970-01-01T00:00:15Z"])
async def test_wherever_scorers_begin_all_counts_until_one_has_come(tmp_path: Path, start: str) -> None:
    """It commits where it begins; what lies before that counts no more. Else no scorer would be called for."""
    world = await World(tmp_path, start=start).create()
    world.add(10_000, 20_000)
    world.add(10_000, partition=1)
    world.now_ms = 30_000
    assert await world.of_documents() == Left(3, 20.0, 0.8)
    await world.commit(1)
    await world.commit(1, partition=P0._replace(partition=1))
    assert await world.of_documents() == Left(1, 10.0, 0.9)


async def test_a_stream_without_an_exporter_has_no_lag_of_it(world: World) -> None:
    decisions = readers_of(world.project)[1]
    world.add(10_000, topic=decisions.topic)
    reader = await world.broker.reader()
    assert await world.lag().measure(reader, decisions) is None
    await world.commit(0, decisions.consumer_group, TopicPartition(decisions.topic, 0))
    found = await world.lag().measure(reader, decisions)
    assert found is not None
    assert found.records == 1


def test_a_shadow_is_meant_to_be_behind(tmp_path: Path) -> None:
    assert readers_of(replace(World(tmp_path).project, shadow="next")) == []


class Silent(ForwardingBroker):
    silent = True

    async def committed(
        self, consumer_group: str, partitions: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        if self.silent and consumer_group == SCORER:
            raise DependencyError("broker_refused", "GroupAuthorizationFailed", "give the principal the right")
        return await super().committed(consumer_group, partitions)


async def test_what_cannot_be_measured_has_no_series_and_is_said_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committed_lag, "EVERY_S", 0.0)
    broker, looks = Silent(world.broker), 0
    broker.silent = False
    world.add(10_000)
    world.now_ms = 30_000
    with structlog.testing.capture_logs() as said:
        task = asyncio.create_task(world.lag(broker).go_on())
        async with asyncio.timeout(30):
            while world.shown("lag_seconds") is None:  # noqa: ASYNC110 - looks come by themselves
                await asyncio.sleep(0)
            assert (world.shown("lag_seconds"), world.shown("headroom_ratio")) == (20.0, 0.8)
            broker.silent = True
            while world.shown("lag_seconds") is not None:  # noqa: ASYNC110
                await asyncio.sleep(0)
            while looks < 20:
                looks += 1
                await asyncio.sleep(0)
            assert world.shown("headroom_ratio") is None
            broker.silent = False
            while world.shown("lag_records") is None:  # noqa: ASYNC110
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [entry["topic"] for entry in said if entry["event"] == "lag unknown"] == [DOCUMENTS]


async def test_the_aggregator_shows_it_without_a_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committed_lag, "EVERY_S", 0.001)
    project = make_project(tmp_path)
    pipeline = Pipeline(project, MemoryBroker(), tmp_path / "out")
    await pipeline.prepare()

    def shown(name: str) -> float | None:
        return pipeline.metrics.registry.get_sample_value(f"mira_committed_{name}", {"topic": DOCUMENTS})

    for number in range(5):
        document = Document(id=f"d{number}", source="notes", text="x")
        pipeline.broker.append(DOCUMENTS, b"k", encode(document), timestamp_ms=1_000)
    pipeline.start("aggregate")
    await pipeline.until(lambda: shown("lag_records") == 5)
    assert (shown("lag_seconds") or 0) > 1_000_000
    pipeline.start("score")
    await pipeline.until(lambda: shown("lag_seconds") == 0)
    await pipeline.shut_down()
