"""A score log of random cards and the policies that they are decided by."""

import random

from mira_stream.config import Project, Settings
from mira_stream.messages import SLOTS, Mask, Origin, Policy, Prior, ScoreCard, encode
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.sections import GroupSection, ProjectSection, SourceSection
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.topics import topic_specs

GROUPS = [f"group-{number}" for number in range(8)]


LINEAGE = "0123456789ab"


MEANS = [6.0] * 15


WRITTEN_AT_ONCE = 2_000


PARTITIONS = 4


def settings_of(prefix: str, sources: int) -> Settings:
    named = {f"source-{n}": SourceSection(group=GROUPS[n % len(GROUPS)]) for n in range(sources)}
    groups = {group: GroupSection(family="text") for group in GROUPS}
    return Settings(project=ProjectSection(prefix=prefix), groups=groups, sources=named)


def policies(settings: Settings, prior: Prior | None = None) -> list[tuple[str, Policy | Mask]]:
    """What an aggregator is told of these sources: all dimensions count."""
    found: list[tuple[str, Policy | Mask]] = [("*", Policy(retention=0.4))]
    for name, source in settings.sources.items():
        mask = Mask(
            mask="m",
            group=str(source.group),
            source=name,
            lineage=LINEAGE,
            dimensions=list(SLOTS),
            means=MEANS,
            trim=0.1,
            prior=prior,
        )
        found.append((f"source:{name}", mask))
    return found


def card(number: int, rng: random.Random, settings: Settings) -> ScoreCard:
    """A document has a level, its dimensions scatter round it; now and then a score could not be read."""
    source = f"source-{rng.randrange(len(settings.sources))}"
    level = rng.gauss(6.0, 1.5)
    scores: list[float | None] = [
        None if rng.random() < 0.03 else float(min(10, max(1, round(level + rng.gauss(0, 1))))) for _ in SLOTS
    ]
    group = str(settings.sources[source].group)
    origin = Origin(
        topic=f"documents.{group}", partition=number % PARTITIONS, offset=number, timestamp_ms=1_700_000_000_000
    )
    return ScoreCard(
        id=f"document-{number}", source=source, group=group, origin=origin, lineage=LINEAGE, mode="scores",
        scores=scores, tokens=rng.randint(50, 2_000), prompt_tokens=500, generation_tokens=120,
        brief="a page of a manual", engine_s=0.25,
    )  # fmt: skip


async def write_log(broker: Broker, project: Project, cards: int, seed: int) -> None:
    """Policies and cards, in transactions as a scorer's."""
    await broker.create_topics(topic_specs(project), 1)
    producer = await broker.producer(project.topic("bench"))
    told = [Outgoing(project.topic("policy"), key.encode(), encode(one), 0) for key, one in policies(project.settings)]
    await producer.commit(told, {}, None)
    rng = random.Random(seed)
    for first in range(0, cards, WRITTEN_AT_ONCE):
        made = [card(number, rng, project.settings) for number in range(first, min(cards, first + WRITTEN_AT_ONCE))]
        await producer.commit([Outgoing(project.topic("scores"), c.group.encode(), encode(c)) for c in made], {}, None)
    await producer.close()
    await (await broker.producer(project.topic("bench"))).close()  # until all of it can be read


async def ends(broker: Broker, topic: str) -> dict[TopicPartition, int]:
    """Behind the last card of each partition: where a consumer group has to get to."""
    reader = await broker.reader()
    try:
        found: dict[TopicPartition, int] = {}
        for partition in await reader.partitions(topic):
            first, end = (await reader.bounds([partition]))[partition]
            async for record in reader.read(partition, max(first, end - 3 * WRITTEN_AT_ONCE), end):
                found[partition] = record.offset + 1
        return found
    finally:
        await reader.close()
