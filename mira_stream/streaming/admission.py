"""How much may be in flight: documents, tokens and bytes, with a high and a low mark. Pure."""

from collections import defaultdict
from typing import Final, Literal, NamedTuple

from mira_stream.records import Record, TopicPartition

LOW_MARK = 0.97
"""Once full, nothing is admitted until all three are at or below this share of their limits: one poll for a handful of
documents, and an engine that is hardly ever short of work (at 0.75 it stood idle for an eighth of its time, and half of
what is held back here is idle on average)."""

UNITS: Final[tuple[Literal["documents", "tokens", "bytes"], ...]] = ("documents", "tokens", "bytes")


class Amount(NamedTuple):
    documents: int
    tokens: int
    bytes: int


class Admission:
    """Counts by entry, not by hand: what was admitted is kept until it settles or its partition is dropped."""

    def __init__(self, limit: Amount) -> None:
        self.limit = limit
        self._documents = self._tokens = self._bytes = 0
        self._entries: defaultdict[TopicPartition, dict[int, tuple[int, int]]] = defaultdict(dict)
        """(tokens, bytes) of what is in flight, by offset."""
        self._full = False

    @property
    def used(self) -> Amount:
        return Amount(self._documents, self._tokens, self._bytes)

    def credit(self) -> int:
        """Documents that may be admitted now, as long as there is `room` for them."""
        documents, tokens, size = self.limit
        if self._documents >= documents or self._tokens >= tokens or self._bytes >= size:
            self._full = True
        elif self._full and not self.is_throttled:
            self._full = False
        return 0 if self._full else documents - self._documents

    def room(self) -> "Room":
        """Of one poll; the last admitted may overshoot it by itself."""
        return Room(self.limit.tokens - self._tokens, self.limit.bytes - self._bytes)

    @property
    def is_throttled(self) -> bool:
        """Whether one of the three is over its low mark."""
        documents, tokens, size = self.limit
        return (
            self._documents > LOW_MARK * documents or self._tokens > LOW_MARK * tokens or self._bytes > LOW_MARK * size
        )

    @property
    def fullest(self) -> Literal["documents", "tokens", "bytes"]:
        """Which of the three is nearest to its limit, or furthest beyond."""
        shares = {unit: have / most for unit, have, most in zip(UNITS, self.used, self.limit, strict=True)}
        return max(UNITS, key=shares.__getitem__)

    def admit(self, record: Record, tokens: int) -> None:
        size = len(record.value or b"")
        self._entries[record.source][record.offset] = tokens, size
        self._documents += 1
        self._tokens += tokens
        self._bytes += size

    def settle(self, partition: TopicPartition, offset: int) -> None:
        """Free what the record took; without effect if its partition was dropped meanwhile."""
        entry = self._entries[partition].pop(offset, None)
        if entry is not None:
            self._free(entry)

    def drop(self, partition: TopicPartition) -> None:
        """Ownership ended: whatever of the partition was in flight takes no room any more."""
        for entry in self._entries.pop(partition, {}).values():
            self._free(entry)

    def _free(self, entry: tuple[int, int]) -> None:
        self._documents -= 1
        self._tokens -= entry[0]
        self._bytes -= entry[1]


class Room:
    """What is left of tokens and bytes."""

    def __init__(self, tokens: int, size: int) -> None:
        self._tokens = tokens
        self._bytes = size

    def take(self, tokens: int, size: int) -> bool:
        """Whether there is more behind it."""
        self._tokens -= tokens
        self._bytes -= size
        return self._tokens > 0 and self._bytes > 0
