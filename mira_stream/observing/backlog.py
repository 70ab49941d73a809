"""How old the oldest unread record is, from offsets alone: when the log's end passed where its reader now stands."""

from collections import deque
from typing import Final

from mira_stream.observing.facts import Positions
from mira_stream.records import TopicPartition

LOOKS_MAX: Final = 1_800


class Ages:
    """Ends of logs over the last looks. An age is exact to the distance of two looks, and a lower bound where the
    backlog is older than what was looked at."""

    def __init__(self) -> None:
        self._ends: dict[TopicPartition, deque[tuple[int, int]]] = {}
        self._empty: dict[TopicPartition, int] = {}
        """Ends before which no record was left, only markers of transactions."""

    def take(self, at_ms: int, positions: Positions) -> None:
        for partition, position in positions.items():
            if position.records == 0:
                self._empty[partition] = position.end
            seen = self._ends.setdefault(partition, deque(maxlen=LOOKS_MAX))
            if seen and seen[-1][1] == position.end and len(seen) > 1 and seen[-2][1] == position.end:
                seen[-1] = (at_ms, position.end)  # it stands still: one pair says so
            else:
                seen.append((at_ms, position.end))

    def oldest_s(self, at_ms: int, positions: Positions) -> float | None:
        """Over all of these partitions; 0 if nothing waits, None if nothing is known."""
        ages = [self._age_s(at_ms, partition, max(position.next, self._empty.get(partition, 0)), position.waiting)
                for partition, position in positions.items()]  # fmt: skip
        return max(ages, default=None)

    def _age_s(self, at_ms: int, partition: TopicPartition, stands: int, waiting: int) -> float:
        if not waiting:
            return 0.0
        passed = next((seen for seen, end in self._ends.get(partition, ()) if end > stands), at_ms)
        return max(0.0, (at_ms - passed) / 1000)
