"""What of a partition is finished: the settled prefix, and ranges above it whose results are committed. Pure.

Offsets have gaps (markers of transactions, compaction), so records are numbered as they are received: two finished
records are neighbours if nothing that was received lies between them, and only then may their ranges be one.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mira_stream.records import Outgoing


class Range(NamedTuple):
    """Offsets first..last, both inclusive, both of records that were received."""

    first: int
    last: int


class Release(NamedTuple):
    """Results for one transaction, and what it says is finished: all offsets before `next_offset`, and `finished`."""

    results: list[Outgoing]
    records: int
    next_offset: int
    finished: list[Range]


class _Run(NamedTuple):
    """Finished neighbours: their numbers and their offsets."""

    first: int
    last: int
    first_offset: int
    last_offset: int


class Span:
    """Records are received in offset order, settle in any order, and leave in the order in which they settled.

    Memory: an entry for each record in work or waiting to be released, and one for each range.
    """

    def __init__(self, next_offset: int, finished: Iterable[Sequence[int]] = ()) -> None:
        self.next_offset = next_offset
        """End of the finished prefix: what a transaction commits."""
        self.last = next_offset - 1
        """The last offset received."""
        self._released = next_offset
        self._restored = deque(Range(first, last) for first, last in finished)
        self._received = 0
        self._prefix = 0
        self._working: dict[int, int] = {}
        self._settled: dict[int, tuple[int, Sequence[Outgoing]]] = {}
        self._run_from: dict[int, _Run] = {}
        self._run_to: dict[int, _Run] = {}

    @property
    def width(self) -> int:
        """Offsets between the finished prefix and the last one received."""
        return self.last + 1 - self.next_offset

    @property
    def ranges(self) -> int:
        """Ranges above the prefix: the size of a Progress."""
        return len(self._run_from) + len(self._restored)

    @property
    def unfinished(self) -> int:
        """Records received and not released."""
        return len(self._working) + len(self._settled)

    @property
    def working(self) -> int:
        return len(self._working)

    @property
    def settled(self) -> int:
        """Records whose results wait to be released."""
        return len(self._settled)

    def is_releasable(self, *, in_order: bool) -> bool:
        """Whether a transaction has something to say: results, or a prefix that has moved without any."""
        waits = self._prefix in self._settled if in_order else bool(self._settled)
        return waits or self.next_offset > self._released

    def receive(self, offset: int) -> bool:
        """A record was read; whether it is still to be done. Offsets only grow: anything else is a bug of the
        reader and would lose documents."""
        if offset <= self.last:
            raise AssertionError(f"offset {offset} after {self.last}")
        self.last = offset
        number = self._received
        self._received += 1
        while self._restored and self._restored[0].last < offset:
            self._restored.popleft()
        if self._restored and self._restored[0].first <= offset:
            if self._restored[0].last == offset:
                self._restored.popleft()
            self._finish(number, offset)
            return False
        self._working[offset] = number
        return True

    def pass_over(self, offset: int) -> None:
        """Nothing is to be done behind the last record received and before `offset`: only markers stand there, or it
        is lost and a person has accepted it."""
        if offset - 1 > self.last:
            while self._restored and self._restored[0].last < offset:
                self._restored.popleft()
            self.last = offset - 1
            self._received += 1
            self._finish(self._received - 1, offset - 1)

    def settle(self, offset: int, results: Sequence[Outgoing]) -> None:
        number = self._working.pop(offset, None)
        if number is None:
            raise AssertionError(f"offset {offset} settled, but not in work")
        self._settled[number] = (offset, results)

    def release(self, limit: int, *, in_order: bool = False) -> Release | None:
        """Take results of at most `limit` records, `in_order` only those whose whole prefix is settled; None if there
        is nothing to say."""
        if not self.is_releasable(in_order=in_order):
            return None
        results: list[Outgoing] = []
        records = 0
        while records < limit and self._settled:
            number = self._prefix if in_order else next(iter(self._settled))
            if number not in self._settled:
                break
            offset, made = self._settled.pop(number)
            results.extend(made)
            self._finish(number, offset)
            records += 1
        self._released = self.next_offset
        return Release(results, records, self.next_offset, self.finished())

    def finished(self) -> list[Range]:
        """Ranges above the prefix, ascending: those of this ownership, then those of the one before that have not
        been read again yet."""
        runs = sorted(self._run_from.values())
        ranges = [Range(run.first_offset, run.last_offset) for run in runs]
        restored = list(self._restored)
        if restored and restored[0].first <= self.last:  # read again in part: the rest of it is finished, too
            last = restored[0].last
            if runs and runs[-1].last == self._received - 1:
                restored.pop(0)
                ranges[-1] = Range(ranges[-1].first, last)
            else:
                restored[0] = Range(self.last + 1, last)
        return ranges + restored

    def _finish(self, number: int, offset: int) -> None:
        left, right = self._run_to.pop(number - 1, None), self._run_from.pop(number + 1, None)
        last, last_offset = (number, offset) if right is None else (right.last, right.last_offset)
        if right is not None:
            del self._run_to[right.last]
        if number == self._prefix:
            self._prefix, self.next_offset = last + 1, last_offset + 1
            return
        first, first_offset = (number, offset) if left is None else (left.first, left.first_offset)
        run = _Run(first, last, first_offset, last_offset)
        self._run_from[first] = self._run_to[last] = run
