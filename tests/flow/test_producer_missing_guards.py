"""`produce files --missing` refuses, or waits, where it could send a document beside its outcome."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import pytest

from mira_stream.config import Project, Settings
from mira_stream.errors import DataLossError, DependencyError, DocumentError
from mira_stream.ingest.positions import Positions
from mira_stream.messages import DeadLetter, Document, Origin, ScoreCard, decoder, encode
from mira_stream.progress_messages import Progress, WrittenOff
from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.scoring.documents import dead_letter, read_document
from mira_stream.sections import GroupSection, SourceSection
from mira_stream.streaming import progress as progress_module
from mira_stream.streaming.outcomes import cards_gone, has_finished
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.cluster import Hold
from mira_stream.testing.consumer import MemoryReader
from producers.files import Produced, produce
from tests.flow.test_producer_missing import TOPIC, World, small_batches

__all__ = ["small_batches"]

P0 = TopicPartition(TOPIC, 0)
SCORES = TopicPartition("mira.scores", 0)


async def scored_and_deleted(folder: Path) -> World:
    """All documents have cards, which the aggregator has read, and retention has taken them."""
    world = await World(folder).begin()
    await world.produce(missing=False)
    world.score(*range(20))
    await world.aggregated(20)
    world.broker.delete_before(P0, 100)
    await world.done((await (await world.broker.reader()).bounds([P0]))[P0][0])
    assert (await world.produce()).again == 0
    return world


@pytest.mark.parametrize("anew", [False, True])
async def test_nothing_is_sent_where_the_score_log_is_gone(tmp_path: Path, anew: bool) -> None:
    world = await scored_and_deleted(tmp_path)
    world.broker.delete_topic("mira.scores")
    if anew:
        await world.begin()
    why = "deleted and made anew" if anew else "there is no topic"
    with pytest.raises(DataLossError, match=rf"scores_deleted.*{why}.*--corpus SOURCE=FILE"):
        await world.produce()
    assert world.texts() == []


async def test_nothing_is_sent_where_the_score_log_is_shorter_than_it_was(tmp_path: Path) -> None:
    """From a broker that tells no ids, too."""
    world = await scored_and_deleted(tmp_path)
    await world.aggregated(21)
    with pytest.raises(DataLossError, match=r"scores_deleted.*read up to 21, and it ends at 20"):
        await world.produce()
    assert cards_gone(Progress(topic="s", partition=0, next_offset=20, topic_id="a"), "", 20) == ""
    assert cards_gone(Progress(topic="s", partition=0, next_offset=20), "b", 20) == ""


async def test_nothing_is_sent_where_no_card_is_left_and_no_aggregator_was_there(tmp_path: Path) -> None:
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    await world.delete(world.broker.records(TOPIC)[-1].offset + 1)
    with pytest.raises(DataLossError, match=r"scores_deleted.*is empty, and scorers have gone on"):
        await world.produce()
    await world.aggregated(0)
    assert (await world.produce()).again == 20, "the aggregator has begun in this topic, and there was no card"


async def test_a_score_log_that_has_had_no_card_yet_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """What the scorer has passed over were markers or dead letters: it wrote down into which topic its cards go."""
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    end = world.broker.records(TOPIC)[-1].offset + 1
    await world.delete(end)
    await world.done(end, results_id="of a topic before")
    with pytest.raises(DataLossError, match=r"scores_deleted.*is empty"):
        await world.produce()
    await world.done(end, results_id=await world.broker.topic_id("mira.scores"))
    assert (await world.produce()).again == 20


def test_what_was_written_off_was_not_finished() -> None:
    def said(next_offset: int, *ranges: tuple[int, int | None], finished: list[tuple[int, int]] | None = None) -> bool:
        written_off = WrittenOff(ranges=list(ranges)) if ranges else None
        return has_finished(
            Progress(
                topic=TOPIC, partition=0, next_offset=next_offset, finished=finished or [], written_off=written_off
            )
        )

    assert not said(0)
    assert not said(20, (0, 9), (10, 19))
    assert not said(5, (0, None), (0, 4))
    assert said(1)
    assert said(0, finished=[(3, 4)])
    assert said(21, (0, 19))
    assert said(0, (7, None)), "of the topic before seven were done"
    assert not said(0, (0, 2), (3, None)), "of the topic before nothing was done"
    assert not said(4, (0, 2), (3, None), (0, 3))
    assert said(3, (0, 2), (3, None)), "what is written off is of the topic before"
    assert said(0, (3, 4), (7, None)), "of the topic before five were done"


async def begun(world: World, path: str, *, ended: bool) -> tuple["asyncio.Task[Produced]", Hold]:
    """A run that has read what is there, and stands still in its first transaction of what is not, or behind it."""
    opening = world.broker.hold_next_commit("mira.produce.web", ended=True)
    run = asyncio.create_task(world.produce(path=path))
    await opening.reached.wait()
    hold = world.broker.hold_next_commit("mira.produce.web", ended=ended)
    opening.release()
    await hold.reached.wait()
    return run, hold


async def two_paths(folder: Path) -> World:
    """A source in whose topic nothing is any more, and a copy of its file."""
    world = await World(folder).begin()
    await world.produce(missing=False)
    await world.make_anew()
    (folder / "copy.jsonl").write_bytes((folder / "web.jsonl").read_bytes())
    return world


@pytest.mark.parametrize(
    ("first", "ended", "second"),
    [("web.jsonl", False, "copy.jsonl"), ("web.jsonl", True, "copy.jsonl"), ("copy.jsonl", True, "web.jsonl")],
)
async def test_a_run_that_reads_the_source_from_another_path_takes_over(
    tmp_path: Path, first: str, ended: bool, second: str
) -> None:
    world = await two_paths(tmp_path)
    run, hold = await begun(world, first, ended=ended)
    await world.produce(path=second)
    hold.release()
    with pytest.raises(DependencyError, match="producer_fenced"):
        await run
    assert sorted(world.texts()) == list(range(20))
    assert (await world.produce(path=first)).again == 0


async def test_of_two_runs_at_once_one_or_both_end(tmp_path: Path) -> None:
    world = await two_paths(tmp_path)
    runs = (world.produce(), world.produce(path="copy.jsonl"))
    ends = await asyncio.gather(*runs, return_exceptions=True)
    assert sum(isinstance(end, Produced) for end in ends) >= 1
    assert sorted(world.texts()) == list(range(20))


async def test_a_run_does_not_fence_the_one_that_opened_after_it(tmp_path: Path) -> None:
    """Else each of two would end the other."""
    world = await World(tmp_path).begin()
    log = await world.broker.reader()
    positions = Positions(log, "mira.ingest")
    for feed, token in (("web:a", "missing-1"), ("new:a", "missing-2"), ("web:c", "4"), ("web:b", "missing-3")):
        opening = positions.opening(feed, token)
        world.broker.append(opening.topic, opening.key, opening.value, 0)
    await positions.read_new()
    assert positions.opened_before("web:b", "web", "missing-") == ["web:a"]
    assert positions.opened_before("web:a", "web", "missing-") == []


async def test_a_run_that_is_not_after_what_is_missing_is_not_fenced_from_another_path(tmp_path: Path) -> None:
    world = await World(tmp_path).begin()
    await world.produce()
    world.append(20, 30)
    opening = world.broker.hold_next_commit("mira.produce.web", ended=True)
    run = asyncio.create_task(world.produce(missing=False))
    await opening.reached.wait()
    (tmp_path / "copy.jsonl").write_text('{"id": "w19", "text": "text 19"}\n')
    assert (await world.produce(path="copy.jsonl")).left == 1
    opening.release()
    assert (await run).new == 10


async def test_documents_that_wait_in_the_topic_of_another_group_are_there(tmp_path: Path) -> None:
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    source = SourceSection(group="more", path="web.jsonl")
    groups = {"text": GroupSection(family="text"), "more": GroupSection(family="text")}
    project = Project(tmp_path, Settings(groups=groups, sources={"web": source}))
    await world.broker.create_topics([spec._replace(partitions=1) for spec in topic_specs(project)], 1)
    count = (await produce(world.broker, project, {"web": source}, missing=True))["web"]
    assert (count.again, count.left, world.broker.records("mira.documents.more")) == (0, 20, [])
    world.broker.delete_before(P0, 10)
    await world.done(4)
    with pytest.raises(DataLossError, match=r"loss_not_accepted: mira\.documents\.text/0.*score --group text"):
        await produce(world.broker, project, {"web": source}, missing=True)


@pytest.mark.parametrize("group", [None, "more"], ids=["unknown_source", "wrong_group"])
@pytest.mark.parametrize("grown", [False, True])
@pytest.mark.parametrize("with_ids", [False, True])
async def test_the_scorers_own_letters_are_outcomes(
    tmp_path: Path, group: str | None, grown: bool, with_ids: bool
) -> None:
    world = await World(tmp_path, 6, with_ids=with_ids).begin()
    await world.produce(missing=False)
    sources = {} if group is None else {"web": SourceSection(group=group)}
    for record in world.broker.records(TOPIC):
        with pytest.raises(DocumentError) as error:
            read_document(record, sources, "text")
        world.broker.append("mira.dead-letters", b"", encode(dead_letter(record, None, error.value, "l", 1)))
    await world.make_anew()
    if grown:
        world.append(6, 8)
    count = await world.produce()
    assert (count.again, count.left, world.texts()) == (0, 6, [6, 7] if grown else [])


async def test_letters_that_name_no_place_are_outcomes_by_the_id_that_was_made(tmp_path: Path) -> None:
    world = await World(tmp_path, 6, with_ids=False).begin()
    await world.produce(missing=False)
    for record in world.broker.records(TOPIC):
        document = decoder(Document).decode(record.value or b"")
        letter = DeadLetter(stage="score", reason="unknown_source", error="", id=document.id, source="web")
        world.broker.append("mira.dead-letters", b"", encode(letter))
    await world.make_anew()
    assert (await world.produce()).again == 0


def test_a_letter_names_the_place_if_there_is_one() -> None:
    def ref_of(value: bytes) -> object:
        record = Record(TOPIC, 0, 0, 0, b"", value, ())
        return dead_letter(record, None, DocumentError("invalid_document", ""), "l", 1).ref

    assert ref_of(b'{"ref":{"uri":"a","row":3}}') is not None
    assert ref_of(b'{"ref":{"uri":3}}') is ref_of(b'{"ref":[]}') is ref_of(b"{}") is ref_of(b"[") is None


async def test_what_is_deleted_during_the_look_was_read_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are read before the scorer is asked: it may hold what is deleted once it was."""
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    await world.done(0)
    committed = world.broker.committed

    async def and_deletes(consumer_group: str, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        world.broker.delete_before(P0, 10)
        return await committed(consumer_group, partitions)

    monkeypatch.setattr(world.broker, "committed", and_deletes)
    count = await world.produce()
    assert (count.again, count.left) == (0, 20)


async def test_cards_behind_an_open_transaction_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marker that shows a scorer's progress may be written before the one that shows its cards."""
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    documents = world.broker.records(TOPIC)
    await world.delete(documents[-1].offset + 1)
    await world.aggregated(0)
    hold = world.broker.hold_next_commit("a scorer")
    producer = await world.broker.producer("a scorer")
    commit = asyncio.create_task(producer.commit([card_of(record) for record in documents], {}, None))
    await hold.reached.wait()
    high_watermarks = MemoryReader.high_watermarks

    async def and_ends_it(self: MemoryReader, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        asked = list(partitions)
        found = await high_watermarks(self, asked)
        if SCORES in asked:
            hold.release()
        return found

    monkeypatch.setattr(MemoryReader, "high_watermarks", and_ends_it)
    monkeypatch.setattr(progress_module, "LOOK_S", 0)
    count = await world.produce()
    hold.release()
    await commit
    assert (count.again, count.left) == (0, 20)


def card_of(record: Record) -> Outgoing:
    document = decoder(Document).decode(record.value or b"")
    origin = Origin(topic=TOPIC, partition=0, offset=record.offset, timestamp_ms=record.timestamp_ms)
    card = ScoreCard(
        id=document.id, source="web", group="text", origin=origin, lineage="l", mode="scores", scores=[5.0] * 15
    )
    return Outgoing("mira.scores", b"text", encode(card), 0)


async def test_retention_that_takes_what_is_being_read_does_not_end_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    world.score(*range(20))
    await world.done(world.broker.records(TOPIC)[-1].offset + 1)
    read, begun = MemoryReader.read, list[int]()

    async def and_deletes(self: MemoryReader, partition: TopicPartition, first: int, end: int) -> AsyncIterator[Record]:
        if partition == P0:
            begun.append(first)
            world.broker.delete_before(P0, 9)
        async for record in read(self, partition, first, end):
            yield record

    monkeypatch.setattr(MemoryReader, "read", and_deletes)
    count = await world.produce()
    assert (begun, count.again, count.left) == ([0, 9], 0, 20)
