"""Which partitions stand still though they should not: however much the others move, and never when all is quiet."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from mira_stream.records import TopicPartition
from mira_stream.streaming.stalls import OVERTAKEN, STILL_S, UNASSIGNED_S, Facts, Found, Stalls

P0, P1, P2 = (TopicPartition("t", number) for number in range(3))
NOTHING = Found(frozenset(), frozenset())
LOOK_S = 2.0


def stuck(*partitions: TopicPartition) -> Found:
    return Found(frozenset({"no_progress"}), frozenset(partitions))


def test_a_member_without_partitions_is_told_after_a_minute() -> None:
    stalls = Stalls(0.0)
    assert stalls.look(0, {}, 0, UNASSIGNED_S - 1) == NOTHING
    assert stalls.look(0, {}, 0, UNASSIGNED_S).causes == {"unassigned"}
    assert stalls.look(1, {P0: Facts(False, 0, 0)}, 0, UNASSIGNED_S + 1) == NOTHING


def test_work_without_a_commit_is_told_after_a_minute_and_until_the_next_one() -> None:
    stalls = Stalls(0.0)
    idle, busy = Facts(False, 0, 0), Facts(True, 3, 0)
    assert stalls.look(1, {P0: idle}, 0, 500.0) == NOTHING
    assert stalls.look(1, {P0: busy}, 0, 501.0) == NOTHING
    assert stalls.look(1, {P0: busy}, 0, 559.0) == NOTHING
    assert stalls.look(1, {P0: busy}, 0, 560.0) == stuck(P0)
    assert stalls.look(1, {P0: busy._replace(moves=1)}, 1, 562.0) == NOTHING
    assert stalls.look(1, {P0: busy._replace(moves=1)}, 1, 622.0) == stuck(P0)
    assert stalls.look(0, {}, 1, 623.0) == NOTHING


@given(st.integers(1, 50), st.integers(1, 200), st.integers(1, 40))
def test_one_partition_is_found_however_the_others_flow(own: int, others: int, a_look: int) -> None:
    """Within a minute, or as soon as the others have committed twice what they had in flight when it began."""
    stalls, now, done, moves = Stalls(0.0), 0.0, 0, 0
    bound_s = max(STILL_S, LOOK_S * (OVERTAKEN * others / a_look + 1))
    while now < bound_s + LOOK_S:
        found = stalls.look(2, {P0: Facts(True, own, 0), P1: Facts(True, others, moves)}, done, now)
        assert found in (NOTHING, stuck(P0))
        assert found == NOTHING or (now >= STILL_S and done >= OVERTAKEN * others)
        now, done, moves = now + LOOK_S, done + a_look, moves + 1
    assert found == stuck(P0)


def test_who_waits_for_his_turn_behind_many_is_not_stuck() -> None:
    """A slow engine: 90 records of another partition are before this one's five."""
    stalls = Stalls(0.0)
    for second in range(0, 180, 2):
        facts = {P0: Facts(True, 5, 0), P1: Facts(True, 90, second)}
        assert stalls.look(2, facts, second, float(second)) == NOTHING
    assert stalls.look(2, facts, 180, 180.0) == stuck(P0)


def test_a_lane_that_starts_over_again_and_again_is_stuck() -> None:
    """It is opened, has work in flight and fails: none of this is a commit."""
    stalls = Stalls(0.0)
    for second in range(0, 62, 2):
        facts = {P0: Facts(True, 4 if second % 4 else 0, 0), P1: Facts(True, 2, second)}
        found = stalls.look(2, facts, second, float(second))
        assert found == (NOTHING if second < STILL_S else stuck(P0))


def test_a_partition_that_is_not_opened_is_stuck() -> None:
    stalls = Stalls(0.0)
    for second in range(0, 62, 2):
        facts = {P0: Facts(True, 0, 0), P1: Facts(True, 90, second)}
        found = stalls.look(2, facts, second, float(second))
    assert found == stuck(P0)


class Look(NamedTuple):
    idle: bool
    moves: bool
    seconds: float


@given(st.lists(st.builds(Look, st.booleans(), st.booleans(), st.floats(0.0, STILL_S - 1)), max_size=60))
def test_who_is_idle_or_moves_is_never_told(looks: list[Look]) -> None:
    """Whatever the others do: one of them stands still from the beginning, the third does as it likes."""
    stalls, now, moves, waits = Stalls(0.0), 0.0, 0, 0.0
    for idle, moved, seconds in looks:
        now, waits = now + seconds, waits + seconds
        if moved or idle or waits >= STILL_S:
            moves, waits = moves + 1, 0.0
        facts = {P0: Facts(not idle, 0 if idle else 3, moves), P1: Facts(True, 5, 0), P2: Facts(False, 0, 0)}
        assert stalls.look(3, facts, moves * 100, now).stuck <= {P1}
