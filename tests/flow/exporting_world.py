"""A broker with documents and their decisions, an export folder, and exporters that come and go."""

import asyncio
from collections import Counter
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from consumers import exporter
from mira_stream.config import Project, Settings
from mira_stream.messages import (
    CardPosition,
    Decision,
    Document,
    Message,
    Origin,
    Parts,
    ToolCall,
    decoder,
    encode,
)
from mira_stream.messages import Export as ExportMessage
from mira_stream.parquet import read_columns
from mira_stream.sections import GroupSection, SourceSection
from mira_stream.streaming import owner, runner
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker

SOURCES = {"docs": "text", "pairs": "qa", "runs": "agent"}
PARTITIONS = 2


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

    def export(self, *, accept_loss: bool = False, from_start: bool = False) -> "asyncio.Task[None]":
        self.stop = asyncio.Event()
        work = exporter.export(
            self.project, self.broker, self.out, self.metrics, self.stop, accept_loss=accept_loss, from_start=from_start
        )
        return asyncio.create_task(work, name="export")

    async def run(self, *, accept_loss: bool = False, from_start: bool = False) -> None:
        """An exporter from start to a clean stop, when it has committed all decisions."""
        task = self.export(accept_loss=accept_loss, from_start=from_start)
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

    def settled(self, partition: int) -> bool:
        """Whether the exporter has done all that follows a commit, for the last Export of this partition."""
        last = max(export.last for export in self.exports() if export.partition == partition)
        mark = self.out / "scores" / f".mira.exports-{partition:05d}"
        return mark.exists() and mark.read_bytes() == b"%d" % last

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


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that waits for nobody, and writes small files."""
    monkeypatch.setattr(owner, "REOPEN_S", (0.0,))
    monkeypatch.setattr(owner, "FENCED_S", (0.0,))
    monkeypatch.setattr(runner, "POLL_S", 0.01)
    monkeypatch.setattr(exporter, "AWAY_S", 0.002)
    monkeypatch.setattr(exporter, "FILE_LINGER_S", 0.0)
    monkeypatch.setattr(exporter, "FILE_DECISIONS", 7)


def hidden(out: Path) -> list[str]:
    """Parts that are not in place."""
    return [str(path.relative_to(out)) for path in out.rglob(".part-*")]


def visible(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("*/*/[!.]*"))}


async def killed(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
