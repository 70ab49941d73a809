"""The search of the highest rate that holds a limit: what it finds, and where it ends without."""

from collections.abc import Callable
from heapq import heappop, heappush

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from mira_stream.benching.load import Load, arrivals
from mira_stream.benching.ramp import (
    FLAT_LEAST,
    FLAT_STEPS,
    KEPT_UP_LEAST,
    LOWEST_PER_S,
    STEP_DOCUMENTS_MIN,
    STEPS_MAX,
    Step,
    flat_said,
    highest,
    is_flat,
    next_rate,
    reachable_ms,
    said,
    step_documents,
    step_of,
    step_seconds,
)
from mira_stream.benching.result import Turn
from mira_stream.benching.running import Plan, find_rate
from mira_stream.benching.tracking import Tracker
from mira_stream.errors import CheckFailed, UsageError
from tests.unit.test_benching import turn


@given(st.floats(0.05, 5_000), st.floats(0.1, 1_000), st.floats(0.01, 0.5))
def test_the_search_ends_at_the_highest_rate_that_holds(capacity: float, start: float, tolerance: float) -> None:
    steps: list[Step] = []
    while (rate := next_rate(steps, start, tolerance)) is not None:
        steps.append(Step(rate, 0.0, rate <= capacity))
    assert len(steps) <= STEPS_MAX
    found = highest(steps)
    if len(steps) < STEPS_MAX and found is not None:
        assert found <= capacity < found * (1 + tolerance) * (1 + 1e-9)
    refused = [step.rate_per_s for step in steps if not step.holds]
    assert found is None or all(found < rate for rate in refused)


def queue(load: Load, seed: int, capacity: float, servers: int) -> Turn:
    """A turn of an open loop at a queue whose servers together take `capacity` documents a second."""
    tracker, takes = Tracker(), servers / capacity
    free = [0.0] * servers
    assert load.rate_per_s is not None
    for number, due in enumerate(arrivals(load.rate_per_s, load.documents, seed)):
        tracker.sent(b"%d" % number, due)
        ends = max(due, heappop(free)) + takes
        heappush(free, ends)
        tracker.ended(b"%d" % number, ends)
    return replace(
        turn(10), load=load, documents=tracker.count_ended, seconds=tracker.seconds, latency_ms=tracker.latency(),
        kept_up=tracker.kept_up(),
    )  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("limit_ms", "capacity", "servers", "start"),
    [(30_000, 20, 96, 1.0), (30_000, 20, 1, 1.0), (30_000, 2, 8, 1.0), (5_000, 100, 50, 1.0), (2_000, 20, 6, 300.0)],
)
async def test_the_rate_found_is_one_that_the_system_holds(
    limit_ms: float, capacity: float, servers: int, start: float, seed: int
) -> None:
    """With the default step a queue's backlog has not grown beyond the limit at twice its capacity."""
    plan = Plan(
        kind="engine", groups=[], load=Load(documents=1, rate_per_s=start), repetitions=1, ramp_p99_ms=limit_ms,
        step_s=step_seconds(limit_ms, None),
    )  # fmt: skip

    async def step(load: Load, number: int, name: str) -> Turn:
        return queue(load, 100 * seed + number, capacity, servers)

    turns, ramp = await find_rate(plan, limit_ms, step, lambda line: None)
    assert 0.7 * capacity <= ramp["highest_rate_per_s"] <= 1.1 * capacity
    assert [one.load.rate_per_s for one in turns] == [ramp["highest_rate_per_s"]] * 2
    assert ramp["confirmed"]
    over = queue(
        Load(documents=round(1.3 * capacity * plan.step_s), rate_per_s=1.3 * capacity), seed, capacity, servers
    )
    assert over.kept_up is not None
    assert over.kept_up == pytest.approx(1 / 1.3, rel=0.15)
    assert over.latency_ms.p99 > limit_ms or over.kept_up < KEPT_UP_LEAST


async def test_a_limit_under_a_documents_own_time_ends_the_search() -> None:
    """Halving the rate down to the lowest would take most of an hour."""
    plan = Plan(
        kind="engine", groups=[], load=Load(documents=1, rate_per_s=8.0), repetitions=1, ramp_p99_ms=100.0, step_s=20.0
    )  # fmt: skip
    rates: list[float] = []

    async def step(load: Load, number: int, name: str) -> Turn:
        rates.append(load.rate_per_s or 0)
        return queue(load, number, 8.0, 4)  # half a second each

    with pytest.raises(CheckFailed, match=r"ramp_unmet: half of the documents take 500 ms"):
        await find_rate(plan, 100.0, step, lambda line: None)
    assert len(rates) <= 5


def test_a_step_holds_if_it_is_fast_enough_and_keeps_up() -> None:
    assert step_of(10, 99, 0.96, 100, 20).holds
    assert not step_of(10, 101, 0.96, 100, 20).holds
    assert not step_of(10, 1, 0.94, 100, 20).holds
    assert said(step_of(10, 99, 0.96, 100, 20), 100) == "holds"
    assert (
        said(step_of(10, 101, 0.9, 100, 20), 100) == "does not hold: p99 is over 100 ms, only 90% as many left as came"
    )


def test_a_step_is_long_against_the_limit() -> None:
    assert [step_seconds(limit, None) for limit in (100, 5_000, 30_000)] == [20, 20, 120]
    assert step_seconds(5_000, 20) == 20
    for limit, short in ((5_000, 19), (10_000, 39), (100, 1)):
        with pytest.raises(UsageError, match="step_short"):
            step_seconds(limit, short)


def test_a_rate_that_held_by_luck_above_a_refused_one_does_not_count() -> None:
    assert highest([Step(10, 0, True), Step(20, 0, False), Step(40, 0, True)]) == 10
    assert highest([Step(20, 0, False)]) is None


P99S = st.floats(1, 1e7)


def searched(start: float, limit_ms: float, p99_ms: Callable[[float, float], float]) -> list[Step]:
    """The steps of a search, until it ends; `p99_ms` of rate and seconds offered, and all keeps up."""
    steps: list[Step] = []
    while (rate := next_rate(steps, start)) is not None and not is_flat(steps):
        offered = max(STEP_DOCUMENTS_MIN / rate, step_seconds(limit_ms, None))
        steps.append(step_of(rate, p99_ms(rate, offered), 1.0, limit_ms, offered))
    return steps


@given(st.floats(0.02, 1_000), st.floats(10, 60_000), st.floats(0.1, 10), st.floats(0, 100))
def test_a_search_ends_early_where_what_a_document_takes_by_itself_is_over_the_limit_and_only_there(
    start: float, limit_ms: float, own_share: float, wait: float
) -> None:
    """p99 is what a document takes by itself, and waiting that goes with the rate: `wait` times that at the start."""
    own = own_share * limit_ms
    steps = searched(start, limit_ms, lambda rate, _: own * (1 + wait * rate / start))
    assert not is_flat(steps) or own > limit_ms / 1.05
    alone = searched(start, limit_ms, lambda *_: own)
    if own <= limit_ms:
        assert highest(alone) is not None
    elif is_flat(alone):
        assert len(alone) == FLAT_STEPS or 1000 * alone[-2].offered_s < own
    else:
        assert start < 2**FLAT_STEPS * LOWEST_PER_S, "the search ended at the lowest rate before"


@given(st.floats(0.05, 100), st.floats(1, 1_000), st.floats(100, 60_000), st.floats(0.01, 0.9))
def test_documents_that_are_all_done_at_once_are_no_reason_to_end(
    capacity: float, start: float, limit_ms: float, own_share: float
) -> None:
    """An engine that shares itself among all that is there: over its capacity all that came ends when the last one
    does, so that latency does not grow in a step and hardly differs between two of the same few documents."""
    own = own_share * limit_ms

    def p99(rate: float, offered: float) -> float:
        return max(own, 1000 * rate * offered / capacity) if rate > capacity else own

    steps = searched(start, limit_ms, p99)
    assert not is_flat(steps)
    found = highest(steps)
    assert found is not None or len(steps) == STEPS_MAX
    assert found is None or found <= capacity


@given(st.lists(P99S, min_size=FLAT_STEPS, max_size=6), st.floats(0.1, 100), st.data())
def test_only_halvings_that_keep_up_and_leave_p99_as_it_was_are_flat(
    p99s: list[float], start: float, data: st.DataObject
) -> None:
    steps = [Step(start / 2**number, p99, False, 1.0, 1e9) for number, p99 in enumerate(p99s)]
    flat = p99s[-1] > FLAT_LEAST * p99s[-FLAT_STEPS]
    assert is_flat(steps) == flat
    assert not is_flat(steps[-FLAT_STEPS + 1 :])
    assume(flat)
    at = data.draw(st.integers(len(steps) - FLAT_STEPS, len(steps) - 1))
    for change in ({"holds": True}, {"kept_up": 0.9}, {"rate_per_s": 1.1 * steps[at].rate_per_s}):
        assert not is_flat([*steps[:at], replace(steps[at], **change), *steps[at + 1 :]])
    assert not is_flat([*steps[:-1], replace(steps[-1], offered_s=0.99 * p99s[-1] / 1000)])


@given(st.lists(P99S, min_size=1))
def test_the_limit_that_is_named_would_have_held_and_is_little_more(p99s: list[float]) -> None:
    named = reachable_ms([Step(1, p99, False) for p99 in p99s])
    assert max(p99s) <= named <= 1.1 * max(p99s) + 1


def test_why_a_lower_rate_does_not_help_is_said() -> None:
    steps = [Step(8, 8123.4, False), Step(4, 8011.0, False), Step(2, 7950.6, False)]
    cause, fix = flat_said(steps, 5_000)
    assert "at 8, 4 and 2 documents/s, all of which leave as they come, it is 8123, 8011 and 7951 ms" in cause
    assert "no lower rate brings it under 5000 ms" in cause
    assert fix.startswith("use --p99-ms 8200 or more")
    assert fix.endswith("with --rate 1")


async def test_long_documents_among_short_ones_end_the_search_after_three_steps() -> None:
    """Half of the documents are far under the limit, one in twenty is over it at any rate."""
    plan = Plan(
        kind="engine", groups=[], load=Load(documents=1, rate_per_s=4), repetitions=1, ramp_p99_ms=5_000, step_s=20
    )  # fmt: skip
    rates: list[float] = []

    async def step(load: Load, number: int, name: str) -> Turn:
        assert load.rate_per_s is not None
        rates.append(load.rate_per_s)
        tracker = Tracker()
        for at, due in enumerate(arrivals(load.rate_per_s, load.documents, number)):
            tracker.sent(b"%d" % at, due)
            tracker.ended(b"%d" % at, due + (9.0 if at % 20 == 7 else 0.5))
        return replace(turn(10), load=load, latency_ms=tracker.latency(), kept_up=1.0)

    with pytest.raises(CheckFailed, match="p99 does not fall with the rate") as ended:
        await find_rate(plan, 5_000.0, step, lambda line: None)
    assert rates == [4.0, 2.0, 1.0]
    assert "--p99-ms 9000 or more" in ended.value.fix


def test_a_step_has_no_more_documents_than_a_turn_may() -> None:
    assert [step_documents(rate, 20.0) for rate in (0.5, 1.0, 3.0, 50_000.0)] == [40, 40, 60, 1_000_000]
    with pytest.raises(UsageError, match=r"step_long: 1e\+06 documents/s for 20 s are 20,000,000 .*--rate 50000"):
        step_documents(1_000_000.0, 20.0)
