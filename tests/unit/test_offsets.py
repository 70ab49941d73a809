"""The reorder buffer releases exactly the settled prefix, in order, whatever the order of settling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.records import Outgoing
from mira_stream.streaming.offsets import ReorderBuffer


def result(offset: int) -> list[Outgoing]:
    return [Outgoing("t", None, str(offset).encode())]


@given(
    st.lists(st.integers(0, 10_000), unique=True, max_size=60).map(sorted),
    st.randoms(use_true_random=False),
    st.integers(1, 7),
)
def test_everything_leaves_once_and_in_order(offsets: list[int], random: object, limit: int) -> None:
    buffer = ReorderBuffer(0)
    for offset in offsets:
        buffer.admit(offset)
    order = list(offsets)
    random.shuffle(order)  # type: ignore[attr-defined]
    left: list[int] = []
    unsettled = set(offsets)
    for offset in order:
        buffer.settle(offset, result(offset))
        unsettled.discard(offset)
        while (release := buffer.release(limit)) is not None:
            assert 1 <= release.records <= limit
            left += [int(r.value) for r in release.results]
            assert release.next_offset == left[-1] + 1
            assert all(release.next_offset <= o for o in unsettled)
    assert left == offsets
    assert buffer.span == buffer.settled == 0


def test_an_offset_that_goes_back_is_refused() -> None:
    buffer = ReorderBuffer(5)
    buffer.admit(7)
    with pytest.raises(AssertionError):
        buffer.admit(7)
    with pytest.raises(AssertionError):
        ReorderBuffer(5).admit(4)


def test_nothing_is_released_before_the_first_is_settled() -> None:
    buffer = ReorderBuffer(0)
    for offset in (0, 1, 2):
        buffer.admit(offset)
    buffer.settle(1, result(1))
    buffer.settle(2, result(2))
    assert buffer.release(10) is None
    assert not buffer.is_releasable
    buffer.settle(0, result(0))
    release = buffer.release(10)
    assert release is not None
    assert release.next_offset == 3
