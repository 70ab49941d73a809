"""One partition as a broker keeps it: transactions, their markers, the last stable offset, retention."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mira_stream.records import Outgoing, Record, TopicPartition
from mira_stream.streaming.limits import lost


@dataclass(eq=False)
class Transaction:
    """One transaction of one transactional id, and where its consumer group stands if it commits."""

    transactional_id: str
    state: Literal["open", "committed", "aborted"] = "open"
    logs: list["PartitionLog"] = field(default_factory=list)
    consumer_group: str | None = None
    offsets: dict[TopicPartition, int] = field(default_factory=dict)


class Entry(NamedTuple):
    """A record, or the marker that ends a transaction (`record` is None): both take an offset."""

    record: Record | None
    transaction: Transaction | None


class PartitionLog:
    """Entries with the offsets first .. next_offset - 1."""

    def __init__(self, partition: TopicPartition) -> None:
        self.partition = partition
        self.first = 0
        self._entries: list[Entry] = []
        self._open: dict[Transaction, int] = {}

    @property
    def next_offset(self) -> int:
        return self.first + len(self._entries)

    @property
    def last_stable_offset(self) -> int:
        """First offset of the oldest open transaction, else `next_offset`."""
        return next(iter(self._open.values()), self.next_offset)

    def append(self, outgoing: Outgoing, timestamp_ms: int, transaction: Transaction | None = None) -> Record:
        if transaction is not None and transaction not in self._open:
            self._open[transaction] = self.next_offset
            transaction.logs.append(self)
        record = Record(
            self.partition.topic,
            self.partition.partition,
            self.next_offset,
            timestamp_ms,
            outgoing.key,
            outgoing.value,
            outgoing.headers,
        )
        self._entries.append(Entry(record, transaction))
        return record

    def end(self, transaction: Transaction) -> None:
        """Write the marker of an ended transaction."""
        del self._open[transaction]
        self._entries.append(Entry(None, transaction))

    def delete_before(self, offset: int) -> None:
        """What retention does: everything under `offset` is gone."""
        offset = min(offset, self.last_stable_offset)
        if offset > self.first:
            del self._entries[: offset - self.first]
            self.first = offset

    def check(self, position: int) -> None:
        """Raises DataLossError if `position` is no longer, or not yet, in this log."""
        if not self.first <= position <= self.next_offset:
            raise lost(self.partition, position, self.first, self.next_offset)

    def committed_from(self, position: int, end: int, records_max: int) -> tuple[list[Record], int]:
        """Committed records of [position, min(end, last stable offset)) and the position behind them."""
        records: list[Record] = []
        end = min(end, self.last_stable_offset)
        while position < end and len(records) < records_max:
            record, transaction = self._entries[position - self.first]
            if record is not None and (transaction is None or transaction.state == "committed"):
                records.append(record)
            position += 1
        return records, position

    def hidden(self) -> list[Record]:
        """Committed records behind the last stable offset: an open transaction hides them."""
        behind = self._entries[max(0, self.last_stable_offset - self.first) :]
        return [
            one
            for one, transaction in behind
            if one is not None and (transaction is None or transaction.state == "committed")
        ]
