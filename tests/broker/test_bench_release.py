"""The benchmark of releases in small: its counts are right, whatever the speed of the machine."""

import asyncio

import pytest

from bench.release import figures, table
from bench.releasing.members import run_members, run_one, write
from bench.releasing.world import Turn, World
from mira_stream.records import Record

pytestmark = pytest.mark.broker

DOCUMENTS, IN_FLIGHT = 3_000, 64


def world(prefix: str) -> World:
    return World(f"{prefix}.documents", DOCUMENTS, 0.01)


class Stuck(World):
    """The stuck document is in work until all others are committed, however long that takes."""

    def __init__(self, prefix: str) -> None:
        super().__init__(f"{prefix}.documents", DOCUMENTS, 0.01, stuck_s=1.0)
        self._others = asyncio.Event()

    async def work(self, record: Record) -> None:
        if record.partition == record.offset == 0:
            await self._others.wait()
        else:
            await super().work(record)

    def commit(self, results: int, own: int) -> None:
        super().commit(results, own)
        if self.committed >= self.documents - 1:
            self._others.set()


async def test_all_are_released_once_and_a_stuck_one_holds_back_nobody(kafka: str, prefix: str) -> None:
    await write(kafka, f"{prefix}.documents", DOCUMENTS)
    plain = world(prefix)
    turn = await run_one(kafka, plain, f"{prefix}.plain", IN_FLIGHT)
    assert turn.documents == plain.committed == DOCUMENTS
    assert max(plain.begun.values()) == 1
    stuck = Stuck(prefix)
    turn = await run_one(kafka, stuck, f"{prefix}.stuck", IN_FLIGHT)
    assert turn.documents == DOCUMENTS - 1  # all others were committed while it was in work
    assert stuck.committed == DOCUMENTS

    changing = world(prefix)
    found = await run_members(kafka, changing, f"{prefix}.members", IN_FLIGHT, rebalances=1)
    assert found["committed"] == DOCUMENTS
    # How many depends on what could be committed before partitions went to others.
    assert found["again"] == changing.begun.total() - DOCUMENTS < DOCUMENTS


def test_medians_of_the_turns_are_told_and_what_is_stuck_is_compared_within_its_round() -> None:
    turns = [Turn(100, seconds, 0.01, own=30 / seconds) for seconds in (1.0, 2.0, 4.0)]
    slower = [Turn(90, seconds, 0.01, own=24 / seconds) for seconds in (1.0, 2.0, 4.0)]
    found = figures({"release": turns, "stuck": slower}, 200.0)
    assert (found["release_per_s"], found["release_share"], found["stuck_cost"]) == (50.0, 0.25, 0.1)
    assert found["stuck_cost_own"] == 0.2
    assert found["release_turns_per_s"] == [100.0, 50.0, 25.0]
    assert table({"release": turns, "stuck": slower}, 200.0).row_count == 2
