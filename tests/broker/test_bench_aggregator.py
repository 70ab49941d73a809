"""The aggregator's benchmark in small: it decides on every card, and its limit copies every record."""

from pathlib import Path

import pytest

from bench.aggregating.cards import settings_of
from bench.aggregating.memory import bytes_a_source
from bench.aggregating.sides import one_turn, written_a_card
from mira_stream.config import Project
from mira_stream.kafka import KafkaBroker
from mira_stream.sections import BrokerSection

CARDS = 1_500


@pytest.mark.broker
@pytest.mark.parametrize("number", [0, 1])
async def test_both_sides_go_through_the_whole_log(number: int, kafka: str, prefix: str, tmp_path: Path) -> None:
    written = await written_a_card(kafka, Project(tmp_path, settings_of(f"{prefix}-warm", 40)), CARDS, seed=3)
    project = Project(tmp_path, settings_of(prefix, 40))
    limit, ours, restored = await one_turn(kafka, project, CARDS, seed=3, written=written, number=number)
    assert min(limit.seconds, ours.seconds) > 0
    assert restored.records > CARDS // 2, "states were written and came back"
    broker = KafkaBroker(BrokerSection(), kafka)
    reader = await broker.reader()
    sizes: list[int] = []
    for partition in await reader.partitions(project.topic("decisions")):
        first, end = (await reader.bounds([partition]))[partition]
        sizes += [len(record.value or b"") async for record in reader.read(partition, first, end)]
    await reader.close()
    await broker.close()
    assert len(sizes) == 2 * CARDS, "a copy and a decision of every card"
    assert sizes.count(written) >= CARDS, "the limit writes what the aggregator writes a card, in the mean"
    assert sum(sizes) - CARDS * written < CARDS * written, "which are decisions and what is beside them"


def test_a_source_with_fifteen_dimensions_takes_less_than_64_kib() -> None:
    assert 0 < bytes_a_source(sources=100, cards_each=60, seed=1) < 64 * 1024
