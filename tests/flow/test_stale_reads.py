"""A member that was fenced without knowing it reads what never was together: that is no data loss."""

import pytest

from mira_stream.progress_messages import Progress
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.progress import newest_progress, progress_record
from mira_stream.testing.broker import MemoryBroker
from tests.flow.test_release import Work
from tests.flow.test_runner import (
    OUT,
    P0,
    PROGRESS,
    Member,
    broker_with,
    check_copied_once,
    no_pauses,
    until,
    until_copied,
)

__all__ = ["no_pauses"]


async def others_do(broker: MemoryBroker, end: int) -> None:
    """Another member takes partition 0, copies its records before `end`, and is gone again."""
    producer = await broker.producer("g.in.0")
    said = Progress(topic=P0.topic, partition=0, next_offset=end)
    copies = [Outgoing(OUT, b"", str(number).encode(), 0) for number in range(end)]
    await producer.commit([*copies, progress_record("g", TopicPartition(PROGRESS, 0), said)], {P0: end}, "g")
    await producer.close()


async def test_fenced_between_offset_and_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = await broker_with(30, partitions=1)
    calls = 0

    async def late(*arguments: object) -> Progress | None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await others_do(broker, 10)
        return await newest_progress(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("mira_stream.streaming.starting.newest_progress", late)
    member = Member(broker)
    await until_copied(broker, 30, member)
    await member.leave()
    check_copied_once(broker, 30)
    assert calls == 2


async def test_asleep_while_others_went_on_and_retention_followed_them() -> None:
    broker, work = await broker_with(40, partitions=1), Work(*range(8))
    member = Member(broker, work, documents=8)
    await until(lambda: len(work.done) == 8, member)
    await others_do(broker, 20)
    broker.delete_before(P0, 20)
    work.held[0].set()  # one more may be read, from where the log does not begin any more
    await until_copied(broker, 40, member)
    await member.leave()
    check_copied_once(broker, 40)
