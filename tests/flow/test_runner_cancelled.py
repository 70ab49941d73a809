"""Calls that end as cancelled though nobody asked for it, and cancellations that are suppressed."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from mira_stream.errors import DependencyError, EngineError
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming import owner, stage_watch
from tests.flow.test_runner import (
    COPIERS,
    IN,
    P0,
    Copier,
    Member,
    broker_with,
    check_copied_once,
    no_pauses,
    until,
    until_copied,
)

__all__ = ["no_pauses"]  # a fixture that all use


async def cancelled_below() -> None:
    """As a library does that waits for a future of its own again which it has cancelled."""
    given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    given_up.cancel()
    await given_up


class Interrupted(Copier):
    """What opens and closes it ends as cancelled, once each, and nobody had cancelled it."""

    async def open(self, next_offset: int) -> None:
        if len(COPIERS) == 1:
            await cancelled_below()

    async def seal(self, next_offset: int) -> Sequence[Outgoing]:
        if len(COPIERS) == 2:
            await cancelled_below()
        return await super().seal(next_offset)

    async def close(self) -> None:
        if len(COPIERS) == 2:
            await cancelled_below()


@pytest.mark.parametrize("concurrent", [True, False])
async def test_an_owner_whose_calls_end_as_cancelled_goes_on(concurrent: bool) -> None:
    broker = await broker_with(40, partitions=1)
    member = Member(broker, make=Interrupted, concurrent=concurrent)
    await until_copied(broker, 40, member)
    await member.leave()
    check_copied_once(broker, 40)
    assert len(COPIERS) == 3


async def test_a_lane_that_does_not_close_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Copier):
        async def seal(self, next_offset: int) -> Sequence[Outgoing]:
            if len(COPIERS) == 1:
                raise EngineError("died", retriable=False)
            return await super().seal(next_offset)

        async def close(self) -> None:
            if len(COPIERS) == 1:
                await asyncio.Event().wait()

    monkeypatch.setattr(owner, "CLOSE_S", 0.01)
    broker = await broker_with(40, partitions=1)
    member = Member(broker, make=Endless)
    await until_copied(broker, 40, member)
    await member.leave()
    check_copied_once(broker, 40)


@pytest.mark.parametrize("how", ["told to stop", "given away"])
async def test_a_cancellation_that_is_suppressed_while_a_lane_closes_ends_its_owner_all_the_same(how: str) -> None:
    closing = asyncio.Event()

    class Suppressing(Copier):
        """Closes as aiokafka's client does."""

        async def seal(self, next_offset: int) -> Sequence[Outgoing]:
            if not closing.is_set() and self.partition == P0:
                raise EngineError("died", retriable=False)
            return await super().seal(next_offset)

        async def close(self) -> None:
            if not closing.is_set() and self.partition == P0:
                closing.set()
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()

    broker = await broker_with(40, partitions=2)
    member = Member(broker, make=Suppressing)
    await closing.wait()
    if how == "told to stop":
        await asyncio.wait_for(member.leave(), 30)
        member = Member(broker)
    else:
        owned = member.runner._owners.task(P0)
        await member.runner.assignment.on_assigned([TopicPartition(IN, 1)])
        await asyncio.wait({owned}, timeout=30)
        assert owned.cancelled()
        await member.runner.assignment.on_assigned([P0, TopicPartition(IN, 1)])
    await until_copied(broker, 40, member)
    await member.leave()
    check_copied_once(broker, 40)


async def test_an_owner_that_ends_unasked_stops_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ends(_: owner.Owner) -> None:
        await cancelled_below()

    monkeypatch.setattr(owner.Owner, "run", ends)
    member = Member(await broker_with(1))
    with pytest.raises(DependencyError, match="owner_ended"):
        await asyncio.wait_for(member.task, 30)


async def test_the_watch_goes_on_when_a_look_ends_as_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    measure = stage_watch.StageWatch._measure

    async def interrupted(self: stage_watch.StageWatch) -> None:
        nonlocal looks
        looks += 1
        await (cancelled_below() if looks == 1 else measure(self))

    monkeypatch.setattr(stage_watch, "LAG_S", 0.0)
    monkeypatch.setattr(stage_watch.StageWatch, "_measure", interrupted)
    member = Member(await broker_with(1))
    await until(lambda: looks > 3, member)
    await member.leave()
