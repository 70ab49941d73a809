"""The span of a partition, against a naive one that remembers every offset; restarts included."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.records import Outgoing
from mira_stream.streaming.offsets import Range, Span


def result(offset: int) -> list[Outgoing]:
    return [Outgoing("t", None, str(offset).encode())]


class Naive:
    """All offsets ever released, by name; and what a record of the log may be claimed by."""

    def __init__(self, log: list[int]) -> None:
        self.log = log
        self.released: set[int] = set()

    def check(self, next_offset: int, finished: list[Range]) -> None:
        """Exactly the released records of the log are claimed, by ascending ranges that do not touch the prefix."""
        for offset in self.log:
            claimed = offset < next_offset or any(first <= offset <= last for first, last in finished)
            assert claimed == (offset in self.released), (offset, next_offset, finished)
        edges = [edge for part in finished for edge in part]
        assert edges == sorted(edges)
        assert all(first > next_offset - 1 for first, _ in finished)
        assert all(any(first <= offset <= last for offset in self.log) for first, last in finished)


@settings(max_examples=300)
@given(
    st.lists(st.integers(0, 400), unique=True, min_size=1, max_size=60).map(sorted),
    st.randoms(use_true_random=False),
    st.integers(1, 7),
    st.booleans(),
)
def test_every_claim_is_of_what_was_released_and_survives_restarts(
    log: list[int], chance: random.Random, limit: int, in_order: bool
) -> None:
    naive, span = Naive(log), Span(0)
    position, committed, claims = 0, 0, list[Range]()
    working: list[int] = []
    while committed <= log[-1]:
        step = chance.random()
        unread = [offset for offset in log if offset >= position]
        if step < 0.4 and unread:
            position = unread[0] + 1
            if span.receive(unread[0]):
                assert unread[0] not in naive.released
                working.append(unread[0])
            else:
                assert unread[0] in naive.released
        elif step < 0.7 and working:
            offset = working.pop(chance.randrange(len(working)))
            span.settle(offset, result(offset))
        elif step < 0.95:
            release = span.release(limit, in_order=in_order)
            if release is not None:
                offsets = [int(one.value) for one in release.results]
                assert release.records == len(offsets) <= limit
                assert not set(offsets) & naive.released
                assert not in_order or offsets == sorted(offsets)
                naive.released |= set(offsets)
                committed, claims = release.next_offset, release.finished
                naive.check(committed, claims)
                assert not in_order or not claims
                assert span.ranges >= len(claims)
        else:  # killed: only what was committed is left
            span, position, working = Span(committed, claims), committed, []
            assert span.finished() == claims
    assert naive.released == set(log)
    assert (span.unfinished, span.finished()) == (0, [])


def test_a_range_does_not_reach_over_a_record_in_work() -> None:
    span = Span(0)
    for offset in (0, 3, 4, 9):
        assert span.receive(offset)
    for offset in (3, 9):
        span.settle(offset, result(offset))
    release = span.release(10)
    assert release is not None
    assert (release.next_offset, release.finished) == (0, [(3, 3), (9, 9)])
    span.settle(4, result(4))
    release = span.release(10)
    assert release is not None
    assert release.finished == [(3, 9)]  # 5 to 8 were never received: markers, or compacted
    span.settle(0, result(0))
    release = span.release(10)
    assert release is not None
    assert (release.next_offset, release.finished) == (10, [])


def test_a_prefix_that_moves_without_results_is_released_too() -> None:
    span = Span(5, [(6, 8)])
    assert span.receive(5)
    span.settle(5, result(5))
    assert span.release(10) == ([*result(5)], 1, 6, [(6, 8)])
    assert span.release(10) is None
    assert [span.receive(offset) for offset in (6, 8)] == [False, False]
    assert span.release(10) == ([], 0, 9, [])


def test_what_is_lost_and_accepted_is_passed_over() -> None:
    span = Span(5, [(8, 9)])
    assert span.receive(5)
    span.pass_over(20)
    assert span.receive(20)
    span.settle(20, result(20))
    assert span.release(9) == (result(20), 1, 5, [(19, 20)])
    span.settle(5, result(5))
    assert span.release(9) == (result(5), 1, 21, [])


def test_memory_is_ranges_not_entries() -> None:
    span = Span(0)
    for offset in range(50_000):
        span.receive(offset)
        if offset:
            span.settle(offset, ())
            span.release(100)
    assert (span.width, span.ranges, span.unfinished) == (50_000, 1, 1)


def test_an_offset_that_goes_back_is_refused() -> None:
    span = Span(5)
    span.receive(7)
    for back in (7, 4):
        with pytest.raises(AssertionError):
            span.receive(back)
    span.settle(7, ())
    with pytest.raises(AssertionError):
        span.settle(7, ())
