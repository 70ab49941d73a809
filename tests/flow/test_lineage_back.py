"""A lineage that its sources had before, and left, comes back: the newest record of a source is the one in force."""

import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from msgspec.structs import replace

from mira_stream.config import Project, load_project
from mira_stream.messages import SLOTS, Mask, Mode, Policy
from mira_stream.reliability.table import Acceptance, ModeReliability, load_table, save_table
from mira_stream.selecting.adding import addition
from mira_stream.selecting.changing import change
from mira_stream.selecting.following import PolicyFollower
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.publish import Publication, commit_policy, publish
from tests.flow.audit_logs import FrozenStream
from tests.flow.selecting_world import World
from tests.flow.test_selecting_publish import no_labels, write_table
from tests.unit.selecting_cards import random_card

TOML = """
[groups.text]
family = "text"
{mode}
[sources.books]
group = "text"
[sources.wiki]
group = "text"
[topics]
partitions = 2
[retention]
scope = "group"
"""


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await World.create(tmp_path)


class Operator:
    """Puts lineages in force and reads what is."""

    def __init__(self, world: World, mode: str = "") -> None:
        self.broker = world.broker
        self.root = world.project.root
        self.write(mode)

    def write(self, mode: str) -> None:
        (self.root / "mira.toml").write_text(TOML.format(mode=mode))
        self.project = load_project(self.root, {})

    async def apply(self, lineage: str, *, override: bool = True) -> Publication:
        return await publish(self.broker, self.project, lambda project, group: lineage, no_labels, override=override)

    async def set(self, key: str, asked: Policy) -> None:
        def decide(log: PolicyLog) -> list[tuple[str, Policy | Mask]]:
            return change(log, key, asked, "group", lambda mask: None).records

        await commit_policy(self.broker, self.project, decide)

    async def add(self, name: str, like: str) -> Sequence[Mask]:
        def decide(log: PolicyLog) -> list[tuple[str, Policy | Mask]]:
            return addition(log, name, None, like, None, _no_mask).records

        written, _ = await commit_policy(self.broker, self.project, decide)
        return [message for _, message in written if isinstance(message, Mask)]

    async def log(self) -> PolicyLog:
        follower = PolicyFollower("mira.policy", await self.broker.reader())
        await follower.start()
        return follower.log


def _no_mask(source: str, group: str) -> Mask:
    raise AssertionError("the source it is like has a mask")


def in_force(log: PolicyLog) -> dict[str, str]:
    return {mask.source: mask.lineage for mask in log.masks()}


async def test_an_earlier_lineage_that_is_applied_again_is_the_newest(world: World) -> None:
    operator = Operator(world)
    written = [(await operator.apply(lineage)).written for lineage in ("A", "A", "B", "B", "A", "A")]
    assert written == [5, 0, 2, 0, 2, 0]
    log = await operator.log()
    assert in_force(log) == {"books": "A", "wiki": "A"}
    scopes = {lineage: log.rules("text", "books", lineage) for lineage in "AB"}
    assert {name: rules and rules.scope.of for name, rules in scopes.items()} == {"A": "group:text", "B": "books"}


async def test_commands_speak_of_every_lineage_and_leave_in_force_the_one_that_came_back(world: World) -> None:
    operator = Operator(world)
    for lineage in "ABA":
        await operator.apply(lineage)
    await operator.set("source:books", Policy(mask_remove=["A3"]))
    assert [(mask.source, mask.lineage) for mask in await operator.add("new", like="books")] == [
        ("new", "B"), ("new", "A"),
    ]  # fmt: skip
    log = await operator.log()
    assert in_force(log) == {"books": "A", "wiki": "A", "new": "A"}
    dimensions = {
        (source, lineage): rules.mask.dimensions
        for source in ("books", "new")
        for lineage in "AB"
        if (rules := log.rules("text", source, lineage)) is not None
    }
    assert {key: "A3" in found for key, found in dimensions.items()} == dict.fromkeys(
        [("books", "A"), ("books", "B"), ("new", "A"), ("new", "B")], False
    )


async def test_a_source_added_like_another_follows_it_back(world: World) -> None:
    operator = Operator(world)
    found = []
    for lineage in "ABA":
        await operator.apply(lineage)
        found += [mask.lineage for mask in await operator.add("new", like="books")]
        assert await operator.add("new", like="books") == []
    assert found == ["A", "B", "A"]
    assert in_force(await operator.log())["new"] == "A"


async def test_scorers_that_are_still_at_work_in_an_older_lineage_may_judge_an_added_source(world: World) -> None:
    operator = Operator(world)
    for lineage in "AB":
        await operator.apply(lineage)
    await operator.add("new", like="books")
    assert await operator.add("new", like="books") == []
    log = await operator.log()
    assert [log.rules("text", "new", lineage) is not None for lineage in "AB"] == [True, True]
    assert in_force(log)["new"] == "B"


async def test_a_mask_set_by_command_comes_back_with_its_lineage(world: World) -> None:
    operator = Operator(world)
    await operator.apply("A")
    await operator.set("source:books", Policy(mask_remove=["A3"]))
    await operator.apply("B", override=False)
    back = await operator.apply("A", override=False)
    assert (back.written, back.kept) == (2, ["source:books"])
    assert (await operator.apply("A", override=False)).written == 0
    log = await operator.log()
    assert in_force(log) == {"books": "A", "wiki": "A"}
    assert "A3" not in log.masks()[0].dimensions
    assert (await operator.apply("A", override=True)).written == 2
    assert "A3" in (await operator.log()).masks()[0].dimensions


async def test_a_slot_that_nobody_asks_to_be_out_is_in_again_under_every_lineage(world: World) -> None:
    operator = Operator(world)
    for lineage in "ABA":
        await operator.apply(lineage)
    await operator.set("source:books", Policy(mask_remove=["A5"]))
    log = await operator.log()
    assert ["A5" in mask.dimensions for mask in log.masks_of("text", "books")] == [False, False]
    await operator.apply("A", override=True)  # goes back to what mira.toml says, also for scorers of lineage B
    log = await operator.log()
    assert in_force(log) == {"books": "A", "wiki": "A"}
    assert ["A5" in mask.dimensions for mask in log.masks_of("text", "books")] == [True, True]
    assert (await operator.apply("A", override=True)).written == 0
    await operator.apply("B", override=False)
    await operator.set("source:books", Policy(mask_remove=["A7"]))
    for mask in (await operator.log()).masks_of("text", "books"):
        assert set(SLOTS) - set(mask.dimensions) == {"A7"}


def lineage_by_mode(project: Project, group: str) -> str:
    return f"lineage-{project.settings.groups[group].mode}"


async def test_a_faster_mode_that_falls_back_and_is_accepted_again_is_in_force(world: World) -> None:
    operator = Operator(world, 'mode = "expected"')
    path = operator.root / "reliability" / "text.json"
    modes: dict[Mode, ModeReliability] = {}
    for mode in ("scores", "expected"):
        write_table(operator.root, mode, f"lineage-{mode}")
        modes |= load_table(path).modes
    table = replace(load_table(path), modes=modes)

    async def published(accepted: bool) -> dict[str, str]:
        part = modes["expected"]
        found = Acceptance(against="scores", n=600, difference=0.0, difference_lo=0.0, accepted=accepted)
        sources = {name: replace(source, acceptance=found) for name, source in part.sources.items()}
        save_table(path, replace(table, modes={**modes, "expected": replace(part, sources=sources)}))
        await publish(operator.broker, operator.project, lineage_by_mode, no_labels)
        return in_force(await operator.log())

    for accepted in (True, False, True, False):
        name = "lineage-expected" if accepted else "lineage-scores"
        assert await published(accepted) == {"books": name, "wiki": name}


async def test_cards_of_the_lineage_that_came_back_share_their_threshold_again(world: World, tmp_path: Path) -> None:
    operator = Operator(world)
    rng = random.Random(3)
    for lineage in "ABA":
        await operator.apply(lineage)
        for number in range(40):
            source = rng.choice(("books", "wiki"))
            name = f"{lineage}-{len(world.broker.records('mira.scores'))}"
            card = random_card(number, rng, (source,), id=name, lineage=lineage, origin=world.document(name, source))
            world.score(card)
        await world.aggregate()
    decided = world.decisions()
    assert len(decided) == 120
    assert {decision.epoch_of for decision in decided} == {"group:text"}
    assert [epoch.lineage for epoch in world.epochs() if epoch.cause == "start"] == ["A", "B"]
    await world.commit_scorer()
    await world.export(tmp_path / "out")
    result = await (await FrozenStream.of(world, tmp_path / "out")).audit()
    assert result.findings == []
    assert result.decisions_recomputed == 120


async def test_a_mask_set_by_command_holds_for_cards_of_every_lineage_and_is_audited(
    world: World, tmp_path: Path
) -> None:
    operator = Operator(world)
    rng = random.Random(4)
    for lineage in "AB":
        await operator.apply(lineage)
    for turn in range(2):
        for number in range(40):
            source = rng.choice(("books", "wiki"))
            name = f"{turn}-{number}"
            origin = world.document(name, source)
            world.score(random_card(number, rng, (source,), id=name, lineage=rng.choice("AB"), origin=origin))
        await world.aggregate()
        await operator.set("source:books", Policy(mask_remove=["A3"] if turn == 0 else ["A4"]))
    later = [decision for decision in world.decisions() if decision.id.startswith("1-")]
    assert {(decision.source, decision.lineage) for decision in later} == set(product(("books", "wiki"), "AB"))
    for decision in later:
        assert ("A3" in decision.dimensions_used) is (decision.source == "wiki")
    await world.commit_scorer()
    await world.export(tmp_path / "out")
    result = await (await FrozenStream.of(world, tmp_path / "out")).audit()
    assert result.findings == []
    assert result.decisions_recomputed == 80
