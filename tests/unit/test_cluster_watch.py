"""Transactions that do not end, as a stage sees them; brokers' disks and replicas as metrics."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mira_stream.consumers import aggregator, exporter
from mira_stream.consumers.scorer import scorer_settings
from mira_stream.consumers.watcher import watcher_settings

from mira_stream.config import load_project
from mira_stream.errors import DependencyError
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.cluster_watch import LOOK_S, WRITES_S, ClusterWatch
from mira_stream.streaming.held_back import Held, HeldBack
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import ClusterState, TopicSpec
from mira_stream.streaming.settings import RunnerSettings
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from tests.machine import ROOT

AT = TopicPartition("m.documents.g", 0)
OTHER = TopicPartition("m.documents.g", 1)


def test_only_an_offset_that_stands_below_its_end_is_held_back() -> None:
    held = HeldBack()
    assert held.look({AT: 5, OTHER: 9}, {AT: 5, OTHER: 9}, 0.0) == {}
    assert held.look({AT: 5, OTHER: 9}, {AT: 7, OTHER: 9}, 30.0) == {AT: Held(7, 0.0)}
    assert held.look({AT: 5, OTHER: 9}, {AT: 8, OTHER: 9}, 60.0) == {AT: Held(8, 30.0)}
    moved = held.look({AT: 6, OTHER: 9}, {AT: 8, OTHER: 9}, 90.0)
    assert moved == {AT: Held(8, 0.0)}, "it has moved: another transaction"
    assert held.look({AT: 8, OTHER: 9}, {AT: 8, OTHER: 9}, 120.0) == {}
    assert held.look({AT: 8, OTHER: 9}, {AT: 9, OTHER: 9}, 150.0) == {AT: Held(9, 0.0)}, "counted anew"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0.1, 60)), max_size=30))
def test_held_back_is_the_time_at_one_offset(steps: list[tuple[int, int, float]]) -> None:
    held, now, stable = HeldBack(), 0.0, 0
    since: tuple[int, float] | None = None
    for moved, open_, passed in steps:
        now, stable = now + passed, stable + moved
        if not open_:
            since = None
        elif since is None or since[0] != stable:
            since = (stable, now)
        expected = {AT: Held(stable + open_, now - since[1])} if since else {}
        assert held.look({AT: stable}, {AT: stable + open_}, now) == expected


class Ill(MemoryBroker):
    """Two partitions of every topic lack a replica, a disk is nearly full; on request it does not answer."""

    away = False
    disk_free: Mapping[int, float] = {1: 0.04}

    async def state(self, topics: Sequence[str]) -> ClusterState:
        if self.away:
            raise DependencyError("broker_unreachable", "away", "start it")
        return ClusterState(dict.fromkeys(topics, 2), self.disk_free)


class Reader:
    ends: Mapping[TopicPartition, int]

    async def high_watermarks(self, partitions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return self.ends


async def test_what_is_seen_is_shown_and_brokers_are_not_asked_again_too_soon() -> None:
    broker, reader, metrics, clock = Ill(), Reader(), Metrics(), [0.0]
    reader.ends = {AT: 7}
    watch = ClusterWatch(reader, broker, metrics.cluster, lambda: clock[0])  # type: ignore[arg-type]
    assert await watch.held([AT.topic], {AT: 5}) == {AT: Held(7, 0.0)}
    await watch.look([AT.topic])
    clock[0] = 2.0
    assert await watch.held([AT.topic], {AT: 5}) == {AT: Held(7, 2.0)}
    broker.disk_free = {1: 0.9}
    await watch.look([AT.topic])
    shown = metrics.exposition().decode()
    assert f'mira_open_transaction_seconds{{topic="{AT.topic}"}} 2.0' in shown
    assert f'mira_partitions_under_replicated{{topic="{AT.topic}"}} 2.0' in shown
    assert 'mira_broker_disk_free_ratio{broker="1"} 0.04' in shown
    reader.ends = {AT: 5}
    assert await watch.held([AT.topic], {AT: 5}) == {}
    clock[0] = LOOK_S
    await watch.look([AT.topic])
    shown = metrics.exposition().decode()
    assert f'mira_open_transaction_seconds{{topic="{AT.topic}"}} 0.0' in shown
    assert 'mira_broker_disk_free_ratio{broker="1"} 0.9' in shown


async def test_a_broker_that_was_replaced_is_no_longer_shown() -> None:
    broker, reader, metrics, clock = Ill(), Reader(), Metrics(), [0.0]
    watch = ClusterWatch(reader, broker, metrics.cluster, lambda: clock[0])  # type: ignore[arg-type]
    await watch.look([AT.topic])
    broker.disk_free, clock[0] = {2: 0.6}, LOOK_S
    await watch.look([AT.topic])
    shown = metrics.exposition().decode()
    assert 'mira_broker_disk_free_ratio{broker="2"} 0.6' in shown
    assert 'mira_broker_disk_free_ratio{broker="1"}' not in shown


async def test_looks_that_fail_are_counted_because_the_rest_stands_still() -> None:
    broker, reader, metrics, clock = Ill(), Reader(), Metrics(), [0.0]
    watch = ClusterWatch(reader, broker, metrics.cluster, lambda: clock[0])  # type: ignore[arg-type]
    await watch.look([AT.topic])
    broker.away, clock[0] = True, LOOK_S
    await watch.look([AT.topic])
    shown = metrics.exposition().decode()
    assert 'mira_broker_looks_total{outcome="answered"} 1.0' in shown
    assert 'mira_broker_looks_total{outcome="failed"} 1.0' in shown


async def test_topics_that_a_stage_only_writes_are_looked_at_too() -> None:
    """Whose transaction it is does not matter: here it is of a producer that nobody knows of any more."""
    broker, metrics, clock = MemoryBroker(), Metrics(), [0.0]
    await broker.create_topics([TopicSpec(AT.topic, 1), TopicSpec("m.progress", 2)], 1)
    watch = ClusterWatch(await broker.reader(), broker, metrics.cluster, lambda: clock[0])
    producer, hold = await broker.producer("lost"), broker.hold_next_commit()
    committing = asyncio.create_task(producer.commit([Outgoing("m.progress", None, b"x", 1)], {}, None))
    await hold.reached.wait()
    for clock[0] in (0.0, WRITES_S, 2 * WRITES_S, 2 * WRITES_S + 1):
        await watch.held([AT.topic], {AT: 0}, ["m.progress", "m.missing"])
    shown = metrics.exposition().decode()
    assert f'mira_open_transaction_seconds{{topic="m.progress"}} {2 * WRITES_S}' in shown
    assert f'mira_open_transaction_seconds{{topic="{AT.topic}"}} 0.0' in shown
    hold.release()
    await committing
    clock[0] = 3 * WRITES_S
    await watch.held([AT.topic], {AT: 0}, ["m.progress"])
    assert 'mira_open_transaction_seconds{topic="m.progress"} 0.0' in metrics.exposition().decode()


def test_every_topic_of_a_project_is_read_or_written_by_a_stage_that_looks_at_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = load_project(ROOT / "mira_stream" / "demo" / "project")
    seen = [scorer_settings(project, group) for group in project.settings.groups]
    seen.append(watcher_settings(project, next(iter(project.settings.groups))))

    def runner(broker: object, settings: RunnerSettings, *rest: object) -> None:
        seen.append(settings)
        raise Stopped

    for module, run in ((aggregator, aggregator.aggregate), (exporter, exporter.export)):
        monkeypatch.setattr(module, "Runner", runner)
        more = [tmp_path] if run is exporter.export else []
        with pytest.raises(Stopped):
            asyncio.run(run(project, MemoryBroker(), *more, Metrics(), asyncio.Event()))
    assert {topic for one in seen for topic in (*one.topics, *one.writes)} == {s.name for s in topic_specs(project)}


class Stopped(Exception):
    pass
