"""What was written off, against a set that remembers every offset; and the Progress of a version that knew none."""

from hypothesis import given
from hypothesis import strategies as st

from mira_stream.messages import decoder, encode
from mira_stream.progress_messages import Progress, WrittenOff
from mira_stream.streaming.written_off import RANGES_MAX, Lost, added, left_out, offsets_in, rest, taken_back

SPANS = st.lists(st.integers(0, 120), unique=True, max_size=20).map(
    lambda edges: [(a, b) for a, b in zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False)]
)
"""Ascending ranges that do not overlap."""


def offsets_of(ranges: list[tuple[int, int]]) -> set[int]:
    return {offset for first, last in ranges for offset in range(first, last + 1)}


@given(st.integers(0, 130), st.integers(0, 130), SPANS)
def test_what_is_left_out_is_what_no_range_holds(first: int, end: int, finished: list[tuple[int, int]]) -> None:
    left = left_out(first, end, finished)
    assert offsets_of(left) == set(range(first, end)) - offsets_of(finished)
    assert offsets_in(left) == len(offsets_of(left))


@given(st.integers(0, 60), SPANS)
def test_of_a_log_that_is_gone_the_end_is_open(next_offset: int, finished: list[tuple[int, int]]) -> None:
    ranges = [one for one in finished if one[0] > next_offset]
    *known, (open_from, last) = rest(next_offset, ranges)
    end = max([next_offset, *(last + 1 for _, last in ranges)])
    assert (open_from, last) == (end, None)
    assert offsets_of([(a, b) for a, b in known if b is not None]) == set(range(next_offset, end)) - offsets_of(ranges)


@given(st.lists(st.one_of(SPANS, st.just(None)), max_size=8))
def test_each_offset_of_a_log_counts_once_and_nothing_is_forgotten(steps: list[list[tuple[int, int]] | None]) -> None:
    """None: the topic is made anew, so the same offsets are others from there on."""
    said: WrittenOff | None = None
    total, here, rests = 0, set[int](), 0
    for lost in steps:
        more: list[Lost] = [(7, None)] if lost is None else [*lost]
        said = added(said, more)
        if lost is None:
            total, here, rests = total + len(here), set(), rests + 1
        else:
            here |= offsets_of(lost)
        written = Progress(topic="t", partition=0, next_offset=1, written_off=said)
        said = decoder(Progress).decode(encode(written)).written_off
    found = WrittenOff() if said is None else said
    assert (found.offsets, found.rests) == (total + len(here), rests)
    assert offsets_in(found.ranges) == found.offsets


@given(SPANS, SPANS, st.booleans(), st.integers(0, 130))
def test_what_is_read_after_all_is_written_off_no_longer(
    before: list[tuple[int, int]], here: list[tuple[int, int]], anew: bool, position: int
) -> None:
    """Of this log alone: the offsets of one before are others."""
    old: list[Lost] = [*before, (130, None)] if anew else []
    gone = added(None, old)
    said = taken_back(added(gone, here), position)
    left = {offset for offset in offsets_of(here) if offset < position}
    found = WrittenOff() if said is None else said
    assert found.offsets == (len(offsets_of(before)) if anew else 0) + len(left)
    assert found.rests == int(anew)
    mine = found.ranges[0 if gone is None else len(gone.ranges) :]
    assert offsets_of([(first, last) for first, last in mine if last is not None]) == left
    assert mine == sorted(mine)


def test_losses_side_by_side_are_one_range_and_only_the_newest_are_named() -> None:
    said = None
    for first in range(0, 600, 6):
        said = added(said, [(first, first + 5)])
    assert said == WrittenOff(offsets=600, ranges=[(0, 599)])
    for first in range(1000, 1000 + 2 * RANGES_MAX, 2):
        said = added(said, [(first, first)])
    assert said is not None
    assert (said.offsets, len(said.ranges), said.ranges[0]) == (600 + RANGES_MAX, RANGES_MAX, (1000, 1000))


def test_a_progress_without_it_is_read_and_nothing_is_written_of_nothing() -> None:
    old = b'{"schema":"progress.v1","topic":"t","partition":0,"next_offset":7}'
    said = decoder(Progress).decode(old)
    assert (said.written_off, added(said.written_off, []), encode(said)) == (None, None, old)
