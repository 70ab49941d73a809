"""A project's topics in memory: documents, score cards, an aggregator that may be cut off after any transaction."""

import random
from collections.abc import Sequence
from pathlib import Path

from mira_stream.config import Project, load_project
from mira_stream.exporting import ExportingFactory, OutFolder
from mira_stream.messages import Decision, Document, Epoch, Mask, Origin, Policy, Prior, ScoreCard, decoder, encode
from mira_stream.parquet import open_table
from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.selecting.handler import SelectingFactory, SelectingHandler
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from mira_stream.window_messages import WindowSummary
from mira_stream.windows import Added
from tests.unit.selecting_cards import mask, random_card
from tests.unit.windows_model import GRACE_S, SIZE_S, T0

PARTITIONS = 2
MIRA_TOML = f"""
[groups.text]
family = "text"
[sources.books]
group = "text"
[sources.wiki]
group = "text"
[topics]
partitions = {PARTITIONS}
[windows]
size_s = {SIZE_S}
grace_s = {GRACE_S}
[limits]
checkpoint_cards = 40
dead_letters_in_a_row = 5
"""
PRIOR = Prior(cells={str(cell): 1.0 for cell in range(400, 800, 8)}, documents=50, tokens=0)
DOCUMENTS = "mira.documents.text"
SCORES = TopicPartition("mira.scores", 0)


class Tally:
    """What the handler counted."""

    def __init__(self) -> None:
        self.decisions: list[tuple[str, str]] = []
        self.letters: list[tuple[str, str]] = []
        self.added: list[tuple[str, Added]] = []
        self.summaries: list[WindowSummary] = []
        self.waited_s: list[float] = []
        self.epochs: list[Epoch] = []
        self.totals: dict[str, tuple[int, float]] = {}
        self.versions: list[int] = []

    def follows(self, version: int) -> None:
        self.versions.append(version)

    def decided(self, source: str, decision: str) -> None:
        self.decisions.append((source, decision))

    def took(self, seconds: float) -> None:
        self.waited_s.append(seconds)

    def stands(self, of: str, documents: int, kept: float) -> None:
        self.totals[of] = (documents, kept)

    def moved(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)

    def dead(self, stage: str, reason: str) -> None:
        self.letters.append((stage, reason))

    def windowed(self, source: str, added: Added) -> None:
        self.added.append((source, added))

    def summed_up(self, summary: WindowSummary) -> None:
        self.summaries.append(summary)


class World:
    def __init__(self, project: Project) -> None:
        self.project = project
        self.stamp_ms = T0
        """The broker's clock."""
        self.broker = MemoryBroker(lambda: self.stamp_ms)
        self.now_ms = T0
        """The aggregator's clock."""
        self.tally = Tally()

    @classmethod
    async def create(cls, root: Path, scope: str = "source") -> "World":
        """`scope`: the widest that is asked for; everybody's threshold needs all cards in one partition."""
        (root / "mira.toml").write_text(MIRA_TOML)
        if scope == "global":
            (root / "mira.toml").write_text(MIRA_TOML.replace("[topics]\n", '[topics]\nscores_key = "all"\n'))
        world = cls(load_project(root, {}))
        await world.broker.create_topics(topic_specs(world.project), 1)
        return world

    def publish(self, message: Policy | Mask, key: str | None = None) -> Record:
        if key is None:
            key = f"source:{message.source}" if isinstance(message, Mask) else "*"
        return self.broker.append("mira.policy", key.encode(), encode(message), 0)

    def publish_masks(self) -> None:
        for source in ("books", "wiki"):
            self.publish(mask(source=source, prior=PRIOR))

    def document(self, document_id: str, source: str = "books") -> Origin:
        document = Document(id=document_id, source=source, text=f"text of {document_id}", meta={"n": document_id})
        record = self.broker.append(DOCUMENTS, document_id.encode(), encode(document))
        return Origin(
            topic=DOCUMENTS, partition=record.partition, offset=record.offset, timestamp_ms=record.timestamp_ms
        )

    def score(self, card: ScoreCard) -> Record:
        return self.broker.append("mira.scores", card.group.encode(), encode(card), 0)

    def fill(
        self,
        count: int,
        seed: int = 1,
        sources: Sequence[str] = ("books", "wiki"),
        pace_s: int = 0,
        spread_s: int = SIZE_S,
    ) -> list[ScoreCard]:
        """Documents, each with its card; with `pace_s` one happened every so often, and up to `spread_s` before."""
        rng = random.Random(seed)
        first = len(self.broker.records(DOCUMENTS))
        cards = []
        for number in range(first, first + count):
            card = random_card(number, rng, sources)
            jitter_s = random.Random(-1 - number).randint(-spread_s, 0)
            happened = T0 - 10**9 + (number * pace_s + jitter_s) * 1_000 if pace_s else 0
            origin = self.document(card.id, card.source)
            own = random.Random(number)
            cards.append(random_card(number, own, (card.source,), origin=origin, event_time_ms=happened))
            self.score(cards[-1])
        return cards

    def handler(self, partition: TopicPartition, reader: object) -> SelectingHandler:
        return SelectingFactory(self.project, self.tally, lambda: self.now_ms)(partition, reader)  # type: ignore[arg-type]

    async def aggregate(self, transactions: Sequence[int] = (7,), end: int | None = None) -> None:
        """One ownership of partition 0: transactions of these sizes, over and over, up to `end`."""
        group = self.project.consumer_group("aggregator")
        producer = await self.broker.producer("mira.aggregator.mira.scores.0")
        reader = await self.broker.reader()
        next_offset = (await self.broker.committed(group, [SCORES])).get(SCORES, 0)
        handler = self.handler(SCORES, reader)
        await handler.open(next_offset)
        last = (await reader.bounds([SCORES]))[SCORES][1] if end is None else end
        records = [record async for record in reader.read(SCORES, next_offset, last)]
        turn = 0
        while records:
            size = transactions[turn % len(transactions)]
            turn += 1
            batch, records = records[:size], records[size:]
            written: list[Outgoing] = []
            for record in batch:
                written += await handler.handle(record)
            written += await handler.seal(batch[-1].offset + 1)
            await producer.commit(written, {SCORES: batch[-1].offset + 1}, group)
            await handler.committed()
        await handler.close()
        await producer.close()

    async def tick(self, later_ms: int) -> None:
        """A new owner to whom, `later_ms` after it began, no card has come."""
        group = self.project.consumer_group("aggregator")
        committed = (await self.broker.committed(group, [SCORES]))[SCORES]
        producer = await self.broker.producer("mira.aggregator.mira.scores.0")
        handler = self.handler(SCORES, await self.broker.reader())
        await handler.open(committed)
        self.now_ms += later_ms
        written = await handler.tick(committed)
        await producer.commit(written, {SCORES: committed}, group)
        await handler.committed()
        await producer.close()

    async def commit_scorer(self) -> None:
        """The scorer has committed all documents there are."""
        reader = await self.broker.reader()
        bounds = await reader.bounds(await reader.partitions(DOCUMENTS))
        producer = await self.broker.producer("mira.scorer")
        await producer.commit(
            [], {p: end for p, (_, end) in bounds.items()}, self.project.consumer_group("scorer.text")
        )

    async def export(self, out: Path, files: int = 2) -> None:
        """Every decisions partition in `files` batches, by the real handler."""
        reader = await self.broker.reader()
        group = self.project.consumer_group("exporter")
        for partition, (_, end) in (await reader.bounds(await reader.partitions("mira.decisions"))).items():
            producer = await self.broker.producer(f"mira.exporter.{partition.partition}")
            next_offset = (await self.broker.committed(group, [partition])).get(partition, 0)
            handler = ExportingFactory(OutFolder(out, "mira.exports"), open_table, Metrics())(partition, reader)
            await handler.open(next_offset)
            records = [record async for record in reader.read(partition, next_offset, end)]
            size = -(-len(records) // files) or 1
            for batch in (records[at : at + size] for at in range(0, len(records), size)):
                for record in batch:
                    await handler.handle(record)
                sealed = await handler.seal(batch[-1].offset + 1)
                await producer.commit(sealed, {partition: batch[-1].offset + 1}, group)
                await handler.committed()

    def values(self, topic: str) -> list[bytes]:
        return [record.value or b"" for record in self.broker.records(f"mira.{topic}")]

    def decisions(self) -> list[Decision]:
        return [decoder(Decision).decode(value) for value in self.values("decisions")]

    def summaries(self) -> list[WindowSummary]:
        return [decoder(WindowSummary).decode(value) for value in self.values("windows")]

    def epochs(self) -> list[Epoch]:
        return [decoder(Epoch).decode(value) for value in self.values("epochs")]
