"""Decisions to Parquet through the real runner: each in scores/ once, each selected one in kept/ once, whatever
goes wrong between."""

import asyncio
import errno
import json
import os
from collections import Counter
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from consumers import exporter
from mira_stream.config import GroupSection, Project, Settings, SourceSection
from mira_stream.errors import DataLossError, DependencyError
from mira_stream.exporting import ExportingFactory, staging
from mira_stream.messages import (
    SLOTS,
    CardPosition,
    Decision,
    Document,
    Epoch,
    Mark,
    Message,
    Origin,
    Parts,
    ToolCall,
    decoder,
    encode,
)
from mira_stream.messages import Export as ExportMessage
from mira_stream.parquet import open_table, read_columns
from mira_stream.records import TopicPartition
from mira_stream.streaming import owner, runner
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker

SOURCES = {"docs": "text", "pairs": "qa", "runs": "agent"}
PARTITIONS = 2


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "REOPEN_S", (0.0,))
    monkeypatch.setattr(owner, "FENCED_S", (0.0,))
    monkeypatch.setattr(runner, "POLL_S", 0.01)
    monkeypatch.setattr(exporter, "FILE_LINGER_S", 0.0)
    monkeypatch.setattr(exporter, "FILE_DECISIONS", 7)


class World:
    """A broker with documents and their decisions, an export folder, and exporters that come and go."""

    def __init__(self, project: Project, broker: MemoryBroker, out: Path) -> None:
        self.project, self.broker, self.out = project, broker, out
        self.metrics = Metrics()
        self.count = 0

    @classmethod
    async def make(cls, folder: Path, documents: int) -> "World":
        settings = Settings(
            groups={name: GroupSection(family=name) for name in ("text", "qa", "agent")},
            sources={name: SourceSection(group=group) for name, group in SOURCES.items()},
        )
        world = cls(Project(folder, settings), MemoryBroker(), folder / "out")
        specs = [spec._replace(partitions=min(spec.partitions, PARTITIONS)) for spec in topic_specs(world.project)]
        await world.broker.create_topics(specs, 1)
        world.add(documents)
        return world

    def add(self, documents: int) -> None:
        for _ in range(documents):
            self.add_one(self.document(self.count))

    def document(self, number: int) -> Document:
        source = list(SOURCES)[number % 3]
        meta = {"url": f"u/{number}", "n": number}
        name = f"{source}-{number}"
        if source == "docs":
            return Document(id=name, source=source, text=f"text {number}", meta=meta)
        if source == "pairs":
            return Document(id=name, source=source, parts=Parts(question="q?", answer=f"a {number}"), meta=meta)
        calls = [ToolCall(name="run", arguments="{not json")]
        return Document(id=name, source=source, messages=[Message(role="assistant", tool_calls=calls)], meta=meta)

    def add_one(self, document: Document, *, decided_id: str | None = None) -> None:
        """Document and decision, in the partition that its number says; every second document is selected."""
        number, group = self.count, SOURCES[document.source]
        self.count += 1
        topic = self.project.documents_topic(group)
        partition = number // 3 % PARTITIONS
        record = self.broker.append(topic, document.id.encode(), encode(document), partition)
        self.decide(decided_id or document.id, document.source, Origin(
            topic=topic, partition=partition, offset=record.offset, timestamp_ms=record.timestamp_ms
        ), selected=number % 2 == 0)  # fmt: skip

    def decide(self, id_: str, source: str, origin: Origin, selected: bool) -> None:
        decision = Decision(
            id=id_,
            source=source,
            group=SOURCES[source],
            origin=origin,
            card=CardPosition(partition=1, offset=origin.offset + 1000),
            lineage="abc",
            mask="m1",
            epoch_of=source,
            epoch=3,
            policy=2,
            decision="keep" if selected else "drop",
            selected=selected,
            reason="above" if selected else "below",
            quality=61.5,
            dimensions_used=["A1", "A2"],
            scores=[None, *(float(number % 10) for number in range(1, 15))],
            overall=64.0,
        )
        self.broker.append(self.project.topic("decisions"), id_.encode(), encode(decision), origin.partition)

    def export(self) -> "asyncio.Task[None]":
        self.stop = asyncio.Event()
        return asyncio.create_task(
            exporter.export(self.project, self.broker, self.out, self.metrics, self.stop), name="export"
        )

    async def run(self) -> None:
        """An exporter from start to a clean stop, when it has committed all decisions."""
        task = self.export()
        await self.until_committed(task)
        self.stop.set()
        await task

    async def until_committed(self, task: "asyncio.Task[None]") -> None:
        reader = await self.broker.reader()
        partitions = await reader.partitions(self.project.topic("decisions"))
        ends = {partition: end for partition, (_, end) in (await reader.bounds(partitions)).items() if end}
        async with asyncio.timeout(30):
            while await self.broker.committed("mira.exporter", ends) != ends:
                if task.done():
                    task.result()
                await asyncio.sleep(0.002)  # spinning would keep the file threads from their work

    def rows(self, table: str) -> list[dict[str, Any]]:
        rows = []
        for path in sorted(self.out.glob(f"{table}/*/*.parquet")):
            columns = read_columns(path)
            rows += [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return rows

    def exports(self) -> list[ExportMessage]:
        decode = decoder(ExportMessage).decode
        return [decode(record.value or b"") for record in self.broker.records("mira.exports")]

    def check(self) -> None:
        """All decisions once, all selected once, nothing hidden left, and the Export messages say the same."""
        expected = Counter(f"{list(SOURCES)[number % 3]}-{number}" for number in range(self.count))
        selected = Counter(f"{list(SOURCES)[number % 3]}-{number}" for number in range(0, self.count, 2))
        assert Counter(row["id"] for row in self.rows("scores")) == expected
        assert Counter(row["id"] for row in self.rows("kept")) == selected
        assert hidden(self.out) == []
        files = {file.path: file for export in self.exports() for file in export.files}
        assert sorted(files) == sorted(str(path.relative_to(self.out)) for path in self.out.glob("*/*/*.parquet"))
        for name, file in files.items():
            assert sha256((self.out / name).read_bytes()).hexdigest() == file.sha256
        by_partition = sorted((export.partition, export.first, export.last) for export in self.exports())
        for one, other in pairwise(by_partition):
            assert one[0] != other[0] or one[2] < other[1]


def hidden(out: Path) -> list[str]:
    return [str(path.relative_to(out)) for path in out.rglob(".*")]


def visible(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("*/*/[!.]*"))}


async def killed(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_every_decision_with_its_scores_and_selected_ones_with_their_content(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 90)
    await world.run()
    world.check()
    row = next(row for row in world.rows("scores") if row["id"] == "pairs-1")
    assert row | {"A1": None, "A2": 1.0, "A15": 4.0, "quality": 61.5, "overall": 64.0} == row
    assert row | {"origin_topic": "mira.documents.qa", "origin_partition": 0, "origin_offset": 0} == row
    assert row | {"card_partition": 1, "card_offset": 1000, "epoch": 3, "policy": 2, "mask": "m1"} == row
    assert (row["selected"], row["reason"], row["recommendation"], row["brief"]) == (False, "below", None, None)
    assert [f"A{number}" for number in range(1, 16)] == [name for name in row if name in SLOTS]
    kept = {row["id"]: row for row in world.rows("kept")}
    assert (kept["docs-0"]["text"], kept["docs-0"]["messages"], kept["docs-0"]["parts"]) == ("text 0", None, None)
    assert json.loads(kept["docs-0"]["meta"]) == {"url": "u/0", "n": 0}
    assert json.loads(kept["pairs-4"]["parts"]) == {"question": "q?", "answer": "a 4"}
    calls = [{"name": "run", "arguments": "{not json"}]
    assert json.loads(kept["runs-2"]["messages"]) == [{"role": "assistant", "tool_calls": calls}]
    assert {row["content_error"] for row in kept.values()} == {None}
    assert all(read_columns(path, ["source"])["source"][0] == path.parent.name for path in world.out.glob("*/*/*.par*"))


async def test_the_same_log_gives_the_same_files(tmp_path: Path) -> None:
    one, other = await World.make(tmp_path / "one", 60), await World.make(tmp_path / "other", 60)
    await one.run()
    await other.run()
    assert visible(one.out) == visible(other.out)
    assert len(visible(one.out)) > 6


@pytest.mark.parametrize("ended", [False, True])
async def test_killed_in_a_commit(tmp_path: Path, ended: bool) -> None:
    """Before the transaction ends, and after it but before the renames: nothing half is visible, the rerun is whole."""
    world = await World.make(tmp_path, 60)
    for _ in range(3):
        before = visible(world.out)
        hold = world.broker.hold_next_commit("mira.exporter", ended=ended)
        task = world.export()
        async with asyncio.timeout(30):
            await hold.reached.wait()
        staged = hidden(world.out)
        assert staged
        assert all(name.endswith(".staged") for name in staged if ".writing" not in name)
        await killed(task)
        new = visible(world.out)
        assert before.items() <= new.items()
        assert set(Counter(row["id"] for row in world.rows("scores")).values()) <= {1}
    await world.run()
    world.check()


@pytest.mark.parametrize("failure", ["unknown_committed", "unknown_open", "aborted"])
async def test_a_commit_without_an_answer(tmp_path: Path, failure: Any) -> None:
    world = await World.make(tmp_path, 60)
    for _ in range(3):
        world.broker.fail_next_commit(failure, "mira.exporter")
    await world.run()
    world.check()


@pytest.mark.parametrize("renames", range(5))
async def test_killed_between_two_renames(tmp_path: Path, renames: int) -> None:
    world = await World.make(tmp_path, 42)
    replace, done = Path.replace, 0

    def failing(self: Path, target: Path) -> Path:
        nonlocal done
        if not str(target).endswith(".staged"):
            done += 1
            if done > renames:
                raise KeyboardInterrupt  # as good as a kill: nothing is caught on the way
        return replace(self, target)

    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(Path, "replace", failing)
        await seal_and_die(world)
    assert len(visible(world.out)) == renames
    await world.run()
    world.check()


async def seal_and_die(world: World) -> None:
    """One handler, driven by hand up to its first renames."""
    reader = await world.broker.reader()
    partition = TopicPartition("mira.decisions", 0)
    producer = await world.broker.producer("mira.exporter.mira.decisions.0")
    handler = ExportingFactory("mira.exports", world.out, open_table, world.metrics)(partition, reader)
    await handler.open(0)
    async for record in reader.read(partition, 0, 7):
        await handler.handle(record)
    await producer.commit([*await handler.seal(7)], {partition: 7}, "mira.exporter")
    with pytest.raises(KeyboardInterrupt):
        staging.put_into_place(world.out, world.exports()[-1].files)


async def test_two_exporters_share_the_partitions(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 80)
    first = world.export()
    stop_first = world.stop
    second = world.export()
    await world.until_committed(second)
    world.add(40)
    stop_first.set()
    await first
    await world.until_committed(second)
    world.stop.set()
    await second
    world.check()


async def test_content_that_is_gone_is_said(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 24)
    topic = "mira.documents.text"
    world.broker.delete_before(TopicPartition(topic, 0), 1)
    gone = Origin(topic="mira.documents.gone", partition=1, offset=0, timestamp_ms=0)
    world.decide("docs-24", "docs", gone, selected=True)
    world.count += 1
    while world.count % 6 != 0:
        world.add_one(world.document(world.count))
    world.add_one(Document(id="docs-30", source="docs", text="other"), decided_id="docs-30")
    world.add_one(world.document(31))
    kept = world.document(32)
    world.add_one(Document(id=kept.id, source=kept.source))
    await world.run()
    world.check()
    errors = {row["id"]: row["content_error"] for row in world.rows("kept")}
    assert {name: error for name, error in errors.items() if error} == {
        "docs-0": "deleted",
        "docs-24": "deleted",
        "runs-32": "not_inline",
    }
    assert all(row["text"] is None for row in world.rows("kept") if row["content_error"])
    assert sum(export.content_errors for export in world.exports()) == 3
    count = world.metrics.registry.get_sample_value
    assert count("mira_export_content_errors_total", {"source": "docs"}) == 2
    assert count("mira_export_content_errors_total", {"source": "runs"}) == 1


async def test_another_document_at_the_origin(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 0)
    world.add_one(Document(id="someone-else", source="docs", text="x"), decided_id="docs-0")
    world.broker.append("mira.documents.text", b"k", b"\xff not a document", 0)
    bad = Origin(topic="mira.documents.text", partition=0, offset=1, timestamp_ms=0)
    world.decide("docs-1", "docs", bad, selected=True)
    world.decide("docs-2", "docs", bad.__class__(topic=bad.topic, partition=0, offset=9, timestamp_ms=0), selected=True)
    await world.run()
    errors = {row["id"]: row["content_error"] for row in world.rows("kept")}
    assert errors == {"docs-0": "id_differs", "docs-1": "unreadable", "docs-2": "missing"}


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A disk with room for the given number of bytes; empty list: all the room there is."""
    room: list[int] = []
    write = staging._HashedFile.write

    def limited(self: Any, data: bytes) -> int:
        if room:
            room[0] -= len(data)
            if room[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    monkeypatch.setattr(staging._HashedFile, "write", limited)
    return room


@pytest.mark.parametrize("room", [0, 3, 3_000, 30_000])
async def test_no_disk_space(tmp_path: Path, full_disk: list[int], room: int) -> None:
    world = await World.make(tmp_path, 60)
    full_disk.append(room)
    with pytest.raises(DependencyError, match="disk_full"):
        await world.run()
    assert hidden(world.out) == []
    full_disk.clear()
    await world.run()
    world.check()


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 6)
    world.out.write_text("a file, not a folder")
    with pytest.raises(DependencyError, match="export_unwritable"):
        await world.run()


async def test_another_folder_after_a_kill_is_refused(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    world.out = tmp_path / "elsewhere"
    world.add(6)
    with pytest.raises(DataLossError, match="export_lost"):
        await world.run()


async def test_a_consumer_group_that_was_set_back_is_refused(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 60)
    await world.run()
    producer = await world.broker.producer("someone")
    await producer.commit([], {TopicPartition("mira.decisions", 0): 0}, "mira.exporter")
    with pytest.raises(DataLossError, match="export_rewound"):
        await world.run()


@pytest.mark.parametrize("value", [b"", b"{", b'{"schema":"epoch.v1"}', b"\xff"])
async def test_what_is_no_decision_stops_the_exporter(tmp_path: Path, value: bytes) -> None:
    world = await World.make(tmp_path, 3)
    world.broker.append("mira.decisions", b"k", value, 0)
    with pytest.raises(DataLossError, match="decision_unreadable"):
        await world.run()


async def test_a_source_that_leads_out_of_the_folder_stops_the_exporter(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 3)
    value = (world.broker.records("mira.decisions")[0].value or b"").replace(b'"docs"', b'"../x"')
    world.broker.append("mira.decisions", b"k", value, 0)
    with pytest.raises(DataLossError, match="decision_unreadable"):
        await world.run()


async def test_all_epochs_in_one_table(tmp_path: Path) -> None:
    world = await World.make(tmp_path, 0)
    epoch = Epoch(
        epoch_of="docs",
        group="text",
        lineage="abc",
        epoch=0,
        cause="start",
        first_offset=0,
        policy=0,
        basis="cold_hash",
        n=0,
        weight=0.0,
        target=0.5,
        target_corrected=0.5,
        keep=None,
        drop=Mark(value=40.5, tie_fraction=0.25),
    )
    for partition in range(PARTITIONS):
        world.broker.append("mira.epochs", b"docs", encode(epoch), partition)
    for _ in range(2):
        await exporter.export_epochs(world.project, world.broker, world.out)
    columns = read_columns(world.out / "epochs.parquet")
    assert columns["partition"] == [0, 1]
    assert (columns["keep"], columns["drop"], columns["drop_tie_fraction"]) == ([None] * 2, [40.5] * 2, [0.25] * 2)
    assert columns["cause"] == ["start"] * 2
