"""aiokafka's traps, and the test that fails when the guard against one is taken out; `test_guards.py` takes out those
that need no broker.

a cancelled getmany blinds the client            tests/unit/test_kafka_consumer.py: a_cancelled_poll_leaves_its_fetch
records before the assignment is told            tests/unit/test_kafka_consumer.py: records_of_a_closed_partition
a commit although one send was refused           tests/broker/test_kafka_edge.py: a_transaction_with_a_refused_record
an abortable error that sends no EndTxn          tests/broker/test_kafka_edge.py: nothing_of_a_broken_transaction
a call that waits for a broker for ever          tests/broker/test_kafka_edge.py: a_broker_that_stands_still
a transaction stuck when its coordinator moves   tests/unit/test_kafka_producer.py: no_step_is_waited_for_for_ever
offsets of a coordinator that has moved: "none"  tests/unit/test_offset_fetch.py: another_coordinator_is_looked_for
a commit without an answer                       tests/broker/test_kafka_edge.py: a_commit_without_an_answer
a static member that fights for its name         tests/contract/test_membership.py: of_two_processes_with_one_name
a static member that does not leave              tests/contract/test_membership.py: a_member_that_stops_in_order
committed() before the old owner is fenced       tests/flow/test_traps.py: the_offset_is_asked_for_after
a topic that is deleted, and nothing said        tests/flow/test_traps.py: a_topic_that_is_deleted; tests/faults F21
"""

import asyncio
import re

import pytest

from mira_stream.errors import DependencyError
from mira_stream.messages import encode
from mira_stream.progress_messages import Progress
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming import stage_watch
from mira_stream.streaming.ports import TransactionalProducer
from mira_stream.streaming.progress import progress_key
from tests.flow.test_runner import IN, OUT, PROGRESS, Member, broker_with, check_copied_once, no_pauses, until_copied
from tests.machine import ROOT

__all__ = ["no_pauses"]
P0 = TopicPartition(IN, 0)


async def test_the_offset_is_asked_for_after_the_old_owner_is_fenced() -> None:
    """The old owner's last commit lands while the new one is about to fence it."""
    broker = await broker_with(20, partitions=1)
    zombie = await broker.producer("g.in.0")
    fence = broker.producer

    async def commit_then_fence(transactional_id: str) -> TransactionalProducer:
        broker.producer = fence  # type: ignore[method-assign]
        said = Progress(topic=IN, partition=0, next_offset=12)
        results = [Outgoing(OUT, b"", str(number).encode(), 0) for number in range(12)]
        progress = Outgoing(PROGRESS, progress_key("g", P0), encode(said), 0)
        await zombie.commit([*results, progress], {P0: 12}, "g")
        return await fence(transactional_id)

    broker.producer = commit_then_fence  # type: ignore[method-assign]
    member = Member(broker)
    await until_copied(broker, 20, member)
    await member.leave()
    check_copied_once(broker, 20)


async def test_a_topic_that_is_deleted_stops_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka's consumer goes on without a word and without a record."""
    monkeypatch.setattr(stage_watch, "LAG_S", 0.001)
    broker = await broker_with(20)
    member = Member(broker)
    await until_copied(broker, 20, member)
    del broker._cluster._topics[IN]
    with pytest.raises(DependencyError, match=rf"topic_missing.*{IN}"):
        await asyncio.wait_for(member.task, 30)


def test_every_trap_names_a_test_that_is_there() -> None:
    found = re.findall(r"^\S.*?(tests/\S+\.py): (\w+)", __doc__ or "", re.MULTILINE)
    assert len(found) == 12
    for path, name in found:
        assert f"def test_{name}" in (ROOT / path).read_text(), (path, name)
