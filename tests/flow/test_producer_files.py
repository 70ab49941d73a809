"""The file producer over the in-memory broker: everything once, whatever stops it; positions tell where to go on."""

import asyncio
import gzip
import json
from collections import Counter
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from mira_stream.config import Project, Settings
from mira_stream.errors import ConfigError, DataLossError, DependencyError
from mira_stream.ingest import batches as batching
from mira_stream.ingest import source as ingest_source
from mira_stream.ingest.positions import Positions
from mira_stream.messages import DeadLetter, Document, IngestPosition, decoder
from mira_stream.sections import GroupSection, IngestSection, SourceSection
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from mira_stream.testing.cluster import Hold
from producers.files import Produced, produce


class World:
    """A project of three sources, and a broker."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(
            groups={"text": GroupSection(family="text"), "agent": GroupSection(family="agent")},
            sources={
                "web": SourceSection(group="text", path="web.jsonl"),
                "docs": SourceSection(group="text", path="docs"),
                "runs": SourceSection(group="agent", path="runs.jsonl.gz"),
                "other": SourceSection(group="text"),
            },
            ingest=IngestSection(inline_bytes_max=2_000),
        )
        self.folder = folder
        self.project = Project(folder, settings)
        self.broker = MemoryBroker()
        self.opening: Hold

    @classmethod
    async def make(cls, folder: Path, web: int = 50) -> "World":
        world = cls(folder)
        await world.broker.create_topics(topic_specs(world.project), 1)
        world.append_web(0, web)
        (folder / "docs" / "deep").mkdir(parents=True)
        for number in range(5):
            (folder / "docs" / "deep" / f"{number}.md").write_text(f"# doc {number}")
        runs = [{"id": f"r{n}", "messages": [{"role": "user", "content": "x"}]} for n in range(9)]
        (folder / "runs.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, runs)).encode()))
        return world

    def append_web(self, first: int, end: int) -> None:
        """Every tenth line is broken."""
        with (self.folder / "web.jsonl").open("a") as file:
            for number in range(first, end):
                row = json.dumps({"id": f"w{number}", "text": f"text {number}", "n": number})
                file.write(("{" if number % 10 == 9 else "") + row + "\n")

    async def produce(self, *names: str, again: bool = False) -> dict[str, Produced]:
        sources = {name: self.project.settings.sources[name] for name in names or ("web", "docs", "runs")}
        return await produce(self.broker, self.project, sources, again=again)

    def documents(self, group: str = "text") -> list[Document]:
        decode = decoder(Document).decode
        return [decode(record.value or b"") for record in self.broker.records(f"mira.documents.{group}")]

    def letters(self) -> list[DeadLetter]:
        return [decoder(DeadLetter).decode(r.value or b"") for r in self.broker.records("mira.dead-letters")]

    def positions(self) -> dict[str, IngestPosition]:
        found = [decoder(IngestPosition).decode(r.value or b"") for r in self.broker.records("mira.ingest")]
        return {position.feed: position for position in found if not position.feed.startswith("@")}

    def check_web(self, count: int) -> None:
        """Each line of web.jsonl is in the log once."""
        bad = set(range(9, count, 10))
        ids = Counter(document.id for document in self.documents() if document.source == "web")
        assert ids == Counter(f"w{number}" for number in range(count) if number not in bad)
        assert len([letter for letter in self.letters() if letter.source == "web"]) == len(bad)
        position = self.positions()["web:web.jsonl"]
        assert (position.documents, position.rejected, position.done) == (count - len(bad), len(bad), True)
        assert position.next == (self.folder / "web.jsonl").stat().st_size
        assert self.broker.open_transactions() == []


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_source, "batches", partial(batching.batches, rows_max=7))


async def test_all_sources_arrive_whole(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    counts = await world.produce()
    assert counts == {
        "web": Produced(documents=45, rejected=5, new=50),
        "docs": Produced(documents=5, new=5),
        "runs": Produced(documents=9, new=9),
    }
    world.check_web(50)
    assert Counter(document.id for document in world.documents("agent")) == Counter(f"r{n}" for n in range(9))
    docs = {document.text: document for document in world.documents() if document.source == "docs"}
    assert sorted(str(text) for text in docs) == [f"# doc {number}" for number in range(5)]
    assert docs["# doc 3"].ref is not None
    assert docs["# doc 3"].ref.uri == "docs/deep/3.md"
    assert len({document.id for document in docs.values()}) == 5
    web = next(document for document in world.documents() if document.id == "w3")
    assert (web.text, web.meta, web.bytes) == ("text 3", {"n": 3}, 6)


async def test_records_are_keyed_by_id_and_traced(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await world.produce("web")
    records = world.broker.records("mira.documents.text")
    assert [record.key for record in records] == [document.id.encode() for document in world.documents()]
    parents = {dict(record.headers)["traceparent"] for record in records}
    assert len(parents) == len(records)
    assert all(len(parent) == 55 and parent.startswith(b"00-") for parent in parents)
    assert {record.key for record in world.broker.records("mira.ingest")} == {b"web:web.jsonl", b"@web:web.jsonl"}


async def test_again_without_change_does_nothing_and_says_all(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await world.produce()
    before = world.positions()
    counts = await world.produce()
    assert counts["web"] == Produced(documents=45, rejected=5, new=0)
    assert world.positions() == before
    world.check_web(50)


async def test_a_file_that_grows_goes_on(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    for end in (50, 51, 80):
        world.append_web(*{50: (50, 50), 51: (50, 51), 80: (51, 80)}[end])
        counts = await world.produce("web")
        assert counts["web"].documents + counts["web"].rejected == end
        world.check_web(end)


async def test_a_changed_file_is_refused_or_read_again(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await world.produce()
    (tmp_path / "docs" / "deep" / "2.md").write_text("# another text")
    with pytest.raises(DataLossError, match="--again"):
        await world.produce()
    counts = await world.produce(again=True)
    assert counts["docs"] == Produced(documents=6, new=1)
    assert [d.text for d in world.documents() if d.text == "# another text"] == ["# another text"]
    assert (await world.produce())["docs"].new == 0
    (tmp_path / "docs" / "new.md").write_text("# one more")
    assert (await world.produce())["docs"].new == 1


async def reached(hold: Hold) -> None:
    async with asyncio.timeout(30):
        await hold.reached.wait()


async def opened(world: World) -> "asyncio.Task[dict[str, Produced]]":
    """A producer of web that stands behind its first transaction, the opening."""
    hold = world.broker.hold_next_commit("mira.produce.web", ended=True)
    task = asyncio.create_task(world.produce("web"))
    await reached(hold)
    world.opening = hold
    return task


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("kills", [1, 4])
async def test_killed_in_a_commit(tmp_path: Path, ended: bool, kills: int) -> None:
    world = await World.make(tmp_path)
    for _ in range(kills):
        task = await opened(world)
        hold = world.broker.hold_next_commit("mira.produce.web", ended=ended)
        world.opening.release()
        await reached(hold)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    counts = await world.produce("web")
    assert counts["web"].new == 50 - (7 * kills if ended else 0)
    world.check_web(50)


@pytest.mark.parametrize("failure", ["unknown_committed", "unknown_open"])
@pytest.mark.parametrize("at_opening", [False, True])
async def test_a_commit_without_an_answer(tmp_path: Path, failure: Any, at_opening: bool) -> None:
    world = await World.make(tmp_path)
    if at_opening:
        world.broker.fail_next_commit(failure, "mira.produce.web")
    task = await opened(world)
    world.broker.fail_next_commit(failure, "mira.produce.web")
    second = world.broker.hold_next_commit("mira.produce.web", ended=True)
    world.opening.release()
    await reached(second)
    world.broker.fail_next_commit(failure, "mira.produce.web")
    second.release()
    assert (await task)["web"] == Produced(documents=45, rejected=5, new=50)
    world.check_web(50)


async def test_a_broker_that_never_answers_is_given_up(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    for _ in range(5):
        world.broker.fail_next_commit("unknown_open", "mira.produce.web")
    with pytest.raises(DependencyError, match="commit_unknown"):
        await world.produce("web")
    await world.produce("web")
    world.check_web(50)


async def test_two_at_once_do_not_double(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    hold = world.broker.hold_next_commit("mira.produce.web")
    first = asyncio.create_task(world.produce("web"))
    await reached(hold)
    await world.produce("web")
    hold.release()
    with pytest.raises(DependencyError, match="producer_fenced"):
        await first
    world.check_web(50)


async def test_an_open_transaction_of_another_hides_no_position(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    hold = world.broker.hold_next_commit("mira.produce.docs")
    docs = asyncio.create_task(world.produce("docs"))
    await reached(hold)
    other = asyncio.create_task(world.produce("web"))
    hidden = world.broker.hold_next_commit("mira.produce.web")
    await reached(hidden)
    hidden.release()
    await asyncio.sleep(0)
    assert not other.done()
    hold.release()
    await asyncio.gather(docs, other)
    world.check_web(50)


async def test_a_transaction_that_stays_open_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await World.make(tmp_path)
    hold = world.broker.hold_next_commit("mira.produce.docs")
    docs = asyncio.create_task(world.produce("docs"))
    await reached(hold)
    positions = Positions(await world.broker.reader(), "mira.ingest")
    with pytest.raises(DependencyError, match="ingest_blocked"):
        await positions.catch_up("web:web.jsonl", "never", 0.01)
    hold.release()
    await docs


async def test_a_damaged_file_keeps_what_came_before_and_spares_other_sources(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    rows = [{"id": f"r{n}", "messages": [{"role": "user", "content": token_hex(500)}]} for n in range(3_000)]
    whole = gzip.compress("\n".join(map(json.dumps, rows)).encode())
    (tmp_path / "runs.jsonl.gz").write_bytes(whole[:-100])
    with pytest.raises(DataLossError, match="source_damaged"):
        await world.produce()
    world.check_web(50)
    kept = len(world.documents("agent"))
    assert kept > 1_000
    assert (world.positions()["runs:runs.jsonl.gz"].documents, world.positions()["runs:runs.jsonl.gz"].done) == (
        kept,
        False,
    )
    (tmp_path / "runs.jsonl.gz").write_bytes(whole)
    assert (await world.produce("runs"))["runs"] == Produced(documents=3_000, new=3_000 - kept)
    assert len({document.id for document in world.documents("agent")}) == 3_000


async def test_a_document_that_is_too_large_and_the_rest_goes_on(tmp_path: Path) -> None:
    world = await World.make(tmp_path, web=0)
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "x" * 20_000_000}, {"id": "c", "text": "y" * 2_001}]
    (tmp_path / "web.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"id": "d", "text": "z"}])))
    assert (await world.produce("web"))["web"] == Produced(documents=2, rejected=2, new=4)
    assert [letter.reason for letter in world.letters()] == ["too_large"] * 2
    assert {document.id for document in world.documents()} == {"a", "d"}


async def test_sources_that_cannot_be_read_are_said_before_anything_is_produced(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    with pytest.raises(ConfigError, match="source_pathless"):
        await world.produce("web", "other")
    (tmp_path / "runs.jsonl.gz").unlink()
    with pytest.raises(ConfigError, match="source_missing"):
        await world.produce()
    assert world.documents() == []


async def test_progress_counts_up(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    seen: list[tuple[str, int]] = []
    sources = {"web": world.project.settings.sources["web"]}
    await produce(world.broker, world.project, sources, lambda name, made: seen.append((name, made.new)))
    assert seen == [("web", 0), *(("web", min(50, 7 * number)) for number in range(1, 9))]


async def test_an_empty_file_is_done(tmp_path: Path) -> None:
    world = await World.make(tmp_path, web=0)
    assert (await world.produce("web"))["web"] == Produced()
    assert world.positions()["web:web.jsonl"].done
