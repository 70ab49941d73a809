"""The aggregator's benchmark in small: it decides on every card, and its limit copies every record."""

from pathlib import Path

import pytest

from bench.aggregating.cards import settings_of
from bench.aggregating.memory import bytes_a_source
from bench.aggregating.sides import one_turn
from mira_stream.config import Project
from mira_stream.kafka import KafkaBroker
from mira_stream.sections import BrokerSection

CARDS = 1_500


@pytest.mark.broker
async def test_both_sides_go_through_the_whole_log(kafka: str, prefix: str, tmp_path: Path) -> None:
    project = Project(tmp_path, settings_of(prefix, 40))
    limit, ours, restored = await one_turn(kafka, project, CARDS, seed=3)
    assert min(limit.seconds, ours.seconds) > 0
    assert restored.records > CARDS // 2, "states were written and came back"
    broker = KafkaBroker(BrokerSection(), kafka)
    reader = await broker.reader()
    written = 0
    for partition in await reader.partitions(project.topic("decisions")):
        first, end = (await reader.bounds([partition]))[partition]
        written += len([record async for record in reader.read(partition, first, end)])
    await reader.close()
    await broker.close()
    assert written == 2 * CARDS, "a copy and a decision of every card"


def test_a_source_with_fifteen_dimensions_takes_less_than_64_kib() -> None:
    assert 0 < bytes_a_source(sources=100, cards_each=60, seed=1) < 64 * 1024
