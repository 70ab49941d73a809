"""Where a stage starts after its offset was moved or its topic was made anew: nothing between is passed over."""

import asyncio

import pytest

from mira_stream.errors import DataLossError
from mira_stream.progress_messages import Progress
from mira_stream.records import TopicPartition
from mira_stream.streaming import stage_watch
from mira_stream.streaming.limits import made_anew
from mira_stream.streaming.ports import TopicSpec
from mira_stream.streaming.progress import newest_progress, progress_elsewhere, progress_record
from mira_stream.testing.broker import MemoryBroker
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
DONE = 40


async def done(broker: MemoryBroker, *, concurrent: bool = True) -> None:
    member = Member(broker, concurrent=concurrent)
    await until_copied(broker, DONE, member)
    await member.leave()


async def make_anew(broker: MemoryBroker, documents: int, *, forgotten: bool) -> None:
    """The topic, with documents from number 1,000 on."""
    broker.delete_topic(IN)
    if forgotten:
        broker.forget_offsets("g")
    await broker.create_topics([TopicSpec(IN, 1)], 1)
    for number in range(1000, 1000 + documents):
        broker.append(IN, b"k", str(number).encode(), 0)


def copied_after(broker: MemoryBroker) -> list[int]:
    return sorted(int(record.value or b"") for record in broker.records(OUT)[DONE:])


@pytest.mark.parametrize("forgotten", [True, False], ids=["offsets forgotten", "offsets kept"])
@pytest.mark.parametrize("documents", [10, DONE, 60])
async def test_no_document_of_a_topic_made_anew_is_passed_over(documents: int, forgotten: bool) -> None:
    """However many it has by the time the stage is back: the position in the old one says nothing."""
    broker = await broker_with(DONE, partitions=1)
    await done(broker)
    await make_anew(broker, documents, forgotten=forgotten)
    refused = Member(broker)
    with pytest.raises(DataLossError, match=rf"topic_made_anew.*in/0.*up to {DONE}.*--accept-loss"):
        await asyncio.wait_for(refused.task, 30)
    assert copied_after(broker) == []
    member = Member(broker, accept_loss=True)
    await until_copied(broker, DONE + documents, member)
    await member.leave()
    assert copied_after(broker) == list(range(1000, 1000 + documents))
    again = Member(broker)  # what it has said since is of the topic that is there
    broker.append(IN, b"k", b"2000", 0)
    await until_copied(broker, DONE + documents + 1, again)
    await again.leave()


@pytest.mark.parametrize(
    ("stage", "anew"),
    [("score.text", "--accept-loss"), ("aggregate", "another [project] prefix"), ("export", "`export --from-start`")],
)
def test_the_way_on_in_a_topic_made_anew_is_that_of_the_stage(stage: str, anew: str) -> None:
    said = str(made_anew(P0, 3, stage))
    assert f"`mira-stream offsets --same-topic {IN} --yes`" in said
    assert [way for way in ("--accept-loss", "another [project] prefix", "`export --from-start`") if way in said] == [
        anew
    ]


async def test_a_topic_made_anew_under_a_running_stage_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer reads on at its old position, and says nothing."""
    monkeypatch.setattr(stage_watch, "LAG_S", 0.001)
    broker = await broker_with(DONE, partitions=1)
    member = Member(broker, concurrent=False)
    await until_copied(broker, DONE, member)
    await make_anew(broker, 60, forgotten=False)
    with pytest.raises(DataLossError, match="topic_made_anew"):
        await asyncio.wait_for(member.task, 30)


async def test_what_is_read_of_a_topic_made_anew_before_anybody_notices_is_done_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A consumer that stands at the start reads on as if nothing had been; as progress in the topic before, what it did
    would be done again."""
    monkeypatch.setattr(stage_watch, "LAG_S", 1e6)  # nobody looks beside the stage
    broker = await broker_with(0, partitions=1)
    member = Member(broker)
    await until(lambda: bool(broker.records(PROGRESS)), member)
    await make_anew(broker, 10, forgotten=False)
    with pytest.raises(DataLossError, match="topic_made_anew"):
        await asyncio.wait_for(member.task, 30)
    member = Member(broker, accept_loss=True)
    await until(lambda: len(broker.records(OUT)) >= 10, member)
    await member.leave()
    assert sorted(int(record.value or b"") for record in broker.records(OUT)) == list(range(1000, 1010))


async def test_where_no_id_is_known_the_offsets_alone_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old broker gives topics none, and an old version wrote none."""
    broker = await broker_with(DONE, partitions=1)

    async def none(topic: str) -> str:
        return ""

    with monkeypatch.context() as old:
        old.setattr(broker, "topic_id", none)
        await done(broker)
    broker.append(IN, b"k", str(DONE).encode(), 0)
    member = Member(broker)
    await until_copied(broker, DONE + 1, member)
    await member.leave()
    check_copied_once(broker, DONE + 1)
    assert (await said(broker)).topic_id == await broker.topic_id(IN)


@pytest.mark.parametrize("to", [12, DONE + 15])
async def test_a_stage_in_order_refuses_an_offset_that_somebody_moved(to: int) -> None:
    broker = await broker_with(DONE, partitions=1)
    await done(broker, concurrent=False)
    for number in range(DONE, DONE + 20):
        broker.append(IN, b"k", str(number).encode(), 0)
    tool = await broker.producer("a tool")
    await tool.commit([], {P0: to}, "g")
    member = Member(broker, concurrent=False)
    with pytest.raises(DataLossError, match=rf"progress_differs.*offset is {to}.*sets it back to {DONE}"):
        await asyncio.wait_for(member.task, 30)
    await tool.commit([], {P0: DONE}, "g")
    member = Member(broker, concurrent=False)
    await until_copied(broker, DONE + 20, member)
    await member.leave()
    check_copied_once(broker, DONE + 20)


async def test_a_stage_in_order_goes_on_where_its_progress_says_when_the_offset_is_forgotten() -> None:
    """It finishes nothing behind that: nothing is lost and nothing done twice, so there is nothing to ask."""
    broker = await broker_with(DONE, partitions=1)
    await done(broker, concurrent=False)
    broker.forget_offsets("g")
    broker.append(IN, b"k", str(DONE).encode(), 0)
    member = Member(broker, concurrent=False)
    await until_copied(broker, DONE + 1, member)
    await member.leave()
    check_copied_once(broker, DONE + 1)
    assert await broker.committed("g", [P0]) == {P0: DONE + 1}


async def test_a_stage_in_order_that_never_wrote_progress_begins_to_at_its_offset() -> None:
    """As after an update from a version whose stages in order wrote none."""
    broker = await broker_with(DONE, partitions=1)
    member = Member(broker, concurrent=False, progress="")
    await until_copied(broker, DONE, member)
    await member.leave()
    member = Member(broker, concurrent=False)
    await until(lambda: bool(broker.records(PROGRESS)), member)
    await member.leave()
    assert (await said(broker)).next_offset == DONE
    check_copied_once(broker, DONE)


@pytest.mark.parametrize("accept_loss", [False, True])
async def test_progress_from_before_its_topic_grew_is_no_first_start(accept_loss: bool) -> None:
    """The broker forgets the offset of a partition that stood still since: its Progress lies elsewhere."""
    broker = MemoryBroker()
    await broker.create_topics([TopicSpec(IN, 2), TopicSpec(OUT, 2), TopicSpec(PROGRESS, 1)], 1)
    for number in range(DONE):
        broker.append(IN, b"k", str(number).encode(), number % 2)
    await done(broker)
    broker.widen(PROGRESS, 2)
    broker.forget_offsets("g")
    if not accept_loss:
        with pytest.raises(DataLossError, match=rf"offsets_expired.*progress says {DONE // 2}"):
            await asyncio.wait_for(Member(broker).task, 30)
        check_copied_once(broker, DONE)
        return
    broker.append(IN, b"k", str(DONE).encode(), 0)
    broker.append(IN, b"k", str(DONE + 1).encode(), 1)
    member = Member(broker, accept_loss=True)
    await until_copied(broker, DONE + 2, member)
    await member.leave()
    check_copied_once(broker, DONE + 2)


async def test_progress_moves_to_its_place_at_once_when_its_topic_has_grown() -> None:
    """Without a document that comes, so that no other owner has to look for it in all places."""
    broker = MemoryBroker()
    await broker.create_topics([TopicSpec(IN, 2), TopicSpec(OUT, 2), TopicSpec(PROGRESS, 1)], 1)
    for number in range(DONE):
        broker.append(IN, b"k", str(number).encode(), number % 2)
    await done(broker)
    broker.widen(PROGRESS, 2)
    member = Member(broker)
    await until(lambda: any(record.partition == 1 for record in broker.records(PROGRESS)), member)
    await member.leave()
    found = await newest_progress(await broker.reader(), TopicPartition(PROGRESS, 1), "g", TopicPartition(IN, 1))
    assert found is not None
    assert found.next_offset == DONE // 2
    check_copied_once(broker, DONE)


async def test_of_two_places_elsewhere_the_later_one_counts() -> None:
    """A topic that was given more partitions twice: what was said first may be further on (a topic made anew since)."""
    broker = MemoryBroker()
    await broker.create_topics([TopicSpec(PROGRESS, 3)], 1)
    for place, next_offset, timestamp_ms in ((0, 90, 1_000), (1, 7, 2_000)):
        record = progress_record(
            "g", TopicPartition(PROGRESS, place), Progress(topic=IN, partition=5, next_offset=next_offset)
        )
        broker.append(PROGRESS, record.key, record.value, place, timestamp_ms=timestamp_ms)
    found = await progress_elsewhere(await broker.reader(), TopicPartition(PROGRESS, 2), "g", TopicPartition(IN, 5))
    assert found is not None
    assert found.next_offset == 7


async def said(broker: MemoryBroker) -> Progress:
    found = await newest_progress(await broker.reader(), TopicPartition(PROGRESS, 0), "g", P0)
    assert found is not None
    return found
