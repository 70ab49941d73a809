"""What was accepted as lost stays in the Progress, whoever writes it next, and the audit names it for good."""

import asyncio
from pathlib import Path

import pytest

from consumers.scorer import score
from mira_stream.audit.run import audit
from mira_stream.messages import Export, encode
from mira_stream.progress_messages import Progress, WrittenOff
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import TopicSpec
from mira_stream.streaming.progress import newest_seen, progress_record
from mira_stream.streaming.standing_offsets import go_on_in, known, rewind, set_back, stands
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.engine import ScriptedEngine
from tests.flow.audit_logs import FrozenStream, finished_stream
from tests.flow.pipeline import text_row, write_rows
from tests.flow.test_policy_commands import run_pipeline
from tests.flow.test_release import Work, kill
from tests.flow.test_runner import IN, OUT, P0, PROGRESS, Member, broker_with, no_pauses, until, until_copied
from tests.flow.test_starting import DONE, done, make_anew

__all__ = ["no_pauses"]
PLACE = TopicPartition(PROGRESS, 0)


async def said(broker: MemoryBroker) -> Progress:
    return (await newest_seen(await broker.reader(), PROGRESS, [("g", P0)]))[P0]


async def with_a_loss() -> MemoryBroker:
    """40 done, 10 deleted unread and accepted, 5 done behind them."""
    broker = await broker_with(DONE, partitions=1)
    await done(broker)
    for number in range(DONE, DONE + 15):
        broker.append(IN, b"k", str(number).encode(), 0)
    broker.delete_before(P0, DONE + 10)
    member = Member(broker, accept_loss=True)
    await until_copied(broker, DONE + 5, member)
    await member.leave()
    return broker


TEN = WrittenOff(offsets=10, ranges=[(DONE, DONE + 9)])


async def test_only_what_was_not_finished_is_written_off() -> None:
    broker, work = await broker_with(30, partitions=1), Work(4, 7)
    member = Member(broker, work, documents=16, records=3)
    await until(lambda: len(broker.records(OUT)) >= 8, member)
    await kill(member)
    kept = {int(record.value or b"") for record in broker.records(OUT)}
    broker.delete_before(P0, 20)
    member = Member(broker, accept_loss=True)
    await until(lambda: {*range(20, 30)} <= {int(record.value or b"") for record in broker.records(OUT)}, member)
    await member.leave()
    found = (await said(broker)).written_off
    assert found is not None
    lost = {offset for first, last in found.ranges if last is not None for offset in range(first, last + 1)}
    assert lost == set(range(20)) - kept
    assert {4, 7} <= lost
    assert (found.offsets, found.rests) == (len(lost), 0)


async def test_passed_over_is_written_off_until_the_offset_is_moved_back() -> None:
    broker = await broker_with(DONE, partitions=1)
    await done(broker)
    for number in range(DONE, DONE + 8):
        broker.append(IN, b"k", str(number).encode(), 0)
    for offset, copied, written_off in (
        (DONE + 4, 4, WrittenOff(offsets=4, ranges=[(DONE, DONE + 3)])),
        (DONE, 12, None),
    ):
        await (await broker.producer("a tool")).commit([], {P0: offset}, "g")
        member = Member(broker, accept_loss=True)
        await until(lambda copied=copied: len(broker.records(OUT)) >= DONE + copied, member)  # type: ignore[misc]
        await member.leave()
        assert (await said(broker)).written_off == written_off


async def test_moved_back_below_what_is_deleted_nothing_is_written_off() -> None:
    """All of it was done."""
    broker = await broker_with(DONE, partitions=1)
    await done(broker)
    broker.delete_before(P0, DONE - 2)
    await (await broker.producer("a tool")).commit([], {P0: DONE - 10}, "g")
    member = Member(broker, accept_loss=True)
    await until(lambda: len(broker.records(OUT)) >= DONE + 2, member)
    await member.leave()
    assert (await said(broker)).written_off is None


async def test_every_later_progress_carries_it_on_and_a_next_loss_comes_on_top() -> None:
    broker = await with_a_loss()
    assert (await said(broker)).written_off == TEN
    broker.append(IN, b"k", b"more", 0)
    member = Member(broker)  # without the option, started anew
    await until_copied(broker, DONE + 6, member)
    await member.leave()
    assert (await said(broker)).written_off == TEN
    for number in range(3):
        broker.append(IN, b"k", str(number).encode(), 0)
    broker.delete_before(P0, DONE + 18)
    member = Member(broker, accept_loss=True)
    await until_copied(broker, DONE + 7, member)
    await member.leave()
    ranges: list[tuple[int, int | None]] = [(DONE, DONE + 9), (DONE + 16, DONE + 17)]
    assert (await said(broker)).written_off == WrittenOff(offsets=12, ranges=ranges)


async def test_of_a_topic_made_anew_the_rest_is_written_off_and_what_was_before_stays() -> None:
    broker = await with_a_loss()
    await make_anew(broker, 20, forgotten=True)
    member = Member(broker, accept_loss=True)
    await until_copied(broker, DONE + 25, member)
    await member.leave()
    found = (await said(broker)).written_off
    assert found == WrittenOff(offsets=10, rests=1, ranges=[(DONE, DONE + 9), (DONE + 15, None)])


@pytest.mark.parametrize("to", [DONE - 5, DONE + 4])
async def test_an_offset_that_was_moved_forwards_and_accepted_passes_over_documents(to: int) -> None:
    broker = await broker_with(DONE, partitions=1)
    await done(broker)
    for number in range(10):
        broker.append(IN, b"k", str(number).encode(), 0)
    await (await broker.producer("a tool")).commit([], {P0: to}, "g")
    member = Member(broker, accept_loss=True)
    await until_copied(broker, 2 * DONE + 10 - to, member)
    await member.leave()
    passed = WrittenOff(offsets=4, ranges=[(DONE, DONE + 3)]) if to > DONE else None
    assert (await said(broker)).written_off == passed


async def test_a_person_who_sets_offsets_loses_none_of_it() -> None:
    broker = await with_a_loss()
    reader = await broker.reader()
    broker.forget_offsets("g")
    (stand,) = await stands(broker, reader, PROGRESS, [("g", IN)])
    assert await set_back(broker, reader, PROGRESS, stand) == DONE + 15
    assert (await said(broker)).written_off == TEN
    assert await go_on_in(broker, reader, PROGRESS, stand, "another id") == DONE + 15
    assert (await known(reader, PROGRESS, stand)).written_off == TEN
    said_of = lambda first: Outgoing(OUT, b"0", encode(Export(partition=0, first=0, last=-1, files=[])), 0)  # noqa: E731
    assert await rewind(broker, reader, PROGRESS, "g", P0, said_of) == DONE + 10
    rests = WrittenOff(offsets=10, rests=1, ranges=[(DONE, DONE + 9), (DONE + 15, None)])
    assert (await said(broker)).written_off == rests  # it had another id
    broker.append(IN, b"k", b"1", 0)
    broker.delete_before(P0, DONE + 12)
    assert await rewind(broker, reader, PROGRESS, "g", P0, said_of) == DONE + 12
    found = (await said(broker)).written_off
    assert found == WrittenOff(offsets=12, rests=1, ranges=[*rests.ranges, (DONE + 10, DONE + 11)])


async def test_progress_is_seen_in_its_place_first_and_in_the_newest_other_one_else() -> None:
    broker = MemoryBroker()
    await broker.create_topics([TopicSpec(PROGRESS, 3)], 1)
    places = [(1, 5, 90, 1_000), (0, 5, 7, 9_000), (0, 6, 8, 1_000), (2, 6, 9, 2_000)]
    for place, number, next_offset, stamp_ms in places:
        one = Progress(topic=IN, partition=number - 1, next_offset=next_offset)
        record = progress_record("g", TopicPartition(PROGRESS, place), one)
        broker.append(PROGRESS, record.key, record.value, place, timestamp_ms=stamp_ms)
    partitions = [TopicPartition(IN, number) for number in (4, 5, 6)]
    found = await newest_seen(await broker.reader(), PROGRESS, [("g", partition) for partition in partitions])
    assert {partition.partition: one.next_offset for partition, one in found.items()} == {4: 90, 5: 9}
    assert await newest_seen(await broker.reader(), "nowhere", [("g", P0)]) == {}


# -- the audit --

DOCUMENTS = TopicPartition("mira.documents.text", 0)


@pytest.fixture
async def stream(tmp_path: Path) -> FrozenStream:
    found = await finished_stream(tmp_path)
    place = TopicPartition("mira.progress", 0)
    found.bounds[place] = (0, 0)
    return found


def say(stream: FrozenStream, next_offset: int, consumer_group: str = "scorer.text", **more: object) -> None:
    """A Progress of the scorer, as the last record of its topic."""
    topic = "mira.documents.text" if consumer_group.startswith("scorer") else "mira.decisions"
    place = TopicPartition("mira.progress", 0)
    one = Progress(topic=topic, partition=0, next_offset=next_offset, **more)  # type: ignore[arg-type]
    record = progress_record(stream.project.consumer_group(consumer_group), place, one)
    like = stream.logs["documents.text"][0]
    stream.append("progress", like._replace(topic=place.topic, partition=0, key=record.key, value=record.value))


async def test_what_is_written_off_is_named_for_good_and_the_audit_ends_well(stream: FrozenStream) -> None:
    end = stream.bounds[DOCUMENTS][1]
    stream.bounds[DOCUMENTS] = (end + 10, end + 10)
    say(stream, end)
    result = await stream.audit()
    assert (result.ok, result.deleted_unread, result.written_off) == (False, 10, 0)
    for _ in range(2):  # as often as it is carried on
        say(stream, end + 10, written_off=WrittenOff(offsets=10, ranges=[(end, end + 9)]))
        result = await stream.audit()
        assert (result.findings, result.deleted_unread, result.written_off) == ([], 0, 10)
        assert result.written_off_ranges == [f"mira.documents.text/0@{end}-{end + 9}"]
        said = "; 0 lost beside 10 offsets left unread and written off by --accept-loss, 0 doubled; "
        assert said in result.line()
    say(stream, end + 10)  # a defect: it was not carried on
    assert "; 0 lost, 0 doubled; " in (await stream.audit()).line()


async def test_what_the_exporter_went_on_without_is_named_too(stream: FrozenStream) -> None:
    say(stream, 5, "exporter", written_off=WrittenOff(offsets=3, ranges=[(1, 3)]))
    result = await stream.audit()
    assert (result.ok, result.written_off_ranges) == (True, ["mira.decisions/0@1-3"])


async def test_unread_documents_are_found_when_the_offset_is_forgotten(stream: FrozenStream) -> None:
    end = stream.bounds[DOCUMENTS][1]
    stream.bounds[DOCUMENTS] = (end + 10, end + 10)
    del stream.offsets[stream.project.consumer_group("scorer.text"), DOCUMENTS]
    assert (await stream.audit()).ok
    say(stream, end, finished=[(end + 2, end + 5)])
    result = await stream.audit()
    assert (result.ok, result.deleted_unread) == (False, 6)
    assert list(result.findings_by_code) == ["deleted_unread"]


async def test_a_document_below_a_forgotten_offset_is_lost_and_does_not_wait(stream: FrozenStream) -> None:
    end = stream.bounds[DOCUMENTS][1]
    lost = next(one for one in reversed(stream.logs["documents.text"]) if one.partition == 0)
    stream.append("documents.text", lost)
    del stream.offsets[stream.project.consumer_group("scorer.text"), DOCUMENTS]
    result = await stream.audit()
    assert (result.waiting, result.lost) == (1, 0)
    say(stream, end + 1)
    result = await stream.audit()
    assert (result.waiting, result.lost) == (0, 1)


async def test_a_topic_made_anew_is_a_finding_until_it_is_written_off_or_known_as_the_same(
    stream: FrozenStream,
) -> None:
    end = stream.bounds[DOCUMENTS][1]
    stream.ids_of_topics[DOCUMENTS.topic] = "new"
    say(stream, 144, topic_id="old")
    (finding,) = (await stream.audit()).findings
    assert (finding.code, finding.origin) == ("topic_made_anew", "mira.documents.text/0")
    assert "finished up to 144" in finding.detail
    say(stream, end, topic_id="new")
    assert "; 0 lost, 0 doubled; " in (await stream.audit()).line()
    say(stream, end, topic_id="new", written_off=WrittenOff(offsets=2, rests=1, ranges=[(144, 145), (150, None)]))
    result = await stream.audit()
    assert (result.findings, result.written_off, result.written_off_rests) == ([], 2, 1)
    assert result.written_off_ranges == ["mira.documents.text/0@144-145", "mira.documents.text/0@150-"]
    assert "0 lost beside 2 offsets left unread and written off by --accept-loss and the unread rest of 1 log made" in (
        result.line()
    )


async def test_documents_deleted_behind_a_dead_scorer_are_a_finding_and_then_written_off(tmp_path: Path) -> None:
    """Real producer, scorer and audit: as retention does it to a service that is away for too long."""
    pipeline = await run_pipeline(tmp_path)
    broker, project = pipeline.broker, pipeline.project
    await pipeline.until(lambda: len(pipeline.exported("scores")) == 80)
    await pipeline.kill("score")
    write_rows(project.path("notes.jsonl"), [text_row(number) for number in range(70)])
    await pipeline.produce()
    reader = await broker.reader()
    partitions = await reader.partitions(DOCUMENTS.topic)
    committed = await broker.committed(project.consumer_group("scorer.text"), partitions)
    gone = 0
    for partition, (_, end) in (await reader.bounds(partitions)).items():
        first = min(end, committed[partition] + 4)
        there = [record.offset async for record in reader.read(partition, committed[partition], first)]
        gone += len(there)
        broker.delete_before(partition, first)
    stopped = await audit(project, broker, pipeline.out)  # what still runs may have a transaction open
    assert 0 < gone <= stopped.deleted_unread
    assert (set(stopped.findings_by_code), stopped.lost, stopped.written_off) == ({"deleted_unread"}, 0, 0)
    pipeline.tasks["score"] = asyncio.ensure_future(
        score(project, broker, ["qa", "text"], Metrics(), pipeline.stop, lambda *_: ScriptedEngine(), accept_loss=True)
    )
    await pipeline.until(lambda: len(pipeline.exported("scores")) == 110 - gone)
    await pipeline.shut_down()
    result = await audit(project, broker, pipeline.out, patience_s=0.0)
    assert (result.findings, result.lost, result.waiting, result.deleted_unread) == ([], 0, 0, 0)
    assert result.written_off == stopped.deleted_unread
    assert f"0 lost beside {result.written_off} offsets left unread and written off" in result.line()
