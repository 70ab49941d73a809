"""A source group's cards stay on the partition that its state is on: whoever would move them is refused by name."""

import asyncio
from pathlib import Path

import pytest

from consumers.aggregator import aggregate
from mira_stream.config import Project, load_project
from mira_stream.demo import prepare as prepare_module
from mira_stream.demo.prepare import prepare
from mira_stream.errors import DataLossError
from mira_stream.messages import encode
from mira_stream.records import TopicPartition
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.partitioner import partition_of
from mira_stream.streaming.score_log import check_score_log, verdict
from tests.flow.audit_logs import FrozenStream
from tests.flow.selecting_world import MIRA_TOML, SCORES, World

TOPICS = ("scores", "state", "epochs", "windows")
HOME = partition_of(b"text", 4)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = await World.create(tmp_path)
    world.publish_masks()
    return world


def project_with(root: Path, scores_key: str = "group") -> Project:
    (root / "mira.toml").write_text(MIRA_TOML.replace("[topics]", f'[topics]\nscores_key = "{scores_key}"'))
    return load_project(root, {})


def counted(partitions: int, **others: int) -> dict[str, int]:
    return {f"mira.{name}": others.get(name, partitions) for name in TOPICS}


@pytest.mark.parametrize(
    ("scores_key", "counts", "home", "code"),
    [
        ("group", counted(4), {HOME}, None),
        ("group", counted(4), (), None),
        ("group", counted(8), {HOME}, "score_log_moved"),
        ("all", counted(4), {HOME}, "score_log_moved"),
        ("all", counted(4), {partition_of(b"all", 4)}, None),
        ("group", counted(4), {HOME, HOME - 1}, "score_log_moved"),
        ("group", counted(4, scores=8), {partition_of(b"text", 8)}, "score_log_widened"),
        ("group", counted(8, epochs=4), {partition_of(b"text", 8)}, "score_log_widened"),
    ],
)
def test_where_the_next_card_goes_is_where_the_state_is(
    tmp_path: Path, scores_key: str, counts: dict[str, int], home: set[int], code: str | None
) -> None:
    assert HOME != partition_of(b"text", 8) != partition_of(b"all", 4) != HOME, "else the cases say nothing"
    found = verdict(project_with(tmp_path, scores_key), counts, {"text": frozenset(home), "*": frozenset({0})})
    assert (None if found is None else found.code) == code


async def test_a_score_log_with_more_partitions_is_refused_before_anything_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "publish", None)
    world.fill(30)
    await world.aggregate()
    for name in TOPICS:
        world.broker.widen(f"mira.{name}", 5)
    assert partition_of(b"text", 5) != SCORES.partition
    before = len(world.broker.records("mira.policy"))
    for refused in (
        prepare(world.broker, world.project),
        check_score_log(world.project, world.broker),
        aggregate(world.project, world.broker, Metrics(), asyncio.Event()),
    ):
        with pytest.raises(DataLossError) as refusal:
            await refused
        assert refusal.value.code == "score_log_moved"
        assert "More partitions" in refusal.value.fix
    assert len(world.broker.records("mira.policy")) == before


async def test_a_partition_without_one_for_its_state_is_refused(world: World) -> None:
    world.broker.widen("mira.scores", 3)
    handler = world.handler(TopicPartition("mira.scores", 2), await world.broker.reader())
    with pytest.raises(DataLossError, match="score_log_widened"):
        await handler.open(0)


async def test_cards_that_come_to_another_partition_while_it_runs_stop_the_aggregator(
    world: World, tmp_path: Path
) -> None:
    world.fill(30)
    await world.aggregate()
    other = TopicPartition("mira.scores", 1)
    handler = world.handler(other, await world.broker.reader())
    await handler.open(0)
    card = world.fill(1)[0]
    record = world.broker.append("mira.scores", b"all", encode(card), other.partition)
    with pytest.raises(DataLossError) as refusal:
        await handler.handle(record)
    assert refusal.value.code == "score_log_moved"
    assert "cards of group text go to mira.scores/1, its state is on mira.state/0" in refusal.value.cause
    await world.commit_scorer()
    result = await (await FrozenStream.of(world, tmp_path / "out")).audit()
    assert result.findings_by_code["group_moved"] == 1


async def test_a_group_that_was_looked_for_once_is_not_looked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def counting(*_: object) -> dict[str, frozenset[int]]:
        nonlocal looks
        looks += 1
        return {}

    monkeypatch.setattr("mira_stream.selecting.homes.homes", counting)
    world.fill(60)
    await world.aggregate((3,))
    assert looks == 1
