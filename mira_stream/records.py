"""What is read from and written to a log, whichever broker keeps it."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]

TRACE_HEADER: Final = "traceparent"
TRACE_BYTES_MAX: Final = 256
"""A W3C traceparent has 55 bytes today; a header of anybody's making must not grow every record behind it."""


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Record(NamedTuple):
    """One record as read; `repr` never shows a document's text."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def source(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    def __repr__(self) -> str:
        size = len(self.value) if self.value is not None else 0
        return f"<Record {self.topic}/{self.partition}@{self.offset} {size} bytes>"


class Outgoing(NamedTuple):
    """One record to be written; without `partition` the broker's partitioner picks it by key."""

    topic: str
    key: bytes | None
    value: bytes
    partition: int | None = None
    headers: Headers = ()
    timestamp_ms: int | None = None

    def __repr__(self) -> str:
        return f"<Outgoing {self.topic}/{self.partition} {len(self.value)} bytes>"


def trace_of(record: Record) -> Headers:
    """The record's trace, for the headers of what is made of it: W3C Trace Context, untouched; empty without one."""
    for name, value in record.headers:
        if name == TRACE_HEADER and len(value) <= TRACE_BYTES_MAX:
            return ((name, value),)
    return ()


class LogReader(Protocol):
    """Reads committed records by offset, outside any consumer group."""

    async def partitions(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic, ascending; empty if there is no such topic."""
        ...

    async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """(first retained offset, last stable offset) of each; the second is exclusive."""
        ...

    async def high_watermarks(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The end of each log, open transactions included: what `bounds` reaches when they have ended."""
        ...

    def read(self, partition: TopicPartition, first: int, end: int) -> AsyncIterator[Record]:
        """Committed records with first <= offset < end, ascending; ends by itself at `end`."""
        ...

    async def close(self) -> None: ...
