"""What a stage was told to do without, as ranges of offsets: first and last inclusive, no last where nobody knows it.
Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from mira_stream.progress_messages import WrittenOff

RANGES_MAX: Final = 100
"""Every transaction carries them: 3 KB at most."""

Lost = tuple[int, int | None]


def left_out(first: int, end: int, finished: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """What of [first, end) is in none of the ascending ranges."""
    left = []
    for begin, last in finished:
        if first < min(begin, end):
            left.append((first, min(begin, end) - 1))
        first = max(first, last + 1)
    return [*left, (first, end - 1)] if first < end else left


def rest(next_offset: int, finished: Sequence[Sequence[int]]) -> list[Lost]:
    """All that was not finished of a log that is there no more."""
    end = finished[-1][1] + 1 if finished else next_offset
    return [*left_out(next_offset, end, finished), (end, None)]


def offsets_in(ranges: Iterable[Lost]) -> int:
    """How many, as far as that is known."""
    return sum(last - first + 1 for first, last in ranges if last is not None)


def added(before: WrittenOff | None, lost: Iterable[Lost]) -> WrittenOff | None:
    """With these, too, each offset of a log once: an offset that somebody moved back may lead over it again."""
    said = WrittenOff() if before is None else before
    ranges, offsets, rests = list(said.ranges), said.offsets, said.rests
    for first, last in lost:
        if last is None:
            ranges.append((first, None))
            rests += 1
            continue
        for more in left_out(first, last + 1, sorted(_of_this_log(ranges))):
            offsets += offsets_in([more])
            if ranges and ranges[-1][1] == more[0] - 1:
                ranges[-1] = (ranges[-1][0], more[1])
            else:
                ranges.append(more)
    if not ranges:
        return None
    return WrittenOff(offsets=offsets, rests=rests, ranges=ranges[-RANGES_MAX:])


def taken_back(said: WrittenOff | None, position: int) -> WrittenOff | None:
    """Without what somebody who reads from `position` on reads after all: the offset was moved back."""
    if said is None:
        return None
    here = _of_this_log(said.ranges)
    behind = [(max(first, position), last) for first, last in here if last >= position]
    before: list[Lost] = [(first, min(last, position - 1)) for first, last in reversed(here) if first < position]
    ranges = [*said.ranges[: len(said.ranges) - len(here)], *before]
    left = WrittenOff(offsets=said.offsets - offsets_in(behind), rests=said.rests, ranges=ranges)
    return None if left == WrittenOff() else left


def _of_this_log(ranges: Sequence[Lost]) -> list[tuple[int, int]]:
    """The newest first."""
    found: list[tuple[int, int]] = []
    for first, last in reversed(ranges):
        if last is None:
            break
        found.append((first, last))
    return found
