"""Aggregate, stop, aggregate again, audit and explain: in memory and on Kafka, with transaction markers between."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from consumers.aggregator import aggregate
from mira_stream.audit.run import audit
from mira_stream.audit.story import story
from mira_stream.audit.trail import find_trails
from mira_stream.config import Project, load_project
from mira_stream.messages import Document, Origin, Policy, encode
from mira_stream.records import Outgoing
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.topics import topic_specs
from tests.contract.rig import PATIENCE_S
from tests.settled import settle
from tests.unit.selecting_cards import mask, random_card

MIRA_TOML = """
[project]
prefix = "{prefix}"
[groups.text]
family = "text"
[sources.books]
group = "text"
[sources.wiki]
group = "text"
[topics]
partitions = 2
[limits]
checkpoint_cards = 30
transaction_records = 16
transaction_linger_s = 0.01
"""


class StopsAt(Metrics):
    def __init__(self, outcomes: int, stop: asyncio.Event) -> None:
        super().__init__()
        self._left = outcomes
        self._stop = stop

    def decided(self, source: str, decision: str) -> None:
        self._settle()

    def dead(self, stage: str, reason: str) -> None:
        self._settle()

    def _settle(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._stop.set()


async def write(broker: Broker, name: str, records: Sequence[Outgoing]) -> None:
    producer = await broker.producer(name)
    await producer.commit(records, {}, None)
    await producer.close()
    await settle(broker, name)


async def stream(project: Project, broker: Broker, first: int, count: int) -> None:
    """Documents, then a card for each, then the scorer's commit."""
    topic, rng = project.documents_topic("text"), random.Random(first)
    numbers = range(first, first + count)
    documents = [Document(id=f"doc-{n}", source=rng.choice(("books", "wiki")), text=f"text {n}") for n in numbers]
    await write(
        broker,
        f"{topic}.producer",
        [Outgoing(topic, d.id.encode(), encode(d), n % 2) for n, d in zip(numbers, documents, strict=True)],
    )
    reader = await broker.reader()
    bounds = await reader.bounds(await reader.partitions(topic))
    cards = []
    for partition, (start, end) in bounds.items():
        async for record in reader.read(partition, start, end):
            number = int((record.key or b"").decode().removeprefix("doc-"))
            if number >= first:
                origin = Origin(
                    topic=topic, partition=record.partition, offset=record.offset, timestamp_ms=record.timestamp_ms
                )
                source = documents[number - first].source
                cards.append(random_card(number, random.Random(number), (source,), origin=origin))
    await reader.close()
    records = [Outgoing(project.topic("scores"), b"text", encode(card)) for card in cards]
    producer = await broker.producer(f"{topic}.scorer")
    ends = {partition: end for partition, (_, end) in bounds.items()}
    await producer.commit(records, ends, project.consumer_group("scorer.text"))
    await producer.close()
    await settle(broker, f"{topic}.scorer")


async def decide(project: Project, broker: Broker, count: int) -> None:
    stop = asyncio.Event()
    async with asyncio.timeout(PATIENCE_S):
        await aggregate(project, broker, StopsAt(count, stop), stop)
    for partition in range(project.settings.topics.partitions):
        await settle(broker, f"{project.consumer_group('aggregator')}.{project.topic('scores')}.{partition}")


async def test_a_stream_that_was_stopped_and_went_on_is_clean(broker: Broker, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "mira.toml").write_text(MIRA_TOML.format(prefix=prefix))
    project = load_project(tmp_path, {})
    await broker.create_topics(topic_specs(project), 1)
    policy = project.topic("policy")
    masks = [Outgoing(policy, f"source:{s}".encode(), encode(mask(source=s)), 0) for s in ("books", "wiki")]
    await write(broker, f"{policy}.publish", masks)
    await stream(project, broker, 0, 100)
    await decide(project, broker, 100)
    await write(broker, f"{policy}.publish", [Outgoing(policy, b"*", encode(Policy(retention=0.25)), 0)])
    await stream(project, broker, 100, 70)
    await decide(project, broker, 70)

    result = await audit(project, broker, None)
    assert result.findings == []
    assert (result.documents, result.decisions, result.decisions_recomputed) == (170, 170, 170)
    assert (result.waiting, result.lost, result.doubled, result.not_yet_exported) == (0, 0, 0, 170)
    reader = await broker.reader()
    (trail,) = await find_trails(reader, project, "doc-169")
    await reader.close()
    told = story(project, trail)
    assert told.head == "text 169"
    assert told.epoch is not None
    assert told.epoch.target == 0.25
