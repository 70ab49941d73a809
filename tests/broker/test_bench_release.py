"""The benchmark of releases in small: its counts are right, whatever the speed of the machine."""

import pytest

from bench.release import World, run_members, run_one, write

pytestmark = pytest.mark.broker

DOCUMENTS, IN_FLIGHT = 3_000, 64


def world(prefix: str, stuck_s: float = 0.0) -> World:
    return World(f"{prefix}.documents", DOCUMENTS, 0.01, stuck_s)


async def test_all_are_released_once_and_a_stuck_one_holds_back_nobody(kafka: str, prefix: str) -> None:
    await write(kafka, f"{prefix}.documents", DOCUMENTS)
    plain = world(prefix)
    turn = await run_one(kafka, plain, f"{prefix}.plain", IN_FLIGHT)
    assert turn.documents == plain.committed == DOCUMENTS
    assert max(plain.begun.values()) == 1
    stuck = world(prefix, stuck_s=20.0)
    turn = await run_one(kafka, stuck, f"{prefix}.stuck", IN_FLIGHT)
    assert turn.documents == DOCUMENTS - 1  # all others were committed while it was in work
    assert stuck.committed == DOCUMENTS

    changing = world(prefix)
    found = await run_members(kafka, changing, f"{prefix}.members", IN_FLIGHT, rebalances=1)
    assert found["committed"] == DOCUMENTS
    assert found["again"] <= 3 * IN_FLIGHT
