"""What a running stage says of itself: where it is full and why, how old the oldest unread record is, and stalls."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection

import pytest
import structlog

from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.streaming import stage_watch
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.stalls import Found
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.consumer import MemoryReader
from tests.flow.test_runner import IN, OUT, P0, Copier, broker_with, settings, until, until_copied

STAGE = {"stage": "test"}
PLACE = {"topic": IN, "partition": "0"}


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_watch, "LAG_S", 0.001)


class Stage:
    """A runner by a clock of its own, whose handlers wait for a gate; those of the partitions `held`."""

    def __init__(self, broker: MemoryBroker, held: Collection[int] = range(99), **changes: float | bool) -> None:
        self.broker = broker
        self.gate, self.stop, self.metrics = asyncio.Event(), asyncio.Event(), Metrics()
        self.now_s, self.now_ms, self.down = 0.0, 0, False
        self.held = held
        make = lambda partition, reader: Copier(partition, reader, self._work)  # noqa: E731
        runner = Runner(
            broker, settings(**changes), make, self.metrics,  # type: ignore[arg-type]
            now=lambda: self.now_s, now_ms=lambda: self.now_ms, is_down=lambda: self.down,
        )  # fmt: skip
        self.looks, stall = 0, self.metrics.stages.stall

        def told(stage: str, found: Found) -> None:
            stall(stage, found)
            self.looks += 1

        self.metrics.stages.stall = told  # type: ignore[method-assign]
        self.task = asyncio.create_task(runner.run(self.stop))

    async def _work(self, record: Record) -> None:
        if record.partition in self.held:
            await self.gate.wait()

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    async def until(self, reached: Callable[[], bool]) -> None:
        await until(reached, self)  # type: ignore[arg-type]

    def stalled(self, places: list[dict[str, str]]) -> list[float | None]:
        return [self.value("mira_partition_stalled", **place) for place in places]

    async def looked(self) -> None:
        """Until the watch has looked once more, from beginning to end."""
        looks = self.looks
        await self.until(lambda: self.looks > looks + 1)

    async def end(self) -> None:
        self.gate.set()
        self.stop.set()
        await self.task


async def test_a_full_stage_says_so_why_and_how_long() -> None:
    broker = await broker_with(40, partitions=1)
    stage = Stage(broker, documents=10)
    await stage.until(lambda: stage.value("mira_backpressure_state", **STAGE) == 2)
    stage.now_s = 5.0
    seconds = "mira_backpressure_seconds_total"
    await stage.until(lambda: stage.value(seconds, **STAGE, cause="documents") == 5.0)
    assert stage.value(seconds, **STAGE, cause="tokens") == 0
    stage.gate.set()
    await until_copied(broker, 40)
    await stage.until(lambda: stage.value("mira_backpressure_state", **STAGE) == 0)
    stage.now_s = 50.0
    await stage.until(lambda: stage.value("mira_lag_records", **PLACE) == 0)
    assert stage.value(seconds, **STAGE, cause="documents") == 5.0
    await stage.end()


async def test_it_says_so_at_the_moment_of_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_watch, "LAG_S", 1e6)  # it looks once, when it begins
    broker = await broker_with(40, partitions=1)
    stage = Stage(broker, documents=10)
    await stage.until(lambda: stage.value("mira_backpressure_state", **STAGE) == 2)
    for stage.now_s in (5.0, 5.5):
        assert stage.value("mira_backpressure_seconds_total", **STAGE, cause="documents") == stage.now_s
    stage.gate.set()
    await stage.until(lambda: stage.value("mira_backpressure_state", **STAGE) == 0)
    stage.now_s = 50.0
    assert stage.value("mira_backpressure_seconds_total", **STAGE, cause="documents") == 5.5
    await stage.end()


async def test_an_engine_that_is_down_is_the_cause() -> None:
    stage = Stage(await broker_with(40, partitions=1), documents=10)
    stage.down = True
    await stage.until(lambda: stage.value("mira_backpressure_state", **STAGE) == 2)
    stage.now_s = 3.0
    await stage.until(lambda: stage.value("mira_backpressure_seconds_total", **STAGE, cause="engine") == 3.0)
    await stage.end()


@pytest.mark.parametrize("concurrent", [True, False])
async def test_a_commit_that_hangs_is_the_brokers(concurrent: bool) -> None:
    broker = await broker_with(200, partitions=1)
    stage = Stage(broker, documents=100, concurrent=concurrent, records=7, span=50)
    await stage.until(lambda: broker._cluster.group("g").offsets == {P0: 0})  # its start is said first
    hold = broker.hold_next_commit("g")
    stage.gate.set()
    await hold.reached.wait()
    await stage.until(lambda: stage.value("mira_backpressure_state", **STAGE) == 2)
    stage.now_s = 4.0
    await stage.until(lambda: stage.value("mira_backpressure_seconds_total", **STAGE, cause="broker") == 4.0)
    hold.release()
    await until_copied(broker, 200)
    await stage.end()


async def test_lag_in_seconds_is_the_age_of_the_oldest_unread_record_itself() -> None:
    """Whatever the time of the last one read: a source that was silent for a day is not a day behind."""
    broker = await broker_with(0, partitions=1)
    broker.retention[IN] = 100_000
    for number in range(4):
        broker.append(IN, b"k", b"%d" % number, 0, timestamp_ms=1_000 if number < 2 else 90_000)
    stage = Stage(broker, documents=2)
    stage.now_ms = 91_000
    await stage.until(lambda: stage.value("mira_lag_records", **PLACE) == 2)
    stage.now_s = 60.0  # since the first look at this partition
    await stage.until(lambda: stage.value("mira_lag_seconds", **PLACE) == 1.0)
    assert stage.value("mira_retention_headroom_ratio", **PLACE) == pytest.approx(0.99)
    with structlog.testing.capture_logs() as said:
        stage.now_ms = 150_000
        await stage.until(lambda: stage.value("mira_lag_seconds", **PLACE) == 60.0)
        stage.now_ms = 175_000
        await stage.until(lambda: stage.value("mira_lag_seconds", **PLACE) == 85.0)
    assert [entry["log_level"] for entry in said if "retention" in entry["event"]] == ["warning", "error"]
    stage.gate.set()
    await until_copied(broker, 4)
    await stage.until(lambda: stage.value("mira_lag_seconds", **PLACE) == 0)
    assert stage.value("mira_retention_headroom_ratio", **PLACE) == 1
    await stage.end()


@pytest.mark.parametrize(("documents", "span"), [(10, 1000), (1000, 10)], ids=["full", "paused"])
async def test_what_waits_for_the_stage_itself_is_not_read_for_its_time_at_once(
    documents: int, span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs a whole batch each time a partition stands for a moment; until then the last one read tells its time."""
    broker, read = await broker_with(0, partitions=1), list[int]()
    for number in range(10):
        broker.append(IN, b"k", b"%d" % number, 0, timestamp_ms=1_000)
    whole = MemoryReader.read

    def noted(self: MemoryReader, at: TopicPartition, first: int, end: int) -> AsyncIterator[Record]:
        if at == P0:
            read.append(first)
        return whole(self, at, first, end)

    monkeypatch.setattr(MemoryReader, "read", noted)
    stage = Stage(broker, documents=documents, span=span)
    stage.now_ms = 91_000
    await stage.until(lambda: stage.value("mira_backpressure_state", **STAGE) == 2)
    assert stage.value("mira_paused_partitions", **STAGE) == (span == 10)
    for number in range(10, 20):
        broker.append(IN, b"k", b"%d" % number, 0, timestamp_ms=90_000)
    await stage.until(lambda: stage.value("mira_lag_records", **PLACE) == 10)
    await stage.looked()
    stage.now_s = 9.9
    await stage.looked()
    assert set(read) <= {0}, "before anything was read its time may be asked for"
    assert stage.value("mira_lag_seconds", **PLACE) == 90.0
    stage.now_s = 20.0
    await stage.until(lambda: stage.value("mira_lag_seconds", **PLACE) == 1.0)
    await stage.looked()
    assert read.count(10) == 1
    await stage.end()


async def test_what_stands_behind_an_open_transaction_waits() -> None:
    broker = await broker_with(1, partitions=1)
    stage = Stage(broker, held=())
    await until_copied(broker, 1)
    await stage.until(lambda: stage.value("mira_lag_records", **PLACE) == 0)
    hold = broker.hold_next_commit()
    stranger = await broker.producer("stranger")
    committing = asyncio.create_task(stranger.commit([Outgoing(IN, b"k", b"1", 0)], {}, None))
    await hold.reached.wait()
    broker.append(IN, b"k", b"2", 0)
    await stage.until(lambda: stage.value("mira_lag_records", **PLACE) == 2)
    stage.now_s = 33.0
    await stage.until(lambda: stage.value("mira_lag_seconds", **PLACE) == 33)
    assert stage.value("mira_open_transaction_seconds", topic=IN) == 33
    hold.release()
    await committing
    await until_copied(broker, 3)
    await stage.until(lambda: stage.value("mira_lag_records", **PLACE) == 0)
    await stage.until(lambda: stage.value("mira_open_transaction_seconds", topic=IN) == 0)
    await stage.end()


async def test_work_that_does_not_move_for_a_minute_is_told() -> None:
    broker = await broker_with(4, partitions=1)
    stage = Stage(broker, documents=2)
    await stage.until(lambda: stage.value("mira_lag_records", **PLACE) == 2)
    assert stage.value("mira_stalled", **STAGE, cause="no_progress") == 0
    stage.now_s = 61.0
    await stage.until(lambda: stage.value("mira_stalled", **STAGE, cause="no_progress") == 1)
    stage.gate.set()
    await until_copied(broker, 4)
    await stage.until(lambda: stage.value("mira_stalled", **STAGE, cause="no_progress") == 0)
    await stage.end()


async def test_one_partition_that_does_not_move_is_named_while_the_others_flow() -> None:
    broker = await broker_with(0, partitions=3)
    stage = Stage(broker, held={0}, documents=100)
    names = [{**STAGE, "topic": IN, "partition": str(number)} for number in range(3)]

    async def copied(numbers: range) -> None:
        before = len(broker.records(OUT))
        for number in numbers:
            broker.append(IN, b"k", b"%d" % number, number % 3)
        await until_copied(broker, before + sum(number % 3 > 0 for number in numbers))

    await copied(range(9))
    with structlog.testing.capture_logs() as said:
        for second in range(10, 61, 10):
            await stage.looked()
            stage.now_s = float(second)
            assert stage.stalled(names) == [None, None, None]
            await copied(range(9 * second, 9 * second + 9 if second < 60 else 9 * second))
        await stage.until(lambda: stage.value("mira_stalled", **STAGE, cause="no_progress") == 1)
        assert stage.stalled(names) == [1, None, None]
        stage.gate.set()
        await stage.until(lambda: stage.value("mira_stalled", **STAGE, cause="no_progress") == 0)
    assert stage.stalled(names) == [None, None, None]
    told = [(entry["event"], entry["partitions"]) for entry in said if entry.get("cause") == "no_progress"]
    assert told == [("stalled", ["in/0"]), ("goes on", ["in/0"])]
    await stage.end()


@pytest.mark.parametrize("concurrent", [True, False])
async def test_a_stage_that_is_idle_never_stalls(concurrent: bool) -> None:
    """Also if markers of transactions stand behind its last record."""
    broker = await broker_with(0, partitions=2)
    producer = await broker.producer("upstream")
    await producer.commit([Outgoing(IN, b"k", b"0", 0), Outgoing(IN, b"k", b"1", 1)], {}, None)
    stage = Stage(broker, concurrent=concurrent, tick_s=0.001)
    stage.gate.set()
    await until_copied(broker, 2)
    for second in range(0, 1_000, 50):
        await stage.until(lambda: stage.value("mira_lag_records", **PLACE) == 0)
        await stage.looked()
        stage.now_s = float(second)
        await stage.looked()
        assert stage.value("mira_stalled", **STAGE, cause="no_progress") == 0
    await stage.end()


async def test_a_member_without_partitions_is_told_and_is_ready() -> None:
    broker = await broker_with(0, partitions=1)
    first = Stage(broker)
    await first.until(lambda: first.value("mira_lag_records", **PLACE) == 0)
    spare = Stage(broker)
    await spare.looked()
    await broker.settled("g")
    spare.now_s = first.now_s = 61.0
    stages = (first, spare)
    name = "mira_stalled"
    await spare.until(lambda: sum(one.value(name, **STAGE, cause="unassigned") or 0 for one in stages) == 1)
    await spare.until(lambda: all(one.metrics.health.ready().ok for one in stages))
    for one in stages:
        await one.end()
