"""The real runner over the in-memory broker: nothing lost, nothing twice, whatever goes wrong between."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import pytest

from mira_stream.errors import EngineError
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.streaming import owner
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import TopicSpec
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.settings import RunnerSettings, Start
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.cluster import Failure
from tests.virtual import in_virtual_time

IN, OUT, PROGRESS = "in", "out", "progress"
P0 = TopicPartition(IN, 0)
Work = Callable[[Record], Awaitable[None]]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "REOPEN_S", (0.0,))
    monkeypatch.setattr(owner, "FENCED_S", (0.0,))
    COPIERS.clear()


async def at_once(record: Record) -> None:
    await asyncio.sleep(0)


COPIERS: list["Copier"] = []
"""All that were made in the test that runs."""


class Copier:
    """Copies each record's value; counts the transactions it was asked to seal and told to be committed."""

    def __init__(self, partition: TopicPartition, reader: LogReader, work: Work) -> None:
        self.partition, self.work = partition, work
        self.sealed = self.confirmed = 0
        COPIERS.append(self)

    async def open(self, next_offset: int) -> None:
        assert next_offset >= 0

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        await self.work(record)
        return [Outgoing(OUT, record.key, record.value or b"", self.partition.partition)]

    async def seal(self, next_offset: int) -> Sequence[Outgoing]:
        self.sealed += 1
        return []

    async def committed(self) -> None:
        self.confirmed += 1

    async def close(self) -> None: ...


def settings(
    concurrent: bool = True,
    documents: int = 16,
    span: int = 1000,
    records: int = 7,
    linger_s: float = 0.0,
    ranges: int = 1000,
    start: Start = "earliest",
    accept_loss: bool = False,
    tick_s: float = 5.0,
    drain_s: float = 5.0,
    progress: str = PROGRESS,
    results: str = "",
) -> RunnerSettings:
    return RunnerSettings(
        stage="test",
        consumer_group="g",
        topics=(IN,),
        concurrent=concurrent,
        limit=Amount(documents, 10**9, 10**9),
        partition_span=span,
        transaction_records=records,
        transaction_linger_s=linger_s,
        drain_s=drain_s,
        progress=progress,
        results=results,
        progress_ranges=ranges,
        start=start,
        accept_loss=accept_loss,
        tick_s=tick_s,
    )


async def broker_with(records: int, partitions: int = 3) -> MemoryBroker:
    broker = MemoryBroker()
    await broker.create_topics([TopicSpec(name, partitions) for name in (IN, OUT, PROGRESS)], 1)
    for number in range(records):
        broker.append(IN, str(number).encode(), str(number).encode(), number % partitions)
    return broker


class Member:
    """One running runner of the group."""

    def __init__(
        self, broker: MemoryBroker, work: Work = at_once, make: type[Copier] = Copier, **changes: float | bool | str
    ) -> None:
        self.stop = asyncio.Event()
        self.metrics = Metrics()
        factory = lambda partition, reader: make(partition, reader, work)  # noqa: E731
        self.runner = Runner(broker, settings(**changes), factory, self.metrics)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.runner.run(self.stop))

    async def leave(self) -> None:
        self.stop.set()
        await self.task


async def until(reached: Callable[[], bool], *members: Member) -> None:
    """Let the loop turn until `reached`; a member that ends before is an error."""
    async with asyncio.timeout(30):
        while not reached():
            for member in members:
                if member.task.done():
                    member.task.result()
            await asyncio.sleep(0)


async def until_copied(broker: MemoryBroker, count: int, *members: Member) -> None:
    """Wait for `count` committed results."""
    await until(lambda: len(broker.records(OUT)) >= count, *members)


def check_copied_once(broker: MemoryBroker, count: int) -> None:
    values = [int(record.value or b"") for record in broker.records(OUT)]
    assert Counter(values) == Counter(range(count))
    assert broker.open_transactions() == []


@pytest.mark.parametrize("concurrent", [True, False])
async def test_all_arrive_once_and_one_by_one_in_order(concurrent: bool) -> None:
    broker = await broker_with(200)
    chance = random.Random(1)

    async def shuffled(record: Record) -> None:
        for _ in range(chance.randrange(20)):
            await asyncio.sleep(0)

    member = Member(broker, shuffled, concurrent=concurrent)
    await until_copied(broker, 200, member)
    await member.leave()
    check_copied_once(broker, 200)
    if not concurrent:
        copied = [(record.partition, int(record.value or b"")) for record in broker.records(OUT)]
        assert copied == sorted(copied)


@pytest.mark.parametrize("concurrent", [True, False])
@pytest.mark.parametrize("failure", ["unknown_committed", "unknown_open", "aborted"])
async def test_a_commit_that_goes_wrong_loses_and_doubles_nothing(failure: Failure, concurrent: bool) -> None:
    broker = await broker_with(120)
    for _ in range(4):
        broker.fail_next_commit(failure)
    member = Member(broker, concurrent=concurrent)
    await until_copied(broker, 120, member)
    await member.leave()
    check_copied_once(broker, 120)


async def test_members_come_and_go() -> None:
    broker = await broker_with(400, partitions=4)
    chance = random.Random(7)

    async def slow(record: Record) -> None:
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(0)

    first = Member(broker, slow)
    await until_copied(broker, 50, first)
    second = Member(broker, slow)
    await until_copied(broker, 150, first, second)
    third = Member(broker, slow)
    await until_copied(broker, 250, first, second, third)
    await first.leave()
    await until_copied(broker, 400, second, third)
    await second.leave()
    await third.leave()
    check_copied_once(broker, 400)


async def test_a_zombie_is_fenced_and_goes_on_when_the_partition_is_free_again() -> None:
    broker = await broker_with(60, partitions=1)
    hold = broker.hold_next_commit()
    member = Member(broker)
    await hold.reached.wait()
    usurper = await broker.producer("g.in.0")  # as a new owner would
    hold.release()
    await until_copied(broker, 60, member)
    await usurper.close()
    await member.leave()
    check_copied_once(broker, 60)
    assert member.metrics.registry.get_sample_value("mira_commits_total", {"stage": "test", "outcome": "fenced"}) == 1


async def test_an_engine_error_starts_the_partition_over() -> None:
    broker = await broker_with(40, partitions=2)
    failures = iter([EngineError("died", retriable=False)] * 3)

    async def failing(record: Record) -> None:
        await asyncio.sleep(0)
        if record.offset == 5 and (error := next(failures, None)) is not None:
            raise error

    member = Member(broker, failing)
    await until_copied(broker, 40, member)
    await member.leave()
    check_copied_once(broker, 40)


async def test_a_bug_in_a_handler_stops_the_runner() -> None:
    broker = await broker_with(10)

    async def buggy(record: Record) -> None:
        raise ZeroDivisionError("a bug")

    member = Member(broker, buggy)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(member.task, 30)
    assert broker.records(OUT) == []


async def test_admission_bounds_what_is_in_flight() -> None:
    broker = await broker_with(100)
    running = most = 0

    async def counted(record: Record) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    member = Member(broker, counted, documents=5)
    await until_copied(broker, 100, member)
    await member.leave()
    assert 1 < most <= 5
    check_copied_once(broker, 100)


async def test_a_partition_over_its_span_is_paused_and_resumed() -> None:
    broker = await broker_with(120, partitions=2)
    gate = asyncio.Event()
    seen: Counter[int] = Counter()

    async def first_waits(record: Record) -> None:
        seen[record.partition] += 1
        if record.partition == 0 and record.offset == 0:
            await gate.wait()

    member = Member(broker, first_waits, span=10)
    await until(lambda: len([r for r in broker.records(OUT) if r.partition == 1]) == 60, member)
    assert seen[0] < 10 + 16  # the span, and at most one poll beyond it
    gate.set()
    await until_copied(broker, 120, member)
    await member.leave()
    check_copied_once(broker, 120)


async def test_stop_drains_what_is_in_flight() -> None:
    broker = await broker_with(8, partitions=1)
    gate = asyncio.Event()
    worked = 0

    async def gated(record: Record) -> None:
        nonlocal worked
        worked += 1
        await gate.wait()

    member = Member(broker, gated)
    await until(lambda: worked == 8, member)
    member.stop.set()
    await asyncio.sleep(0)
    assert broker.records(OUT) == []
    gate.set()
    await member.task
    check_copied_once(broker, 8)
    committed = await broker.committed("g", [TopicPartition(IN, 0)])
    assert committed == {TopicPartition(IN, 0): 8}


@in_virtual_time
async def test_a_drain_ends_at_its_deadline_and_only_what_was_not_finished_is_done_again() -> None:
    broker = await broker_with(8, partitions=1)
    worked: Counter[int] = Counter()
    stuck = asyncio.Event()

    async def one_hangs(record: Record) -> None:
        worked[record.offset] += 1
        if record.offset == 3 and worked[3] == 1:
            await stuck.wait()

    member = Member(broker, one_hangs)
    await until(lambda: sum(worked.values()) == 8, member)
    member.stop.set()
    await asyncio.wait_for(member.task, 30)
    assert len(broker.records(OUT)) == 7, "all that had settled left in time"
    again = Member(broker, one_hangs)
    await until_copied(broker, 8, again)
    await again.leave()
    check_copied_once(broker, 8)
    assert {offset for offset, times in worked.items() if times > 1} == {3}


@pytest.mark.parametrize("concurrent", [True, False])
async def test_stop_waits_for_the_commit_that_is_under_way(concurrent: bool) -> None:
    broker = await broker_with(0, partitions=1)
    member = Member(broker, concurrent=concurrent)
    await until(lambda: broker._cluster.group("g").offsets == {P0: 0}, member)  # its start is said first
    hold = broker.hold_next_commit(ended=True)
    for number in range(4):
        broker.append(IN, b"", b"%d" % number, 0)
    await hold.reached.wait()
    member.stop.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert not member.task.done()
    hold.release()
    await member.task
    check_copied_once(broker, 4)
    assert [copier.confirmed for copier in COPIERS] == [copier.sealed for copier in COPIERS]


async def test_nothing_lingers_when_no_company_is_on_its_way() -> None:
    """An hour of linger, five records of seven that a transaction takes: they are committed when all have settled."""
    broker = await broker_with(5, partitions=1)
    member = Member(broker, linger_s=3600.0)
    await until_copied(broker, 5, member)
    await member.leave()
    check_copied_once(broker, 5)


async def turns() -> None:
    """Let everything that is ready happen."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_between_revocation_and_assignment_no_failed_owner_fences_the_next_one() -> None:
    broker = await broker_with(3, partitions=1)
    fails = asyncio.Event()
    failures = iter([EngineError("died", retriable=True)])

    async def failing(record: Record) -> None:
        await fails.wait()
        if (error := next(failures, None)) is not None:
            raise error

    member = Member(broker, failing)
    await until(lambda: any(lane.work for lane in member.runner._lanes.values()), member)
    await member.runner.assignment.on_revoked([P0])
    heir = await broker.producer("g.in.0")
    fails.set()
    await until(lambda: not member.runner._lanes, member)
    await turns()
    await heir.commit([], {}, None)  # raises if it was fenced
    await member.runner.assignment.on_assigned([P0])
    await until_copied(broker, 3, member)
    await member.leave()
    check_copied_once(broker, 3)


async def test_nothing_of_a_partition_that_came_back_is_begun_before_its_owner_has_looked_at_the_offset() -> None:
    """Nor while a look is under way that a second rebalance has overtaken."""
    broker = await broker_with(400, partitions=1)
    begun: list[int] = []
    looks: list[asyncio.Event] = []

    async def work(record: Record) -> None:
        begun.append(record.offset)
        await asyncio.sleep(0)

    member = Member(broker, work, documents=4)
    await until(lambda: len(begun) > 10, member)
    runner, ask = member.runner, member.runner.consumer.committed

    async def slow(partition: TopicPartition) -> int | None:
        looks.append(asyncio.Event())
        await looks[-1].wait()
        return await ask(partition)

    runner.consumer.committed = slow  # type: ignore[method-assign]
    await runner.assignment.on_revoked([P0])
    await runner.assignment.on_assigned([P0])
    await until(lambda: len(looks) == 1, member)
    seen = len(begun)
    broker.append(IN, b"", b"400", 0)  # the poll loop turns
    await turns()
    assert len(begun) == seen
    await runner.assignment.on_revoked([P0])
    await runner.assignment.on_assigned([P0])
    looks[0].set()
    await until(lambda: len(looks) == 2, member)
    broker.append(IN, b"", b"401", 0)
    await turns()
    assert len(begun) == seen
    looks[1].set()
    await until_copied(broker, 402, member)
    await member.leave()
    check_copied_once(broker, 402)
    assert len(begun) == 402


@pytest.mark.parametrize("times", [1, 2])
async def test_a_partition_that_comes_back_is_opened_when_its_last_lane_is_closed(times: int) -> None:
    """Also if it went and came back once more meanwhile."""
    broker = await broker_with(20, partitions=1)
    closes = asyncio.Event()

    class Slow(Copier):
        async def close(self) -> None:
            await closes.wait()

    member = Member(broker, make=Slow)
    await until_copied(broker, 20, member)
    for _ in range(times):
        await member.runner.assignment.on_assigned([])
        await turns()
        await member.runner.assignment.on_assigned([P0])
        await turns()
    assert len(COPIERS) == 1
    closes.set()
    broker.append(IN, b"20", b"20", 0)
    await until_copied(broker, 21, member)
    await member.leave()
    assert len(COPIERS) == 2
    check_copied_once(broker, 21)
