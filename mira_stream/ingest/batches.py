"""Groups what is read into transactions: documents, dead letters, and the positions that go with them."""

import os
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from msgspec.structs import replace

from mira_stream.errors import MiraError
from mira_stream.ingest.files import CorpusFile
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.ports import Readers
from mira_stream.ingest.reading import Reading, read_file
from mira_stream.messages import IngestPosition, encode
from mira_stream.records import Outgoing

BATCH_ROWS: Final = 2_000
BATCH_BYTES: Final = 8 * 2**20


class Topics(NamedTuple):
    """Names of the topics that a file producer writes."""

    documents: str
    dead_letters: str
    ingest: str


class Batch(NamedTuple):
    """The records of one transaction, and how many documents and rejected rows are among them."""

    records: list[Outgoing]
    documents: int
    rejected: int


def batches(
    files: Iterable[tuple[CorpusFile, IngestPosition]],
    mapping: RowMapping,
    topics: Topics,
    readers: Readers,
    rows_max: int = BATCH_ROWS,
) -> Iterator[Batch]:
    """Reads the files one after the other from their positions on; a file that is done is passed over.

    Raises ConfigError or DataLossError as `read_file` does, after a last batch of what was read before.
    """
    pending = _Pending(topics)
    for file, start in files:
        if start.done:
            continue
        pending.at(start)
        try:
            for reading in read_file(file, start.etag, mapping, start.next, readers):
                pending.add(reading)
                if len(pending.records) >= rows_max or pending.bytes >= BATCH_BYTES:
                    yield pending.take()
        except MiraError:
            if pending.records:
                yield pending.take()
            raise
        pending.done()
        if len(pending.records) >= rows_max:
            yield pending.take()
    if pending.positions:
        yield pending.take()


class _Pending:
    """What the next transaction will hold."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._now: IngestPosition
        self._clear()

    def _clear(self) -> None:
        self.records: list[Outgoing] = []
        self.positions: dict[str, IngestPosition] = {}
        self.bytes = 0
        self._rejected = 0

    def at(self, position: IngestPosition) -> None:
        """Go over to another file."""
        self._now = position
        self._next, self._documents, self._letters = position.next, position.documents, position.rejected

    def add(self, reading: Reading) -> None:
        key = None if reading.id is None else reading.id.encode()
        if reading.rejected:
            self._letters += 1
            self._rejected += 1
            self.records.append(Outgoing(self._topics.dead_letters, key, reading.value))
        else:
            self._documents += 1
            self.records.append(
                Outgoing(self._topics.documents, key, reading.value, headers=(("traceparent", _traceparent()),))
            )
        self._next = reading.next
        self.bytes += len(reading.value)

    def done(self) -> None:
        self._mark(done=True)

    def take(self) -> Batch:
        """The batch so far, positions last."""
        if not (known := self.positions.get(self._now.feed)) or not known.done:
            self._mark(done=False)
        positions = [
            Outgoing(self._topics.ingest, feed.encode(), encode(position)) for feed, position in self.positions.items()
        ]
        batch = Batch([*self.records, *positions], len(self.records) - self._rejected, self._rejected)
        self._clear()
        return batch

    def _mark(self, done: bool) -> None:
        self.positions[self._now.feed] = replace(
            self._now, next=self._next, documents=self._documents, rejected=self._letters, done=done
        )


def _traceparent() -> bytes:
    """A new trace (W3C Trace Context, version 00, sampled)."""
    chance = os.urandom(24).hex()
    return f"00-{chance[:32]}-{chance[32:]}-01".encode()
