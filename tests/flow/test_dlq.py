"""Dead letters are found, and their documents go into the stream once more: once, and only if they can be had."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mira_stream.audit.letters import Found, Place, Wanted, find_letters, wanted_by_name
from mira_stream.config import load_project
from mira_stream.errors import UsageError
from mira_stream.ingest.again import HEADER
from mira_stream.messages import Document, IngestPosition, decoder, encode
from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.testing.broker import MemoryBroker
from producers.replay import Replayed, replay
from tests.flow.pipeline import PROJECT, Pipeline, make_project, question_row, text_row, write_rows

ALL = Wanted()


class World:
    """A stream that has dead letters of a row without text and of a document of a source nobody knows."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.broker = MemoryBroker()
        self.pipeline = Pipeline(make_project(root), self.broker, root / "out")
        self.documents = self.pipeline.project.documents_topic("text")

    async def run(self) -> None:
        broken = {"id": "broken", "body": "the text lies in another column"}
        write_rows(self.root / "notes.jsonl", [text_row(1), broken, text_row(2)])
        write_rows(self.root / "questions.jsonl", [question_row(1)])
        await self.pipeline.prepare()
        await self.pipeline.produce()
        stranger = Document(id="stranger", source="later", text="Of a source that is added later.")
        self.broker.append(self.documents, b"stranger", encode(stranger), 1, (("traceparent", b"00"),))
        self.pipeline.start("score")
        self.pipeline.start("aggregate")
        await self.pipeline.until(
            lambda: self.pipeline.count("decisions") == 3 and len(self.pipeline.dead_letters()) == 2
        )
        await self.pipeline.shut_down()

    async def letters(self, wanted: Wanted = ALL) -> AsyncIterator[Found]:
        reader = await self.broker.reader()
        async for found in find_letters(reader, self.pipeline.project.topic("dead-letters"), wanted):
            yield found

    async def replay(self, wanted: Wanted = ALL, **options: bool) -> list[Replayed]:
        return await replay(self.broker, load_project(self.root, {}), self.letters(wanted), **options)

    def replayed(self) -> list[Record]:
        return [one for one in self.broker.records(self.documents) if HEADER in dict(one.headers)]


async def test_letters_are_replayed_once_by_what_the_project_says_now(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.run()
    found = {one.letter.id: one async for one in world.letters()}
    assert {one.letter.stage for one in found.values()} == {"produce", "score"}
    dry = {one.id: one.outcome for one in await world.replay(dry_run=True)}
    assert dry == {"stranger": "would_replay", "broken": "gone"}
    dry = {one.id: one.outcome for one in await world.replay(dry_run=True)}
    assert dry["stranger"] == "would_replay", "a dry run notes nothing"
    assert world.replayed() == []

    outcomes = {one.id: one for one in await world.replay()}
    assert (outcomes["stranger"].outcome, outcomes["broken"].outcome) == ("replayed", "gone")
    assert "still no document" in outcomes["broken"].why
    mended = PROJECT.replace('path = "notes.jsonl"', 'path = "notes.jsonl"\ntext = "body"')
    (tmp_path / "mira.toml").write_text(mended)
    outcomes = {one.id: one for one in await world.replay()}
    assert (outcomes["stranger"].outcome, outcomes["broken"].outcome) == ("replayed_before", "replayed")

    records = {decoder(Document).decode(one.value or b"").id: one for one in world.replayed()}
    assert sorted(records) == ["broken", "stranger"]
    assert dict(records["stranger"].headers)["traceparent"] == b"00"
    letter = found["stranger"]
    assert dict(records["stranger"].headers)[HEADER].decode().endswith(f"dead-letters/{letter.place}")
    assert records["stranger"].source == TopicPartition(world.documents, 1)
    again = await world.replay(Wanted(places=frozenset([letter.place])), again=True)
    assert [one.outcome for one in again] == ["replayed"]
    assert len(world.replayed()) == 3


async def test_a_document_that_retention_took_is_gone(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.run()
    for partition in range(3):
        world.broker.delete_before(TopicPartition(world.documents, partition), 100)
    (one,) = await world.replay(Wanted(ids=frozenset(["stranger"])))
    assert (one.outcome, "retention" in one.why) == ("gone", True)


def test_names_are_places_or_ids() -> None:
    places, ids = wanted_by_name(["3@17", "a@b", "note-1", "@5"])
    assert places == {Place(3, 17)}
    assert ids == {"a@b", "note-1", "@5"}


async def test_an_unknown_letter_is_said(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.run()
    with pytest.raises(UsageError, match="5@7, nobody"):
        [
            one
            async for one in world.letters(
                Wanted(ids=frozenset(["nobody", "stranger"]), places=frozenset([Place(5, 7)]))
            )
        ]


async def test_what_another_producer_hides_was_replayed_all_the_same(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.run()
    one = Wanted(ids=frozenset(["stranger"]))
    held = world.broker.hold_next_commit(world.pipeline.project.topic("produce.other"))
    other = await world.broker.producer(world.pipeline.project.topic("produce.other"))
    ingest = Outgoing(world.pipeline.project.topic("ingest"), b"@other", encode(note("@other")), 0)
    hidden = asyncio.ensure_future(other.commit([ingest], {}, None))
    await held.reached.wait()
    first = asyncio.ensure_future(world.replay(one))
    for _ in range(2_000):
        await asyncio.sleep(0)
    assert not first.done(), "it cannot know what is hidden behind an open transaction"
    held.release()
    await hidden
    assert [each.outcome for each in await first] == ["replayed"]
    assert [each.outcome for each in await world.replay(one)] == ["replayed_before"]


def note(feed: str) -> IngestPosition:
    return IngestPosition(feed=feed, etag="", unit="row", next=0, documents=0, rejected=0, done=False)
