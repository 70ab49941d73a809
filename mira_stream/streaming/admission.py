"""How much may be in flight: documents, tokens and bytes, with a high and a low mark. Pure."""

from typing import Final, Literal, NamedTuple

from mira_stream.records import Record, TopicPartition

LOW_MARK = 0.94
"""Once full, nothing is admitted until all three are at or below this share of their limits: one poll for a handful of
documents, and an engine that is hardly ever short of work (at 0.75 it stood idle for an eighth of its time)."""

UNITS: Final[tuple[Literal["documents", "tokens", "bytes"], ...]] = ("documents", "tokens", "bytes")


class Amount(NamedTuple):
    documents: int
    tokens: int
    bytes: int

    def __add__(self, other: object) -> "Amount":
        if not isinstance(other, Amount):
            return NotImplemented
        return Amount(
            self.documents + other.documents,
            self.tokens + other.tokens,
            self.bytes + other.bytes,
        )

    def less(self, other: "Amount") -> "Amount":
        return Amount(
            self.documents - other.documents,
            self.tokens - other.tokens,
            self.bytes - other.bytes,
        )


class Admission:
    """Counts by entry, not by hand: what was admitted is kept until it settles or its partition is dropped."""

    def __init__(self, limit: Amount) -> None:
        self.limit = limit
        self.used = Amount(0, 0, 0)
        self._entries: dict[TopicPartition, dict[int, Amount]] = {}
        self._full = False

    def credit(self) -> int:
        """Documents that may be admitted now. The last admitted may overshoot tokens and bytes by itself."""
        used, limit = self.used, self.limit
        if any(have >= most for have, most in zip(used, limit, strict=True)):
            self._full = True
        elif self._full and all(have <= LOW_MARK * most for have, most in zip(used, limit, strict=True)):
            self._full = False
        return 0 if self._full else limit.documents - used.documents

    @property
    def is_throttled(self) -> bool:
        """Whether one of the three is over its low mark."""
        return any(have > LOW_MARK * most for have, most in zip(self.used, self.limit, strict=True))

    @property
    def fullest(self) -> Literal["documents", "tokens", "bytes"]:
        """Which of the three is nearest to its limit, or furthest beyond."""
        used, limit = self.used, self.limit
        shares = {
            "documents": used.documents / limit.documents,
            "tokens": used.tokens / limit.tokens,
            "bytes": used.bytes / limit.bytes,
        }
        return max(UNITS, key=shares.__getitem__)

    def admit(self, record: Record, tokens: int) -> None:
        amount = Amount(1, tokens, len(record.value or b""))
        self._entries.setdefault(record.source, {})[record.offset] = amount
        self.used += amount

    def settle(self, partition: TopicPartition, offset: int) -> None:
        """Free what the record took; without effect if its partition was dropped meanwhile."""
        amount = self._entries.get(partition, {}).pop(offset, None)
        if amount is not None:
            self.used = self.used.less(amount)

    def drop(self, partition: TopicPartition) -> None:
        """Ownership ended: whatever of the partition was in flight takes no room any more."""
        for amount in self._entries.pop(partition, {}).values():
            self.used = self.used.less(amount)
