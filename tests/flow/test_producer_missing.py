"""`produce files --missing`: what was deleted unscored is sent again, once, and nothing that is there."""

import asyncio
import json
from collections import Counter
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.cli.produce import said
from mira_stream.config import Project, Settings
from mira_stream.errors import DataLossError, DependencyError
from mira_stream.ingest import batches as batching
from mira_stream.ingest import source as ingest_source
from mira_stream.messages import DeadLetter, Document, Origin, ScoreCard, decoder, encode
from mira_stream.progress_messages import Progress
from mira_stream.records import TopicPartition
from mira_stream.sections import GroupSection, SourceSection
from mira_stream.streaming.outcomes import not_done
from mira_stream.streaming.progress import progress_record
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.cluster import Hold
from producers.files import Produced, produce

TOPIC = "mira.documents.text"


class World:
    """A source of one partition, and what a scorer may have made of it."""

    def __init__(self, folder: Path, rows: int = 20, *, with_ids: bool = True) -> None:
        settings = Settings(
            groups={"text": GroupSection(family="text")},
            sources={"web": SourceSection(group="text", path="web.jsonl"), "new": SourceSection(group="text")},
        )
        self.folder = folder
        self.project = Project(folder, settings)
        self.broker = MemoryBroker()
        self.with_ids = with_ids
        self.append(0, rows)

    async def begin(self) -> "World":
        specs = [spec._replace(partitions=1) for spec in topic_specs(self.project)]
        await self.broker.create_topics(specs, 1)
        return self

    def append(self, first: int, end: int, last: str = "\n") -> None:
        rows = [
            json.dumps({"text": f"text {number}"} | ({"id": f"w{number}"} if self.with_ids else {}))
            for number in range(first, end)
        ]
        with (self.folder / "web.jsonl").open("a") as file:
            file.write("\n".join(rows) + (last if rows else ""))

    async def produce(self, *, missing: bool = True, path: str = "web.jsonl") -> Produced:
        sources = {"web": SourceSection(group="text", path=path)}
        return (await produce(self.broker, self.project, sources, missing=missing))["web"]

    def texts(self) -> list[int]:
        """The numbers of the documents that the topic holds."""
        records = self.broker.records(TOPIC)
        return [int(str(decoder(Document).decode(record.value or b"").text).split()[1]) for record in records]

    def score(self, *numbers: int, letter: bool = False) -> None:
        for record in self.broker.records(TOPIC):
            document = decoder(Document).decode(record.value or b"")
            if int(str(document.text).split()[1]) in numbers:
                origin = Origin(topic=TOPIC, partition=0, offset=record.offset, timestamp_ms=record.timestamp_ms)
                self._outcome(document, origin, letter)

    def _outcome(self, document: Document, origin: Origin, letter: bool) -> None:
        if letter:
            dead = DeadLetter(
                stage="score",
                reason="too_long",
                error="",
                id=document.id,
                source="web",
                origin=origin,
                ref=document.ref,
            )
            self.broker.append("mira.dead-letters", b"", encode(dead))
            return
        card = ScoreCard(
            id=document.id,
            source="web",
            group="text",
            origin=origin,
            lineage="l",
            mode="scores",
            scores=[5.0] * 15,
            ref=document.ref,
        )
        self.broker.append("mira.scores", b"text", encode(card))

    async def done(self, next_offset: int, *finished: tuple[int, int], results_id: str = "") -> None:
        """The scorer says how far it is."""
        await self._say("mira.scorer.text", TOPIC, next_offset, list(finished), results_id)

    async def aggregated(self, next_offset: int) -> None:
        """The aggregator does."""
        await self._say("mira.aggregator", "mira.scores", next_offset, [])

    async def _say(
        self, consumer_group: str, topic: str, next_offset: int, finished: list[tuple[int, int]], results_id: str = ""
    ) -> None:
        topic_id = await self.broker.topic_id(topic)
        progress = Progress(
            topic=topic,
            partition=0,
            next_offset=next_offset,
            finished=finished,
            topic_id=topic_id,
            results_id=results_id,
        )
        record = progress_record(consumer_group, TopicPartition("mira.progress", 0), progress)
        self.broker.append(record.topic, record.key, record.value, 0)

    async def delete(self, before: int) -> None:
        """Retention takes the topic's records, and the scorer goes on behind them."""
        end = max(record.offset for record in self.broker.records(TOPIC)) + 1
        self.broker.delete_before(TopicPartition(TOPIC, 0), before)
        await self.done(min(before, end))

    async def make_anew(self) -> None:
        self.broker.delete_topic(TOPIC)
        await self.begin()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_source, "batches", partial(batching.batches, rows_max=7))
    monkeypatch.setattr(ingest_source, "batches_again", partial(batching.batches_again, rows_max=7))


async def test_a_topic_made_anew_gets_what_was_not_scored(tmp_path: Path) -> None:
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    world.score(*range(12))
    world.score(12, letter=True)
    await world.make_anew()
    await world.done(0)
    count = await world.produce()
    assert world.texts() == list(range(13, 20))
    assert said("web", count, missing=True) == (
        "web: 20 documents, 0 rejected (0 new); 7 of those produced before sent again: they have no score and no dead"
        " letter and are not in their topic any more; 13 rows have or are, and are left (those that `mira-stream"
        " audit` calls lost stand before an offset that was moved forward: move it back)"
    )
    again = await world.produce()
    assert (again.again, again.left, world.texts()) == (0, 20, list(range(13, 20))), "they wait for their scores now"


async def test_without_the_option_a_file_that_was_read_is_produced(tmp_path: Path) -> None:
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    await world.make_anew()
    count = await world.produce(missing=False)
    assert (count.new, world.texts()) == (0, [])
    assert said("web", count).endswith("--missing sends again")


@settings(max_examples=20, deadline=None)
@given(
    read=st.integers(0, 20),
    scored=st.sets(st.integers(0, 19)),
    deleted=st.integers(0, 25),
    with_ids=st.booleans(),
    unended=st.booleans(),
)
def test_every_row_has_an_outcome_or_stands_in_the_topic_once(
    read: int, scored: set[int], deleted: int, with_ids: bool, unended: bool
) -> None:
    """However much of the file was read, scored and deleted, and though it has grown since."""

    async def run(folder: Path) -> None:
        world = await World(folder, 0, with_ids=with_ids).begin()
        world.append(0, read, "" if unended else "\n")
        await world.produce(missing=False)
        world.score(*scored)
        await world.aggregated(0)
        first = [record.offset for record in world.broker.records(TOPIC)]
        if first:
            await world.delete(min(deleted, first[-1] + 1))
        held = world.texts()
        if unended and read:
            (folder / "web.jsonl").open("a").write("\n")
        world.append(read, 20)
        there = set(held) | {number for number in scored if number < read}
        count = await world.produce()
        assert Counter(world.texts()) == Counter([*held, *(number for number in range(20) if number not in there)])
        assert (count.again, count.left, count.new) == (read - len(there), len(there), 20 - read)
        assert (await world.produce()).again == 0
        assert (await world.produce(missing=False)).new == 0

    with TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


async def test_a_copy_brings_only_what_is_missing(tmp_path: Path) -> None:
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    world.score(*range(15))
    await world.make_anew()
    await world.done(0)
    (tmp_path / "copy.jsonl").write_bytes((tmp_path / "web.jsonl").read_bytes() + b'{"id": "w19", "text": "text 19"}\n')
    count = await world.produce(path="copy.jsonl")
    assert (count.new, count.again, count.left) == (5, 0, 16), "of two rows with one id one is sent"
    assert world.texts() == list(range(15, 20))
    assert (await world.produce(path="copy.jsonl", missing=False)).new == 0


async def test_documents_without_ids_of_another_version_of_the_file_are_not_taken_for_those_of_this(
    tmp_path: Path,
) -> None:
    world = await World(tmp_path, 3, with_ids=False).begin()
    await world.produce(missing=False)
    world.score(0, 1, 2)
    await world.make_anew()
    await world.done(0)
    (tmp_path / "web.jsonl").write_text('{"text": "text 7"}\n')
    sources = {"web": world.project.settings.sources["web"]}
    await produce(world.broker, world.project, sources, again=True)
    await world.make_anew()
    await world.done(0)
    assert (await world.produce()).again == 1
    assert world.texts() == [7]


async def test_nothing_is_sent_while_a_scorer_may_hold_what_is_deleted(tmp_path: Path) -> None:
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    world.score(*range(3), 5)
    await world.done(4, (6, 6))  # the opening marker of a transaction may be among the offsets
    world.broker.delete_before(TopicPartition(TOPIC, 0), 10)
    for _ in range(2):
        with pytest.raises(DataLossError, match=r"loss_not_accepted.*5 of them unread.*--accept-loss"):
            await world.produce()
    await world.make_anew()
    with pytest.raises(DataLossError, match=r"loss_not_accepted.*made anew"):
        await world.produce()
    assert world.texts() == []
    await world.done(0)
    assert (await world.produce()).again == 16


async def test_what_was_scored_must_be_known(tmp_path: Path) -> None:
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    world.score(*range(3))
    world.broker.delete_before(TopicPartition("mira.scores", 0), 2)
    with pytest.raises(DataLossError, match="scores_deleted"):
        await world.produce()


async def opened(tmp_path: Path) -> "tuple[World, Hold, asyncio.Task[Produced]]":
    """A topic made anew, and a run after what is missing that is held behind its opening."""
    world = await World(tmp_path).begin()
    await world.produce(missing=False)
    await world.make_anew()
    opening = world.broker.hold_next_commit("mira.produce.web", ended=True)
    run = asyncio.create_task(world.produce())
    await opening.reached.wait()
    return world, opening, run


async def test_a_run_that_another_takes_over_sends_nothing_twice(tmp_path: Path) -> None:
    world, opening, first = await opened(tmp_path)
    hold = world.broker.hold_next_commit("mira.produce.web")
    opening.release()
    await hold.reached.wait()
    count = await world.produce()
    hold.release()
    with pytest.raises(DependencyError, match="producer_fenced"):
        await first
    assert count.again == 20
    assert sorted(world.texts()) == list(range(20))


async def test_a_commit_without_an_answer_is_looked_up(tmp_path: Path) -> None:
    world, opening, run = await opened(tmp_path)
    world.broker.fail_next_commit("unknown_committed", "mira.produce.web")
    opening.release()
    await run
    assert sorted(world.texts()) == list(range(20))


def test_a_scorer_is_done_with_what_its_progress_covers() -> None:
    def said_of(next_offset: int, *finished: tuple[int, int], topic_id: str = "t") -> str:
        progress = Progress(
            topic=TOPIC, partition=0, next_offset=next_offset, finished=list(finished), topic_id=topic_id
        )
        return not_done(progress, 0, "t", 10)

    assert said_of(10) == said_of(12) == said_of(4, (4, 11)) == said_of(4, (4, 6), (7, 9)) == ""
    assert "6 of them unread" in said_of(4)
    assert "1 of them unread" in said_of(4, (4, 8), (10, 20))
    assert "made anew" in said_of(12, topic_id="before")
    assert not_done(None, None, "t", 10) == ""
    assert "no progress" in not_done(None, 3, "t", 10)
