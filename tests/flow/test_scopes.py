"""Shared thresholds through the real handler and services: restarts, the audit, any number of aggregators."""

import asyncio
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.aggregator import aggregate
from mira_stream.config import load_project
from mira_stream.messages import Origin, Policy, encode
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker
from tests.flow.audit_logs import FrozenStream
from tests.flow.selecting_world import PRIOR, World
from tests.flow.test_selecting_handler import StopsAt
from tests.unit.selecting_cards import mask, random_card

TOPICS = ("epochs", "decisions", "state", "dead-letters")
SCOPES = ("source", "group", "global")
GROUPS = [f"group-{number}" for number in range(9)]


async def changing(world: World, scope: str, cuts: list[int]) -> dict[str, list[bytes]]:
    """150 cards while scope, masks and members change; restarts at every cut."""
    world.publish_masks()
    world.publish(Policy(retention=0.4, threshold_scope=scope))  # type: ignore[arg-type]
    world.fill(150)
    changes = {
        40: (mask("m2", source="wiki", dimensions=["A1", "A4", "A9"], prior=PRIOR), None),
        70: (Policy(threshold_scope="source"), "source:books"),
        100: (Policy(retention=0.6, unit="tokens", threshold_scope="group"), "*"),
        130: (Policy(), "source:books"),
    }
    for at in sorted({*changes, *cuts, 150}):
        await world.aggregate((7,), at)
        if at in changes:
            world.publish(*changes[at])  # type: ignore[arg-type]
    return {topic: world.values(topic) for topic in TOPICS}


@pytest.mark.parametrize("scope", SCOPES)
@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 150), max_size=5))
def test_restarts_anywhere_write_the_same_epochs_and_decisions(scope: str, cuts: list[int]) -> None:
    async def run(cuts: list[int], root: Path) -> dict[str, list[bytes]]:
        return await changing(await World.create(root, scope), scope, cuts)

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        whole = asyncio.run(run([], Path(one)))
        torn = asyncio.run(run(cuts, Path(other)))
    assert torn["epochs"] == whole["epochs"]
    assert torn["decisions"] == whole["decisions"]
    assert torn["dead-letters"] == whole["dead-letters"]


@pytest.mark.parametrize("scope", SCOPES)
async def test_the_audit_recomputes_shared_thresholds_to_the_byte(tmp_path: Path, scope: str) -> None:
    world = await World.create(tmp_path, scope)
    await changing(world, scope, [33, 71, 101])
    await world.commit_scorer()
    await world.export(tmp_path / "out")
    result = await (await FrozenStream.of(world, tmp_path / "out")).audit()
    assert result.findings == []
    assert (result.decisions_recomputed, result.epochs_recomputed) == (len(world.decisions()), len(world.epochs()))


async def test_sources_that_share_a_threshold_meet_one_target_together(tmp_path: Path) -> None:
    world = await World.create(tmp_path)
    world.publish_masks()
    world.publish(Policy(retention=0.3, band=0.0, threshold_scope="group"))
    rng = random.Random(4)
    for number in range(2_000):
        source = rng.choice(("books", "wiki"))
        card = random_card(number, rng, (source,), origin=world.document(f"doc-{number}", source))
        if source == "wiki":  # two points worse throughout
            card = random_card(number, rng, (source,), origin=card.origin)
            scores = [None if score is None else max(0.0, score - 2) for score in card.scores]
            card = type(card)(**{f: getattr(card, f) for f in card.__struct_fields__} | {"scores": scores})
        world.score(card)
    await world.aggregate((400,))
    kept = {name: [d.selected for d in world.decisions() if d.source == name] for name in ("books", "wiki")}
    together = [one for found in kept.values() for one in found]
    assert sum(together) / len(together) == pytest.approx(0.3, abs=0.02)
    assert sum(kept["wiki"]) / len(kept["wiki"]) < 0.15 < 0.4 < sum(kept["books"]) / len(kept["books"])
    assert {epoch.epoch_of for epoch in world.epochs()} == {"group:text"}
    assert {epoch.basis for epoch in world.epochs()} == {"prior", "group"}
    states = {record.key for record in world.broker.records("mira.state")}
    assert {b"books|0123456789ab|m1", b"wiki|0123456789ab|m1"} < states


def score_log(scores_key: str) -> list[tuple[bytes, bytes]]:
    """(key, value) of 1,350 cards of 18 sources in nine groups."""
    rng = random.Random(11)
    log = []
    for number in range(1_350):
        group = rng.choice(GROUPS)
        source = f"{group}.{rng.choice('ab')}"
        origin = Origin(topic="mira.documents.text", partition=number % 4, offset=number // 4, timestamp_ms=1)
        card = random_card(number, rng, (source,), group=group, origin=origin)
        log.append((group.encode() if scores_key == "group" else b"all", encode(card)))
    return log


async def aggregated(root: Path, scope: str, members: int) -> dict[str, list[tuple[int, bytes]]]:
    """(partition, value) of what so many aggregators make of one score log."""
    key = "all" if scope == "global" else "group"
    root.mkdir()
    toml = [f'[topics]\npartitions = 4\nscores_key = "{key}"\n[limits]\ntransaction_linger_s = 0.0']
    toml += [f'[groups.{group}]\nfamily = "text"\n[sources."{group}.a"]\ngroup = "{group}"' for group in GROUPS]
    (root / "mira.toml").write_text("\n".join(toml))
    project = load_project(root, {})
    broker = MemoryBroker(lambda: 1_700_000_000_000)
    await broker.create_topics(topic_specs(project), 1)
    broker.append("mira.policy", b"*", encode(Policy(threshold_scope=scope)), 0)  # type: ignore[arg-type]
    for group in GROUPS:
        for source in "ab":
            own = mask(source=f"{group}.{source}", prior=PRIOR)
            own = type(own)(**{f: getattr(own, f) for f in own.__struct_fields__} | {"group": group})
            broker.append("mira.policy", f"source:{own.source}".encode(), encode(own), 0)
    log = score_log(key)
    for name, value in log:
        broker.append("mira.scores", name, value)
    stop = asyncio.Event()

    metrics = StopsAt(len(log), stop)
    async with asyncio.timeout(60):
        await asyncio.gather(*(aggregate(project, broker, metrics, stop) for _ in range(members)))
    found = {topic: broker.records(f"mira.{topic}") for topic in ("epochs", "decisions")}
    return {
        "epochs": [(record.partition, record.value or b"") for record in found["epochs"]],
        # partitions of the score log interleave in a partition of documents: compared by origin
        "decisions": sorted((record.partition, record.value or b"") for record in found["decisions"]),
    }


@pytest.mark.parametrize("scope", SCOPES)
async def test_one_two_and_four_aggregators_write_the_same_bytes(tmp_path: Path, scope: str) -> None:
    one, two, four = [await aggregated(tmp_path / str(members), scope, members) for members in (1, 2, 4)]
    assert len(one["decisions"]) == 1_350
    assert sorted(two["epochs"]) == sorted(one["epochs"]) == sorted(four["epochs"])
    assert two["decisions"] == one["decisions"] == four["decisions"]
