"""What of a partition may be released: the settled prefix. Pure."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from mira_stream.records import Outgoing


class Release(NamedTuple):
    """Results of a settled prefix, in offset order, and the next offset that commits them."""

    results: list[Outgoing]
    records: int
    next_offset: int


class ReorderBuffer:
    """Records are admitted in offset order and settle in any order; they leave in offset order.

    Offsets may have gaps (transaction markers, compaction): only what was admitted is waited for.
    """

    def __init__(self, next_offset: int) -> None:
        self.next_offset = next_offset
        self._admitted: deque[int] = deque()
        self._settled: dict[int, Sequence[Outgoing]] = {}
        self._last = next_offset - 1

    @property
    def span(self) -> int:
        """Records admitted and not released."""
        return len(self._admitted)

    @property
    def settled(self) -> int:
        """Results that wait, whether or not all before them are settled."""
        return len(self._settled)

    @property
    def is_releasable(self) -> bool:
        """Whether the first admitted record is settled."""
        return bool(self._admitted) and self._admitted[0] in self._settled

    def admit(self, offset: int) -> None:
        """A record was read. Offsets only grow; anything else is a bug of the reader and would lose documents."""
        if offset <= self._last:
            raise AssertionError(f"offset {offset} after {self._last}")
        self._last = offset
        self._admitted.append(offset)

    def settle(self, offset: int, results: Sequence[Outgoing]) -> None:
        if offset in self._settled:
            raise AssertionError(f"offset {offset} settled twice")
        self._settled[offset] = results

    def release(self, limit: int) -> Release | None:
        """Take the settled prefix, at most `limit` records; None if the first is not settled."""
        results: list[Outgoing] = []
        records = 0
        while self._admitted and records < limit and self._admitted[0] in self._settled:
            offset = self._admitted.popleft()
            results.extend(self._settled.pop(offset))
            self.next_offset = offset + 1
            records += 1
        return Release(results, records, self.next_offset) if records else None
