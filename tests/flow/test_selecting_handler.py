"""The aggregator's handler over a broker in memory: restarts, policies while it runs, cards that cannot be judged."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.aggregator import aggregate
from mira_stream.errors import ConfigError, DataLossError, StageStopped
from mira_stream.messages import Checkpoint, DeadLetter, Epoch, Policy, SourceState, decoder, encode
from mira_stream.records import TopicPartition
from mira_stream.streaming.metrics import Metrics
from mira_stream.window_messages import WindowsState
from tests.flow.selecting_world import PARTITIONS, SCORES, Tally, World
from tests.unit.selecting_cards import card, mask

TOPICS = ("epochs", "decisions", "state", "dead-letters")


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = await World.create(tmp_path)
    world.publish_masks()
    return world


def letters(world: World) -> list[DeadLetter]:
    return [decoder(DeadLetter).decode(value) for value in world.values("dead-letters")]


async def test_every_card_becomes_a_decision_in_its_documents_partition(world: World) -> None:
    cards = world.fill(100)
    await world.aggregate()
    records = world.broker.records("mira.decisions")
    assert {record.partition for record in records} == set(range(PARTITIONS))
    decisions = world.decisions()
    assert sorted(d.id for d in decisions) == sorted(c.id for c in cards)
    for record, decision in zip(records, decisions, strict=True):
        assert record.partition == decision.origin.partition
        assert record.key == decision.id.encode()
    assert {record.partition for record in world.broker.records("mira.epochs")} == {0}
    assert {record.partition for record in world.broker.records("mira.state")} == {0}
    assert len(world.tally.decisions) == 100


async def test_epochs_and_states_stand_before_the_decision_they_are_for(world: World) -> None:
    world.fill(1)
    await world.aggregate()
    epoch, decision = world.epochs()[0], world.decisions()[0]
    assert (epoch.first_offset, epoch.epoch) == (decision.card.offset, decision.epoch)
    record = world.broker.records("mira.epochs")[0]
    assert record.key == decision.source.encode()
    state = world.broker.records("mira.state")[0]
    assert state.key == f"{decision.source}|{decision.lineage}|{decision.mask}".encode()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 150), max_size=4), st.lists(st.integers(1, 60), min_size=1, max_size=3))
def test_restarts_anywhere_and_transactions_of_any_size_write_the_same_bytes(
    cuts: list[int], transactions: list[int]
) -> None:
    async def run(cuts: list[int], transactions: list[int], root: Path) -> dict[str, list[bytes]]:
        world = await World.create(root)
        world.publish_masks()
        world.fill(150)
        for cut in sorted(cuts):
            await world.aggregate(transactions, cut)
        await world.aggregate(transactions)
        return {topic: world.values(topic) for topic in TOPICS}

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        whole = asyncio.run(run([], [150], Path(one)))
        torn = asyncio.run(run(cuts, transactions, Path(other)))
    assert torn == whole


async def test_a_checkpoint_comes_every_so_many_cards_also_across_a_restart(world: World) -> None:
    world.fill(100)
    await world.aggregate(end=30)
    await world.aggregate()
    marks = [r.value for r in world.broker.records("mira.state") if r.key == b"@checkpoint"]
    assert marks == [b'{"schema":"checkpoint.v1","next_offset":40}', b'{"schema":"checkpoint.v1","next_offset":80}']


async def test_after_a_checkpoint_older_cards_are_not_needed_any_more(world: World) -> None:
    world.fill(60)
    await world.aggregate()
    world.broker.delete_before(SCORES, 40)
    world.fill(20)
    await world.aggregate()
    assert len(world.decisions()) == 80


async def test_cards_lost_before_a_checkpoint_covers_them_stop_the_service(world: World) -> None:
    world.fill(60)
    await world.aggregate()
    world.broker.delete_before(SCORES, 41)
    with pytest.raises(DataLossError) as refusal:
        await world.aggregate()
    assert refusal.value.code == "score_log_lost"


async def test_an_offset_set_back_is_refused(world: World) -> None:
    world.fill(60)
    await world.aggregate()
    handler = world.handler(SCORES, await world.broker.reader())
    with pytest.raises(DataLossError) as refusal:
        await handler.open(10)
    assert refusal.value.code == "state_ahead"


async def test_lost_states_are_refused(world: World) -> None:
    world.fill(10)
    await world.aggregate()
    state = TopicPartition("mira.state", 0)
    world.broker.delete_before(state, (await (await world.broker.reader()).bounds([state]))[state][1])
    with pytest.raises(DataLossError) as refusal:
        await world.aggregate()
    assert refusal.value.code == "state_lost"


async def test_a_new_policy_is_in_force_from_the_first_card_of_the_next_transaction(world: World) -> None:
    world.fill(20)
    reader = await world.broker.reader()
    handler = world.handler(SCORES, reader)
    await handler.open(0)
    records = [record async for record in reader.read(SCORES, 0, 20)]
    for record in records[:5]:
        await handler.handle(record)
    world.publish(Policy(retention=0.9))
    mid = [out for record in records[5:8] for out in await handler.handle(record)]
    assert not [out for out in mid if out.topic == "mira.epochs" and b'"policy"' in out.value.split(b"first_offset")[0]]
    await handler.committed()
    after = [out for record in records[8:12] for out in await handler.handle(record)]
    moved = [out.value for out in after if out.topic == "mira.epochs"]
    assert len(moved) == 2
    assert all(b'"cause":"policy"' in value and b'"target":0.9' in value for value in moved)
    *before, now = world.tally.versions
    assert now > max(before)


async def test_a_policy_set_while_no_cards_come_is_in_force_from_the_first_on(world: World) -> None:
    world.fill(5)
    reader = await world.broker.reader()
    handler = world.handler(SCORES, reader)
    await handler.open(0)
    newer = world.publish(Policy(retention=0.9))
    written = [out async for record in reader.read(SCORES, 0, 5) for out in await handler.handle(record)]
    epochs = [decoder(Epoch).decode(out.value) for out in written if out.topic == "mira.epochs"]
    assert {epoch.policy for epoch in epochs} == {newer.offset}


async def test_a_source_registered_in_the_middle_of_a_transaction_has_no_dead_letter(world: World) -> None:
    world.fill(3)
    for number in range(2):
        world.score(card(50 + number, source="diary", origin=world.document(f"diary-{number}", "diary")))
    reader = await world.broker.reader()
    handler = world.handler(SCORES, reader)
    await handler.open(0)
    written = []
    async for record in reader.read(SCORES, 0, 5):
        if record.offset == 4:
            world.publish(mask(source="diary"))
        written.append([out.topic for out in await handler.handle(record)][-1])
    assert written == [*["mira.decisions"] * 3, "mira.dead-letters", "mira.decisions"]


async def test_epochs_in_force_are_shown_again_after_a_restart(world: World) -> None:
    """A quiet source's next border may be weeks away."""
    world.fill(60)
    await world.aggregate()
    shown = {epoch.epoch_of: epoch for epoch in world.tally.epochs}
    assert shown.keys() == {"books", "wiki"}
    world.tally = Tally()
    await world.aggregate()
    assert world.tally.decisions == []
    assert {epoch.epoch_of: epoch for epoch in world.tally.epochs} == shown


async def test_without_any_policy_nothing_is_judged(tmp_path: Path) -> None:
    world = await World.create(tmp_path)
    world.fill(1)
    with pytest.raises(ConfigError) as refusal:
        await world.aggregate()
    assert refusal.value.code == "policy_missing"


async def test_unknown_sources_and_cards_without_scores_become_dead_letters(world: World) -> None:
    world.score(card(0, source="strangers", origin=world.document("doc-0", "strangers")))
    world.score(card(1, [None] * 13 + [5.0, 5.0], origin=world.document("doc-1")))
    world.score(card(2, lineage="other-lineage", origin=world.document("doc-2")))
    await world.aggregate()
    found = {letter.id: letter for letter in letters(world)}
    assert {name: letter.reason for name, letter in found.items()} == {
        "doc-0": "unknown_source", "doc-1": "no_reliable_score", "doc-2": "unknown_source",
    }  # fmt: skip
    assert "lineage other-lineage" in found["doc-2"].error
    assert all(letter.stage == "aggregate" and letter.origin is not None for letter in found.values())
    assert sorted(world.tally.letters) == [
        ("aggregate", "no_reliable_score"), ("aggregate", "unknown_source"), ("aggregate", "unknown_source"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"\xff\xfe", b'{"schema":"score_card.v1"}', encode(card(0)).replace(b"[7.0,", b"[11.0,"), b"[1]"],
)
async def test_a_card_that_cannot_be_read_is_a_dead_letter_and_the_next_one_is_judged(
    world: World, value: bytes
) -> None:
    world.broker.append("mira.scores", b"text", value, 0)
    world.fill(1)
    await world.aggregate()
    (letter,) = letters(world)
    assert (letter.reason, letter.bytes) == ("invalid_card", len(value))
    assert (letter.origin is not None) == (b'"origin"' in value)
    assert len(world.decisions()) == 1


async def test_many_cards_without_a_mask_stop_the_stage(world: World) -> None:
    for number in range(5):
        world.score(card(number, source="strangers", origin=world.document(f"doc-{number}", "strangers")))
    with pytest.raises(StageStopped) as refusal:
        await world.aggregate()
    assert refusal.value.code == "no_mask"
    assert "mira-stream prepare" in refusal.value.fix
    assert "mira-stream source add" in refusal.value.fix
    assert "mira-stream dlq replay --stage aggregate --reason unknown_source" in refusal.value.fix


async def test_cards_without_a_mask_here_and_there_stop_nothing(world: World) -> None:
    for number in range(12):
        source = "books" if number % 4 == 0 else "strangers"
        world.score(card(number, source=source, origin=world.document(f"doc-{number}", source)))
    await world.aggregate()
    assert (len(world.decisions()), len(letters(world))) == (3, 9)


async def test_what_is_decided_so_far_is_told_after_each_transaction_and_after_a_restart(world: World) -> None:
    """Not as of the last epoch, which was some cards ago."""
    cards = world.fill(57)
    await world.aggregate()
    counts = Counter(card.source for card in cards)
    kept = Counter(decision.source for decision in world.decisions() if decision.selected)
    wanted: Any = {source: (number, pytest.approx(kept[source] / number)) for source, number in counts.items()}
    assert world.tally.totals == wanted
    decode = msgspec.json.Decoder(SourceState | WindowsState | Checkpoint).decode
    states = [decode(value) for value in world.values("state")]
    last = {state.source: state.documents for state in states if isinstance(state, SourceState)}
    assert any(last[source] < counts[source] for source in counts), "the log says less"
    world.tally.totals.clear()
    await world.aggregate()
    assert world.tally.totals == wanted


async def test_rolled_back_decisions_are_not_counted(world: World) -> None:
    world.fill(3)
    reader = await world.broker.reader()
    handler = world.handler(SCORES, reader)
    await handler.open(0)
    async for record in reader.read(SCORES, 0, 3):
        await handler.handle(record)
    await handler.close()
    assert world.tally.decisions == []


class StopsAt(Metrics):
    """Sets the event at the n-th decision."""

    def __init__(self, decisions: int, stop: asyncio.Event) -> None:
        super().__init__()
        self._left = decisions
        self._stop = stop

    def decided(self, source: str, decision: str) -> None:
        self._left -= 1
        if self._left == 0:
            self._stop.set()


async def test_the_real_runner_moves_cards_to_decisions(world: World) -> None:
    world.fill(120)
    stop = asyncio.Event()
    async with asyncio.timeout(30):
        await aggregate(world.project, world.broker, StopsAt(120, stop), stop)
    assert len({d.id for d in world.decisions()}) == 120
