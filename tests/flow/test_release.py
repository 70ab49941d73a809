"""Results released out of order: what a restart does again, what a slow document costs, where an owner starts."""

import asyncio
from collections import Counter

import pytest

from mira_stream.errors import DataLossError, DependencyError
from mira_stream.messages import decoder, encode
from mira_stream.progress_messages import Progress
from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.streaming import stage_watch
from mira_stream.streaming.markers import pass_markers
from mira_stream.streaming.owner import LOOKS
from mira_stream.streaming.progress import FIRST_STEP, newest_progress, progress_elsewhere, progress_key
from mira_stream.streaming.starting import Start, agreed, retained
from tests.flow.test_runner import (
    IN,
    OUT,
    P0,
    PROGRESS,
    Member,
    broker_with,
    check_copied_once,
    no_pauses,
    until,
    until_copied,
)

__all__ = ["no_pauses"]


class Work:
    """Counts how often each offset was worked on; those in `held` wait until they are let go."""

    def __init__(self, *held: int) -> None:
        self.done: Counter[tuple[int, int]] = Counter()
        self.held = {offset: asyncio.Event() for offset in held}

    async def __call__(self, record: Record) -> None:
        self.done[record.partition, record.offset] += 1
        if record.offset in self.held:
            await self.held[record.offset].wait()
        await asyncio.sleep(0)

    @property
    def again(self) -> dict[tuple[int, int], int]:
        return {key: count for key, count in self.done.items() if count > 1}


async def kill(member: Member) -> None:
    """End it without any goodbye."""
    member.task.cancel()
    await asyncio.gather(member.task, return_exceptions=True)


async def test_one_slow_document_holds_back_no_other() -> None:
    broker, work = await broker_with(300, partitions=1), Work(0)
    member = Member(broker, work)
    await until_copied(broker, 299, member)
    assert await broker.committed("g", [P0]) == {P0: 0}
    work.held[0].set()
    await until_copied(broker, 300, member)
    await member.leave()
    check_copied_once(broker, 300)
    assert await broker.committed("g", [P0]) == {P0: 300}


async def test_a_killed_runner_does_again_only_what_was_not_released() -> None:
    broker, work = await broker_with(300, partitions=1), Work(3, 50, 199)
    first = Member(broker, work)
    await until_copied(broker, 297, first)
    await kill(first)
    for held in work.held.values():
        held.set()
    second = Member(broker, work)
    await until_copied(broker, 300, second)
    await second.leave()
    check_copied_once(broker, 300)
    assert work.again == {(0, 3): 2, (0, 50): 2, (0, 199): 2}
    skipped = {"stage": "test", "topic": IN}
    assert second.metrics.registry.get_sample_value("mira_records_skipped_total", skipped) == 294  # 4 .. 299 but two
    assert await broker.committed("g", [P0]) == {P0: 300}


async def test_a_clean_stop_does_nothing_again() -> None:
    broker, work = await broker_with(200), Work()
    for stop_at in (40, 90, 150, 200):
        member = Member(broker, work)
        await until_copied(broker, stop_at, member)
        await member.leave()
    check_copied_once(broker, 200)
    assert work.again == {}


async def test_killed_again_and_again_nothing_is_lost_or_doubled() -> None:
    broker, work = await broker_with(400), Work()
    for stop_at in (1, 20, 60, 61, 130, 200, 290, 390):
        member = Member(broker, work, linger_s=0.0, records=3)
        await until_copied(broker, stop_at, member)
        await kill(member)
    member = Member(broker, work)
    await until_copied(broker, 400, member)
    await member.leave()
    check_copied_once(broker, 400)


async def test_a_rebalance_keeps_the_work_on_partitions_that_stay() -> None:
    broker, work = await broker_with(64, partitions=2), Work(0, 1, 2, 3)
    first = Member(broker, work, documents=32)
    await until(lambda: len(work.done) >= 32, first)
    second = Member(broker, work, documents=32)
    await until_copied(broker, 56, first, second)
    for held in work.held.values():
        held.set()
    await until_copied(broker, 64, first, second)
    await first.leave()
    await second.leave()
    check_copied_once(broker, 64)
    assert {partition for partition, _ in work.again} <= {1}  # the one that moved
    outcome = {"stage": "test", "outcome": "kept"}
    assert first.metrics.registry.get_sample_value("mira_returned_partitions_total", outcome) == 1


async def test_work_goes_on_and_is_committed_while_the_group_rebalances() -> None:
    """Revoked and not assigned again: the old owner's commits stand until somebody fences it."""
    broker, work = await broker_with(20, partitions=1), Work(5)
    member = Member(broker, work, documents=32)
    await until_copied(broker, 19, member)
    await member.runner.assignment.on_revoked([P0])
    broker.append(IN, b"20", b"20", 0)
    work.held[5].set()
    await until_copied(broker, 20, member)
    assert (0, 20) not in work.done  # nothing new is admitted
    await member.runner.assignment.on_assigned([P0])
    await until_copied(broker, 21, member)
    await member.leave()
    check_copied_once(broker, 21)
    assert work.again == {}


async def test_a_moved_offset_is_noticed_when_the_partition_comes_back() -> None:
    broker, work = await broker_with(20, partitions=1), Work(5)
    member = Member(broker, work, documents=32)
    await until_copied(broker, 19, member)
    await member.runner.assignment.on_revoked([P0])
    by_hand = await broker.producer("a tool")
    await by_hand.commit([], {P0: 2}, "g")
    await member.runner.assignment.on_assigned([P0])
    with pytest.raises(DataLossError, match=r"progress_differs.*offset is 2, its progress says 5"):
        await asyncio.wait_for(member.task, 30)


async def test_a_zombie_in_the_middle_of_a_commit_loses_to_the_new_owner() -> None:
    """Thrown out while its transaction is under way: what it did stands or is done again, never both."""
    for ended in (False, True):
        broker, work = await broker_with(30, partitions=1), Work()
        first = Member(broker, work)
        await until_copied(broker, 1, first)
        hold = broker.hold_next_commit(ended=ended)
        await asyncio.wait_for(hold.reached.wait(), 30)
        broker.expel("g", first.runner.consumer)
        second = Member(broker, work)
        await until_copied(broker, 29, second)
        hold.release()
        await until_copied(broker, 30, second)
        broker.readmit("g", first.runner.consumer)
        await broker.settled("g")
        await first.leave()
        await second.leave()
        check_copied_once(broker, 30)


async def test_progress_and_offset_that_differ_stop_the_stage() -> None:
    broker = await broker_with(30, partitions=1)
    member = Member(broker)
    await until_copied(broker, 30, member)
    await member.leave()
    tool = await broker.producer("a tool")
    await tool.commit([], {P0: 12}, "g")
    member = Member(broker)
    with pytest.raises(DataLossError, match=r"progress_differs.*12.*30"):
        await asyncio.wait_for(member.task, 30)
    member = Member(broker, accept_loss=True)
    await until_copied(broker, 48, member)  # 12 to 29 again: that is what was accepted
    await member.leave()
    assert await broker.committed("g", [P0]) == {P0: 30}


async def test_a_forgotten_offset_stops_the_stage_and_progress_is_the_way_on() -> None:
    broker, work = await broker_with(30, partitions=1), Work(7)
    member = Member(broker, work, documents=64)
    await until_copied(broker, 29, member)
    await kill(member)
    broker.forget_offsets("g")
    member = Member(broker, work)
    with pytest.raises(DataLossError, match=r"offsets_expired.*progress says 7"):
        await asyncio.wait_for(member.task, 30)
    work.held[7].set()
    member = Member(broker, work, accept_loss=True)
    await until_copied(broker, 30, member)
    await member.leave()
    check_copied_once(broker, 30)
    assert work.again == {(0, 7): 2}


async def test_offsets_deleted_before_they_were_read() -> None:
    broker, work = await broker_with(30, partitions=1), Work(4)
    member = Member(broker, work, documents=8)
    await until(lambda: len(broker.records(OUT)) >= 12, member)
    await kill(member)
    done = len(broker.records(OUT))
    for number in range(30, 60):
        broker.append(IN, b"", str(number).encode(), 0)
    broker.delete_before(P0, 40)
    member = Member(broker)
    with pytest.raises(DataLossError, match=r"records_deleted.*offsets 4 to 39"):
        await asyncio.wait_for(member.task, 30)
    member = Member(broker, accept_loss=True)
    await until_copied(broker, done + 20, member)
    await member.leave()
    lost = {"stage": "test", "topic": IN}
    assert member.metrics.registry.get_sample_value("mira_offsets_lost_total", lost) == 40 - done
    assert await broker.committed("g", [P0]) == {P0: 60}


@pytest.mark.parametrize("concurrent", [True, False])
@pytest.mark.parametrize("starts_over", [False, True])
async def test_what_is_deleted_while_a_stage_drains_is_named_to_the_offset(concurrent: bool, starts_over: bool) -> None:
    """What was read before goes out all the same, unless its commit fails; of the rest the next start says what is
    lost and stops, and on order goes on behind it."""
    broker, work = await broker_with(30, partitions=1), Work(*range(4, 30))
    member = Member(broker, work, documents=8, concurrent=concurrent, records=4)
    await until(lambda: (0, 4) in work.done and len(broker.records(OUT)) == 4, member)
    member.stop.set()
    await until(lambda: member.runner.draining, member)
    for number in range(30, 60):
        broker.append(IN, b"", str(number).encode(), 0)
    broker.delete_before(P0, 40)
    if starts_over:
        broker.fail_next_commit("aborted", "g.in.0")
    for held in work.held.values():
        held.set()
    await asyncio.wait_for(member.task, 30)
    done = len(broker.records(OUT))
    committed = (await broker.committed("g", [P0]))[P0]
    assert done == committed < 40
    assert committed == 4 if starts_over else committed > 4

    with pytest.raises(DataLossError, match=rf"records_deleted.*in/0: offsets {committed} to 39 were deleted"):
        await asyncio.wait_for(Member(broker, concurrent=concurrent).task, 30)
    assert (len(broker.records(OUT)), await broker.committed("g", [P0])) == (done, {P0: committed}), "it stops"
    member = Member(broker, concurrent=concurrent, accept_loss=True)
    await until_copied(broker, done + 20, member)
    await member.leave()
    lost = {"stage": "test", "topic": IN}
    assert member.metrics.registry.get_sample_value("mira_offsets_lost_total", lost) == 40 - committed
    assert await broker.committed("g", [P0]) == {P0: 60}
    values = sorted(int(record.value or b"") for record in broker.records(OUT))
    assert values == [*range(done), *range(40, 60)]


async def test_loss_after_loss_while_running_is_passed_over_if_that_is_accepted() -> None:
    """Retention overtakes a running scorer more often than it looks again, and nothing is committed in between."""
    times, broker, work = LOOKS + 2, await broker_with(8, partitions=1), Work(*range(100))
    member = Member(broker, work, documents=4, accept_loss=True, linger_s=60.0)
    for number in range(times):
        first = 6 * number
        await until(lambda first=first: (0, first + 3) in work.done, member)  # type: ignore[misc]
        for _ in range(6):
            broker.append(IN, b"", b"more", 0)
        broker.delete_before(P0, first + 6)
        for offset in range(first, first + 3):  # the fourth is still at work, so nobody commits
            work.held[offset].set()
    for held in work.held.values():
        held.set()
    await until_copied(broker, 8, member)
    await member.leave()
    lost = {"stage": "test", "topic": IN}
    assert member.metrics.registry.get_sample_value("mira_offsets_lost_total", lost) == 6 * times
    assert await broker.committed("g", [P0]) == {P0: 6 * times + 8}


@pytest.mark.parametrize("accept_loss", [False, True])
async def test_a_committed_offset_that_is_gone_while_running(accept_loss: bool) -> None:
    """A rebalance makes the owner look: what it has of the partition is void, Progress is the way on."""
    broker, work = await broker_with(30, partitions=1), Work(7)
    member = Member(broker, work, documents=64, accept_loss=accept_loss)
    await until_copied(broker, 29, member)
    broker.forget_offsets("g")
    other = Member(broker, accept_loss=accept_loss)
    if not accept_loss:
        with pytest.raises(DataLossError, match=r"offsets_expired.*progress says 7"):
            await asyncio.wait_for(member.task, 30)
        await kill(other)
        return
    work.held[7].set()
    await until_copied(broker, 30, member, other)
    await member.leave()
    await other.leave()
    check_copied_once(broker, 30)


async def test_deleted_but_finished_is_no_loss() -> None:
    broker, work = await broker_with(30, partitions=1), Work(29)
    member = Member(broker, work, documents=64)
    await until_copied(broker, 29, member)
    await kill(member)
    broker.delete_before(P0, 29)
    work.held[29].set()
    member = Member(broker, work)
    await until_copied(broker, 30, member)
    await member.leave()
    check_copied_once(broker, 30)


async def test_progress_is_found_where_it_lay_before_its_topic_grew() -> None:
    broker, work = await broker_with(30, partitions=1), Work(7)
    member = Member(broker, work, documents=64)
    await until_copied(broker, 29, member)
    await kill(member)
    reader, place = await broker.reader(), TopicPartition(PROGRESS, 1)
    found = await progress_elsewhere(reader, place, "g", P0)
    assert found is not None
    assert (found.next_offset, found.finished) == (7, [(8, 29)])
    start = agreed(P0, 7, found, accept_loss=False)
    assert start.finished == [(8, 29)]


def test_progress_that_is_nowhere_stops_the_stage() -> None:
    with pytest.raises(DataLossError, match="progress_missing"):
        agreed(P0, 7, None, accept_loss=False)
    assert agreed(P0, 7, None, accept_loss=True) == Start(7, 7, is_new=True)


def test_a_topic_made_anew_is_read_from_its_start_if_that_is_accepted() -> None:
    for committed in (50, None):  # a broker may forget the offsets of a topic that is deleted
        said = Progress(topic=IN, partition=0, next_offset=50, finished=[(60, 70)])
        start = agreed(P0, committed, said, accept_loss=True)
        assert retained(P0, start, (0, 20), said, accept_loss=True) == Start(
            0, committed, is_new=True, lost=[(50, 59), (71, None)]
        )
    with pytest.raises(DataLossError, match=r"offset_beyond_end.*--accept-loss"):
        retained(P0, Start(50, 50), (0, 20), accept_loss=False)


@pytest.mark.parametrize(
    ("committed", "first", "lost"),
    [
        (30, 45, []),  # moved back: all that is deleted was finished
        (30, 56, [(50, 51), (55, 55)]),
        (53, 58, [(50, 51), (55, 57)]),  # moved forwards: passed over and deleted
        (50, 58, [(50, 51), (55, 57)]),
    ],
)
def test_only_what_nobody_read_is_lost_wherever_the_offset_was_moved(
    committed: int, first: int, lost: list[tuple[int, int]]
) -> None:
    said = Progress(topic=IN, partition=0, next_offset=50, finished=[(52, 54), (60, 70)])
    start = agreed(P0, committed, said, accept_loss=True)
    start = retained(P0, start, (first, 90), said, accept_loss=True)
    assert (start.next_offset, list(start.lost)) == (first, lost)


@pytest.mark.parametrize("committed", [30, 50, 53])
def test_of_a_log_made_anew_only_what_was_finished_is_not_lost(committed: int) -> None:
    said = Progress(topic=IN, partition=0, next_offset=50, finished=[(52, 54), (60, 70)])
    start = retained(P0, agreed(P0, committed, said, accept_loss=True), (0, 20), said, accept_loss=True)
    assert (start.next_offset, start.lost) == (0, [(50, 51), (55, 59), (71, None)])


@pytest.mark.parametrize("concurrent", [True, False])
async def test_markers_behind_the_last_record_are_passed_and_their_deletion_is_no_loss(
    concurrent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two documents that were ingested in a transaction, and an aborted one: offsets 0 and 1, then no record more."""
    monkeypatch.setattr(stage_watch, "LAG_S", 0.01)
    broker = await broker_with(0, partitions=2)
    ingest = await broker.producer("ingest")
    await ingest.commit([Outgoing(IN, b"", b"%d" % number, 0) for number in (0, 1)], {}, None)
    broker.fail_next_commit("aborted", "ingest")
    with pytest.raises(DependencyError):
        await ingest.commit([Outgoing(IN, b"", b"void", 0)], {}, None)
    reader = await broker.reader()
    assert (await reader.bounds([P0]))[P0] == (0, 5)

    first = Member(broker, concurrent=concurrent, tick_s=0.01)
    offsets = broker._cluster.group("g").offsets
    await until(lambda: offsets.get(P0) == 5, first)
    broker.delete_before(P0, 5)
    second = Member(broker, concurrent=concurrent, tick_s=0.01)  # the rebalance seeks anew
    await until(lambda: len(second.runner._lanes) == 1, first, second)
    broker.append(IN, b"", b"2", 0)
    await until_copied(broker, 3, first, second)
    await first.leave()
    await second.leave()
    third = Member(broker, concurrent=concurrent)  # offset and Progress agree
    broker.append(IN, b"", b"3", 0)
    await until_copied(broker, 4, third)
    await third.leave()
    check_copied_once(broker, 4)


async def test_a_record_that_waits_for_admission_is_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_watch, "LAG_S", 0.01)
    broker = await broker_with(9, partitions=1)
    member = Member(broker)
    with monkeypatch.context() as full:
        full.setattr(member.runner._admission, "credit", lambda: 0)
        await until(lambda: any(lane.bounds == (0, 9) for lane in member.runner._lanes.values()), member)
        (lane,) = member.runner._lanes.values()
        await pass_markers(lane, await broker.reader())
        assert lane.position == 0
    member.runner._wake.set()
    await until_copied(broker, 9, member)
    await member.leave()
    check_copied_once(broker, 9)


@pytest.mark.parametrize(("start", "first"), [("earliest", 0), ("latest", 20), (1_700_000_000_012, 12)])
async def test_a_group_that_never_committed_starts_where_it_is_told(start: str | int, first: int) -> None:
    broker = await broker_with(20, partitions=1)
    member = Member(broker, start=start)
    await until(lambda: bool(member.runner._lanes), member)
    await kill(member)
    for number in range(20, 25):
        broker.append(IN, b"", str(number).encode(), 0)
    member = Member(broker, start=start)
    await until_copied(broker, 25 - first, member)  # latest is the latest of the first start
    await member.leave()
    assert sorted(int(record.value or b"") for record in broker.records(OUT)) == list(range(first, 25))


async def test_the_newest_progress_is_found_behind_others_and_behind_open_transactions() -> None:
    broker = await broker_with(0)
    reader, place = await broker.reader(), TopicPartition(PROGRESS, 0)
    assert await newest_progress(reader, place, "g", P0) is None
    for next_offset in (3, 4):
        said = Progress(topic=IN, partition=0, next_offset=next_offset)
        broker.append(PROGRESS, progress_key("g", P0), encode(said), 0)
    for _ in range(20 * FIRST_STEP):
        broker.append(PROGRESS, progress_key("other", P0), b"not ours", 0)
    found = await newest_progress(reader, place, "g", P0)
    assert found is not None
    assert found.next_offset == 4

    hold = broker.hold_next_commit("slow")
    slow = asyncio.create_task((await broker.producer("slow")).commit([Outgoing(PROGRESS, b"x", b"", 0)], {}, None))
    await hold.reached.wait()
    said = Progress(topic=IN, partition=0, next_offset=5)
    await (await broker.producer("ours")).commit([Outgoing(PROGRESS, progress_key("g", P0), encode(said), 0)], {}, None)
    looking = asyncio.create_task(newest_progress(reader, place, "g", P0))
    await asyncio.sleep(0)
    hold.release()
    await slow
    found = await looking
    assert found is not None
    assert found.next_offset == 5


async def test_ranges_have_a_limit_and_the_partition_waits_at_it() -> None:
    broker, work = await broker_with(400, partitions=1), Work(*range(0, 400, 2))
    member = Member(broker, work, documents=100, ranges=5)
    await until(lambda: member.metrics.registry.get_sample_value("mira_paused_partitions", {"stage": "test"}) == 1)
    for _ in range(200):
        await asyncio.sleep(0)
    seen = len(work.done)
    newest = decoder(Progress).decode(broker.records(PROGRESS)[-1].value or b"")
    assert 5 <= len(newest.finished) <= 100
    for _ in range(200):
        await asyncio.sleep(0)
    assert len(work.done) == seen < 400
    for held in work.held.values():
        held.set()
    await until_copied(broker, 400, member)
    await member.leave()
    check_copied_once(broker, 400)
    assert work.again == {}
