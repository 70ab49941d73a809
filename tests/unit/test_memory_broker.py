"""What the broker in memory adds to the contract: faults on order, and looking at everything."""

import asyncio

import pytest

from mira_stream.errors import CommitUnknown, DependencyError
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.ports import TopicSpec
from mira_stream.testing.broker import MemoryBroker
from tests.contract.rig import Listener

OUT = TopicPartition("out", 0)


async def _broker() -> MemoryBroker:
    broker = MemoryBroker()
    await broker.create_topics([TopicSpec("out", 1), TopicSpec("in", 3)], 1)
    return broker


async def _commit(broker: MemoryBroker, value: bytes, offset: int = 1) -> None:
    producer = await broker.producer("owner")
    await producer.commit([Outgoing("out", None, value, 0)], {TopicPartition("in", 0): offset}, "g")


async def _state(broker: MemoryBroker) -> tuple[list[bytes | None], dict[TopicPartition, int]]:
    committed = await broker.committed("g", [TopicPartition("in", 0)])
    return [record.value for record in broker.records("out")], dict(committed)


async def test_unknown_but_committed() -> None:
    broker = await _broker()
    broker.fail_next_commit("unknown_committed")
    with pytest.raises(CommitUnknown):
        await _commit(broker, b"a")
    assert await _state(broker) == ([b"a"], {TopicPartition("in", 0): 1})
    assert broker.open_transactions() == []


async def test_unknown_and_aborted_by_the_next_owner() -> None:
    broker = await _broker()
    broker.fail_next_commit("unknown_open")
    with pytest.raises(CommitUnknown):
        await _commit(broker, b"a")
    assert broker.open_transactions() == ["owner"]
    await _commit(broker, b"b", 2)
    assert await _state(broker) == ([b"b"], {TopicPartition("in", 0): 2})


async def test_refused_and_aborted() -> None:
    broker = await _broker()
    broker.fail_next_commit("aborted")
    with pytest.raises(DependencyError, match="commit_refused"):
        await _commit(broker, b"a")
    assert await _state(broker) == ([], {})
    assert broker.open_transactions() == []


async def test_a_fault_waits_for_the_transactional_id_it_is_meant_for() -> None:
    broker = await _broker()
    broker.fail_next_commit("aborted", "somebody.else")
    await _commit(broker, b"a")
    assert await _state(broker) == ([b"a"], {TopicPartition("in", 0): 1})


async def test_a_held_commit_can_be_looked_at_and_let_go() -> None:
    broker = await _broker()
    for ended, visible in ((False, []), (True, [b"a", b"a"])):
        hold = broker.hold_next_commit(ended=ended)
        committing = asyncio.create_task(_commit(broker, b"a"))
        await hold.reached.wait()
        assert [record.value for record in broker.records("out")] == visible
        hold.release()
        await committing
    assert [record.offset for record in broker.records("out")] == [0, 2]  # 1 and 3 are markers


async def test_an_owner_killed_in_its_transaction() -> None:
    broker = await _broker()
    hold = broker.hold_next_commit()
    committing = asyncio.create_task(_commit(broker, b"half"))
    await hold.reached.wait()
    committing.cancel()
    await asyncio.wait({committing})
    reader = await broker.reader()
    assert (await reader.bounds([OUT]))[OUT] == (0, 0)
    await _commit(broker, b"whole")
    assert [(record.offset, record.value) for record in broker.records("out")] == [(2, b"whole")]


async def test_a_member_thrown_out_goes_on_reading_until_it_is_readmitted() -> None:
    broker = await _broker()
    for number in range(3):
        broker.append("in", None, b"%d" % number, number)
    one, two = Listener(), Listener()
    zombie = await broker.consumer("g", ["in"], one)
    for partition in await one.owns(3):
        zombie.seek(partition, 0)
    broker.expel("g", zombie)
    heir = await broker.consumer("g", ["in"], two)
    await two.owns(3)
    assert len(await zombie.poll(10, 1.0)) == 3
    assert [name for name, _ in one.calls] == ["assigned"]
    broker.readmit("g", zombie)
    await broker.settled("g")
    assert [name for name, _ in one.calls] == ["assigned", "revoked", "assigned"]
    assert len(one.owned) + len(two.owned) == 3
    assert not one.owned & two.owned
    await heir.close()


async def test_records_without_a_key_take_turns_and_are_stamped_in_order() -> None:
    broker = await _broker()
    made = [broker.append("in", None, b"") for _ in range(6)]
    assert [record.partition for record in made] == [0, 1, 2, 0, 1, 2]
    stamps = [record.timestamp_ms for record in made]
    assert stamps == sorted(set(stamps))
    fixed = MemoryBroker(now_ms=lambda: 42)
    await fixed.create_topics([TopicSpec("t", 1)], 1)
    assert fixed.append("t", b"k", b"").timestamp_ms == 42
    assert fixed.append("t", b"k", b"", timestamp_ms=7).timestamp_ms == 7


async def test_a_static_member_that_leaves_before_it_takes_the_place_gets_nothing() -> None:
    """It came while a rebalance was under way, and has given up since: nobody would read what it is dealt."""
    broker = await _broker()
    older, other, newer = Listener(), Listener(), Listener()
    first = await broker.consumer("g", ["in"], older, "a")
    await older.owns(3)
    second = await broker.consumer("g", ["in"], other)
    third = await broker.consumer("g", ["in"], newer, "a")
    await third.close()
    await broker.settled("g")
    for _ in range(9):
        await asyncio.sleep(0)
    assert (len(older.owned) + len(other.owned), newer.calls) == (3, [])
    await first.close()
    await other.owns(3)
    fourth = await broker.consumer("g", ["in"], newer, "a")
    await broker.settled("g")
    assert len(newer.owned) + len(other.owned) == 3
    for consumer in (second, fourth):
        await consumer.close()
