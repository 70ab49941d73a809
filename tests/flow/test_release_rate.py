"""What the runner itself loses of the ideal rate, in virtual time: waits of its own, not the CPU they run on."""

import asyncio
import random
from typing import NamedTuple

import pytest

from mira_stream.records import Record
from mira_stream.testing import loop
from mira_stream.testing.loop import VirtualLoop
from tests.flow.test_runner import OUT, Member, broker_with, check_copied_once, no_pauses

__all__ = ["no_pauses"]

WORK_S = 0.05
IN_FLIGHT = 256
IDEAL = IN_FLIGHT / WORK_S
DOCUMENTS = 20_000
LOOK_S = 0.1


class Rates(NamedTuple):
    """Documents committed a second between the first and the last tenth of them: of all, and of partition 0."""

    all: float
    own: float


async def rates(stuck: int | None, stuck_s: float = 60.0) -> Rates:
    """`stuck`: a document of partition 0 that takes `stuck_s`."""

    async def work(record: Record) -> None:
        await asyncio.sleep(stuck_s if record.partition == 0 and record.offset == stuck else WORK_S)

    broker = await broker_with(DOCUMENTS)
    member = Member(broker, work, documents=IN_FLIGHT, records=500, linger_s=0.5, span=200_000, drain_s=2 * stuck_s)
    marks: list[tuple[float, int, int]] = []
    while not marks or marks[-1][1] < DOCUMENTS - (stuck is not None):
        await asyncio.sleep(LOOK_S)
        copied = broker.records(OUT)
        own = sum(record.partition == 0 for record in copied)
        marks.append((asyncio.get_running_loop().time(), len(copied), own))
    found = Rates(
        inner([(at_s, done) for at_s, done, _ in marks], DOCUMENTS),
        inner([(at_s, own) for at_s, _, own in marks], DOCUMENTS // 3),
    )
    await member.leave()
    check_copied_once(broker, DOCUMENTS)
    return found


def inner(marks: list[tuple[float, int]], of: int) -> float:
    """The rate between the first and the last tenth."""
    middle = [(at_s, done) for at_s, done in marks if 0.1 * of <= done <= 0.9 * of]
    (first_s, first), (last_s, last) = middle[0], middle[-1]
    return (last - first) / (last_s - first_s)


def simulated(stuck: int | None) -> Rates:
    virtual = VirtualLoop(random.Random(1))
    try:
        return virtual.run_until_complete(rates(stuck))
    finally:
        virtual.close()


def test_full_of_short_documents_it_is_near_the_ideal_and_one_of_a_minute_costs_the_others_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "TURN_S", 1e-8)
    calm, stuck = simulated(None), simulated(100)
    assert 0.95 * IDEAL <= calm.all <= 1.01 * IDEAL
    assert stuck.all >= 0.95 * calm.all
    assert stuck.own >= 0.95 * calm.own, "the others of its own partition"


def test_a_stage_in_order_does_not_linger_while_it_has_no_room_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "TURN_S", 1e-8)

    async def seconds() -> float:
        broker = await broker_with(DOCUMENTS // 4)
        started = asyncio.get_running_loop().time()
        member = Member(broker, concurrent=False, documents=IN_FLIGHT, records=2_000, linger_s=0.5)
        while len(broker.records(OUT)) < DOCUMENTS // 4:  # noqa: ASYNC110 - the broker tells nobody, time is virtual
            await asyncio.sleep(LOOK_S)
        took = asyncio.get_running_loop().time() - started
        await member.leave()
        check_copied_once(broker, DOCUMENTS // 4)
        return took

    virtual = VirtualLoop(random.Random(1))
    try:
        lingers = virtual.run_until_complete(seconds()) / 0.5
    finally:
        virtual.close()
    assert lingers < DOCUMENTS / 4 / IN_FLIGHT / 4
