"""Pace, prices, budgets and estimates: arithmetic without a clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.teaching import Budget, Limits, Price, Question, estimate
from mira_stream.teaching.cost import Bound, Ledger, bound
from mira_stream.teaching.pace import BACKOFF_MOST_S, Pace, backoff_s


def question(characters: int, max_tokens: int = 100) -> Question:
    return Question("q", [{"role": "user", "content": "x" * characters}], max_tokens)


@given(rate=st.integers(1, 500), steps=st.lists(st.floats(0, 5), min_size=1, max_size=300))
def test_no_minute_holds_more_requests_than_it_may(rate: int, steps: list[float]) -> None:
    pace, now, sent = Pace(Limits(1, requests_per_minute=rate)), 0.0, []
    for step in steps:
        now += step
        sent.append(now + pace.reserve(now, 1))
    assert sent == sorted(sent)
    # A place's width of room: rates are spread evenly, and times are floats.
    assert all(sum(start <= one < start + 60 * (1 - 1e-9) for one in sent) <= rate + 1 for start in sent)


def test_tokens_are_corrected_by_what_was_used() -> None:
    pace = Pace(Limits(1, tokens_per_minute=60))
    assert pace.reserve(0, 30) == 0
    assert pace.reserve(0, 10) == 30
    pace.correct(-5)
    assert pace.reserve(0, 1) == 35


def test_a_hold_holds_all_and_never_shrinks() -> None:
    pace = Pace(Limits(1))
    pace.hold(20)
    pace.hold(10)
    assert (pace.reserve(5, 1), pace.held(19), pace.held(21)) == (15, 1, 0)


def test_backing_off_doubles_up_to_a_limit_and_differs_between_questions() -> None:
    assert all(0.5 * full <= backoff_s(n, "k") <= full for n, full in ((1, 0.5), (4, 4.0), (50, BACKOFF_MOST_S)))
    assert len({backoff_s(3, f"q/{n}") for n in range(50)}) == 50


def test_an_estimate_counts_bytes_and_what_replies_take() -> None:
    price = Price(2.0, 10.0)
    few = [question(400, 100), question(400, 100)]
    assert estimate(few, price)[:3] == (2, 200, 100)
    assert estimate(few, price).cost == pytest.approx((200 * 2 + 100 * 10) / 1e6)
    assert estimate(few, price, reply_tokens=30)[:3] == (2, 200, 60)
    assert estimate(few, price, total=1000, reply_tokens=30)[:3] == (1000, 100_000, 30_000)
    assert estimate(few, price, total=1000).cost == pytest.approx(500 * estimate(few, price).cost)
    assert estimate([], price, total=0) == (0, 0, 0, 0.0)


def test_a_byte_is_at_most_a_token() -> None:
    assert bound(Question("q", [{"role": "user", "content": "ü" * 10}], 7)) == (20 + 16, 7)


@given(
    most=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 300)), max_size=60),
    used=st.floats(0, 1),
    tokens_max=st.integers(0, 3000),
)
def test_whatever_fits_never_passes_the_budget(most: list[tuple[int, int]], used: float, tokens_max: int) -> None:
    ledger, paid = Ledger(Budget(tokens_max=tokens_max), Price(), 0, 0), 0
    open_: list[Bound] = []
    for characters, max_tokens in most:
        one = bound(question(characters, max_tokens))
        if not ledger.fits(one):
            while open_:
                done = open_.pop()
                actual = int(done.prompt_tokens * used), int(done.generation_tokens * used)
                ledger.end(done, *actual)
                paid += sum(actual)
            continue
        ledger.begin(one)
        open_.append(one)
        assert paid + sum(sum(each) for each in open_) <= tokens_max


def test_without_a_budget_everything_fits_and_with_none_left_nothing() -> None:
    one = bound(question(10**6, 10**6))
    assert Ledger(Budget(), Price(), 10**9, 10**9).fits(one)
    assert not Ledger(Budget(cost_max=0.0), Price(1, 1), 0, 0).fits(one)
    error = Ledger(Budget(2.5, 100), Price(1, 1), 7, 8).reached(3)
    assert "pass --max-cost 2.5 or --max-tokens 100; so far 3 answers" in error.cause
    assert "7 prompt + 8 generation = 15 tokens, cost 0.0000" in error.cause
    assert "--max-cost or --max-tokens" in error.fix
    assert "--max-cost" not in Ledger(Budget(tokens_max=1), Price(), 7, 8).reached(3).fix
